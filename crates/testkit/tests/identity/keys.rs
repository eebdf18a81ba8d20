//! The keys that sign: shared by nodes, replaced while they run, taken away.

use std::sync::{Arc, atomic::AtomicU64};

use florin_app::{
    App, Parts, QueueSettings,
    session::{KeyWish, TokenError},
};
use florin_store::signing_key::list_keys;

use crate::world::{TestRng, World, settings};

const LEAD_S: i64 = 600;

/// Names and states as the database has them.
fn states(world: &World) -> Vec<String> {
    world.at_database(list_keys).into_iter().map(|key| key.state).collect()
}

fn published(app: &App) -> Vec<String> {
    let keys = app.jwks();
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// The key that signed a token.
fn signer(world: &World, token: &str) -> String {
    published(&world.app).into_iter().find(|kid| is_named_in(token, kid)).unwrap()
}

fn is_named_in(token: &str, kid: &str) -> bool {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    String::from_utf8(header).unwrap().contains(kid)
}

pub(crate) async fn a_key_is_replaced_without_anybody_noticing(world: World) {
    world.register("alice").await;
    let (before, _) = world.sign_in("alice").await;
    let first = signer(&world, &before.access);
    world.pass(1);
    world.app.keep_keys(KeyWish::Next).await.unwrap();
    world.app.keep_keys(KeyWish::Next).await.unwrap();
    assert_eq!(states(&world), ["next", "active"]);
    // Published before it signs, on every node.
    world.other_node.keep_keys(KeyWish::Nothing).await.unwrap();
    assert_eq!(published(&world.other_node).len(), 2);
    assert!(is_named_in(&world.sign_in("alice").await.0.access, &first));

    world.pass(LEAD_S);
    let (last, _) = world.sign_in("alice").await;
    assert!(is_named_in(&last.access, &first));
    let (here, there) =
        tokio::join!(world.app.keep_keys(KeyWish::Nothing), world.other_node.keep_keys(KeyWish::Nothing));
    here.unwrap();
    there.unwrap();
    assert_eq!(states(&world), ["active", "retiring"]);
    let (after, _) = world.sign_in("alice").await;
    assert_ne!(signer(&world, &after.access), first);
    for token in [&before.access, &last.access, &after.access] {
        assert!(world.app.authenticate(token).is_ok());
        assert!(world.other_node.authenticate(token).is_ok());
    }

    // The old key goes when the last token that it signed is over: 900 s, and 30 s for clocks that differ.
    world.pass(929);
    world.app.keep_keys(KeyWish::Nothing).await.unwrap();
    assert_eq!(published(&world.app).len(), 2);
    assert!(world.app.refresh(&last.refresh, "r").await.is_ok());
    world.pass(1);
    world.app.keep_keys(KeyWish::Nothing).await.unwrap();
    assert_eq!((published(&world.app).len(), states(&world).len()), (1, 1));
    let kept = world.at_database(|tx| tx.query("SELECT private_key FROM signing_keys WHERE state = 'deleted'", &[]));
    assert!(kept[0].get_bytes(0).unwrap().is_empty(), "nothing is left that could sign");
}

pub(crate) async fn a_key_signs_at_once_and_time_replaces_it(world: World) {
    world.register("alice").await;
    let (before, _) = world.sign_in("alice").await;
    world.pass(1);
    world.app.keep_keys(KeyWish::Now).await.unwrap();
    let (after, _) = world.sign_in("alice").await;
    assert_ne!(signer(&world, &before.access), signer(&world, &after.access));
    assert!(world.app.authenticate(&before.access).is_ok());
    assert!(matches!(world.other_node.authenticate(&after.access), Err(TokenError::Invalid)), "not known there yet");
    world.other_node.keep_keys(KeyWish::Nothing).await.unwrap();
    assert!(world.other_node.authenticate(&after.access).is_ok());

    world.pass(90 * 86_400 - LEAD_S - 1);
    world.app.keep_keys(KeyWish::Nothing).await.unwrap();
    assert_eq!(states(&world), ["active"]);
    world.pass(1);
    world.app.keep_keys(KeyWish::Nothing).await.unwrap();
    assert_eq!(states(&world), ["next", "active"]);
    world.pass(LEAD_S);
    world.app.keep_keys(KeyWish::Nothing).await.unwrap();
    assert_eq!(states(&world), ["active", "retiring"]);
    assert_eq!(world.count_events("signing_key_active", "ok"), 3, "the first, the wanted, the one of time");
}

pub(crate) async fn what_a_revoked_key_signed_counts_for_nothing(world: World) {
    world.register("alice").await;
    let (before, _) = world.sign_in("alice").await;
    assert!(world.app.authenticate(&before.access).is_ok());
    assert!(world.other_node.authenticate(&before.access).is_ok());
    let revoked = signer(&world, &before.access);
    assert!(!world.app.revoke_key("unknown").await.unwrap());
    assert!(world.app.revoke_key(&revoked).await.unwrap());
    assert!(!world.app.revoke_key(&revoked).await.unwrap());
    // Also where its signature was checked before.
    assert!(matches!(world.app.authenticate(&before.access), Err(TokenError::Invalid)));
    world.other_node.keep_keys(KeyWish::Nothing).await.unwrap();
    assert!(matches!(world.other_node.authenticate(&before.access), Err(TokenError::Invalid)));
    // The session goes on, under another key.
    let after = world.app.refresh(&before.refresh, "r").await.unwrap();
    assert!(world.other_node.authenticate(&after.access).is_ok());
    assert!(!published(&world.app).contains(&revoked));
}

pub(crate) async fn who_cannot_open_the_keys_changes_none(world: World) {
    let care = florin_app::session::KeyCare {
        engine: world.engine.clone(),
        clock: world.clock.clone(),
        rng: Arc::new(TestRng(AtomicU64::new(9))),
        sealing_key: Arc::new(secrecy::SecretBox::new(Box::new([8; 32]))),
        rules: florin_app::session::key_rules(&settings(0)),
    };
    assert!(tokio::task::spawn_blocking(move || care.keep(KeyWish::Now).is_err()).await.unwrap());
    assert_eq!(states(&world), ["active"]);
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
