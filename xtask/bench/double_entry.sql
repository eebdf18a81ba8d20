-- One deposit, one database transaction: what a careful program without group commit does.
\set wallet random(1, :wallets)
\set bank -1 - random(0, 1023)
\set salt random(1, 9223372036854775806)
BEGIN;
SELECT id, balance, version FROM accounts WHERE id IN (:bank, :wallet) ORDER BY id FOR UPDATE;
INSERT INTO transactions (kind) VALUES (1) RETURNING id AS transaction_id \gset
INSERT INTO idempotency_keys (key, transaction_id) VALUES (to_hex((:salt)::bigint), :transaction_id);
UPDATE accounts SET balance = balance - 100, version = version + 1 WHERE id = :bank RETURNING balance AS bank_after \gset
UPDATE accounts SET balance = balance + 100, version = version + 1 WHERE id = :wallet RETURNING balance AS wallet_after \gset
INSERT INTO postings (transaction_id, account_id, amount, balance_after)
VALUES ((:transaction_id)::bigint, (:wallet)::bigint, 100, (:wallet_after)::bigint),
       ((:transaction_id)::bigint, (:bank)::bigint, -100, (:bank_after)::bigint);
COMMIT;
