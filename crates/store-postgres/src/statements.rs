//! The texts that only PostgreSQL has: lookups and writes over arrays.

/// An account as it is: its row, and the figures of its last posting where that is newer.
macro_rules! account_columns {
    () => {
        "a.id, a.kind, a.owner_id, a.asset, a.exponent, a.normal_side, a.floor, a.ceiling, \
         CASE WHEN p.version IS NULL THEN a.posted_debits ELSE p.debits_after END, \
         CASE WHEN p.version IS NULL THEN a.posted_credits WHEN a.normal_side = 0 THEN p.debits_after - p.posted_after \
         ELSE p.debits_after + p.posted_after END, a.pending_debits, a.pending_credits, \
         coalesce(p.version, a.version), a.created_at, coalesce(p.recorded_at, a.updated_at), a.closed_at"
    };
}

/// The last posting of account `a`, if its row is older: one step into the index, from its end.
macro_rules! last_posting {
    () => {
        "LEFT JOIN LATERAL (SELECT l.version, l.posted_after, l.debits_after, l.recorded_at FROM postings l \
         WHERE l.bucket = a.bucket AND l.account_id = a.id AND l.version > a.version \
         ORDER BY l.version DESC LIMIT 1) p ON true "
    };
}

pub(crate) const READ_ACCOUNTS: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM unnest($1::smallint[], $2::uuid[]) AS k (bucket, id) \
     JOIN accounts a ON a.bucket = k.bucket AND a.id = k.id ",
    last_posting!(),
    "ORDER BY a.bucket, a.id"
);

/// What has postings after the version that is remembered, and what is not remembered (-1).
pub(crate) const READ_CHANGED_ACCOUNTS: &str = concat!(
    "SELECT ",
    account_columns!(),
    " FROM unnest($1::smallint[], $2::uuid[], $3::bigint[]) AS k (bucket, id, version) \
     JOIN accounts a ON a.bucket = k.bucket AND a.id = k.id ",
    last_posting!(),
    "WHERE k.version < 0 OR EXISTS (SELECT 1 FROM postings n \
     WHERE n.bucket = k.bucket AND n.account_id = k.id AND n.version > k.version)"
);

/// Rows are locked after they are sorted, so in the order of buckets and ids.
pub(crate) const LOCK_ACCOUNTS: &str = "SELECT 1 FROM unnest($1::smallint[], $2::uuid[]) AS k (bucket, id) \
    JOIN accounts a ON a.bucket = k.bucket AND a.id = k.id ORDER BY a.bucket, a.id FOR UPDATE OF a";

/// The last column: whether the row contradicts the posting that it is as old as, or nothing if there was none. Nobody
/// reads such a row's figures while there is a newer posting.
pub(crate) const PAGE_ACCOUNTS: &str = concat!(
    "SELECT ",
    account_columns!(),
    ", p.version IS NOT NULL AND CASE a.normal_side WHEN 0 THEN a.posted_debits - a.posted_credits \
     ELSE a.posted_credits - a.posted_debits END <> coalesce((SELECT o.posted_after FROM postings o \
     WHERE o.bucket = a.bucket AND o.account_id = a.id AND o.version = a.version), 0) \
     FROM (SELECT * FROM accounts WHERE (bucket, id) > ($1, $2) ORDER BY bucket, id LIMIT $3) a ",
    last_posting!(),
    "ORDER BY a.bucket, a.id"
);

/// Whether no other process holds the lock of connections.
pub(crate) const IS_ALONE: &str = "SELECT NOT EXISTS (SELECT 1 FROM pg_locks \
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
    AND classid = $1 AND objsubid = 2 AND objid <> $2)";

pub(crate) const READ_HEAD: &str =
    "SELECT number, hash, recorded_at FROM batches WHERE writer = $1 ORDER BY number DESC LIMIT 1";

/// The lock makes the transaction one that writes: its commit waits for the standby, if there is one.
pub(crate) const LOCK_HEADER: &str = "SELECT hash FROM batches WHERE writer = $1 AND number = $2 FOR UPDATE";

