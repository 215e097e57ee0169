//! What the faces of one commit log share: its segments and its watermarks.
//!
//! Everything here is published in one step, so a panic in the writer or the flusher leaves nothing
//! torn: the segments by swapping a list, each watermark by one atomic store after what it promises
//! is true.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::{config::CommitLogConfig, segment::Segment};
use crate::store::{error::StoreError, fs::Fs};

/// The segments in order of their offsets, without gaps.
pub(super) type Segments = Vec<Arc<Segment>>;

/// A watermark on a cache line of its own: writer and flusher store, everyone loads.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Watermark(AtomicI64);

impl Watermark {
    pub(super) fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, value: i64) {
        self.0.store(value, Ordering::Release);
    }
}

/// The shared state of one commit log.
#[derive(Debug)]
pub(super) struct LogState {
    pub(super) fs: Fs,
    pub(super) config: CommitLogConfig,
    pub(super) segments: ArcSwap<Segments>,
    /// Byte after the last whole record (or after a closed segment).
    pub(super) end: Watermark,
    /// Bytes below this survive a power loss.
    pub(super) flushed: Watermark,
    /// First byte that was not deleted.
    pub(super) min: Watermark,
    /// Store time (ms) of the newest record below `end`.
    pub(super) end_timestamp: Watermark,
    /// Store time (ms) of the newest record known to be below `flushed`.
    pub(super) flushed_timestamp: Watermark,
    /// Bytes from `end` to here may hold remains of a failed write (when above `end`).
    pub(super) unclean_until: Watermark,
    /// An fsync failed for good: no writing until the next start.
    pub(super) poisoned: AtomicBool,
    /// The segment that was made ahead of time.
    prepared: Mutex<Option<Arc<Segment>>>,
}

impl LogState {
    pub(super) fn new(fs: &Fs, config: CommitLogConfig, segments: Segments) -> Arc<Self> {
        let min = segments.first().map_or(0, |s| s.start());
        let state = Self {
            fs: fs.clone(),
            config,
            segments: ArcSwap::from_pointee(segments),
            end: Watermark::default(),
            flushed: Watermark::default(),
            min: Watermark::default(),
            end_timestamp: Watermark::default(),
            flushed_timestamp: Watermark::default(),
            unclean_until: Watermark::default(),
            poisoned: AtomicBool::new(false),
            prepared: Mutex::new(None),
        };
        state.min.set(min);
        Arc::new(state)
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// The prepared segment; locked while one is being made, so that the writer does not make the
    /// same file at the same time.
    pub(super) fn prepared(&self) -> MutexGuard<'_, Option<Arc<Segment>>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory of the segment that starts at `start`: the directories take turns.
    pub(super) fn dir_of(&self, start: i64) -> Result<&Path, StoreError> {
        let number = start as u64 / self.config.segment_len;
        let dirs = &self.config.dirs;
        let index = number % (dirs.len().max(1) as u64);
        dirs.get(index as usize)
            .map(|dir| dir.as_path())
            .ok_or_else(|| StoreError::invalid("a commit log without a directory"))
    }

    /// Makes the segment that starts at `start`.
    pub(super) fn create_segment(&self, start: i64) -> Result<Arc<Segment>, StoreError> {
        Segment::create(
            &self.fs,
            self.dir_of(start)?,
            start,
            self.config.segment_len,
        )
    }

    /// Adds a segment behind the last one.
    pub(super) fn push_segment(&self, segment: &Arc<Segment>) {
        self.segments.rcu(|segments| {
            let mut more = Segments::clone(segments);
            more.push(segment.clone());
            more
        });
    }
}

/// The segment that holds a physical offset.
pub(super) fn find(segments: &[Arc<Segment>], offset: i64) -> Option<&Arc<Segment>> {
    let last = segments.last()?;
    if offset >= last.start() {
        return (offset < last.end()).then_some(last);
    }
    let after = segments.partition_point(|s| s.start() <= offset);
    let found = segments.get(after.checked_sub(1)?)?;
    (offset < found.end()).then_some(found)
}
