-- Accounts: wallets, and stripes of system accounts. Amounts are minor units of the asset.
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
    posted_debits   BLOB NOT NULL,
    posted_credits  BLOB NOT NULL,
    pending_debits  BLOB NOT NULL,
    pending_credits BLOB NOT NULL,
    version         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    closed_at       INTEGER,
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

-- Transactions: the audit row and the event of every movement. Never updated, never deleted. Bucket: of the first leg's
-- wallet. (writer, batch_number, position) is the place in the hash chain; `legs` names the postings, 24 bytes each: account
-- id and version.
CREATE TABLE transactions (
    bucket          INTEGER NOT NULL,
    id              BLOB NOT NULL,
    kind            INTEGER NOT NULL,
    asset           TEXT NOT NULL,
    actor_id        BLOB NOT NULL,
    reason          TEXT,
    idempotency_key TEXT,
    effective_at    INTEGER NOT NULL,
    recorded_at     INTEGER NOT NULL,
    writer          INTEGER NOT NULL,
    batch_number    INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    legs            BLOB NOT NULL,
    hash            BLOB NOT NULL,
    PRIMARY KEY (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX transactions_by_place ON transactions (writer, batch_number, position);

-- Postings: one leg each, with the account's balance after it. `version` counts the account's postings. Never updated,
-- never deleted.
CREATE TABLE postings (
    bucket          INTEGER NOT NULL,
    account_id      BLOB NOT NULL,
    version         INTEGER NOT NULL,
    transaction_id  BLOB NOT NULL,
    leg             INTEGER NOT NULL,
    kind            INTEGER NOT NULL,
    side            INTEGER NOT NULL,
    amount          BLOB NOT NULL,
    posted_after    BLOB NOT NULL,
    pending_after   BLOB NOT NULL,
    reason          TEXT,
    counterpart_id  BLOB NOT NULL,
    recorded_at     INTEGER NOT NULL,
    PRIMARY KEY (bucket, account_id, version)
) STRICT, WITHOUT ROWID;

-- Answers by the caller's key. `outcome` is the answer, in the form of `ledger/outcome.rs`.
CREATE TABLE idempotency_keys (
    bucket          INTEGER NOT NULL,
    scope           BLOB NOT NULL,
    key             TEXT NOT NULL,
    fingerprint     BLOB NOT NULL,
    outcome         TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (bucket, scope, key)
) STRICT, WITHOUT ROWID;

-- The hash chain of each writer: one header a batch.
CREATE TABLE batches (
    writer          INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    previous_hash   BLOB NOT NULL,
    merkle_root     BLOB NOT NULL,
    transactions    INTEGER NOT NULL,
    recorded_at     INTEGER NOT NULL,
    hash            BLOB NOT NULL,
    PRIMARY KEY (writer, number)
) STRICT, WITHOUT ROWID;

-- The end of each writer's chain; locked by every batch of that writer.
CREATE TABLE chain_heads (
    writer          INTEGER NOT NULL PRIMARY KEY,
    number          INTEGER NOT NULL,
    hash            BLOB NOT NULL
) STRICT, WITHOUT ROWID;
