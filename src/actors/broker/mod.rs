//! The broker: its root actor, what its processors share, and the processors.

pub mod refusal;
pub mod stats;
pub mod tables;
