//! How far the log is written, on disk, copied, and therefore visible.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use arc_swap::ArcSwap;

use crate::store::commit_log::CommitLogReader;

/// What has to have happened to a record before anybody may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisibleWhen {
    /// SYNC_FLUSH without `readUnCommitted`: it is on disk.
    pub flushed: bool,
    /// SYNC_MASTER: so many slaves hold it (`inSyncReplicas` − 1).
    pub slaves: usize,
}

/// Positions in the log, each published by its owner and read by everybody.
///
/// Appended and flushed live in the log's reader; the slaves' acknowledgements live here, one per
/// slave, so that replication only has to write its own.
#[derive(Debug, Clone)]
pub struct Watermarks {
    log: CommitLogReader,
    when: VisibleWhen,
    slave_acks: Arc<ArcSwap<Vec<Arc<AtomicI64>>>>,
    refuse_writes: Arc<AtomicBool>,
    disk_full: Arc<AtomicBool>,
}

impl Watermarks {
    /// Watermarks of a log without slaves.
    pub fn new(log: CommitLogReader, when: VisibleWhen) -> Self {
        Self {
            log,
            when,
            slave_acks: Arc::default(),
            refuse_writes: Arc::default(),
            disk_full: Arc::default(),
        }
    }

    /// The reading side of the log.
    pub fn log(&self) -> &CommitLogReader {
        &self.log
    }

    /// Where the log ends.
    pub fn appended(&self) -> i64 {
        self.log.end()
    }

    /// Up to where the log is on disk.
    pub fn flushed(&self) -> i64 {
        self.log.flushed()
    }

    /// The highest position that at least `slaves` slaves hold.
    pub fn replicated(&self, slaves: usize) -> i64 {
        if slaves == 0 {
            return i64::MAX;
        }
        let acks = self.slave_acks.load();
        let mut held: Vec<i64> = acks.iter().map(|ack| ack.load(Ordering::Acquire)).collect();
        held.sort_unstable_by(|a, b| b.cmp(a));
        held.get(slaves - 1).copied().unwrap_or(0)
    }

    /// Up to where consumers may read: a pure function of the other marks.
    pub fn visible(&self) -> i64 {
        let mut visible = self.appended();
        if self.when.flushed {
            visible = visible.min(self.flushed());
        }
        if self.when.slaves > 0 {
            visible = visible.min(self.replicated(self.when.slaves));
        }
        visible
    }

    /// Whether a record becomes visible with its append.
    pub fn visible_at_once(&self) -> bool {
        !self.when.flushed && self.when.slaves == 0
    }

    /// The flush actor found the disk unreliable: nothing more is taken until the next start.
    pub fn refuse_writes(&self) {
        self.refuse_writes.store(true, Ordering::Release);
    }

    /// Whether the disk was found unreliable, so that it is neither written nor flushed any more.
    pub fn refuses_writes(&self) -> bool {
        self.refuse_writes.load(Ordering::Acquire)
    }

    /// Publishes whether the disk is so full that nothing more is stored; heals by itself.
    pub fn set_disk_full(&self, full: bool) {
        if self.disk_full.swap(full, Ordering::AcqRel) != full {
            log::warn!("the log's disk is full={full}");
        }
    }

    /// Whether the disk is too full to store anything.
    pub fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Acquire)
    }
}
