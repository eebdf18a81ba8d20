//! What every database engine owes the store. Each function takes an engine over a new, empty database.
//!
//! [`store_suite!`](crate::store_suite) stamps all of them onto an engine; to add one, write it in one of the modules
//! below and name it in the macro.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a behaviour that does not hold ends its test")]

mod batches;
mod bulks;
mod concurrency;
mod hash_forms;
mod histories;
mod rows;
mod schema;
mod statements;

pub use batches::{
    a_batch_comes_back_whole, a_batch_without_commands_writes_only_its_answers,
    batches_of_one_transaction_follow_each_other, chains_are_read_in_turns,
};
pub use bulks::{
    a_key_is_claimed_once, an_import_moves_on_once, answers_to_many_requests_are_kept_together, imports_come_back,
};
pub use concurrency::{
    a_chain_that_two_begin_at_once_has_no_gap, a_panic_leaves_the_engine_working, accounts_locked_lose_no_update,
    locks_in_any_order_meet_no_deadlock, reads_are_of_one_snapshot, reads_do_not_see_an_open_write,
};
pub use hash_forms::both_forms_of_hashing_are_read;
pub use histories::{a_history_is_entered_anywhere, a_search_in_vain_ends_and_goes_on};
pub use rows::{
    a_failed_statement_cannot_be_committed_around, a_read_cannot_write, a_taken_key_is_a_duplicate,
    a_wrong_number_of_parameters_is_an_error, amounts_sort_as_numbers, every_type_comes_back, many_rows_come_back,
    work_that_fails_leaves_nothing,
};
pub use schema::{
    a_changed_migration_is_named, a_newer_schema_is_refused, migrating_again_is_harmless, two_nodes_migrate_at_once,
};
pub use statements::shared_statements;

/// Stamps the suite onto an engine. `$fresh` is called once a test and gives `Option<(engine, guard)>`: an engine over
/// a new, empty database, and what keeps that database; `None` skips the test.
#[macro_export]
macro_rules! store_suite {
    ($fresh:expr) => {
        $crate::store_suite! { @ $fresh;
            migrating_again_is_harmless,
            two_nodes_migrate_at_once,
            a_newer_schema_is_refused,
            a_changed_migration_is_named,
            every_type_comes_back,
            amounts_sort_as_numbers,
            a_taken_key_is_a_duplicate,
            many_rows_come_back,
            work_that_fails_leaves_nothing,
            a_failed_statement_cannot_be_committed_around,
            a_read_cannot_write,
            a_wrong_number_of_parameters_is_an_error,
            reads_do_not_see_an_open_write,
            reads_are_of_one_snapshot,
            accounts_locked_lose_no_update,
            locks_in_any_order_meet_no_deadlock,
            a_chain_that_two_begin_at_once_has_no_gap,
            a_panic_leaves_the_engine_working,
            a_key_is_claimed_once,
            answers_to_many_requests_are_kept_together,
            imports_come_back,
            an_import_moves_on_once,
            a_batch_comes_back_whole,
            batches_of_one_transaction_follow_each_other,
            both_forms_of_hashing_are_read,
            a_batch_without_commands_writes_only_its_answers,
            chains_are_read_in_turns,
            a_history_is_entered_anywhere,
            a_search_in_vain_ends_and_goes_on,
        }
    };
    (@ $fresh:expr; $($name:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                let Some((engine, _guard)) = ($fresh)() else { return };
                $crate::store_suite::$name(&engine);
            }
        )+
    };
}
