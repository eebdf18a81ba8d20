-- Accounts: wallets, and stripes of system accounts. Amounts are minor units of the asset.
CREATE TABLE accounts (
    bucket          SMALLINT NOT NULL,
    id              UUID NOT NULL,
    kind            SMALLINT NOT NULL,
    owner_id        UUID,
    asset           TEXT NOT NULL,
    exponent        SMALLINT NOT NULL,
    normal_side     SMALLINT NOT NULL,
    floor           NUMERIC(38,0),
    ceiling         NUMERIC(38,0),
    posted_debits   NUMERIC(38,0) NOT NULL,
    posted_credits  NUMERIC(38,0) NOT NULL,
    pending_debits  NUMERIC(38,0) NOT NULL,
    pending_credits NUMERIC(38,0) NOT NULL,
    version         BIGINT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL,
    closed_at       TIMESTAMPTZ,
    PRIMARY KEY (bucket, id)
) WITH (fillfactor = 70);

-- Which wallets a user has, found by the user's bucket; a wallet's own rows live in the wallet's bucket.
CREATE TABLE wallets (
    bucket          SMALLINT NOT NULL,
    owner_id        UUID NOT NULL,
    id              UUID NOT NULL,
    asset           TEXT NOT NULL,
    label           TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (bucket, owner_id, id)
);

-- Postings: one row a leg, with the account's balance after it and what its transaction says. `version` counts the
-- account's postings. A transaction between one account and a stripe of a system account is one row: the stripe's leg
-- is in `counterpart_version` and `counterpart_after`. (writer, batch_number, position) is the place in the hash chain;
-- `leg` the place in the transaction. NULL: `pending_after` 0, `effective_at` as recorded. Never updated, never deleted.
CREATE TABLE postings (
    bucket              SMALLINT NOT NULL,
    account_id          UUID NOT NULL,
    version             BIGINT NOT NULL,
    transaction_id      UUID NOT NULL,
    kind                SMALLINT NOT NULL,
    leg                 SMALLINT NOT NULL,
    side                SMALLINT NOT NULL,
    amount              NUMERIC(38,0) NOT NULL,
    posted_after        NUMERIC(38,0) NOT NULL,
    pending_after       NUMERIC(38,0),
    counterpart_id      UUID NOT NULL,
    counterpart_version BIGINT,
    counterpart_after   NUMERIC(38,0),
    actor_id            UUID NOT NULL,
    reason              TEXT,
    idempotency_key     TEXT,
    effective_at        TIMESTAMPTZ,
    recorded_at         TIMESTAMPTZ NOT NULL,
    writer              SMALLINT NOT NULL,
    batch_number        BIGINT NOT NULL,
    position            INTEGER NOT NULL,
    PRIMARY KEY (bucket, account_id, version)
);

-- Batches lie in the heap in the order of their commits, so that an index of ranges finds them and costs nothing.
CREATE INDEX postings_by_batch ON postings USING brin (writer, batch_number) WITH (pages_per_range = 32, autosummarize = on);

-- Answers by the caller's key. `outcome` is the answer, in the form of `store/outcome.rs`; NULL: it was applied, and
-- the posting (account_id, version) tells the answer.
CREATE TABLE idempotency_keys (
    bucket          SMALLINT NOT NULL,
    scope           UUID NOT NULL,
    key             TEXT NOT NULL,
    fingerprint     BYTEA NOT NULL,
    outcome         TEXT,
    account_id      UUID,
    version         BIGINT,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (bucket, scope, key)
);

-- The hash chain of each writer: one header a batch.
CREATE TABLE batches (
    writer          SMALLINT NOT NULL,
    number          BIGINT NOT NULL,
    previous_hash   BYTEA NOT NULL,
    merkle_root     BYTEA NOT NULL,
    transactions    INTEGER NOT NULL,
    recorded_at     TIMESTAMPTZ NOT NULL,
    hash            BYTEA NOT NULL,
    PRIMARY KEY (writer, number)
);

-- The end of each writer's chain; every batch of that writer changes it.
CREATE TABLE chain_heads (
    writer          SMALLINT NOT NULL PRIMARY KEY,
    number          BIGINT NOT NULL,
    hash            BYTEA NOT NULL,
    recorded_at     TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 10);
