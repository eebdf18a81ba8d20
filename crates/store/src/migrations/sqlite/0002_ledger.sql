-- Accounts: wallets, and stripes of system accounts. Amounts are minor units of the asset: limits as 16 bytes that
-- sort like the number, figures as an integer or, when 64 bits are not enough, as such bytes. The figures lag behind `batches`: they are those after the record at `last_place`, and
-- whoever reads them adds the batches after `settled.sequence`.
CREATE TABLE accounts (
    bucket          INTEGER NOT NULL,
    id              BLOB NOT NULL,
    kind            INTEGER NOT NULL,
    owner_id        BLOB,
    asset           TEXT NOT NULL,
    exponent        INTEGER NOT NULL,
    normal_side     INTEGER NOT NULL,
    floor           BLOB,
    ceiling         BLOB,
    posted_debits   ANY NOT NULL,
    posted_credits  ANY NOT NULL,
    pending_debits  ANY NOT NULL,
    pending_credits ANY NOT NULL,
    version         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    closed_at       INTEGER,
    last_place      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (bucket, id)
) STRICT, WITHOUT ROWID;

-- Which wallets a user has, found by the user's bucket; a wallet's own rows live in the wallet's bucket.
CREATE TABLE wallets (
    bucket          INTEGER NOT NULL,
    owner_id        BLOB NOT NULL,
    id              BLOB NOT NULL,
    asset           TEXT NOT NULL,
    label           TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (bucket, owner_id, id)
) STRICT, WITHOUT ROWID;

-- The journal: one row a batch, in the order of commits, never updated, never deleted. `body` holds the batch's
-- transactions and postings (the form is in the engine's `ledger/record.rs`); the rest is the header of the hash chain.
CREATE TABLE batches (
    sequence        INTEGER PRIMARY KEY,
    writer          INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    previous_hash   BLOB NOT NULL,
    merkle_root     BLOB NOT NULL,
    transactions    INTEGER NOT NULL,
    recorded_at     INTEGER NOT NULL,
    hash            BLOB NOT NULL,
    body            BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX batches_by_number ON batches (writer, number);

-- The end of each writer's chain.
CREATE TABLE chain_heads (
    writer          INTEGER NOT NULL PRIMARY KEY,
    number          INTEGER NOT NULL,
    hash            BLOB NOT NULL,
    recorded_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every 64th posting of an account: where to enter a long history.
CREATE TABLE posting_marks (
    account_id      BLOB NOT NULL,
    version         INTEGER NOT NULL,
    place           INTEGER NOT NULL,
    recorded_at     INTEGER NOT NULL,
    PRIMARY KEY (account_id, version)
) STRICT, WITHOUT ROWID;

-- Keys of applied commands, by the first 16 bytes of SHA-256 over scope and key: where the transaction is. They lag
-- behind `batches` as the accounts do.
CREATE TABLE applied_keys (
    digest          BLOB NOT NULL PRIMARY KEY,
    fingerprint     BLOB NOT NULL,
    place           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The last batch whose accounts and keys are all in their tables. One row.
CREATE TABLE settled (
    sequence        INTEGER NOT NULL
) STRICT;
INSERT INTO settled (sequence) VALUES (0);

-- Other answers by the caller's key: refusals, and openings of wallets.
CREATE TABLE idempotency_keys (
    bucket          INTEGER NOT NULL,
    scope           BLOB NOT NULL,
    key             TEXT NOT NULL,
    fingerprint     BLOB NOT NULL,
    outcome         TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (bucket, scope, key)
) STRICT, WITHOUT ROWID;
