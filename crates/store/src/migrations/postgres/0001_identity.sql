-- Users. `number` is the integer that clients see as `id`; it is handed out by `counters`.
CREATE TABLE users (
    bucket          SMALLINT NOT NULL,
    id              UUID NOT NULL,
    number          BIGINT NOT NULL,
    username        TEXT NOT NULL,
    email           TEXT NOT NULL,
    password_hash   TEXT NOT NULL,
    is_active       BOOLEAN NOT NULL,
    is_staff        BOOLEAN NOT NULL,
    is_superuser    BOOLEAN NOT NULL,
    token_version   BIGINT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL,
    deleted_at      TIMESTAMPTZ,
    PRIMARY KEY (bucket, id)
);

-- Names that are unique over all buckets: kind is 'username' or 'number'.
CREATE TABLE claims (
    kind            TEXT NOT NULL,
    name            TEXT NOT NULL,
    owner_id        UUID NOT NULL,
    PRIMARY KEY (kind, name)
);

CREATE TABLE counters (
    name            TEXT NOT NULL PRIMARY KEY,
    value           BIGINT NOT NULL
);

INSERT INTO counters (name, value) VALUES ('user_number', 0);

-- A session is one sign-in on one device: one family of refresh tokens. Bucket: the user's.
CREATE TABLE sessions (
    bucket          SMALLINT NOT NULL,
    id              UUID NOT NULL,
    user_id         UUID NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    expires_at      TIMESTAMPTZ NOT NULL,
    ended_at        TIMESTAMPTZ,
    end_reason      TEXT,
    PRIMARY KEY (bucket, id)
);
CREATE INDEX sessions_by_user ON sessions (bucket, user_id, created_at);
CREATE INDEX sessions_by_end ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- The bucket is the session's own (hashed from its id is not possible before it is read): it travels in the token.
CREATE TABLE refresh_tokens (
    bucket          SMALLINT NOT NULL,
    id              UUID NOT NULL,
    session_id      UUID NOT NULL,
    user_id         UUID NOT NULL,
    secret_hash     BYTEA NOT NULL,
    issued_at       TIMESTAMPTZ NOT NULL,
    expires_at      TIMESTAMPTZ NOT NULL,
    used_at         TIMESTAMPTZ,
    replaced_by     UUID,
    PRIMARY KEY (bucket, id)
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (bucket, session_id);

-- Keys that sign access tokens. `private_key` is sealed with the key-encryption key; `public_jwk` is public.
CREATE TABLE signing_keys (
    id              TEXT NOT NULL PRIMARY KEY,
    algorithm       TEXT NOT NULL,
    private_key     BYTEA NOT NULL,
    public_jwk      TEXT NOT NULL,
    state           TEXT NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    retire_at       TIMESTAMPTZ
);
