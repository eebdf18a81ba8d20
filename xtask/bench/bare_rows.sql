INSERT INTO bare_postings (version, key_high, recorded_at, account_id, key_low, body)
SELECT version, hashint8extended(version, 1), now(), 1 + abs(hashint8extended(version, 2) % :wallets),
    hashint8(version), decode(repeat('5a', 64), 'hex')
FROM (SELECT nextval('bare_versions') AS version FROM generate_series(1, :rows) OFFSET 0) AS numbered;
