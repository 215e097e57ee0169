//! The broker: its root actor, what its processors share, and the processors.

pub mod console;
pub mod context;
pub mod inner;
pub mod pop;
pub mod processor;
pub mod pull;
pub mod refusal;
pub mod registrar;
pub mod root;
pub mod send;
pub mod service;
pub mod settings;
pub mod start;
pub mod static_topics;
pub mod stats;
pub mod tables;
pub mod take_back;
pub mod timed;
