//! RocketMQ's files: bytes to files and back, without actors or sockets.

pub mod abort;
pub mod checkpoint;
pub mod commit_log;
pub mod compaction;
pub mod consume_queue;
pub mod deleted_topics;
pub mod dispatch;
pub mod envelope;
pub mod epoch;
pub mod error;
pub mod fs;
pub mod get_message;
pub mod index;
pub mod lock;
pub mod mapped;
pub mod open;
pub mod queue_locks;
pub mod queue_table;
pub mod revive_ledger;
pub mod tables;
pub mod tails;
pub mod timer;
pub mod truncate;

pub use dispatch::{DispatchRecord, ScannedRecord};
pub use error::StoreError;
pub use queue_table::{QueueKey, QueueSlot, QueueTable};

/// Milliseconds since the Unix epoch, as store times are given.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
