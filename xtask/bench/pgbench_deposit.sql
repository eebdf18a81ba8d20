-- One deposit, one database transaction: what a careful program without group commit does on the same tables.
-- Its accounts are made by xtask/src/bench/pgbench.rs. The bank's side is one account a bucket, so no row is hot; ids of
-- transactions grow with time; there is no hash chain. All of that is in pgbench's favour.
\set n random(1, :wallets)
\set b :n % 1024
\set salt random(1, 9223372036854775806)
BEGIN;
SELECT bucket, id, posted_debits, posted_credits, pending_debits, pending_credits, floor, ceiling, version
FROM accounts
WHERE bucket = (:b)::smallint
  AND id IN (('00000000-0000-7000-8000-' || lpad((:n)::text, 12, '0'))::uuid,
             ('00000000-0000-7000-9000-' || lpad((:b)::text, 12, '0'))::uuid)
ORDER BY id
FOR UPDATE;
INSERT INTO transactions (bucket, id, kind, asset, actor_id, reason, idempotency_key, effective_at, recorded_at, writer,
                          batch_number, position, legs, hash)
VALUES ((:b)::smallint,
        (lpad(to_hex((extract(epoch FROM now()) * 1000000)::bigint), 16, '0')
         || lpad(to_hex((:salt)::bigint), 16, '0'))::uuid,
        0, 'EUR', '00000000-0000-7000-a000-000000000001', NULL, NULL, now(), now(), 0, 0, 0,
        '\x000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000',
        '\x0000000000000000000000000000000000000000000000000000000000000000');
UPDATE accounts
SET posted_credits = posted_credits + CASE WHEN kind = 0 THEN 100 ELSE 0 END,
    posted_debits = posted_debits + CASE WHEN kind = 1 THEN 100 ELSE 0 END,
    version = version + 1,
    updated_at = now()
WHERE bucket = (:b)::smallint
  AND id IN (('00000000-0000-7000-8000-' || lpad((:n)::text, 12, '0'))::uuid,
             ('00000000-0000-7000-9000-' || lpad((:b)::text, 12, '0'))::uuid);
INSERT INTO postings (bucket, account_id, version, transaction_id, leg, kind, side, amount, posted_after, pending_after,
                      counterpart_id, recorded_at)
SELECT bucket, id, version,
       (lpad(to_hex((extract(epoch FROM now()) * 1000000)::bigint), 16, '0')
        || lpad(to_hex((:salt)::bigint), 16, '0'))::uuid,
       kind, 0, 1 - kind, 100, abs(posted_credits - posted_debits), 0, id, now()
FROM accounts
WHERE bucket = (:b)::smallint
  AND id IN (('00000000-0000-7000-8000-' || lpad((:n)::text, 12, '0'))::uuid,
             ('00000000-0000-7000-9000-' || lpad((:b)::text, 12, '0'))::uuid);
\if :keys
INSERT INTO idempotency_keys (bucket, scope, key, fingerprint, outcome, created_at)
VALUES ((:b)::smallint, ('00000000-0000-7000-8000-' || lpad((:n)::text, 12, '0'))::uuid,
        to_hex((extract(epoch FROM now()) * 1000000)::bigint) || '-' || to_hex((:salt)::bigint),
        '\x0000000000000000000000000000000000000000000000000000000000000000', '{}', now());
\endif
COMMIT;
