//! The commands beside `serve`, one file each.

pub mod backup;
pub mod createsuperuser;
pub mod demo;
pub mod import;
pub mod keys;
pub mod migrate;
pub mod openapi;
pub mod restore;
pub mod restored;
pub mod show_config;
pub mod verify;
