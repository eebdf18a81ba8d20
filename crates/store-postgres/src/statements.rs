//! The texts that only PostgreSQL has: lookups and writes over arrays.

macro_rules! account_columns {
    () => {
        "a.id, a.kind, a.owner_id, a.asset, a.exponent, a.normal_side, a.floor, a.ceiling, a.posted_debits, \
         a.posted_credits, a.pending_debits, a.pending_credits, a.version, a.created_at, a.updated_at, a.closed_at"
    };
}

macro_rules! select_accounts {
    ($end:literal) => {
        concat!(
            "SELECT ",
            account_columns!(),
            " FROM unnest($1::smallint[], $2::uuid[]) AS k (bucket, id) \
             JOIN accounts a ON a.bucket = k.bucket AND a.id = k.id ORDER BY a.id",
            $end
        )
    };
}

pub(crate) const READ_ACCOUNTS: &str = select_accounts!("");

/// Rows are locked after they are sorted, so in the order of their ids.
pub(crate) const LOCK_ACCOUNTS: &str = select_accounts!(" FOR UPDATE OF a");

pub(crate) const FIND_ANSWERS: &str = "SELECT i.scope, i.key, i.fingerprint, i.outcome \
    FROM unnest($1::smallint[], $2::uuid[], $3::text[]) AS k (bucket, scope, key) \
    JOIN idempotency_keys i ON i.bucket = k.bucket AND i.scope = k.scope AND i.key = k.key";

pub(crate) const READ_HEAD: &str = "SELECT number, hash FROM chain_heads WHERE writer = $1";

pub(crate) const LOCK_HEAD: &str = "SELECT number, hash FROM chain_heads WHERE writer = $1 FOR UPDATE";

pub(crate) const OPEN_CHAIN: &str =
    "INSERT INTO chain_heads (writer, number, hash) VALUES ($1, 0, $2) ON CONFLICT (writer) DO NOTHING";

pub(crate) const FIND_POSTINGS: &str = "SELECT p.account_id, p.version, p.transaction_id, p.leg, p.kind, p.side, \
    p.amount, p.posted_after, p.pending_after, p.counterpart_id, p.reason, p.recorded_at \
    FROM unnest($1::smallint[], $2::uuid[], $3::bigint[]) AS k (bucket, account_id, version) \
    JOIN postings p ON p.bucket = k.bucket AND p.account_id = k.account_id AND p.version = k.version";

pub(crate) const INSERT_TRANSACTIONS: &str = "INSERT INTO transactions (bucket, id, kind, asset, actor_id, reason, \
    idempotency_key, effective_at, recorded_at, position, legs, hash, writer, batch_number) \
    SELECT k.*, $13::smallint, $14::bigint FROM unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::text[], \
    $5::uuid[], $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[], $10::integer[], $11::bytea[], \
    $12::bytea[]) AS k";

pub(crate) const INSERT_POSTINGS: &str = "INSERT INTO postings (bucket, account_id, version, transaction_id, leg, \
    kind, side, amount, posted_after, pending_after, reason, counterpart_id, recorded_at) \
    SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::uuid[], $5::smallint[], $6::smallint[], \
    $7::smallint[], $8::numeric[], $9::numeric[], $10::numeric[], $11::text[], $12::uuid[], $13::timestamptz[])";

pub(crate) const UPDATE_ACCOUNTS: &str = "UPDATE accounts AS a SET posted_debits = k.posted_debits, \
    posted_credits = k.posted_credits, pending_debits = k.pending_debits, pending_credits = k.pending_credits, \
    version = k.version, updated_at = k.updated_at \
    FROM unnest($1::smallint[], $2::uuid[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[], \
    $7::bigint[], $8::timestamptz[]) AS k (bucket, id, posted_debits, posted_credits, pending_debits, \
    pending_credits, version, updated_at) WHERE a.bucket = k.bucket AND a.id = k.id";

pub(crate) const INSERT_ACCOUNTS: &str = "INSERT INTO accounts (bucket, id, kind, owner_id, asset, exponent, \
    normal_side, floor, ceiling, posted_debits, posted_credits, pending_debits, pending_credits, version, created_at, \
    updated_at, closed_at) \
    SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::smallint[], $4::uuid[], $5::text[], $6::smallint[], \
    $7::smallint[], $8::numeric[], $9::numeric[], $10::numeric[], $11::numeric[], $12::numeric[], $13::numeric[], \
    $14::bigint[], $15::timestamptz[], $16::timestamptz[], $17::timestamptz[])";

pub(crate) const INSERT_ANSWERS: &str = "INSERT INTO idempotency_keys (bucket, scope, key, fingerprint, outcome, \
    created_at) SELECT k.*, $6::timestamptz FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::bytea[], \
    $5::text[]) AS k";

/// `chain_heads` has the row: it was locked before anything else.
pub(crate) const INSERT_HEADER: &str = "WITH head AS (UPDATE chain_heads SET number = $2, hash = $7 WHERE writer = $1) \
    INSERT INTO batches (writer, number, previous_hash, merkle_root, transactions, recorded_at, hash) \
    VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Every statement of the batch, for the test that prepares them.
#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    READ_ACCOUNTS,
    LOCK_ACCOUNTS,
    FIND_ANSWERS,
    READ_HEAD,
    LOCK_HEAD,
    OPEN_CHAIN,
    FIND_POSTINGS,
    INSERT_TRANSACTIONS,
    INSERT_POSTINGS,
    UPDATE_ACCOUNTS,
    INSERT_ACCOUNTS,
    INSERT_ANSWERS,
    INSERT_HEADER,
];
