//! Sessions: refreshing, theft, limits, signing out, and the keys that sign.

use std::sync::{Arc, atomic::AtomicU64};

use florin_app::{App, Parts, QueueSettings, session::TokenError};

use crate::world::{TestRng, World, is_live, settings};

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

pub(crate) async fn nodes_share_one_signing_key_that_only_its_own_key_opens(world: World) {
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
