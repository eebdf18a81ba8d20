-- Users. `number` is the integer that clients see as `id`; it is handed out by `counters`.
CREATE TABLE users (
    bucket          INTEGER NOT NULL,
    id              BLOB NOT NULL,
    number          INTEGER NOT NULL,
    username        TEXT NOT NULL,
    email           TEXT NOT NULL,
    password_hash   TEXT NOT NULL,
    is_active       INTEGER NOT NULL,
    is_staff        INTEGER NOT NULL,
    is_superuser    INTEGER NOT NULL,
    token_version   INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    deleted_at      INTEGER,
    PRIMARY KEY (bucket, id)
) STRICT, WITHOUT ROWID;

-- Names that are unique over all buckets: kind is 'username' or 'number'.
CREATE TABLE claims (
    kind            TEXT NOT NULL,
    name            TEXT NOT NULL,
    owner_id        BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
    name            TEXT NOT NULL PRIMARY KEY,
    value           INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters (name, value) VALUES ('user_number', 0);

-- A session is one sign-in on one device: one family of refresh tokens. Bucket: the user's.
CREATE TABLE sessions (
    bucket          INTEGER NOT NULL,
    id              BLOB NOT NULL,
    user_id         BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    ended_at        INTEGER,
    end_reason      TEXT,
    PRIMARY KEY (bucket, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (bucket, user_id, created_at);
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- The bucket is the session's own (hashed from its id is not possible before it is read): it travels in the token.
CREATE TABLE refresh_tokens (
    bucket          INTEGER NOT NULL,
    id              BLOB NOT NULL,
    session_id      BLOB NOT NULL,
    user_id         BLOB NOT NULL,
    secret_hash     BLOB NOT NULL,
    issued_at       INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    used_at         INTEGER,
    replaced_by     BLOB,
    PRIMARY KEY (bucket, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (bucket, session_id);

-- Keys that sign access tokens. `private_key` is sealed with the key-encryption key; `public_jwk` is public.
CREATE TABLE signing_keys (
    id              TEXT NOT NULL PRIMARY KEY,
    algorithm       TEXT NOT NULL,
    private_key     BLOB NOT NULL,
    public_jwk      TEXT NOT NULL,
    state           TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    retire_at       INTEGER
) STRICT, WITHOUT ROWID;
