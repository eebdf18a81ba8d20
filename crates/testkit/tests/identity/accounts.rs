//! Opening, changing and ending accounts.

use florin_app::{
    Caller,
    session::{SignInError, TokenError},
    user::UserError,
    wallet::{Movement, WalletError},
};
use florin_ledger::{AccountId, Kind, Side};
use florin_money::Asset;
use florin_store::Value;

use crate::world::{PASSWORD, World, about, messages};

pub(crate) async fn accounts_open_in_the_words_of_django(world: World) {
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

pub(crate) async fn one_of_many_gets_a_name(world: World) {
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

pub(crate) async fn a_changed_password_ends_the_other_sessions(world: World) {
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

pub(crate) async fn names_and_addresses_change(world: World) {
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

pub(crate) async fn a_deleted_account_is_gone_and_its_name_free(world: World) {
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

pub(crate) async fn move_money(world: &World, caller: &Caller, wallet: AccountId, kind: Kind) {
    let asset = Asset::find_iso("EUR").unwrap();
    let movement = Movement { amount_minor: 100, asset, reason: None, key: None };
    world.app.operate(caller, wallet, kind, movement).await.unwrap();
}

pub(crate) async fn staff_see_and_disable_others(world: World) {
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

pub(crate) async fn staff_rights_are_those_of_the_database(world: World) {
    let alice = world.register("alice").await;
    let (_, of_alice) = world.sign_in("alice").await;
    let (wallet, _) = world.app.open_wallet(&of_alice, None, "", None).await.unwrap();
    let root = world.app.create_superuser("root", "", PASSWORD).await.unwrap();
    let (_, caller) = world.sign_in("root").await;
    for node in [&world.app, &world.other_node] {
        assert!(node.list_users(&caller, None, 10, None).await.is_ok());
        assert!(node.asset_of(&caller, wallet.id).await.is_ok());
    }
    // Somebody takes the right away, behind every node's back; the token still says staff.
    let params = [Value::Bool(false), Value::Text("root".to_owned())];
    world.at_database(|tx| tx.execute("UPDATE users SET is_staff = $1 WHERE username = $2", &params));
    world.pass(1);
    let movement = || Movement { amount_minor: 100, asset: wallet.asset, reason: Some("x".to_owned()), key: None };
    for node in [&world.app, &world.other_node] {
        assert!(matches!(node.list_users(&caller, None, 10, None).await, Err(UserError::Forbidden)));
        assert!(matches!(node.set_active(&caller, alice.number, false, "r").await, Err(UserError::Forbidden)));
        assert!(matches!(node.find_user_by_number(&caller, alice.number).await, Err(UserError::NotFound)));
        assert!(matches!(node.staff_list_wallets(&caller, None, 10, None).await, Err(WalletError::Forbidden)));
        assert!(matches!(node.asset_of(&caller, wallet.id).await, Err(WalletError::NotFound)));
        assert!(matches!(node.get_wallet(&caller, wallet.id).await, Err(WalletError::NotFound)));
        let adjusted = node.adjust(&caller, wallet.id, Side::Credit, movement()).await;
        assert!(matches!(adjusted, Err(WalletError::Forbidden)));
        assert_eq!(node.get_user(&caller).await.unwrap().number, root.number, "still a user");
    }
}

pub(crate) async fn an_ended_session_has_no_staff_rights_on_any_node(world: World) {
    world.app.create_superuser("root", "", PASSWORD).await.unwrap();
    let (_, caller) = world.sign_in("root").await;
    assert!(world.other_node.list_users(&caller, None, 10, None).await.is_ok());
    world.app.end_session(&caller, "r").await.unwrap();
    world.pass(1);
    // That node has not looked up ended sessions since.
    assert!(matches!(world.other_node.list_users(&caller, None, 10, None).await, Err(UserError::Forbidden)));
}
