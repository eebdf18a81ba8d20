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
);

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

-- Transactions: the audit row and the event of every movement. Never updated, never deleted. Bucket: of the first leg's
-- wallet. (writer, batch_number, position) is the place in the hash chain; `legs` names the postings, 24 bytes each: account
-- id and version.
CREATE TABLE transactions (
    bucket          SMALLINT NOT NULL,
    id              UUID NOT NULL,
    kind            SMALLINT NOT NULL,
    asset           TEXT NOT NULL,
    actor_id        UUID NOT NULL,
    reason          TEXT,
    idempotency_key TEXT,
    effective_at    TIMESTAMPTZ NOT NULL,
    recorded_at     TIMESTAMPTZ NOT NULL,
    writer          SMALLINT NOT NULL,
    batch_number    BIGINT NOT NULL,
    position        INTEGER NOT NULL,
    legs            BYTEA NOT NULL,
    hash            BYTEA NOT NULL,
    PRIMARY KEY (bucket, id)
);
CREATE INDEX transactions_by_place ON transactions (writer, batch_number, position);

-- Postings: one leg each, with the account's balance after it. `version` counts the account's postings. Never updated,
-- never deleted.
CREATE TABLE postings (
    bucket          SMALLINT NOT NULL,
    account_id      UUID NOT NULL,
    version         BIGINT NOT NULL,
    transaction_id  UUID NOT NULL,
    leg             SMALLINT NOT NULL,
    kind            SMALLINT NOT NULL,
    side            SMALLINT NOT NULL,
    amount          NUMERIC(38,0) NOT NULL,
    posted_after    NUMERIC(38,0) NOT NULL,
    pending_after   NUMERIC(38,0) NOT NULL,
    reason          TEXT,
    counterpart_id  UUID NOT NULL,
    recorded_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (bucket, account_id, version)
);

-- Answers by the caller's key. `outcome` is the answer, in the form of `ledger/outcome.rs`.
CREATE TABLE idempotency_keys (
    bucket          SMALLINT NOT NULL,
    scope           UUID NOT NULL,
    key             TEXT NOT NULL,
    fingerprint     BYTEA NOT NULL,
    outcome         TEXT NOT NULL,
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

-- The end of each writer's chain; locked by every batch of that writer.
CREATE TABLE chain_heads (
    writer          SMALLINT NOT NULL PRIMARY KEY,
    number          BIGINT NOT NULL,
    hash            BYTEA NOT NULL
);
