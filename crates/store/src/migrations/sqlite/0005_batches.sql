-- Answers to whole requests that carried an Idempotency-Key (batches). Bucket: the scope's. `status` is 0 while the
-- request that claimed the key is under way, which only its own database transaction can see.
CREATE TABLE request_answers (
    bucket          INTEGER NOT NULL,
    scope           BLOB NOT NULL,
    key             TEXT NOT NULL,
    fingerprint     BLOB NOT NULL,
    status          INTEGER NOT NULL,
    body            BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (bucket, scope, key)
) STRICT, WITHOUT ROWID;

-- Files of commands. Only the node that holds the file works on it. `position` is the first byte not worked on yet:
-- it moves in the database transaction that applies the rows before it. Bucket: the import's.
CREATE TABLE imports (
    bucket          INTEGER NOT NULL,
    id              BLOB NOT NULL,
    actor_id        BLOB NOT NULL,
    node            INTEGER NOT NULL,
    name            TEXT NOT NULL,
    format          TEXT NOT NULL,
    sha256          BLOB NOT NULL,
    size_bytes      INTEGER NOT NULL,
    state           TEXT NOT NULL,
    failure         TEXT,
    position        INTEGER NOT NULL,
    line            INTEGER NOT NULL,
    applied         INTEGER NOT NULL,
    refused         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (bucket, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX imports_by_time ON imports (created_at, id);

-- The refused rows of one chunk of an import, as JSON text: line, code and detail of each.
CREATE TABLE import_refusals (
    bucket          INTEGER NOT NULL,
    import_id       BLOB NOT NULL,
    line            INTEGER NOT NULL,
    refusals        TEXT NOT NULL,
    PRIMARY KEY (bucket, import_id, line)
) STRICT, WITHOUT ROWID;
