//! Accounts and sessions as their users see them, on real engines.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot read or prepare has failed it")]

mod accounts;
mod keys;
mod sessions;
mod sign_in;
mod world;

macro_rules! on_both_engines {
    ($($subject:ident::$name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $name() {
                let (engine, _folder) = florin_testkit::sqlite::fresh_engine();
                crate::world::run(std::sync::Arc::new(engine), crate::$subject::$name);
            })+
        }
        mod postgres {
            $(#[test]
            fn $name() {
                let Some((engine, _database)) = florin_testkit::postgres::fresh_engine() else { return };
                crate::world::run(std::sync::Arc::new(engine), crate::$subject::$name);
            })+
        }
    };
}

on_both_engines! {
    accounts::accounts_open_in_the_words_of_django,
    accounts::one_of_many_gets_a_name,
    sign_in::only_the_right_password_opens_a_session,
    sign_in::failed_sign_ins_slow_down_the_next_ones,
    sign_in::guesses_at_the_same_time_are_counted_one_after_the_other,
    sign_in::a_hash_of_django_is_taken_over_at_the_first_sign_in,
    sessions::a_refresh_token_counts_once,
    sessions::a_stolen_token_ends_the_session_for_both,
    sessions::a_lost_answer_is_repaired_only_while_nobody_used_it,
    sessions::many_refreshes_at_once_leave_one_branch_and_the_user_signed_in,
    sessions::tokens_stop_to_count_at_their_limits,
    sessions::signing_out_counts_at_once_and_soon_on_other_nodes,
    accounts::a_changed_password_ends_the_other_sessions,
    accounts::names_and_addresses_change,
    accounts::a_deleted_account_is_gone_and_its_name_free,
    accounts::staff_see_and_disable_others,
    accounts::staff_rights_are_those_of_the_database,
    accounts::an_ended_session_has_no_staff_rights_on_any_node,
    sessions::one_session_too_many_ends_the_oldest,
    sessions::only_what_is_dead_is_cleaned_up,
    sessions::nodes_clean_up_together_in_bounded_steps,
    sessions::a_shorter_life_counts_for_older_tokens_too,
    keys::a_key_is_replaced_without_anybody_noticing,
    keys::a_key_signs_at_once_and_time_replaces_it,
    keys::what_a_revoked_key_signed_counts_for_nothing,
    keys::who_cannot_open_the_keys_changes_none,
    keys::nodes_share_one_signing_key_that_only_its_own_key_opens,
}
