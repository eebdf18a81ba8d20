-- Failed sign-ins by name. `id` is made from a hash of the name as it was given: what people type there by mistake is
-- not kept, and a name that nobody has is counted like any other.
CREATE TABLE sign_in_failures (
    bucket          SMALLINT NOT NULL,
    id              UUID NOT NULL,
    failures        BIGINT NOT NULL,
    failed_at       TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (bucket, id)
);
CREATE INDEX sign_in_failures_by_time ON sign_in_failures (failed_at);

-- Dead tokens are deleted by their time.
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);
