//! Accounts and sessions as their users see them, on real engines.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot read or prepare has failed it")]

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use florin_app::{
    App, Caller, Parts, QueueSettings, Settings,
    port::{Clock, Rng},
    session::{SignInError, TokenError, TokenPair},
    user::{User, UserError},
    wallet::Movement,
};
use florin_ledger::{AccountId, Kind};
use florin_money::Asset;
use florin_store::{
    Engine, StoreError, Tx, Value,
    user::{UserRow, find_user},
};

const PASSWORD: &str = "Str0ng-Passw0rd!";
const SECOND_US: i64 = 1_000_000;

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_us(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn elapsed_us(&self) -> i64 {
        self.now_us()
    }
}

/// SplitMix64 from a seed of its own.
struct TestRng(AtomicU64);

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
struct World {
    app: Arc<App>,
    other_node: Arc<App>,
    engine: Arc<dyn Engine>,
    clock: Arc<TestClock>,
}

impl World {
    fn new(engine: Arc<dyn Engine>) -> Self {
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

    fn pass(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds * SECOND_US, Ordering::SeqCst);
    }

    async fn register(&self, name: &str) -> User {
        self.app.register(name, "", PASSWORD, "r-1").await.unwrap()
    }

    async fn sign_in(&self, name: &str) -> (TokenPair, Caller) {
        let pair = self.app.sign_in(name, PASSWORD, "r-2").await.unwrap();
        let caller = self.app.authenticate(&pair.access).unwrap();
        (pair, caller)
    }

    /// A pair whose access token nobody has used yet.
    async fn fresh_pair(&self, name: &str) -> TokenPair {
        self.app.sign_in(name, PASSWORD, "r-2").await.unwrap()
    }

    /// Looks behind the use cases, on a thread that may block.
    fn at_database<T: Send>(&self, work: impl Fn(&mut dyn Tx) -> Result<T, StoreError> + Send) -> T {
        std::thread::scope(|scope| scope.spawn(|| florin_store::write(&*self.engine, work)).join()).unwrap().unwrap()
    }

    fn count_events(&self, action: &str, outcome: &str) -> usize {
        let params = [Value::Text(action.to_owned()), Value::Text(outcome.to_owned())];
        self.at_database(|tx| {
            tx.query("SELECT id FROM audit_events WHERE action = $1 AND outcome = $2", &params).map(|rows| rows.len())
        })
    }

    fn set_hash(&self, user: &User, hash: &str) {
        let params = [Value::Text(hash.to_owned()), Value::Text(user.username.clone())];
        self.at_database(|tx| tx.execute("UPDATE users SET password_hash = $1 WHERE username = $2", &params));
    }

    fn stored(&self, user: &User) -> UserRow {
        self.at_database(|tx| find_user(tx, user.id)).unwrap()
    }
}

fn settings(writer: u16) -> Settings {
    Settings {
        default_asset: Asset::find_iso("EUR").unwrap(),
        custom_assets: Vec::new(),
        self_deposit: true,
        access_token_ttl_s: 900,
        refresh_token_ttl_s: 7 * 86_400,
        session_ttl_s: 90 * 86_400,
        refresh_grace_s: 10,
        issuer: "https://florin.test".to_owned(),
        writer,
        hash_parallelism: 2,
        hash_queue: 64,
    }
}

fn messages(error: UserError) -> Vec<(&'static str, Vec<String>)> {
    match error {
        UserError::Invalid(errors) => errors.0,
        other => panic!("{other:?}"),
    }
}

fn about(field: &'static str, message: &str) -> Vec<(&'static str, Vec<String>)> {
    vec![(field, vec![message.to_owned()])]
}

async fn is_live(app: &App, refresh: &str) -> bool {
    app.verify_any(refresh).await.is_ok()
}

async fn accounts_open_in_the_words_of_django(world: World) {
    let alice = world.app.register("alice", "Mix.Case@EXAMPLE.Com", PASSWORD, "r-1").await.unwrap();
    assert_eq!((alice.number, alice.email.as_str(), alice.is_staff), (1, "Mix.Case@example.com", false));
    assert_eq!(world.register("\u{FB01}lip").await.username, "filip");
    assert_eq!(world.register("ALICE").await.number, 3);

    let register =
        async |name, email, password| messages(world.app.register(name, email, password, "r-1").await.unwrap_err());
    let taken = about("username", "A user with that username already exists.");
    assert_eq!(register("alice", "", PASSWORD).await, taken);
    assert_eq!(register("filip", "", "123").await, taken);
    let both = register("bad user!", "nope", "123").await;
    assert_eq!(both.iter().map(|(field, _)| *field).collect::<Vec<_>>(), ["email", "username"]);
    let weak = register("u1", "", "12345").await;
    assert_eq!((weak[0].0, weak[0].1.len()), ("password", 3));
    // Refusals used up no number.
    assert_eq!(world.register("bob").await.number, 4);
}

