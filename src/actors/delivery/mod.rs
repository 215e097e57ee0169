//! Deliveries: messages that the broker itself brings where they belong, later.
//!
//! Each kind is an actor (or a subtree) of its own with its state on disk: delay levels and
//! transactions here; timer wheel and pop will stand beside them.

pub mod schedule;
pub mod transactions;
