-- What people did, other than moving money (a ledger transaction is its own audit row).
CREATE TABLE audit_events (
    bucket          SMALLINT NOT NULL,
    id              UUID NOT NULL,
    at              TIMESTAMPTZ NOT NULL,
    action          TEXT NOT NULL,
    actor_id        UUID,
    subject_id      UUID,
    outcome         TEXT NOT NULL,
    request_id      TEXT,
    detail          TEXT,
    PRIMARY KEY (bucket, id)
);
CREATE INDEX audit_events_by_time ON audit_events (at);
