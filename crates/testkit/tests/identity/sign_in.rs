//! Signing in: who may, and how fast the next attempt.

use florin_app::{App, session::SignInError};

use crate::world::{PASSWORD, World};

pub(crate) async fn only_the_right_password_opens_a_session(world: World) {
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

/// The wait that a refusal asks for; none for any other refusal.
pub(crate) async fn wait_s(app: &App, name: &str, password: &str) -> Option<u64> {
    match app.sign_in(name, password, "r").await {
        Err(SignInError::Refused) => None,
        Err(SignInError::Throttled { retry_after_s }) => Some(retry_after_s),
        other => panic!("{:?}", other.map(|_| "a session")),
    }
}

pub(crate) async fn failed_sign_ins_slow_down_the_next_ones(world: World) {
    world.register("alice").await;
    // A name that nobody has is treated like one that somebody has.
    for name in ["alice", "nobody", &"n".repeat(9000)] {
        for _ in 0..5 {
            assert_eq!(wait_s(&world.app, name, "wrong").await, None, "{name}");
        }
        assert_eq!(wait_s(&world.other_node, name, "wrong").await, Some(1), "{name}");
        assert_eq!(wait_s(&world.app, name, PASSWORD).await, Some(1), "{name}");
    }
    // A right password while waiting changes nothing, and a wrong one does not lengthen the wait.
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        assert_eq!(wait_s(&world.app, "alice", "wrong").await, u64::try_from(wait).ok());
        world.pass(wait - 1);
        assert_eq!(wait_s(&world.app, "alice", PASSWORD).await, Some(1));
        world.pass(1);
        assert_eq!(wait_s(&world.app, "alice", "wrong").await, None);
    }
    assert_eq!(wait_s(&world.app, "alice", PASSWORD).await, Some(900));
    world.pass(900);
    world.sign_in("alice").await;
    // Success forgets the failures; so does a quiet day.
    for _ in 0..2 {
        for _ in 0..5 {
            assert_eq!(wait_s(&world.app, "alice", "wrong").await, None);
        }
        assert_eq!(wait_s(&world.app, "alice", "wrong").await, Some(1));
        world.pass(86_401);
    }
    world.sign_in("alice").await;
}

pub(crate) async fn guesses_at_the_same_time_are_counted_one_after_the_other(world: World) {
    world.register("alice").await;
    let guesses: Vec<_> = (0..24)
        .map(|guess| {
            let app = if guess % 2 == 0 { world.app.clone() } else { world.other_node.clone() };
            tokio::spawn(async move { wait_s(&app, "alice", "wrong").await })
        })
        .collect();
    let mut refused = 0;
    for guess in guesses {
        refused += usize::from(guess.await.unwrap().is_none());
    }
    assert_eq!(refused, 5);
    assert_eq!(world.count_events("sign_in", "refused"), 5);
}

pub(crate) async fn a_hash_of_django_is_taken_over_at_the_first_sign_in(world: World) {
    let alice = world.register("alice").await;
    world.set_hash(&alice, "pbkdf2_sha256$1000$seasalt$3xmXbyk2QpiyNcnoBbzRPwEBsYPTbDlRdtmLyBvQltA=");
    assert!(matches!(world.app.sign_in("alice", PASSWORD, "r").await, Err(SignInError::Refused)));
    for _ in 0..2 {
        world.app.sign_in("alice", "correct horse battery staple", "r").await.unwrap();
        assert!(world.stored(&alice).password_hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }
}
