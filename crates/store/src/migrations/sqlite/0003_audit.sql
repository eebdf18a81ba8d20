-- What people did, other than moving money (a ledger transaction is its own audit row).
CREATE TABLE audit_events (
    bucket          INTEGER NOT NULL,
    id              BLOB NOT NULL,
    at              INTEGER NOT NULL,
    action          TEXT NOT NULL,
    actor_id        BLOB,
    subject_id      BLOB,
    outcome         TEXT NOT NULL,
    request_id      TEXT,
    detail          TEXT,
    PRIMARY KEY (bucket, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_events_by_time ON audit_events (at);
