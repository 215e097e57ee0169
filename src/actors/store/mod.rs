//! The store's actors: who appends, flushes, waits, hands over, serves and deletes.

pub mod acks;
pub mod append;
pub mod arrivals;
pub mod checkpoint;
pub mod cold_reader;
pub mod commit_log_writer;
pub mod compaction;
pub mod dispatcher;
pub mod far_reader;
pub mod flush;
pub mod index;
pub mod pull;
pub mod queue;
pub mod queues;
pub mod replicas;
pub mod rescan;
pub mod retention;
pub mod shard;
pub mod start;
pub mod watermarks;
