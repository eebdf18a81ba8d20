//! Every option, once: its name, default, what it accepts and what it is for. The file, the environment, the flags,
//! `florin config` and `docs/configuration.md` all come from this table.

/// How much of a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// All but the password inside the URL.
    Url,
    /// Nothing.
    Secret,
}

/// One option.
#[derive(Debug)]
pub struct Spec {
    /// Heading it stands under.
    pub section: &'static str,
    /// Key in the file; the environment and the flag derive from it.
    pub name: &'static str,
    /// Value when nothing is given, as it would be written in the file. Empty: not set.
    pub default: &'static str,
    /// What a value looks like, for messages.
    pub accepts: &'static str,
    /// What it is for, in a sentence or two.
    pub doc: &'static str,
    /// How much of it may be shown.
    pub secrecy: Secrecy,
}

impl Spec {
    /// The environment variable: `FLORIN_LISTEN`.
    pub fn variable(&self) -> String {
        format!("FLORIN_{}", self.name.to_ascii_uppercase())
    }

    /// The environment variable that names a file to read the value from; only for values that hold secrets.
    pub fn file_variable(&self) -> Option<String> {
        (self.secrecy != Secrecy::Open).then(|| format!("{}_FILE", self.variable()))
    }

    /// The flag without its dashes: `data-dir`. Secrets have none: command lines can be read by every user.
    pub fn flag(&self) -> Option<String> {
        (self.secrecy != Secrecy::Secret).then(|| self.name.replace('_', "-"))
    }
}

const SERVER: &str = "Server";
const DATA: &str = "Data";
const MONEY: &str = "Money";
const SESSIONS: &str = "Sessions";
const LIMITS: &str = "Limits";
const LOGS: &str = "Logs";
const TUNING: &str = "Tuning";

const DURATION: &str = "a duration such as 500ms, 10s, 15m, 1h or 7d";
const COUNT: &str = "a whole number, 1 or more";
const AUTO_COUNT: &str = "a whole number; 0 chooses by the number of processor cores";
const LIMIT: &str = "a whole number, 1 or more; empty for no limit";
const SWITCH: &str = "true or false";

const fn open(
    section: &'static str,
    name: &'static str,
    default: &'static str,
    accepts: &'static str,
    doc: &'static str,
) -> Spec {
    Spec { section, name, default, accepts, doc, secrecy: Secrecy::Open }
}

