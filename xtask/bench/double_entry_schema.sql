-- Plain double entry, as a careful program keeps it in PostgreSQL: balances on the accounts, every movement as a
-- transaction with its postings and the balance after each, one row for each caller's key. Accounts with negative ids
-- are the bank's; there are many of them, so that none is hot. No foreign keys: they would only cost the reference.
CREATE TABLE accounts (
    id bigint PRIMARY KEY,
    balance bigint NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE transactions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind smallint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE postings (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transaction_id bigint NOT NULL,
    account_id bigint NOT NULL,
    amount bigint NOT NULL,
    balance_after bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX postings_by_account ON postings (account_id, id);
CREATE TABLE idempotency_keys (
    key text PRIMARY KEY,
    transaction_id bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