/// The last batch of each chain: one step into the index for each writer.
pub(crate) const LIST_LAST_HEADERS: &str = "WITH RECURSIVE w (writer) AS (SELECT min(writer) FROM batches UNION ALL \
    SELECT (SELECT min(b.writer) FROM batches b WHERE b.writer > w.writer) FROM w WHERE w.writer IS NOT NULL) \
    SELECT h.writer, h.number, h.hash FROM w JOIN LATERAL (SELECT b.writer, b.number, b.hash FROM batches b \
    WHERE b.writer = w.writer ORDER BY b.number DESC LIMIT 1) h ON true ORDER BY h.writer";

macro_rules! posting_columns {
    () => {
        "p.account_id, p.version, p.transaction_id, p.kind, p.leg, p.side, p.amount, p.posted_after, p.pending_after, \
         p.counterpart_id, p.counterpart_version, p.counterpart_after, p.actor_id, p.reason, p.idempotency_key, \
         p.effective_at, p.recorded_at, p.batch_number, p.position"
    };
}

/// Postings, with the asset of their account.
macro_rules! select_postings {
    ($end:literal) => {
        concat!(
            "SELECT ",
            posting_columns!(),
            ", a.asset, a.exponent FROM postings p JOIN accounts a ON a.bucket = p.bucket AND a.id = p.account_id ",
            $end
        )
    };
}

/// Answers: the posting that is one, or the text of one. The index of keys is only for rows that have one, and the
/// server does not see by itself that these do.
pub(crate) const FIND_ANSWERS: &str = concat!(
    "SELECT ",
    posting_columns!(),
    ", a.asset, a.exponent, p.bucket, p.key_low, p.key_high, p.fingerprint, p.outcome, b.hash_form \
     FROM unnest($1::smallint[], $2::integer[], $3::bigint[]) AS k (bucket, key_low, key_high) \
     JOIN postings p ON p.bucket = k.bucket AND p.key_low = k.key_low AND p.key_high = k.key_high \
     AND p.key_high IS NOT NULL \
     LEFT JOIN accounts a ON a.bucket = p.bucket AND a.id = p.account_id \
     LEFT JOIN batches b ON b.writer = p.writer AND b.number = p.batch_number"
);

pub(crate) const LIST_POSTINGS: &str = select_postings!(
    "WHERE p.bucket = $1 AND p.account_id = $2 AND p.version < $3 AND p.version >= $4 \
     AND ($5::smallint < 0 OR p.kind = $5) AND p.recorded_at >= $6 AND p.recorded_at < $7 \
     AND p.amount >= $8 AND p.amount <= $9 \
     ORDER BY p.version DESC LIMIT $10"
);

/// A stripe's legs are kept in the rows of the accounts on the other side: found by reading all of them.
pub(crate) const LIST_STRIPE_POSTINGS: &str = select_postings!(
    "WHERE p.counterpart_id = $1 AND p.counterpart_version < $2 AND p.counterpart_version >= $3 \
     ORDER BY p.counterpart_version DESC LIMIT $4"
);

pub(crate) const FIND_POSTING_TIME: &str =
    "SELECT recorded_at FROM postings WHERE bucket = $1 AND account_id = $2 AND version = $3";

pub(crate) const LIST_HEADERS: &str = "SELECT number, previous_hash, merkle_root, transactions, recorded_at, hash, \
    hash_form FROM batches WHERE writer = $1 AND number > $2 ORDER BY number LIMIT $3";

/// What a cursor over a chain's postings begins with; who opens it adds the chain and the place.
pub(crate) const CHAIN_POSTINGS: &str = concat!("SELECT ", posting_columns!(), ", p.bucket FROM postings p");

