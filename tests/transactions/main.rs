//! Transactions, from a producer's point of view: what is committed is delivered, what is rolled back
//! is not, and who says nothing is asked; also over `kill -9`, crashes of the actor, at a slave that becomes
//! the master, and on a store that RocketMQ wrote.
//!
//! `CALLBOARD_ROUNDS` says how often the broker is killed (twice without it),
//! `CALLBOARD_TRANSACTIONS` after how many transactions of a round at most.

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

mod drills;
mod golden;
mod load;
mod producer;
mod semantics;
mod slave;
