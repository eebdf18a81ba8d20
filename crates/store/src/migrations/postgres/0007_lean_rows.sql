-- The account's debits after the posting, all together: NULL but for a batch's last posting of the account. A wallet's
-- balance is that of its last posting; its row in `accounts` has the figures of an older one (`version`), at first none.
-- Stripes of system accounts, whose postings lie in the rows of others, are kept in `accounts` as before.
ALTER TABLE postings ADD COLUMN debits_after NUMERIC(38,0);

-- Answers to commands by the caller's key, which is known by `digest`: the first 16 bytes of SHA-256 over the scope and
-- the key. `fingerprint`: the first 8 bytes of the request's. The answer is the posting (account_id, version), else
-- `outcome`, in the form of `store/outcome.rs`, with the time it was given. Columns in the order that wastes no bytes.
CREATE TABLE ledger_keys (
    version         BIGINT,
    fingerprint     BIGINT NOT NULL,
    created_at      TIMESTAMPTZ,
    bucket          SMALLINT NOT NULL,
    digest          UUID NOT NULL,
    account_id      UUID,
    outcome         TEXT,
    PRIMARY KEY (bucket, digest)
);

-- What stays in the other table is which wallets were opened: an id without its braces, as nothing in JSON.
ALTER TABLE idempotency_keys RENAME TO former_keys;
ALTER INDEX idempotency_keys_pkey RENAME TO former_keys_pkey;

INSERT INTO ledger_keys (version, fingerprint, created_at, bucket, digest, account_id, outcome)
SELECT
    version,
    ('x' || encode(substr(fingerprint, 1, 8), 'hex'))::bit(64)::bigint,
    CASE WHEN account_id IS NULL THEN created_at END,
    bucket,
    encode(substr(sha256(uuid_send(scope) || convert_to(key, 'UTF8')), 1, 16), 'hex')::uuid,
    account_id,
    outcome
FROM former_keys WHERE outcome IS NULL OR outcome LIKE '{%';

CREATE TABLE idempotency_keys (
    bucket          SMALLINT NOT NULL,
    scope           UUID NOT NULL,
    key             TEXT NOT NULL,
    fingerprint     BYTEA NOT NULL,
    outcome         TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (bucket, scope, key)
);
INSERT INTO idempotency_keys (bucket, scope, key, fingerprint, outcome, created_at)
SELECT bucket, scope, key, fingerprint, outcome, created_at FROM former_keys
WHERE outcome NOT LIKE '{%';

DROP TABLE former_keys;
