//! Two nodes over one database, with a clock and a chance of the test's own.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use florin_app::{
    App, Caller, Parts, QueueSettings, Settings,
    port::{Clock, Rng},
    session::TokenPair,
    user::{User, UserError},
};
use florin_money::Asset;
use florin_store::{
    Engine, StoreError, Tx, Value,
    user::{UserRow, find_user},
};

pub(crate) const PASSWORD: &str = "Str0ng-Passw0rd!";
pub(crate) const SECOND_US: i64 = 1_000_000;

pub(crate) struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn elapsed_us(&self) -> i64 {
        self.now_us()
    }
}

/// SplitMix64 from a seed of its own.
pub(crate) struct TestRng(pub(crate) AtomicU64);

impl Rng for TestRng {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let mut word = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Two nodes over one database.
pub(crate) struct World {
    pub(crate) app: Arc<App>,
    pub(crate) other_node: Arc<App>,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) clock: Arc<TestClock>,
}

impl World {
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(1_800_000_000 * SECOND_US)));
        let node = |writer: u16| {
            App::start(Parts {
                engine: engine.clone(),
                clock: clock.clone(),
                rng: Arc::new(TestRng(AtomicU64::new(u64::from(writer) + 1))),
                settings: settings(writer),
                key_encryption_key: secrecy::SecretBox::new(Box::new([7; 32])),
                queue: QueueSettings::default(),
            })
            .unwrap()
        };
        Self { app: node(0), other_node: node(1), engine: engine.clone(), clock }
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * SECOND_US, Ordering::SeqCst);
    }

    pub(crate) async fn register(&self, name: &str) -> User {
        self.app.register(name, "", PASSWORD, "r-1").await.unwrap()
    }

    pub(crate) async fn sign_in(&self, name: &str) -> (TokenPair, Caller) {
        let pair = self.app.sign_in(name, PASSWORD, "r-2").await.unwrap();
        let caller = self.app.authenticate(&pair.access).unwrap();
        (pair, caller)
    }

    /// A pair whose access token nobody has used yet.
    pub(crate) async fn fresh_pair(&self, name: &str) -> TokenPair {
        self.app.sign_in(name, PASSWORD, "r-2").await.unwrap()
    }

    /// Looks behind the use cases, on a thread that may block.
    pub(crate) fn at_database<T: Send>(&self, work: impl Fn(&mut dyn Tx) -> Result<T, StoreError> + Send) -> T {
        std::thread::scope(|scope| scope.spawn(|| florin_store::write(&*self.engine, work)).join()).unwrap().unwrap()
    }

    pub(crate) fn count_events(&self, action: &str, outcome: &str) -> usize {
        let params = [Value::Text(action.to_owned()), Value::Text(outcome.to_owned())];
        self.at_database(|tx| {
            tx.query("SELECT id FROM audit_events WHERE action = $1 AND outcome = $2", &params).map(|rows| rows.len())
        })
    }

    pub(crate) fn set_hash(&self, user: &User, hash: &str) {
        let params = [Value::Text(hash.to_owned()), Value::Text(user.username.clone())];
        self.at_database(|tx| tx.execute("UPDATE users SET password_hash = $1 WHERE username = $2", &params));
    }

    pub(crate) fn stored(&self, user: &User) -> UserRow {
        self.at_database(|tx| find_user(tx, user.id)).unwrap()
    }
}

pub(crate) fn settings(writer: u16) -> Settings {
    Settings {
        default_asset: Asset::find_iso("EUR").unwrap(),
        custom_assets: Vec::new(),
        self_deposit: true,
        access_token_ttl_s: 900,
        refresh_token_ttl_s: 7 * 86_400,
        session_ttl_s: 90 * 86_400,
        refresh_grace_s: 10,
        sessions_per_user: 20,
        signing_key_life_s: 90 * 86_400,
        issuer: "https://florin.test".to_owned(),
        writer,
        hash_parallelism: 2,
        batch_parallelism: 2,
        hash_queue: 64,
    }
}

pub(crate) fn messages(error: UserError) -> Vec<(&'static str, Vec<String>)> {
    match error {
        UserError::Invalid(errors) => errors.0,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn about(field: &'static str, message: &str) -> Vec<(&'static str, Vec<String>)> {
    vec![(field, vec![message.to_owned()])]
}

pub(crate) async fn is_live(app: &App, refresh: &str) -> bool {
    app.verify_any(refresh).await.is_ok()
}

pub(crate) fn run<F: Future<Output = ()>>(engine: Arc<dyn Engine>, test: impl FnOnce(World) -> F) {
    engine.migrate().unwrap();
    let world = World::new(engine);
    let keep = (world.app.clone(), world.other_node.clone(), world.engine.clone());
    florin_testkit::node::run(test(world));
    // Nodes and engines stop outside of the runtime, as they do in the binary.
    drop(keep);
}