/// Every option, in the order of the documentation.
pub const OPTIONS: &[Spec] = &[
    open(
        SERVER,
        "listen",
        "127.0.0.1:8000",
        "an IP address and a port, such as 127.0.0.1:8000 or [::1]:8000",
        "Where the HTTP server listens. Port 0 takes a free one. TLS belongs to a proxy in front of it.",
    ),
    open(
        SERVER,
        "cors_origins",
        "",
        "a list of origins, such as https://app.example.org",
        "Origins whose pages may call the API from a browser, compared exactly. Empty: none.",
    ),
    open(
        SERVER,
        "trusted_proxies",
        "",
        "a list of addresses or networks, such as 127.0.0.1 or 10.0.0.0/8",
        "Proxies that are believed about where a request comes from (X-Forwarded-For). Empty: nobody is, and a request \
         comes from whoever connected.",
    ),
    open(DATA, "data_dir", "florin-data", "a folder", "Where Florin keeps its files. Nothing is written elsewhere."),
    Spec {
        section: DATA,
        name: "database_url",
        default: "",
        accepts: "sqlite:<file> or postgres://user:password@host/database",
        doc: "The database. Not set: sqlite:<data_dir>/florin.db. Several hosts (postgres://user@db1:5432,db2:5432/db) \
              are a primary and its standbys: the one that takes writes is used.",
        secrecy: Secrecy::Url,
    },
    open(
        DATA,
        "postgres_ca_file",
        "",
        "a file of certificates in PEM form",
        "Authorities to trust for connections to PostgreSQL, besides the public ones (with sslmode in the URL).",
    ),
    open(
        DATA,
        "migrate_on_start",
        "auto",
        "auto, true or false",
        "Whether `florin serve` brings the schema up to date. auto: yes on SQLite, no on PostgreSQL.",
    ),
    Spec {
        section: DATA,
        name: "master_key",
        default: "",
        accepts: "32 bytes in hexadecimal (64 digits) or base64",
        doc: "Seals the token signing keys inside the database. Not set: <data_dir>/master.key, made when missing. \
              Nodes that share a database need the same key.",
        secrecy: Secrecy::Secret,
    },
    open(
        MONEY,
        "default_asset",
        "EUR",
        "an ISO 4217 code or one of custom_assets",
        "Asset of a wallet opened without one.",
    ),
    open(
        MONEY,
        "custom_assets",
        "",
        "a list of CODE:decimals, such as POINTS:0 or GOLD:4",
        "Assets besides the ISO 4217 currencies, each with its number of decimal places (0-18).",
    ),
    open(
        MONEY,
        "self_deposit",
        "true",
        SWITCH,
        "Whether users may deposit to and withdraw from their own wallets. Turn it off where money has to come from \
         somewhere.",
    ),
    open(SESSIONS, "access_token_ttl", "1h", DURATION, "Life of an access token."),
    open(SESSIONS, "refresh_token_ttl", "7d", DURATION, "Life of a refresh token that is not used."),
    open(SESSIONS, "session_ttl", "90d", DURATION, "Longest life of a session, however often it is refreshed."),
    open(
        SESSIONS,
        "refresh_grace",
        "10s",
        "a duration such as 10s; 0s for none",
        "How long a refresh token that was just exchanged is answered again, for clients that lost the answer.",
    ),
    open(
        SESSIONS,
        "sessions_per_user",
        "20",
        "a whole number, 1 to 100",
        "Sessions that a user may have at once. One more ends the oldest.",
    ),
    open(
        SESSIONS,
        "signing_key_life",
        "90d",
        "a duration such as 90d; 0s for never",
        "After how long the key that signs access tokens is replaced.",
    ),
    open(SESSIONS, "issuer", "florin", "text without spaces", "`iss` and `aud` of access tokens."),
    open(LIMITS, "body_limit", "64KiB", "a size such as 65536, 64KiB or 1MiB", "Largest request body."),
    open(
        LIMITS,
        "import_max_size",
        "256MiB",
        "a size such as 65536, 64KiB or 1MiB",
        "Largest file that POST /api/v1/imports takes. It also has to arrive within request_timeout; larger ones go by \
         `florin import`.",
    ),
    open(LIMITS, "header_timeout", "10s", DURATION, "How long a client may take to send the head of a request."),
    open(LIMITS, "request_timeout", "30s", DURATION, "How long a request may take in all."),
    open(LIMITS, "max_connections", "4096", COUNT, "Connections open at once; more wait to be accepted."),
    open(
        LIMITS,
        "throttle_reads_per_hour",
        "",
        LIMIT,
        "Requests of a caller in the last hour from which on a read gets 429.",
    ),
    open(
        LIMITS,
        "throttle_writes_per_hour",
        "",
        LIMIT,
        "Requests of a caller in the last hour from which on a write gets 429.",
    ),
    open(
        LIMITS,
        "sign_in_failures_per_address",
        "20",
        LIMIT,
        "Failed sign-ins from one address (IPv6: one /64) in ten minutes from which on its sign-ins get 429; failures \
         under half as many different names are enough. Behind a proxy, set trusted_proxies too.",
    ),
    open(LOGS, "log", "info", "a filter such as info or florin=debug,warn", "What is logged, to standard error."),
    open(
        LOGS,
        "log_format",
        "auto",
        "auto, pretty or json",
        "How log lines look. auto: pretty in a terminal, JSON otherwise.",
    ),
    open(
        TUNING,
        "node",
        "0",
        "a whole number, 0 to 1023",
        "This server's number. Servers that share a PostgreSQL database each have their own.",
    ),
    open(TUNING, "worker_threads", "0", AUTO_COUNT, "Threads that serve requests."),
    open(TUNING, "queue_capacity", "4096", COUNT, "Operations that may wait for the ledger before 503."),
    open(
        TUNING,
        "queue_bulk_capacity",
        "50000",
        COUNT,
        "Commands of batches and imports that may wait for the ledger before 503.",
    ),
    open(TUNING, "batch_max", "512", COUNT, "Operations committed together at most."),
    open(
        TUNING,
        "batch_bulk_max",
        "1024",
        COUNT,
        "Commands of several batches and imports committed together at most; a larger one is committed alone.",
    ),
    open(
        TUNING,
        "batch_ahead_min",
        "64",
        COUNT,
        "Waiting operations for which the next batch is begun before the one before is committed.",
    ),
    open(TUNING, "hash_parallelism", "0", AUTO_COUNT, "Passwords hashed at once."),
    open(TUNING, "hash_queue", "64", COUNT, "Passwords waiting to be hashed before sign-ins get 503."),
    open(TUNING, "postgres_pool", "16", COUNT, "Connections to PostgreSQL; below 4 it is 4."),
    open(TUNING, "sqlite_read_connections", "0", AUTO_COUNT, "Connections that read an SQLite database."),
];

/// The option of that name.
pub fn find(name: &str) -> Option<&'static Spec> {
    OPTIONS.iter().find(|spec| spec.name == name)
}
