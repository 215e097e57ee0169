//! Deliveries: messages that the broker itself brings where they belong, later.
//!
//! Each kind is an actor (or a subtree) of its own with its state on disk: delay levels and the timer wheel here;
//! transactions and pop will stand beside it.

pub mod schedule;
pub mod timer;
