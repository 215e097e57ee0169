//! The NameServer: which brokers there are, and which topics they have.

pub mod json;
pub mod kv_config;
pub mod liveness;
pub mod model;
pub mod notifier;
pub mod registration;
pub mod registry;
#[cfg(test)]
mod registry_tests;
pub mod route_table;
pub mod service;
pub mod shared;
pub mod snapshot;
pub mod snapshot_writer;
pub mod tables;
