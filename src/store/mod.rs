//! RocketMQ's files: bytes to files and back, without actors or sockets.

pub mod abort;
pub mod checkpoint;
pub mod commit_log;
pub mod consume_queue;
pub mod dispatch;
pub mod error;
pub mod fs;
pub mod index;
pub mod lock;
pub mod mapped;
pub mod queue_table;
pub mod tails;

pub use dispatch::{DispatchRecord, ScannedRecord};
pub use error::StoreError;
pub use queue_table::{QueueKey, QueueSlot, QueueTable};
