//! The NameServer: which brokers there are, and which topics they have.

pub mod model;
pub mod registry;
#[cfg(test)]
mod registry_tests;
pub mod snapshot;
pub mod tables;