async fn one_of_many_gets_a_name(world: World) {
    let attempts: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn({
                let app = world.app.clone();
                async move { app.register("carol", "", PASSWORD, "r-1").await }
            })
        })
        .collect();
    let mut opened = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(_) => opened += 1,
            Err(error) => assert_eq!(messages(error), about("username", "A user with that username already exists.")),
        }
    }
    assert_eq!(opened, 1);
}

async fn only_the_right_password_opens_a_session(world: World) {
    let alice = world.register("alice").await;
    let (pair, caller) = world.sign_in("alice").await;
    assert_eq!((caller.user_id, caller.user_number, caller.is_staff), (alice.id, alice.number, false));
    assert_eq!(pair.expires_in_s, 900);
    assert_eq!(world.other_node.authenticate(&pair.access).unwrap(), caller);
    for (name, password) in [("alice", "wrong"), ("Alice", PASSWORD), ("nobody", PASSWORD), ("alice", "")] {
        assert!(matches!(world.app.sign_in(name, password, "r").await, Err(SignInError::Refused)), "{name}");
    }
    let long = "x".repeat(1025);
    assert!(matches!(world.app.sign_in("alice", &long, "r").await, Err(SignInError::Refused)));
    assert_eq!(world.count_events("sign_in", "refused"), 5);
}