/// A row that holds the stripe's posting beside the wallet's counts as two; one that is only an answer does not count.
///
/// The others tell whether keys are where they are looked for: rows that have not all of a key or none of it, one
/// without its text, or an answer in words where the row is one; transactions with the text of a key; and answers to
/// keys that were applied.
pub(crate) const COUNT_POSTINGS: &str = "SELECT \
    count(*) FILTER (WHERE version >= 0 OR writer IS NOT NULL OR outcome IS NULL OR key_high IS NULL) \
    + count(counterpart_version), \
    count(*) FILTER (WHERE (key_high IS NULL) <> (key_low IS NULL) OR (key_high IS NULL) <> (fingerprint IS NULL) \
    OR version >= 0 AND (key_high IS NOT NULL AND idempotency_key IS NULL \
    OR (outcome IS NULL) = (key_high IS NOT NULL AND counterpart_version IS NULL))), \
    count(*) FILTER (WHERE idempotency_key IS NOT NULL AND (counterpart_version IS NOT NULL OR leg = 0)), \
    count(*) FILTER (WHERE key_high IS NOT NULL AND (version >= 0 OR outcome LIKE '{\"outcome\":\"applied\"%')) \
    FROM postings";

/// What a batch writes, and more beside it.
macro_rules! write_batch {
    ($more:literal) => {
        concat!(
            "WITH changed AS (\
            UPDATE accounts AS a SET posted_debits = k.posted_debits, posted_credits = k.posted_credits, \
            pending_debits = k.pending_debits, pending_credits = k.pending_credits, version = k.version, \
            updated_at = k.updated_at \
            FROM unnest($1::accounts[], $2::bigint[]) AS k (bucket, id, kind, owner_id, asset, exponent, \
            normal_side, floor, ceiling, posted_debits, posted_credits, pending_debits, pending_credits, version, \
            created_at, updated_at, closed_at, version_before) \
            WHERE a.bucket = k.bucket AND a.id = k.id AND a.version = k.version_before AND a.closed_at IS NULL \
            RETURNING 1\
            ), header AS (\
            INSERT INTO batches (writer, number, previous_hash, merkle_root, transactions, recorded_at, hash, \
            hash_form) VALUES ($4, $5, $6, $7, $8, $9, $10, $11)\
            ), posted AS (\
            INSERT INTO postings SELECT * FROM unnest($12::postings[])\
            )",
            $more,
            " SELECT 1 / ((SELECT count(*) FROM changed) = $3::bigint AND ($5::bigint = 1 OR EXISTS (SELECT 1 \
            FROM batches WHERE writer = $4 AND number = $5::bigint - 1 AND hash = $6)))::integer"
        )
    };
}

/// What a batch writes, in one statement: a database transaction of its own where nothing else belongs to it.
///
/// Only onto stripes that are as they were read and behind the header that was the chain's last one, else it divides by
/// zero, and only behind the posting that was an account's last one, at a place in the chain and under keys that nobody
/// has, else an index refuses them: then nothing is written. Every node inserts in the order of accounts and versions,
/// so that none waits for another in a circle.
pub(crate) const WRITE_BATCH: &str = write_batch!("");

/// The same with answers to whole requests, under keys that nobody has.
pub(crate) const WRITE_KEYED_BATCH: &str =
    write_batch!(", kept AS (INSERT INTO request_answers SELECT * FROM unnest($13::request_answers[]))");

/// Answers to whole requests that applied nothing.
pub(crate) const INSERT_REQUEST_ANSWERS: &str =
    "INSERT INTO request_answers SELECT * FROM unnest($1::request_answers[])";

/// Answers to whole requests, each with the place of its key among those that are asked for.
macro_rules! find_request_answers {
    ($end:literal) => {
        concat!(
            "SELECT k.place, r.fingerprint, r.status, r.kept \
             FROM unnest($1::smallint[], $2::uuid[], $3::text[]) WITH ORDINALITY AS k (bucket, scope, key, place) \
             JOIN request_answers r ON r.bucket = k.bucket AND r.scope = k.scope AND r.key = k.key",
            $end
        )
    };
}

