//! Compaction topics: of the messages with one key the last is kept, for longer than the commit log.
//!
//! Each queue of such a topic has a log of its own, with whole records one behind the other, and a queue of
//! entries that tells where they lie:
//!
//! ```text
//! compaction/
//!   position-checkpoint                           how far each queue was compacted ([`position`])
//!   compactionLog/TOPIC/QUEUEID/00000000000000000000    records
//!   compactionLog/TOPIC/QUEUEID/compacting/             what a compaction is writing
//!   compactionCq/TOPIC/QUEUEID/00000000000000000000     entries of 46 bytes ([`entry`])
//!   compactionCq/TOPIC/QUEUEID/compacting/
//! ```
//!
//! A file of entries has the name of the file of records that it belongs to. All have their full length from
//! the start and are sparse (RocketMQ refuses any other length). Records keep their queue offsets, so that a
//! compacted queue has gaps. Every message of the topic is copied in ([`CompactionFiles::append`]); a
//! [`Compaction`] reads all files but the one that is written, writes what remains into new ones, and
//! puts them in the place of the old.
//!
//! The records are the truth: entries that do not fit them are made anew.
//!
//! The rules come from RocketMQ's `CompactionLog`, `CompactionStore` and `SparseConsumeQueue`. What differs: a
//! record keeps its place in the commit log (RocketMQ writes the one in the compaction log, by which clients
//! then ask for another message), and a map of keys that is full ends a compaction early instead of for ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::entry::ENTRY_LEN;
use super::{consume_queue::is_plain_name, error::StoreError, fs::Fs};
use crate::protocol::message::record::BLANK_LEN;

pub mod entry;
mod files;
pub mod get;
mod heal;
mod job;
mod load;
mod offset_map;
pub mod position;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use self::{
    entry::CompactionEntry,
    files::{Check, CompactionFiles},
    job::{Compaction, Outcome},
    reader::Place,
    writer::Item,
};

/// Name of the directory of all that below the store's root.
const DIR: &str = "compaction";

/// Name of the directory, within that of a queue, that a compaction writes into.
const COMPACTING: &str = "compacting";

/// Name of the directory, within that of a queue, that a Java slave copies its master's records into.
const REPLICATING: &str = "replicating";

/// Ends the name of a file whose place another one takes.
const DELETE_SUFFIX: &str = ".delete";

/// Where the files live, and how long they are; shared by all queues.
#[derive(Debug)]
pub struct CompactionHome {
    fs: Fs,
    root: PathBuf,
    /// Directory for what may not stay in its place and is not removed.
    aside: PathBuf,
    log_len: u64,
    cq_len: u64,
}

impl CompactionHome {
    /// `root` is the store's root and `own_dir` the directory of the files that RocketMQ does not know; the
    /// lengths are `compactionMappedFileSize` and `compactionCqMappedFileSize`.
    ///
    /// RocketMQ cuts the second to whole entries and makes the first a multiple of it, of at least five
    /// (`CompactionLog.getCompactionLogSize`); we let a file have room for two entries and its end at least.
    pub fn new(fs: Fs, root: &Path, own_dir: &Path, log_len: u64, cq_len: u64) -> Arc<Self> {
        let unit = ENTRY_LEN as u64;
        let cq_len = (cq_len / unit).max(3) * unit;
        let (whole, rest) = (log_len / cq_len, log_len % cq_len);
        let times = match whole {
            0..5 => 5,
            _ if rest > 0 && rest < cq_len / 2 => whole,
            _ => whole + 1,
        };
        Arc::new(Self {
            fs,
            root: root.join(DIR),
            aside: own_dir.join("compaction-aside"),
            log_len: times * cq_len,
            cq_len,
        })
    }

    /// Bytes of a file of records.
    pub fn log_len(&self) -> u64 {
        self.log_len
    }

    /// Bytes of a file of entries.
    pub fn cq_len(&self) -> u64 {
        self.cq_len
    }

    /// Bytes of the longest record that fits.
    pub fn record_len_max(&self) -> u64 {
        self.log_len - BLANK_LEN as u64
    }

    /// The file that tells how far each queue was compacted.
    pub fn position_path(&self) -> PathBuf {
        self.root.join(position::FILE_NAME)
    }

    fn log_dir(&self, topic: &str, queue_id: i32) -> PathBuf {
        let topics = self.root.join("compactionLog");
        topics.join(topic).join(queue_id.to_string())
    }

    fn cq_dir(&self, topic: &str, queue_id: i32) -> PathBuf {
        let topics = self.root.join("compactionCq");
        topics.join(topic).join(queue_id.to_string())
    }

    /// Removes all files of a queue.
    ///
    /// # Errors
    /// From the file system.
    pub fn remove_queue(&self, topic: &str, queue_id: i32) -> Result<(), StoreError> {
        // The records last: while they are there, this is done again.
        for dir in [self.cq_dir(topic, queue_id), self.log_dir(topic, queue_id)] {
            (self.fs.remove_dir_all(&dir)).map_err(|e| StoreError::io("remove", &dir, e))?;
        }
        Ok(())
    }

    /// Removes all files of a topic.
    ///
    /// # Errors
    /// From the file system.
    pub fn remove_topic(&self, topic: &str) -> Result<(), StoreError> {
        if !is_plain_name(topic) {
            return Ok(());
        }
        for kind in ["compactionLog", "compactionCq"] {
            let dir = self.root.join(kind).join(topic);
            (self.fs.remove_dir_all(&dir)).map_err(|e| StoreError::io("remove", &dir, e))?;
        }
        Ok(())
    }

    /// Moves the files of a queue out of the way, to where they serve nobody and are not lost; returns where
    /// that is. `now_ms` makes the name one of its own.
    ///
    /// # Errors
    /// From the file system.
    pub fn set_aside(
        &self,
        topic: &str,
        queue_id: i32,
        now_ms: i64,
    ) -> Result<PathBuf, StoreError> {
        let to = self.aside.join(format!("{topic}-{queue_id}-{now_ms}"));
        (self.fs.create_dir_all(&to)).map_err(|e| StoreError::io("create", &to, e))?;
        // The records last: while they are there, this is done again.
        for (from, name) in [
            (self.cq_dir(topic, queue_id), "cq"),
            (self.log_dir(topic, queue_id), "log"),
        ] {
            if self.fs.exists(&from) {
                (self.fs.rename(&from, &to.join(name)))
                    .map_err(|e| StoreError::io("rename", &from, e))?;
            }
        }
        Ok(to)
    }
}
