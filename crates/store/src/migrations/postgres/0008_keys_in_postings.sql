-- Reads whole tables, for which sessions are not set up.
SET LOCAL enable_seqscan = on;
SET LOCAL enable_hashjoin = on;
SET LOCAL enable_nestloop = off;
SET LOCAL work_mem = '256MB';
SET LOCAL maintenance_work_mem = '256MB';

ALTER TABLE postings RENAME TO former_postings;
ALTER INDEX postings_pkey RENAME TO former_postings_pkey;
ALTER INDEX postings_by_batch RENAME TO former_postings_by_batch;

-- Postings, as before, and in the same rows the keys of callers. Columns in the order that wastes no bytes.
--
-- A key is known by the first 12 bytes of SHA-256 over its scope and its text: `key_high` and `key_low`. `fingerprint`:
-- the first 8 bytes of the request's. They are in one row of what was applied: that of the wallet which the key's
-- command acts on. Where the transaction has more rows, `outcome` is the answer, in the form of `store/outcome.rs`.
--
-- An answer without a posting (a refusal) is a row with `version` -1 and, as `account_id`, the first 16 bytes of that
-- SHA-256, in the bucket of the wallet which the command acts on. It has `recorded_at`, the key and `outcome`, and
-- nothing else. Never updated, never deleted.
CREATE TABLE postings (
    version             BIGINT NOT NULL,
    recorded_at         TIMESTAMPTZ NOT NULL,
    batch_number        BIGINT,
    counterpart_version BIGINT,
    effective_at        TIMESTAMPTZ,
    key_high            BIGINT,
    fingerprint         BIGINT,
    position            INTEGER,
    key_low             INTEGER,
    bucket              SMALLINT NOT NULL,
    kind                SMALLINT,
    leg                 SMALLINT,
    side                SMALLINT,
    writer              SMALLINT,
    account_id          UUID NOT NULL,
    transaction_id      UUID,
    counterpart_id      UUID,
    actor_id            UUID,
    amount              NUMERIC(38,0),
    posted_after        NUMERIC(38,0),
    pending_after       NUMERIC(38,0),
    counterpart_after   NUMERIC(38,0),
    debits_after        NUMERIC(38,0),
    reason              TEXT,
    idempotency_key     TEXT,
    outcome             TEXT
);

-- What was applied: the row of the posting, and where there are several the one of the wallet that the command acted
-- on, which is that of its first leg. In the order of the rows, which is that of commits: the index of ranges needs it.
INSERT INTO postings
SELECT
    p.version, p.recorded_at, p.batch_number, p.counterpart_version, p.effective_at,
    k.key_high, k.fingerprint, p.position, k.key_low,
    p.bucket, p.kind, p.leg, p.side, p.writer,
    p.account_id, p.transaction_id, p.counterpart_id, p.actor_id,
    p.amount, p.posted_after, p.pending_after, p.counterpart_after, p.debits_after,
    p.reason, p.idempotency_key, k.outcome
FROM former_postings p LEFT JOIN (
    SELECT
        CASE WHEN outcome IS NULL THEN account_id ELSE (outcome::json #>> '{legs,0,account}')::uuid END AS account_id,
        CASE WHEN outcome IS NULL THEN version ELSE (outcome::json #>> '{legs,0,version}')::bigint END AS version,
        ('x' || encode(substr(uuid_send(digest), 1, 8), 'hex'))::bit(64)::bigint AS key_high,
        ('x' || encode(substr(uuid_send(digest), 9, 4), 'hex'))::bit(32)::integer AS key_low,
        fingerprint,
        outcome
    FROM ledger_keys
    WHERE CASE WHEN outcome IS NULL THEN true ELSE outcome::json ->> 'outcome' = 'applied' END
) k ON k.account_id = p.account_id AND k.version = p.version
ORDER BY p.ctid;

-- What was refused for want of funds names the wallet. Of other refusals nobody knows any more which wallet they belong
-- to, because a scope is a hash; they go, and who repeats such a request is answered anew.
INSERT INTO postings (version, recorded_at, key_high, fingerprint, key_low, bucket, account_id, outcome)
SELECT
    -1, k.created_at, k.key_high, k.fingerprint, k.key_low, a.bucket, k.digest, k.outcome
FROM (
    SELECT
        ('x' || encode(substr(uuid_send(digest), 1, 8), 'hex'))::bit(64)::bigint AS key_high,
        ('x' || encode(substr(uuid_send(digest), 9, 4), 'hex'))::bit(32)::integer AS key_low,
        fingerprint,
        created_at,
        digest,
        outcome,
        (outcome::json ->> 'account')::uuid AS account_id
    FROM ledger_keys
    WHERE CASE WHEN outcome IS NULL THEN false ELSE outcome::json ->> 'outcome' = 'insufficient_funds' END
) k JOIN accounts a ON a.id = k.account_id
ORDER BY k.created_at;

DROP TABLE former_postings;
DROP TABLE ledger_keys;

ALTER TABLE postings ADD PRIMARY KEY (bucket, account_id, version);

-- Batches lie in the heap in the order of their commits, so that an index of ranges finds them and costs nothing.
CREATE INDEX postings_by_batch ON postings USING brin (writer, batch_number)
    WITH (pages_per_range = 32, autosummarize = on);

-- Decides about a key, on all nodes. This order of columns makes its entries 16 bytes.
CREATE UNIQUE INDEX postings_by_key ON postings (bucket, key_low, key_high) WHERE key_high IS NOT NULL;