async fn a_hash_of_django_is_taken_over_at_the_first_sign_in(world: World) {
    let alice = world.register("alice").await;
    world.set_hash(&alice, "pbkdf2_sha256$1000$seasalt$3xmXbyk2QpiyNcnoBbzRPwEBsYPTbDlRdtmLyBvQltA=");
    assert!(matches!(world.app.sign_in("alice", PASSWORD, "r").await, Err(SignInError::Refused)));
    for _ in 0..2 {
        world.app.sign_in("alice", "correct horse battery staple", "r").await.unwrap();
        assert!(world.stored(&alice).password_hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }
}

async fn a_refresh_token_counts_once(world: World) {
    world.register("alice").await;
    let (first, _) = world.sign_in("alice").await;
    let second = world.app.refresh(&first.refresh, "r").await.unwrap();
    assert!(!is_live(&world.app, &first.refresh).await);
    assert!(is_live(&world.app, &second.refresh).await);
    assert!(world.app.verify_any(&second.access).await.is_ok());
    assert!(matches!(world.app.refresh(&second.access, "r").await, Err(TokenError::WrongType)));
    assert!(matches!(world.app.authenticate(&second.refresh), Err(TokenError::WrongType)));
    assert!(matches!(world.app.refresh("garbage", "r").await, Err(TokenError::Invalid)));
    // The right row with another's secret is a made-up token, and harms nobody.
    let (other, _) = world.sign_in("alice").await;
    let forged = format!("{}{}", &second.refresh[..27], &other.refresh[27..]);
    assert!(matches!(world.app.refresh(&forged, "r").await, Err(TokenError::Invalid)));
    assert!(is_live(&world.app, &second.refresh).await);
}

async fn a_stolen_token_ends_the_session_for_both(world: World) {
    world.register("alice").await;
    let (first, _) = world.sign_in("alice").await;
    let (elsewhere, _) = world.sign_in("alice").await;
    let second = world.app.refresh(&first.refresh, "r").await.unwrap();
    world.pass(11);
    assert!(matches!(world.app.refresh(&first.refresh, "r").await, Err(TokenError::Invalid)));
    assert!(matches!(world.app.authenticate(&second.access), Err(TokenError::Invalid)));
    assert!(matches!(world.app.authenticate(&first.access), Err(TokenError::Invalid)));
    assert!(matches!(world.app.refresh(&second.refresh, "r").await, Err(TokenError::Invalid)));
    assert!(world.app.authenticate(&elsewhere.access).is_ok());
    assert_eq!(world.count_events("refresh_reuse", "refused"), 1);
}

async fn a_lost_answer_is_repaired_only_while_nobody_used_it(world: World) {
    world.register("alice").await;
    let first = world.fresh_pair("alice").await;
    let lost = world.app.refresh(&first.refresh, "r").await.unwrap();
    world.pass(10);
    let again = world.app.refresh(&first.refresh, "r").await.unwrap();
    assert!(!is_live(&world.app, &lost.refresh).await);
    assert!(is_live(&world.app, &again.refresh).await);
    // The token of the lost answer is unknown now, which ends nothing.
    assert!(matches!(world.app.refresh(&lost.refresh, "r").await, Err(TokenError::Invalid)));

    // Used by its access token: no answer was lost.
    let next = world.app.refresh(&again.refresh, "r").await.unwrap();
    world.app.authenticate(&next.access).unwrap();
    assert!(matches!(world.app.refresh(&again.refresh, "r").await, Err(TokenError::Invalid)));
    assert!(!is_live(&world.app, &next.refresh).await);

    // Used by a refresh: the same.
    let first = world.fresh_pair("alice").await;
    let second = world.app.refresh(&first.refresh, "r").await.unwrap();
    let third = world.app.refresh(&second.refresh, "r").await.unwrap();
    assert!(matches!(world.app.refresh(&first.refresh, "r").await, Err(TokenError::Invalid)));
    assert!(!is_live(&world.app, &third.refresh).await);
}

async fn many_refreshes_at_once_leave_one_branch_and_the_user_signed_in(world: World) {
    world.register("alice").await;
    let first = world.fresh_pair("alice").await;
    let calls: Vec<_> = (0..20)
        .map(|call| {
            let app = if call % 2 == 0 { world.app.clone() } else { world.other_node.clone() };
            let token = first.refresh.clone();
            tokio::spawn(async move { app.refresh(&token, "r").await })
        })
        .collect();
    let mut pairs = Vec::new();
    for call in calls {
        pairs.push(call.await.unwrap().unwrap());
    }
    let mut live = Vec::new();
    for pair in &pairs {
        if is_live(&world.app, &pair.refresh).await {
            live.push(pair);
        }
    }
    assert_eq!(live.len(), 1);
    let last = live[0];
    assert!(world.app.authenticate(&last.access).is_ok());
    assert!(world.app.refresh(&last.refresh, "r").await.is_ok());
}

async fn tokens_stop_to_count_at_their_limits(world: World) {
    world.register("alice").await;
    let (mut pair, _) = world.sign_in("alice").await;
    world.pass(899);
    assert!(world.app.authenticate(&pair.access).is_ok());
    world.pass(1);
    assert!(matches!(world.app.authenticate(&pair.access), Err(TokenError::Invalid)));
    let (idle, _) = world.sign_in("alice").await;
    // Used every six days it lives on, but not beyond the session's ninety days.
    for _ in 0..14 {
        world.pass(6 * 86_400);
        pair = world.app.refresh(&pair.refresh, "r").await.unwrap();
    }
    assert!(matches!(world.app.refresh(&idle.refresh, "r").await, Err(TokenError::Invalid)));
    world.pass(6 * 86_400);
    assert!(matches!(world.app.refresh(&pair.refresh, "r").await, Err(TokenError::Invalid)));
}

async fn signing_out_counts_at_once_and_soon_on_other_nodes(world: World) {
    world.register("alice").await;
    let (pair, caller) = world.sign_in("alice").await;
    world.other_node.authenticate(&pair.access).unwrap();
    world.app.end_session(&caller, "r").await.unwrap();
    world.app.end_session(&caller, "r").await.unwrap();
    assert!(matches!(world.app.authenticate(&pair.access), Err(TokenError::Invalid)));
    assert!(matches!(world.app.refresh(&pair.refresh, "r").await, Err(TokenError::Invalid)));
    world.other_node.refresh_ended_sessions().await.unwrap();
    assert!(matches!(world.other_node.authenticate(&pair.access), Err(TokenError::Invalid)));
    assert_eq!(world.count_events("logout", "ok"), 1);
}

async fn a_changed_password_ends_the_other_sessions(world: World) {
    world.register("alice").await;
    let (here, caller) = world.sign_in("alice").await;
    let (elsewhere, _) = world.sign_in("alice").await;
    let change = async |current, new| world.app.set_password(&caller, current, new, "r").await;
    let wrong = messages(change("bad", "N3w-Passw0rd!!").await.unwrap_err());
    assert_eq!(wrong, about("current_password", "Invalid password."));
    let weak = messages(change(PASSWORD, "alice-9x").await.unwrap_err());
    assert_eq!(weak, about("new_password", "The password is too similar to the username."));
    assert!(world.app.authenticate(&elsewhere.access).is_ok());

    change(PASSWORD, "N3w-Passw0rd!!").await.unwrap();
    assert!(matches!(world.app.authenticate(&elsewhere.access), Err(TokenError::Invalid)));
    assert!(matches!(world.app.refresh(&elsewhere.refresh, "r").await, Err(TokenError::Invalid)));
    assert!(world.app.authenticate(&here.access).is_ok());
    assert!(world.app.refresh(&here.refresh, "r").await.is_ok());
    assert!(matches!(world.app.sign_in("alice", PASSWORD, "r").await, Err(SignInError::Refused)));
    assert!(world.app.sign_in("alice", "N3w-Passw0rd!!", "r").await.is_ok());
}

async fn names_and_addresses_change(world: World) {
    world.register("alice").await;
    world.register("bob").await;
    let (_, caller) = world.sign_in("alice").await;
    let rename = async |password, name| world.app.set_username(&caller, password, name, "r").await;
    assert_eq!(
        messages(rename("bad", "zz z").await.unwrap_err()).iter().map(|(field, _)| *field).collect::<Vec<_>>(),
        ["current_password", "new_username"]
    );
    let taken = messages(rename(PASSWORD, "bob").await.unwrap_err());
    assert_eq!(taken, about("new_username", "A user with that username already exists."));
    rename(PASSWORD, "alice").await.unwrap();
    rename(PASSWORD, "alice_renamed").await.unwrap();
    assert!(world.app.sign_in("alice_renamed", PASSWORD, "r").await.is_ok());
    assert!(matches!(world.app.sign_in("alice", PASSWORD, "r").await, Err(SignInError::Refused)));
    assert_eq!(world.register("alice").await.number, 3);

    let bad = messages(world.app.set_email(&caller, "bad", "r").await.unwrap_err());
    assert_eq!(bad, about("email", "Enter a valid email address."));
    assert_eq!(world.app.set_email(&caller, "a@New.Example.com", "r").await.unwrap().email, "a@new.example.com");
    assert_eq!(world.app.set_email(&caller, "", "r").await.unwrap().email, "");
}

async fn a_deleted_account_is_gone_and_its_name_free(world: World) {
    let alice = world.register("alice").await;
    let (pair, caller) = world.sign_in("alice").await;
    let wrong = messages(world.app.delete_user(&caller, "bad", "r").await.unwrap_err());
    assert_eq!(wrong, about("current_password", "Invalid password."));

    let (wallet, _) = world.app.open_wallet(&caller, None, "", None).await.unwrap();
    move_money(&world, &caller, wallet.id, Kind::Deposit).await;
    let held = messages(world.app.delete_user(&caller, PASSWORD, "r").await.unwrap_err());
    assert_eq!(held, about("non_field_errors", "The account still holds money: withdraw it first."));
    assert!(world.app.authenticate(&pair.access).is_ok());

    move_money(&world, &caller, wallet.id, Kind::Withdraw).await;
    world.app.delete_user(&caller, PASSWORD, "r").await.unwrap();
    assert!(matches!(world.app.authenticate(&pair.access), Err(TokenError::UserGone)));
    assert!(matches!(world.app.refresh(&pair.refresh, "r").await, Err(TokenError::UserGone)));
    assert!(matches!(world.app.sign_in("alice", PASSWORD, "r").await, Err(SignInError::Refused)));
    world.other_node.refresh_ended_sessions().await.unwrap();
    assert!(matches!(world.other_node.authenticate(&pair.access), Err(TokenError::UserGone)));
    let row = world.stored(&alice);
    assert_eq!((row.username.as_str(), row.email.as_str(), row.password_hash.as_str()), ("deleted-1", "", "!"));
    assert_eq!(world.register("alice").await.number, 2);
}

async fn move_money(world: &World, caller: &Caller, wallet: AccountId, kind: Kind) {
    let asset = Asset::find_iso("EUR").unwrap();
    let movement = Movement { amount_minor: 100, asset, reason: None, key: None };
    world.app.operate(caller, wallet, kind, movement).await.unwrap();
}

async fn staff_see_and_disable_others(world: World) {
    let alice = world.register("alice").await;
    world.register("bob").await;
    world.app.create_superuser("root", "", PASSWORD).await.unwrap();
    let (pair, caller) = world.sign_in("alice").await;
    let (_, root) = world.sign_in("root").await;
    assert!(root.is_staff && !caller.is_staff);

    assert_eq!(world.app.find_user_by_number(&caller, alice.number).await.unwrap(), alice);
    assert!(matches!(world.app.find_user_by_number(&caller, 2).await, Err(UserError::NotFound)));
    assert!(matches!(world.app.list_users(&caller, None, 10, None).await, Err(UserError::Forbidden)));
    assert!(matches!(world.app.set_active(&caller, 2, false, "r").await, Err(UserError::Forbidden)));
    assert!(matches!(world.app.find_user_by_number(&root, 99).await, Err(UserError::NotFound)));

    let first = world.app.list_users(&root, None, 2, None).await.unwrap();
    assert_eq!(first.items.iter().map(|user| user.number).collect::<Vec<_>>(), [1, 2]);
    let second = world.app.list_users(&root, first.next.as_deref(), 2, None).await.unwrap();
    assert_eq!((second.items.len(), second.items[0].number, second.next), (1, 3, None));
    let found = world.app.list_users(&root, None, 10, Some("LIC")).await.unwrap();
    assert_eq!(found.items, [alice]);

    assert!(!world.app.set_active(&root, 1, false, "r").await.unwrap().is_active);
    assert!(matches!(world.app.authenticate(&pair.access), Err(TokenError::UserGone)));
    assert!(matches!(world.app.refresh(&pair.refresh, "r").await, Err(TokenError::UserGone)));
    assert!(matches!(world.app.sign_in("alice", PASSWORD, "r").await, Err(SignInError::Refused)));
    assert!(matches!(world.app.get_user(&caller).await, Err(UserError::NotFound)));
    world.app.set_active(&root, 1, true, "r").await.unwrap();
    assert!(world.app.sign_in("alice", PASSWORD, "r").await.is_ok());
    assert!(matches!(world.app.authenticate(&pair.access), Err(TokenError::UserGone)));
}

async fn nodes_share_one_signing_key_that_only_its_own_key_opens(world: World) {
    assert_eq!(world.app.jwks(), world.other_node.jwks());
    assert_eq!(world.app.jwks()["keys"].as_array().unwrap().len(), 1);
    let parts = Parts {
        engine: world.engine.clone(),
        clock: world.clock.clone(),
        rng: Arc::new(TestRng(AtomicU64::new(9))),
        settings: settings(2),
        key_encryption_key: secrecy::SecretBox::new(Box::new([8; 32])),
        queue: QueueSettings::default(),
    };
    assert!(tokio::task::spawn_blocking(|| App::start(parts).is_err()).await.unwrap());
}

fn run<F: Future<Output = ()>>(engine: Arc<dyn Engine>, test: impl FnOnce(World) -> F) {
    engine.migrate().unwrap();
    let world = World::new(engine);
    let keep = (world.app.clone(), world.other_node.clone(), world.engine.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test(world));
    drop(runtime);
    // Nodes and engines stop outside of the runtime, as they do in the binary.
    drop(keep);
}

macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("florin.db");
                let engine = florin_store_sqlite::SqliteEngine::open(&path, Default::default()).unwrap();
                super::run(std::sync::Arc::new(engine), super::$name);
            })+
        }
        mod postgres {
            $(#[test]
            fn $name() {
                let Some(database) = florin_testkit::postgres::fresh_database() else { return };
                let engine =
                    florin_store_postgres::PostgresEngine::connect(database.url(), Default::default()).unwrap();
                super::run(std::sync::Arc::new(engine), super::$name);
            })+
        }
    };
}

on_both_engines! {
    accounts_open_in_the_words_of_django,
    one_of_many_gets_a_name,
    only_the_right_password_opens_a_session,
    a_hash_of_django_is_taken_over_at_the_first_sign_in,
    a_refresh_token_counts_once,
    a_stolen_token_ends_the_session_for_both,
    a_lost_answer_is_repaired_only_while_nobody_used_it,
    many_refreshes_at_once_leave_one_branch_and_the_user_signed_in,
    tokens_stop_to_count_at_their_limits,
    signing_out_counts_at_once_and_soon_on_other_nodes,
    a_changed_password_ends_the_other_sessions,
    names_and_addresses_change,
    a_deleted_account_is_gone_and_its_name_free,
    staff_see_and_disable_others,
    nodes_share_one_signing_key_that_only_its_own_key_opens,
}
