//! What tests share: databases of their own, and behaviours stamped onto every engine.

pub mod distant;
pub mod held;
pub mod keyed;
pub mod node;
pub mod postgres;
pub mod service;
pub mod simulator;
pub mod sqlite;
pub mod store_suite;
