-- Answers to whole requests that carried an Idempotency-Key (batches). Bucket: the scope's. `status` is 0 while the
-- request that claimed the key is under way, which only its own database transaction can see.
CREATE TABLE request_answers (
    bucket          SMALLINT NOT NULL,
    scope           UUID NOT NULL,
    key             TEXT NOT NULL,
    fingerprint     BYTEA NOT NULL,
    status          SMALLINT NOT NULL,
    body            BYTEA NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (bucket, scope, key)
);

-- Files of commands. Only the node that holds the file works on it. `position` is the first byte not worked on yet:
-- it moves in the database transaction that applies the rows before it. Bucket: the import's.
CREATE TABLE imports (
    bucket          SMALLINT NOT NULL,
    id              UUID NOT NULL,
    actor_id        UUID NOT NULL,
    node            INTEGER NOT NULL,
    name            TEXT NOT NULL,
    format          TEXT NOT NULL,
    sha256          BYTEA NOT NULL,
    size_bytes      BIGINT NOT NULL,
    state           TEXT NOT NULL,
    failure         TEXT,
    position        BIGINT NOT NULL,
    line            BIGINT NOT NULL,
    applied         BIGINT NOT NULL,
    refused         BIGINT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (bucket, id)
);
CREATE INDEX imports_by_time ON imports (created_at, id);

-- The refused rows of one chunk of an import, as JSON text: line, code and detail of each.
CREATE TABLE import_refusals (
    bucket          SMALLINT NOT NULL,
    import_id       UUID NOT NULL,
    line            BIGINT NOT NULL,
    refusals        TEXT NOT NULL,
    PRIMARY KEY (bucket, import_id, line)
);
