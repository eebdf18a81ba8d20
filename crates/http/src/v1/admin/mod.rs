//! `/api/v1/admin/…`: what staff may do. Everybody else is answered 403, whatever the path names.

pub(crate) mod adjustments;
pub(crate) mod set_active;
mod staff;
pub(crate) mod users;
pub(crate) mod wallets;
