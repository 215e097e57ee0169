//! The commit log: every message of every topic, one after the other, in files of equal size.
//!
//! ```text
//! commitlog/00000000000000000000            commitlog/00000000001073741824
//! +--------+-----+----------+-------------+ +--------+----------+- - - - -
//! | record | rec | record   | blank ..... | | record | record   | zeros ...
//! +--------+-----+----------+-------------+ +--------+----------+- - - - -
//! 0                                    segment_len              ^ end
//! ```
//!
//! A file (here: segment) is named by the physical offset of its first byte in 20 digits. It has its
//! full length from the start and is sparse beyond the end. A record never crosses a segment's end:
//! where its length + 8 bytes do not fit any more, a blank of 8 bytes (the space left, and a magic
//! number of its own) closes the segment, the rest of which is not written.
//!
//! The faces, each for its own thread:
//!
//! * [`CommitLogWriter`] alone appends and publishes the end.
//! * [`Flusher`] makes published bytes durable and publishes how far.
//! * [`Preparer`] makes the next segment ahead of time.
//! * [`RecordCutter`] finds the records in a master's bytes, on a slave.
//! * [`CommitLogReader`] is cheap to clone and gives slices of what is published.
//! * [`ColdBlocksReader`] reads what lies far back past the page cache, [`ColdBlocks`] gives slices of that.
//! * `recovery` decides at a start what the log contains; [`Scan`] walks its records.

mod cold_blocks;
mod config;
mod cutter;
mod flusher;
mod prepare;
mod reader;
mod recovery;
mod report;
mod retention;
mod scan;
mod segment;
mod state;
mod tail;
mod writer;

pub use cold_blocks::{BLOCK_LEN, ColdBlocks, ColdBlocksReader};
pub use config::{CommitLogConfig, DelayLevels, DispatchRules, Preallocation};
pub use cutter::{RecordCutter, pieces_between};
pub use flusher::Flusher;
pub use prepare::Preparer;
pub use reader::{CommitLogReader, Range};
pub use report::{Damage, RecoverFrom, RecoveryMode, RecoveryReport, TornTail};
pub use retention::SegmentInfo;
pub use scan::Scan;
pub use writer::{AppendError, AppendUnit, CommitLogWriter, Pending};

#[cfg(test)]
pub(super) mod testing;
