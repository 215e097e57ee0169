//! Deliveries: messages that the broker itself brings where they belong, later.
//!
//! Each kind is an actor (or a subtree) of its own with its state on disk.

pub mod append;
pub mod pop;
pub mod revive;
pub mod schedule;
pub mod timer;
pub mod transactions;
