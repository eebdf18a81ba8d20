//! Single wallets read by many at once: what was answered before is seen, and nobody pays for somebody else's trouble.

#![expect(clippy::unwrap_used, reason = "what a test cannot read or prepare has failed it")]

use std::sync::Arc;

use florin_app::{
    App, Caller,
    wallet::{Movement, WalletError},
};
use florin_ledger::{AccountId, Kind};
use florin_store::{Engine, Value};
use florin_testkit::{node::node, service::PASSWORD};
use futures_util::future::join_all;
use tokio::task::block_in_place;
use uuid::Uuid;

fn user(number: u128) -> Caller {
    Caller {
        user_id: Uuid::from_u128(number),
        user_number: i64::try_from(number).unwrap(),
        session_id: Uuid::nil(),
        is_staff: false,
    }
}

async fn superuser(app: &App) -> Caller {
    app.create_superuser("root", "root@example.com", PASSWORD).await.unwrap();
    app.authenticate(&app.sign_in("root", PASSWORD, "test").await.unwrap().access).unwrap()
}

async fn deposit(app: &App, caller: &Caller, id: AccountId) -> (i128, i64) {
    let asset = app.asset_of(caller, id).await.unwrap();
    let movement = Movement { amount_minor: 1, asset, reason: None, key: None };
    let wallet = app.operate(caller, id, Kind::Deposit, movement).await.unwrap().wallet;
    (wallet.balance.posted_minor, wallet.version)
}

async fn open(app: &App, caller: &Caller, label: &str) -> AccountId {
    app.open_wallet(caller, None, label, None).await.unwrap().0.id
}

async fn a_read_sees_what_was_answered_before(engine: Arc<dyn Engine>) {
    let (app, alice) = (node(engine.clone(), 0), user(1));
    let shared = open(&app, &alice, "shared").await;
    let own = join_all((0..8).map(|_| open(&app, &alice, ""))).await;
    let write_and_read = async |own: AccountId| {
        for count in 1..=20 {
            for (id, is_own) in [(shared, false), (own, true)] {
                let (posted_minor, version) = deposit(&app, &alice, id).await;
                // More at once than are read together.
                let reads = join_all((0..40).map(|_| app.get_wallet(&alice, id))).await;
                for wallet in reads {
                    let wallet = wallet.unwrap();
                    let seen = (wallet.balance.posted_minor, wallet.version);
                    assert!(wallet.version >= version, "{seen:?} after {version}");
                    assert_eq!(seen.0, i128::from(seen.1), "balance and version are of one moment");
                    assert!(!is_own || seen == (posted_minor, version) && posted_minor == count, "{seen:?}");
                }
            }
        }
    };
    join_all(own.into_iter().map(write_and_read)).await;
    let wallet = app.get_wallet(&alice, shared).await.unwrap();
    assert_eq!((wallet.balance.posted_minor, wallet.version, &*wallet.label), (160, 160, "shared"));
}

async fn a_wallet_is_shown_to_its_owner_and_to_staff(engine: Arc<dyn Engine>) {
    let (here, there) = (node(engine.clone(), 0), node(engine.clone(), 1));
    let (alice, bob, staff) = (user(1), user(2), superuser(&here).await);
    let id = open(&here, &alice, "savings").await;
    deposit(&here, &alice, id).await;
    // The first node remembers the wallet from the start, the second from its first read on.
    for (app, round) in [(&here, 1), (&there, 1), (&there, 2)] {
        assert!(matches!(app.get_wallet(&bob, id).await, Err(WalletError::NotFound)), "round {round}");
        for caller in [&alice, &staff] {
            let wallet = app.get_wallet(caller, id).await.unwrap();
            assert_eq!((wallet.owner_id, &*wallet.label, wallet.version), (alice.user_id, "savings", 1));
        }
        let unknown = AccountId(Uuid::from_u128(99));
        assert!(matches!(app.get_wallet(&staff, unknown).await, Err(WalletError::NotFound)), "round {round}");
    }
}

async fn a_row_that_cannot_be_read_costs_its_neighbours_nothing(engine: Arc<dyn Engine>) {
    let (app, alice) = (node(engine.clone(), 0), user(1));
    let ids = join_all((0..50).map(|_| open(&app, &alice, ""))).await;
    let broken = ids[20];
    let place = [Value::Int(i64::from(broken.bucket())), Value::Uuid(broken.0)];
    let sql = "UPDATE accounts SET normal_side = 9 WHERE bucket = $1 AND id = $2";
    block_in_place(|| florin_store::write(&*engine, |tx| tx.execute(sql, &place))).unwrap();
    for _ in 0..10 {
        let reads = join_all(ids.iter().map(|id| app.get_wallet(&alice, *id))).await;
        for (id, read) in ids.iter().zip(reads) {
            assert!(*id == broken || read.is_ok(), "{id:?}: {read:?}");
        }
    }
}

fn run<F: Future<Output = ()>>(engine: Arc<dyn Engine>, test: impl FnOnce(Arc<dyn Engine>) -> F) {
    engine.migrate().unwrap();
    florin_testkit::node::run(test(engine));
}

macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                let (engine, _folder) = florin_testkit::sqlite::fresh_engine();
                crate::run(std::sync::Arc::new(engine), crate::$name);
            })+
        }
        mod postgres {
            $(#[test]
            fn $name() {
                let Some((engine, _database)) = florin_testkit::postgres::fresh_engine() else { return };
                crate::run(std::sync::Arc::new(engine), crate::$name);
            })+
        }
        // While no other process is connected, balances are answered from memory.
        mod postgres_alone {
            $(#[test]
            fn $name() {
                let Some(database) = florin_testkit::postgres::fresh_database() else { return };
                let options = florin_testkit::postgres::options_of(1);
                let engine = florin_store_postgres::PostgresEngine::connect(database.url(), options).unwrap();
                crate::run(std::sync::Arc::new(engine), crate::$name);
            })+
        }
    };
}

on_both_engines! {
    a_read_sees_what_was_answered_before,
    a_wallet_is_shown_to_its_owner_and_to_staff,
    a_row_that_cannot_be_read_costs_its_neighbours_nothing,
}
