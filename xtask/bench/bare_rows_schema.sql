-- The least that a deposit can leave in PostgreSQL where it has a row of its own: one row, found by its account and by
-- its caller's key, so one entry at a random place in each of two indexes. No balance is read or checked, the rest is a
-- constant.
CREATE TABLE bare_postings (
    version bigint NOT NULL,
    key_high bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    account_id bigint NOT NULL,
    key_low integer NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (account_id, version)
);
CREATE UNIQUE INDEX bare_postings_by_key ON bare_postings (key_low, key_high);
CREATE SEQUENCE bare_versions CACHE 1000;
