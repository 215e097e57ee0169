//! Transactions, from a producer's point of view: what is committed is delivered, what is rolled back
//! is not, and who says nothing is asked; also over `kill -9`, crashes of the actor, and on a store
//! that RocketMQ wrote.
//!
//! `CALLBOARD_ROUNDS` says how often the broker is killed (once without it),
//! `CALLBOARD_TRANSACTIONS` how many transactions a round has.

#[path = "../common/mod.rs"]
mod common;

mod producer;
mod semantics;
