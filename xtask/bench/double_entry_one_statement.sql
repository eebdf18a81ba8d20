-- The same deposit as one data-modifying statement: the fewest round trips that one transaction an operation can have.
\set wallet random(1, :wallets)
\set bank -1 - random(0, 1023)
\set salt random(1, 9223372036854775806)
WITH moved AS (
    INSERT INTO transactions (kind) VALUES (1) RETURNING id
), keyed AS (
    INSERT INTO idempotency_keys (key, transaction_id) SELECT to_hex((:salt)::bigint), id FROM moved
), changed AS (
    UPDATE accounts
    SET balance = balance + CASE WHEN id = :bank THEN -100 ELSE 100 END, version = version + 1
    WHERE id IN (:bank, :wallet)
    RETURNING id, balance
)
INSERT INTO postings (transaction_id, account_id, amount, balance_after)
SELECT moved.id, changed.id, CASE WHEN changed.id < 0 THEN -100 ELSE 100 END, changed.balance
FROM moved, changed;
