//! The broker.

pub mod tables;
