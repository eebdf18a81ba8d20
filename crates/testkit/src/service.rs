//! A whole service in process: the use cases on a SQLite file of its own, behind the router, with a clock that stands
//! still until it is moved.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use axum::{
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
};
use florin_app::{
    App, Caller, Parts, QueueSettings, Settings,
    port::{Clock, Rng},
    wallet::Movement,
};
use florin_http::{HttpOptions, Site};
use florin_ledger::{AccountId, Kind};
use florin_money::{Asset, parse_minor};
use florin_store::Engine;
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::Value;
use tower::ServiceExt;

/// The password of every user made here.
pub const PASSWORD: &str = "Str0ng-Passw0rd!";

/// A clock that is moved by hand.
pub struct HandClock(AtomicI64);

impl HandClock {
    /// Moves it on, microseconds.
    pub fn advance_us(&self, by_us: i64) {
        self.0.fetch_add(by_us, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn elapsed_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Numbers that repeat from run to run (SplitMix64). Fit for tests alone.
struct RepeatableRng(Mutex<u64>);

impl Rng for RepeatableRng {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock();
        for chunk in bytes.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = *state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_be_bytes()[..chunk.len()]);
        }
    }
}

/// A service for one test.
pub struct Service {
    /// The use cases, for what a test prepares directly.
    pub app: Arc<App>,
    /// Its database.
    pub engine: Arc<SqliteEngine>,
    /// Its clock.
    pub clock: Arc<HandClock>,
    router: Site,
    directory: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body's bytes.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null if it is empty.
    ///
    /// # Panics
    /// The body is not JSON.
    #[must_use]
    #[expect(clippy::unwrap_used, reason = "a test that gets no JSON has failed")]
    pub fn json(&self) -> Value {
        if self.bytes.is_empty() { Value::Null } else { serde_json::from_slice(&self.bytes).unwrap() }
    }

    /// A header as text; empty if it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What the operator decided, in tests.
///
/// # Panics
/// EUR is not a currency.
#[must_use]
#[expect(clippy::unwrap_used, reason = "EUR is a currency")]
pub fn settings() -> Settings {
    Settings {
        default_asset: Asset::find_iso("EUR").unwrap(),
        custom_assets: vec![Asset::new("POINTS", 0).unwrap()],
        self_deposit: true,
        access_token_ttl_s: 3600,
        refresh_token_ttl_s: 86_400,
        session_ttl_s: 30 * 86_400,
        refresh_grace_s: 10,
        sessions_per_user: 20,
        signing_key_life_s: 90 * 86_400,
        issuer: "florin-test".to_owned(),
        writer: 0,
        hash_parallelism: 2,
        batch_parallelism: 2,
        hash_queue: 64,
    }
}

#[expect(clippy::unwrap_used, reason = "a test that cannot prepare itself has failed")]
impl Service {
    /// A service with the usual settings.
    #[must_use]
    pub fn new() -> Self {
        Self::with(settings(), HttpOptions::default())
    }

    /// A service with these settings.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn with(settings: Settings, options: HttpOptions) -> Self {
        Self::start(settings, options, QueueSettings::default())
    }

    /// A service whose ledger has such a queue.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn with_queue(queue: QueueSettings) -> Self {
        Self::start(settings(), HttpOptions::default(), queue)
    }

    fn start(settings: Settings, options: HttpOptions, queue: QueueSettings) -> Self {
        let clock = Arc::new(HandClock(AtomicI64::new(1_737_280_800_123_456)));
        Self::open(tempfile::tempdir().unwrap(), clock, RepeatableRng(Mutex::new(1)), settings, options, queue)
    }

    /// The same service after a restart: it remembers what is stored.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn restarted(self) -> Self {
        let Self { app, engine, clock, router, directory } = self;
        drop((router, app, engine));
        // Other ids than before.
        let rng = RepeatableRng(Mutex::new(1_000_000));
        Self::open(directory, clock, rng, settings(), HttpOptions::default(), QueueSettings::default())
    }

    fn open(
        directory: tempfile::TempDir,
        clock: Arc<HandClock>,
        rng: RepeatableRng,
        settings: Settings,
        options: HttpOptions,
        queue: QueueSettings,
    ) -> Self {
        let engine = SqliteEngine::open(&directory.path().join("florin.db"), SqliteOptions::default()).unwrap();
        engine.migrate().unwrap();
        let engine = Arc::new(engine);
        let app = App::start(Parts {
            engine: engine.clone(),
            clock: clock.clone(),
            rng: Arc::new(rng),
            settings,
            key_encryption_key: secrecy::SecretBox::new(Box::new([7; 32])),
            queue,
        })
        .unwrap();
        let router = florin_http::router(app.clone(), options);
        Self { app, engine, clock, router, directory }
    }

    /// The router, for tests that serve it.
    pub fn router(&self) -> Site {
        self.router.clone()
    }

    /// Sends a request.
    ///
    /// # Panics
    /// The body cannot be read.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    /// Sends a request with a token (if not empty) and a JSON body (if not null).
    ///
    /// # Panics
    /// The parts make no request.
    pub async fn call(&self, method: &str, path: &str, token: &str, body: Value) -> Answer {
        self.call_with(method, path, token, body, &[]).await
    }

    /// As [`Service::call`], with more headers.
    ///
    /// # Panics
    /// The parts make no request.
    pub async fn call_with(
        &self,
        method: &str,
        path: &str,
        token: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = if body.is_null() {
            request.body(Body::empty())
        } else {
            request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string()))
        };
        self.send(request.unwrap()).await
    }

    /// Registers a user with [`PASSWORD`] and gives an access token.
    ///
    /// # Panics
    /// The user cannot be registered.
    pub async fn user(&self, name: &str) -> String {
        self.app.register(name, &format!("{name}@example.com"), PASSWORD, "test").await.unwrap();
        self.token(name, PASSWORD).await
    }

    /// Makes a superuser and gives an access token.
    ///
    /// # Panics
    /// The user cannot be made.
    pub async fn superuser(&self, name: &str) -> String {
        self.app.create_superuser(name, &format!("{name}@example.com"), PASSWORD).await.unwrap();
        self.token(name, PASSWORD).await
    }

    /// Signs in and gives the access token.
    ///
    /// # Panics
    /// The sign-in is refused.
    pub async fn token(&self, name: &str, password: &str) -> String {
        self.app.sign_in(name, password, "test").await.unwrap().access
    }

    /// Who holds this token.
    ///
    /// # Panics
    /// The token is not good.
    #[must_use]
    pub fn caller(&self, token: &str) -> Caller {
        self.app.authenticate(token).unwrap()
    }

    /// Opens a wallet in the default asset with this balance (major units) and gives its id.
    ///
    /// # Panics
    /// The wallet cannot be opened or filled.
    pub async fn wallet(&self, token: &str, balance: &str) -> String {
        let caller = self.caller(token);
        let (wallet, _) = self.app.open_wallet(&caller, None, "", None).await.unwrap();
        let amount_minor = parse_minor(balance, wallet.asset.exponent()).unwrap();
        if amount_minor > 0 {
            let movement = Movement { amount_minor, asset: wallet.asset, reason: None, key: None };
            let id = AccountId(wallet.id.0);
            self.app.operate(&caller, id, Kind::Deposit, movement).await.unwrap();
        }
        wallet.id.0.to_string()
    }
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}
