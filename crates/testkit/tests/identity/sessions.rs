//! Sessions: refreshing, theft, limits, signing out, and the keys that sign.

use std::sync::{Arc, atomic::AtomicU64};

use florin_app::{
    App, Parts, QueueSettings, Settings,
    session::{CleanedUp, TokenError},
};
use florin_store::session::{self, RefreshTokenRow, SessionRow};
use uuid::Uuid;

use crate::world::{PASSWORD, SECOND_US, TestRng, World, is_live, settings};

pub(crate) async fn a_refresh_token_counts_once(world: World) {
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

pub(crate) async fn a_stolen_token_ends_the_session_for_both(world: World) {
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

pub(crate) async fn a_lost_answer_is_repaired_only_while_nobody_used_it(world: World) {
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

pub(crate) async fn many_refreshes_at_once_leave_one_branch_and_the_user_signed_in(world: World) {
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

pub(crate) async fn tokens_stop_to_count_at_their_limits(world: World) {
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

pub(crate) async fn signing_out_counts_at_once_and_soon_on_other_nodes(world: World) {
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

pub(crate) async fn one_session_too_many_ends_the_oldest(world: World) {
    world.register("alice").await;
    world.register("bob").await;
    // Those that nobody can refresh any more do not count.
    for _ in 0..3 {
        world.sign_in("alice").await;
    }
    world.pass(8 * 86_400);
    let (of_bob, _) = world.sign_in("bob").await;
    let mut pairs = Vec::new();
    for _ in 0..20 {
        world.pass(1);
        pairs.push(world.sign_in("alice").await.0);
    }
    pairs[0] = world.app.refresh(&pairs[0].refresh, "r").await.unwrap();
    assert!(world.app.authenticate(&pairs[0].access).is_ok());
    assert_eq!(world.count_events("session_limit", "ok"), 0);

    for round in 0..2 {
        let (newest, _) = world.sign_in("alice").await;
        assert!(matches!(world.app.authenticate(&pairs[round].access), Err(TokenError::Invalid)));
        assert!(matches!(world.app.refresh(&pairs[round].refresh, "r").await, Err(TokenError::Invalid)));
        assert!(is_live(&world.app, &pairs[round + 1].refresh).await);
        assert!(is_live(&world.app, &newest.refresh).await);
        assert_eq!(world.count_events("session_limit", "ok"), round + 1);
    }
    world.other_node.refresh_ended_sessions().await.unwrap();
    assert!(matches!(world.other_node.authenticate(&pairs[0].access), Err(TokenError::Invalid)));
    assert!(is_live(&world.app, &of_bob.refresh).await);
}

fn rows(world: &World) -> [usize; 3] {
    ["SELECT id FROM refresh_tokens", "SELECT id FROM sessions", "SELECT id FROM sign_in_failures"]
        .map(|sql| world.at_database(|tx| tx.query(sql, &[])).len())
}

pub(crate) async fn only_what_is_dead_is_cleaned_up(world: World) {
    world.register("alice").await;
    let (idle, _) = world.sign_in("alice").await;
    let (ended, caller) = world.sign_in("alice").await;
    let ended = world.app.refresh(&ended.refresh, "r").await.unwrap();
    let (first, _) = world.sign_in("alice").await;
    world.app.end_session(&caller, "r").await.unwrap();
    assert!(world.app.sign_in("nobody", PASSWORD, "r").await.is_err());
    for _ in 0..5 {
        assert!(world.app.sign_in("guessed", PASSWORD, "r").await.is_err());
    }
    assert_eq!(rows(&world), [4, 3, 2]);

    // An access token of the ended session could still count: the session stays known.
    world.pass(930);
    assert_eq!(world.app.clean_up().await.unwrap(), CleanedUp { tokens: 0, sessions: 0, failures: 0 });
    world.pass(1);
    assert_eq!(world.app.clean_up().await.unwrap(), CleanedUp { tokens: 0, sessions: 1, failures: 0 });
    assert!(matches!(world.app.refresh(&ended.refresh, "r").await, Err(TokenError::Invalid)));
    assert_eq!(rows(&world), [2, 2, 2]);

    // A few failures are forgotten after an hour, five of them after a day.
    world.pass(3600);
    assert_eq!(world.app.clean_up().await.unwrap(), CleanedUp { tokens: 0, sessions: 0, failures: 1 });
    world.pass(86_400 - 3600);
    let second = world.app.refresh(&first.refresh, "r").await.unwrap();
    assert_eq!(world.app.clean_up().await.unwrap(), CleanedUp { tokens: 0, sessions: 0, failures: 1 });
    world.pass(6 * 86_400);
    // Both are over, but only the session without another token goes.
    assert_eq!(world.other_node.clean_up().await.unwrap(), CleanedUp { tokens: 2, sessions: 0, failures: 0 });
    assert_eq!(rows(&world), [1, 1, 0]);
    assert!(matches!(world.app.refresh(&idle.refresh, "r").await, Err(TokenError::Invalid)));
    assert!(is_live(&world.app, &second.refresh).await);
}

pub(crate) async fn nodes_clean_up_together_in_bounded_steps(world: World) {
    let alice = world.register("alice").await;
    world.at_database(|tx| {
        (0..450_u128).try_for_each(|number| {
            let (user_id, expires_at_us) = (alice.id, 1_800_000_000 * SECOND_US);
            let row = SessionRow { id: Uuid::from_u128(number), user_id, expires_at_us, ended_at_us: None };
            session::insert_session(tx, &row, 0)?;
            let token = RefreshTokenRow {
                id: Uuid::from_u128(number),
                session_id: row.id,
                user_id,
                secret_hash: [0; 32],
                expires_at_us,
                used_at_us: None,
                replaced_by: None,
            };
            session::insert_refresh_token(tx, &token, 0)
        })
    });
    let (live, _) = world.sign_in("alice").await;
    world.pass(86_400);
    let step = world.app.clean_up().await.unwrap();
    assert_eq!((step.tokens, step.has_more()), (200, true));
    let (here, there) = tokio::join!(world.app.clean_up(), world.other_node.clean_up());
    let deleted = here.unwrap().tokens + there.unwrap().tokens;
    assert!((200..=250).contains(&deleted), "{deleted}");
    while world.app.clean_up().await.unwrap().tokens > 0 {}
    assert_eq!(rows(&world), [1, 1, 0]);
    assert!(is_live(&world.app, &live.refresh).await);
}

pub(crate) async fn a_shorter_life_counts_for_older_tokens_too(world: World) {
    world.register("alice").await;
    let (pair, _) = world.sign_in("alice").await;
    let parts = Parts {
        engine: world.engine.clone(),
        clock: world.clock.clone(),
        rng: Arc::new(TestRng(AtomicU64::new(9))),
        settings: Settings { access_token_ttl_s: 60, ..settings(2) },
        key_encryption_key: secrecy::SecretBox::new(Box::new([7; 32])),
        queue: QueueSettings::default(),
    };
    let node = tokio::task::spawn_blocking(|| App::start(parts).unwrap()).await.unwrap();
    world.pass(59);
    assert!(node.authenticate(&pair.access).is_ok());
    world.pass(1);
    assert!(matches!(node.authenticate(&pair.access), Err(TokenError::Invalid)));
    assert!(world.app.authenticate(&pair.access).is_ok());
    // A node stops outside of the runtime.
    tokio::task::spawn_blocking(move || drop(node)).await.unwrap();
}
