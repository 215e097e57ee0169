//! Deliveries: messages that the broker itself brings where they belong, later.
//!
//! Each kind is an actor (or a subtree) of its own with its state on disk: delay levels here; timer
//! wheel, transactions and pop will stand beside it.

pub mod schedule;
