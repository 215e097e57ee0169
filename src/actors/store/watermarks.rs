//! How far the log is written, on disk, copied, and therefore visible.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use tokio::sync::Notify;

use super::replicas::Replicas;
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
/// Appended and flushed live in the log's reader, what slaves hold in [`Replicas`].
#[derive(Debug, Clone)]
pub struct Watermarks {
    log: CommitLogReader,
    when: VisibleWhen,
    replicas: Replicas,
    /// On a slave: behind the last whole record that was handed on. `i64::MAX` on a master.
    whole: Arc<AtomicI64>,
    dispatched: Arc<AtomicI64>,
    flush_moved: Arc<Notify>,
    refuse_writes: Arc<AtomicBool>,
    disk_full: Arc<AtomicBool>,
}

impl Watermarks {
    /// Watermarks of a log without slaves. What was handed over before its start counts as copied.
    pub fn new(log: CommitLogReader, when: VisibleWhen, handed_over: i64) -> Self {
        let replicas = Replicas::new(handed_over);
        Self {
            log,
            when,
            replicas,
            whole: Arc::new(AtomicI64::new(i64::MAX)),
            dispatched: Arc::new(AtomicI64::new(handed_over)),
            flush_moved: Arc::default(),
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

    /// The slaves of this log.
    pub fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    /// The highest position that at least `slaves` slaves hold.
    pub fn replicated(&self, slaves: usize) -> i64 {
        self.replicas.held_by(slaves)
    }

    /// On a slave: behind the last whole record; the log may end inside the next one.
    pub fn whole(&self) -> i64 {
        self.whole.load(Ordering::Acquire).min(self.appended())
    }

    /// Publishes the end of the last whole record; only for a slave's writer.
    pub fn set_whole(&self, end: i64) {
        self.whole.store(end, Ordering::Release);
    }

    /// Up to where queues and index were handed what is visible.
    pub fn dispatched(&self) -> i64 {
        self.dispatched.load(Ordering::Acquire)
    }

    /// Publishes that mark; only for the dispatcher.
    pub fn set_dispatched(&self, end: i64) {
        self.dispatched.store(end, Ordering::Release);
    }

    /// Tells a follower, and slaves of this log, that more is on disk.
    pub fn tell_flush_moved(&self) {
        self.flush_moved.notify_one();
        self.replicas.wake();
    }

    /// Comes back when more is on disk since the last call, or is.
    pub async fn flush_moved(&self) {
        self.flush_moved.notified().await;
    }

    /// Up to where consumers may read: a pure function of the other marks.
    pub fn visible(&self) -> i64 {
        let mut visible = self.whole();
        if self.when.flushed {
            visible = visible.min(self.flushed());
        }
        if self.when.slaves > 0 {
            visible = visible.min(self.replicated(self.when.slaves));
        }
        visible
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