pub(crate) const FIND_REQUEST_ANSWERS: &str = find_request_answers!("");

/// For who tells the answer after the commit. The lock, which hinders nobody, makes the transaction one that writes: a
/// server that came back without its standby may have the answer on its own disk alone, and the commit waits for both.
pub(crate) const LOCK_REQUEST_ANSWERS: &str = find_request_answers!(" FOR KEY SHARE OF r");

pub(crate) const INSERT_ACCOUNTS: &str = "INSERT INTO accounts SELECT * FROM unnest($1::accounts[])";

/// The rows of a batch that applied nothing.
pub(crate) const INSERT_ANSWERS: &str = "INSERT INTO postings SELECT * FROM unnest($1::postings[])";

/// Every statement of the ledger, for the test that prepares them.
#[cfg(test)]
pub(crate) const STATEMENTS: &[&str] = &[
    READ_ACCOUNTS,
    READ_CHANGED_ACCOUNTS,
    IS_ALONE,
    LOCK_ACCOUNTS,
    PAGE_ACCOUNTS,
    FIND_ANSWERS,
    READ_HEAD,
    LOCK_HEADER,
    LIST_LAST_HEADERS,
    LIST_POSTINGS,
    LIST_STRIPE_POSTINGS,
    FIND_POSTING_TIME,
    LIST_HEADERS,
    CHAIN_POSTINGS,
    COUNT_POSTINGS,
    WRITE_BATCH,
    WRITE_KEYED_BATCH,
    INSERT_REQUEST_ANSWERS,
    FIND_REQUEST_ANSWERS,
    LOCK_REQUEST_ANSWERS,
    INSERT_ACCOUNTS,
    INSERT_ANSWERS,
];

#[cfg(test)]
mod tests {
    use florin_store::{Engine as _, read, write};

    use super::*;

    #[test]
    fn a_key_is_found_by_its_index() {
        let Some(database) = florin_testkit::postgres::fresh_database() else { return };
        let engine = database.connect();
        engine.migrate().unwrap();
        let text = ["{1}", "{2}", "{3}"].iter().zip(1..).fold(FIND_ANSWERS.to_owned(), |text, (array, number)| {
            text.replace(&format!("${number}"), &format!("'{array}'"))
        });
        let text: &'static str = format!("EXPLAIN {text}").leak();
        let plan = read(&engine, |tx| tx.query(text, &[])).unwrap();
        let plan: Vec<_> = plan.iter().map(|row| row.get_text(0).unwrap()).collect();
        assert!(plan.iter().any(|step| step.contains("Index Scan using postings_by_key")), "{plan:#?}");
    }

    /// With much memory to sort in, the server would rather read and sort all that is left, for each page again.
    #[test]
    fn a_page_of_accounts_is_read_along_the_index_however_much_memory_there_is() {
        let Some(database) = florin_testkit::postgres::fresh_database() else { return };
        let engine = database.connect();
        engine.migrate().unwrap();
        const FILL: &str = "INSERT INTO accounts SELECT n % 1024, md5(n::text)::uuid, 0, md5(n::text)::uuid, 'EUR', 2, \
            1, 0, NULL, 0, 0, 0, 0, 0, now(), now(), NULL FROM generate_series(1, 50000) n";
        let plan = write(&engine, |tx| {
            for statement in [FILL, "ANALYZE accounts", "SET LOCAL work_mem = '256MB'"] {
                tx.execute(statement, &[])?;
            }
            let prepare: &'static str = format!("PREPARE page AS {PAGE_ACCOUNTS}").leak();
            tx.execute(prepare, &[])?;
            tx.query("EXPLAIN EXECUTE page(-1, '00000000-0000-0000-0000-000000000000', 100)", &[])
        });
        let plan: Vec<_> = plan.unwrap().iter().map(|row| row.get_text(0).unwrap()).collect();
        assert!(plan.iter().any(|step| step.contains("Index Scan using accounts_pkey")), "{plan:#?}");
    }
}
