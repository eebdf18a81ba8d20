//! Users and sessions, on the routes and in the words of the Django wallet service.

pub(crate) mod activation;
pub(crate) mod change_me;
pub(crate) mod delete_me;
pub(crate) mod get_me;
pub(crate) mod list_users;
pub(crate) mod refresh;
pub(crate) mod register;
pub(crate) mod reset_password;
pub(crate) mod set_password;
pub(crate) mod set_username;
pub(crate) mod token;
pub(crate) mod user;
mod user_body;
pub(crate) mod verify;

pub(crate) use user_body::UserBody;

use florin_app::user::{FieldErrors, UserError};

use crate::django::{Form, TextRule, is_python_space};

/// A current password as sent, and as Django's forms would have trimmed it, if that differs.
///
/// A password that was registered with blanks around it is kept with them, so both are tried.
struct GivenPassword {
    sent: String,
    trimmed: Option<String>,
}

impl GivenPassword {
    fn from_form(form: &mut Form, name: &'static str) -> Option<Self> {
        // The first reading words the refusals, the second keeps the blanks.
        form.text(name, TextRule::REQUIRED)?;
        let sent = form.text(name, TextRule { keep_blanks: true, ..TextRule::REQUIRED })?;
        let trimmed = sent.trim_matches(is_python_space);
        let trimmed = (trimmed.len() != sent.len()).then(|| trimmed.to_owned());
        Some(Self { sent, trimmed })
    }

    /// The password without blanks, if it was wrong with them.
    fn second_try<T>(&self, outcome: &Result<T, UserError>) -> Option<&str> {
        match outcome {
            Err(UserError::Invalid(errors)) if is_wrong_password(errors) => self.trimmed.as_deref(),
            _ => None,
        }
    }
}

fn is_wrong_password(errors: &FieldErrors) -> bool {
    errors.0.iter().any(|(name, _)| *name == "current_password")
}
