//! The consume queue: for each topic queue the places of its messages in the commit log, in order.
//!
//! A queue is a run of files of equal size below `consumequeue/TOPIC/QUEUEID/`, each named after
//! the position of its first byte in the run (20 digits), holding 20-byte entries ([`Entry`]).
//! Files have their full length from the start (RocketMQ refuses any other length) and are sparse;
//! what was never written reads as zeros, which is how the end of a queue is found again.
//!
//! A [`ConsumeQueue`] is owned by one actor and needs no locks. Its faces:
//!
//! * `writer`: [`append`](ConsumeQueue::append) takes entries into memory,
//!   [`flush`](ConsumeQueue::flush) writes them in one run, [`sync`](ConsumeQueue::sync) makes them durable;
//! * `reader`: [`get`](ConsumeQueue::get) and the search by store time, memory first, then positioned reads;
//! * `recovery`: finds the end of a queue after a restart;
//! * `retention`: cuts either end when the commit log was cut there;
//! * `extension`: what entries have beside them with `enableConsumeQueueExt`.
//!
//! A topic with `queue.type=BatchCQ` has queues of another kind, [`BatchConsumeQueue`], below
//! `batchconsumequeue/`: their units are larger and tell their offsets ([`BatchUnit`]). What has to do
//! with files is the same for both (`ConsumeQueue<U>`); a [`TopicQueue`] is either.
//!
//! The log is the truth and a queue can be built again from it: so a queue is idempotent (it drops
//! entries that it has) and tells of gaps instead of filling them.
//!
//! The rules come from RocketMQ's `ConsumeQueue` and `MappedFileQueue`.

use std::{
    fmt,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

pub use self::{
    batch::{BatchConsumeQueue, MIN_OFFSET_BEFORE_BATCHES},
    batch_unit::{BATCH_UNIT_LEN, BatchUnit},
    either::{QueueFileSizes, QueueHomes, TopicQueue},
    entry::{ENTRY_LEN, Entry},
    extension::{Extension, ExtensionsHome, is_address},
    files::ColdPiece,
    reader::Boundary,
    recovery::{list_queues, list_queues_of},
    unit::Unit,
};
use self::{
    extension::Extensions,
    files::{FileRun, Holds},
};
use super::{error::StoreError, fs::Fs};
use crate::protocol::Str;

mod batch;
#[cfg(test)]
mod batch_tests;
mod batch_unit;
mod either;
mod entry;
mod extension;
mod files;
mod reader;
mod recovery;
mod retention;
#[cfg(test)]
mod tests;
mod unit;
mod writer;

/// RocketMQ's default of `mappedFileSizeConsumeQueue`: 300,000 entries.
pub const DEFAULT_FILE_SIZE: u64 = 300_000 * ENTRY_LEN as u64;

/// Unwritten bytes from which [`ConsumeQueue::needs_flush`] asks for a write.
pub const FLUSH_RUN_LEN: usize = 4096;

/// What a power loss leaves or takes as a whole.
const PAGE_LEN: u64 = 4096;

/// Written units that stay in memory for consumers at the tail.
const CACHED_TAIL_UNITS: usize = 128;

/// What can go wrong with a consume queue.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeQueueError {
    /// Entries between the queue's end and the appended ones are missing: read them from the log.
    #[error("{queue}: next queue offset is {expected}, got {got}")]
    Gap {
        /// The queue.
        queue: String,
        /// The queue offset that the queue needs next.
        expected: i64,
        /// The queue offset that was offered.
        got: i64,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where all consume queues of a store live; shared by them.
#[derive(Debug)]
pub struct QueueHome {
    fs: Fs,
    root: PathBuf,
    file_size: u64,
    /// The key of the configuration that says the same.
    file_size_key: &'static str,
    /// Where extensions of entries are kept, if they are.
    extensions: Option<ExtensionsHome>,
    /// Queue files that are open, and how many may stay open while nobody uses them.
    open_files: Arc<AtomicUsize>,
    open_files_max: AtomicUsize,
}

impl QueueHome {
    /// `root` is the directory `consumequeue`; `file_size` is rounded up to whole entries.
    pub fn new(fs: Fs, root: impl Into<PathBuf>, file_size: u64) -> Arc<Self> {
        Self::with_extensions(fs, root, file_size, None)
    }

    /// As [`new`](Self::new); entries may have extensions (`enableConsumeQueueExt`).
    pub fn with_extensions(
        fs: Fs,
        root: impl Into<PathBuf>,
        file_size: u64,
        extensions: Option<ExtensionsHome>,
    ) -> Arc<Self> {
        Self::of_units::<Entry>(fs, root, file_size, extensions, Arc::default())
    }

    /// Where the queues of batches live: `root` is the directory `batchconsumequeue`.
    pub fn of_batches(fs: Fs, root: impl Into<PathBuf>, file_size: u64) -> Arc<Self> {
        Self::of_units::<BatchUnit>(fs, root, file_size, None, Arc::default())
    }

    fn of_units<U: Unit>(
        fs: Fs,
        root: impl Into<PathBuf>,
        file_size: u64,
        extensions: Option<ExtensionsHome>,
        open_files: Arc<AtomicUsize>,
    ) -> Arc<Self> {
        let unit = U::LEN as u64;
        Arc::new(Self {
            fs,
            root: root.into(),
            file_size: file_size.div_ceil(unit).max(1) * unit,
            file_size_key: U::FILE_SIZE_KEY,
            extensions,
            open_files,
            open_files_max: AtomicUsize::new(usize::MAX),
        })
    }

    /// Bounds the files that stay open between two uses: there may be more queues than a process may
    /// open files. Queues that come later open theirs for each use, which for a busy one is once a run.
    pub fn set_open_files_max(&self, max: usize) {
        self.open_files_max.store(max, Ordering::Relaxed);
    }

    /// The directory that holds a directory for each topic.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether entries have extensions.
    pub fn keeps_extensions(&self) -> bool {
        self.extensions.is_some()
    }

    /// Length of each file in bytes.
    pub fn file_size(&self) -> u64 {
        self.file_size
    }

    /// The topics that have a directory.
    ///
    /// # Errors
    /// From the file system.
    pub fn topics(&self) -> Result<Vec<Str>, StoreError> {
        let names = recovery::list_dirs(self.fs.as_ref(), &self.root)?;
        Ok(names.map(Str::from).collect())
    }

    /// Whether a topic has a directory.
    pub fn has_topic(&self, topic: &str) -> bool {
        is_plain_name(topic) && self.fs.exists(&self.root.join(topic))
    }

    /// Removes the files of one queue, which nobody has open, and the topic's directory with its last one.
    ///
    /// # Errors
    /// From the file system.
    pub fn remove_queue(&self, topic: &str, queue_id: i32) -> Result<(), StoreError> {
        if !is_plain_name(topic) {
            return Ok(());
        }
        self.remove_below_roots(&Path::new(topic).join(queue_id.to_string()))?;
        for root in self.roots() {
            let dir = root.join(topic);
            let others = self.fs.read_dir(&dir);
            if others
                .map_err(|e| StoreError::io("list", &dir, e))?
                .is_empty()
            {
                self.remove_dir(&dir)?;
            }
        }
        Ok(())
    }

    /// Removes all files of a topic, also those of queues that nobody knows.
    ///
    /// # Errors
    /// From the file system.
    pub fn remove_topic(&self, topic: &str) -> Result<(), StoreError> {
        if !is_plain_name(topic) {
            return Ok(());
        }
        self.remove_below_roots(Path::new(topic))
    }

    /// Removes a directory of entries and that of their extensions.
    fn remove_below_roots(&self, own: &Path) -> Result<(), StoreError> {
        let mut roots = self.roots();
        roots.try_for_each(|root| self.remove_dir(&root.join(own)))
    }

    /// Where extensions live, and then entries.
    fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        let extensions = self.extensions.iter().map(|home| &home.root);
        extensions.chain([&self.root])
    }

    fn remove_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.fs
            .remove_dir_all(dir)
            .map_err(|e| StoreError::io("remove", dir, e))
    }
}

/// End of a queue as remembered elsewhere (the `tails` snapshot), for [`ConsumeQueue::resume`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueTail {
    /// Queue offset of the next message.
    pub max_offset: i64,
    /// End of the newest message in the commit log, -1 if there is none.
    pub last_physical: i64,
}

/// One topic queue's entries. Positions inside are bytes in the run of files; the public methods
/// speak of queue offsets (entries). With other units it is the files of a [`BatchConsumeQueue`].
pub struct ConsumeQueue<U: Unit = Entry> {
    files: FileRun,
    /// Position of the oldest entry whose message the commit log still holds.
    min: u64,
    /// Position after the newest entry, in memory or on disk.
    end: u64,
    /// The file holds what lies below this position. Below the start of `tail` only in a queue that
    /// starts inside a file: the next flush fills the space between with blanks.
    written: u64,
    /// What lies below this position survives a power loss.
    synced: u64,
    /// End of the newest message in the commit log; -1 in a queue without entries.
    last_physical: i64,
    /// Physical offset of the entry at `min`; -1 when not known.
    min_physical: i64,
    /// The newest entries, encoded; the last byte lies before `end`.
    tail: Vec<u8>,
    /// The extensions of its entries, where they are kept.
    extensions: Option<Box<Extensions>>,
    units: PhantomData<fn() -> U>,
}

/// Whether a topic's name can be that of a directory.
pub(super) fn is_plain_name(topic: &str) -> bool {
    !topic.is_empty() && topic != "." && topic != ".." && !topic.contains(['/', '\0'])
}

impl<U: Unit> ConsumeQueue<U> {
    fn empty(home: Arc<QueueHome>, topic: Str, queue_id: i32) -> Result<Self, StoreError> {
        if !is_plain_name(&topic) || queue_id < 0 {
            let what = format!("queue {topic:?}/{queue_id} has no directory name");
            return Err(StoreError::invalid(what));
        }
        let extensions = Extensions::new(&home, &topic, queue_id).map(Box::new);
        Ok(Self {
            files: FileRun::empty(home, Holds::Entries, topic, queue_id),
            min: 0,
            end: 0,
            written: 0,
            synced: 0,
            last_physical: -1,
            min_physical: -1,
            tail: Vec::new(),
            extensions,
            units: PhantomData,
        })
    }

    /// Topic of this queue.
    pub fn topic(&self) -> &Str {
        &self.files.topic
    }

    /// Number of this queue in its topic.
    pub fn queue_id(&self) -> i32 {
        self.files.queue_id
    }

    /// End of the newest message in the commit log, -1 if there is none.
    pub fn last_physical_offset(&self) -> i64 {
        self.last_physical
    }

    /// Bytes of disk that the files claim (they may be sparse).
    pub fn total_file_size(&self) -> u64 {
        self.files.end - self.files.first
    }

    /// Closes the files and forgets what is in memory and on disk. A queue that is not used costs
    /// no file handle and some hundred bytes; everything still works and opens files again.
    pub fn close_files(&mut self) {
        self.files.close();
        if let Some(extensions) = &mut self.extensions {
            extensions.close();
        }
        if self.written == self.end {
            self.tail = Vec::new();
        }
    }

    /// Closes the files that may not stay open, see [`QueueHome::set_open_files_max`].
    pub fn close_surplus(&mut self) {
        self.files.close_surplus();
        if let Some(extensions) = &mut self.extensions {
            extensions.close_surplus();
        }
    }

    /// Whether a file is open.
    pub fn has_open_files(&self) -> bool {
        self.files.is_open() || self.extensions.as_ref().is_some_and(|own| own.is_open())
    }

    /// The extensions of the entries, where they are kept. Those that cannot be used are as good as lost.
    fn extensions(&mut self) -> Option<&mut Extensions> {
        if self.extensions.as_ref().is_some_and(|own| !own.is_loaded()) {
            let has_entries = self.last_physical >= 0 && self.end > self.files.first;
            let last = has_entries.then(|| self.entry_at(self.end - U::LEN as u64));
            let loaded = last.transpose().and_then(|last| {
                let last = last.map(|unit| unit.entry().tags_code);
                self.extensions
                    .as_mut()
                    .map_or(Ok(()), |own| own.load(last))
            });
            if let Err(error) = loaded {
                log::error!("{} has no extensions: {error}", self.name());
                self.extensions = None;
            }
        }
        self.extensions.as_deref_mut()
    }

    /// As [`extensions`](Self::extensions), if they were used.
    fn loaded_extensions(&mut self) -> Option<&mut Extensions> {
        self.extensions.as_deref_mut().filter(|own| own.is_loaded())
    }

    /// Position of the first entry in memory.
    fn tail_start(&self) -> u64 {
        self.end - self.tail.len() as u64
    }

    fn name(&self) -> String {
        self.files.name()
    }
}

impl ConsumeQueue {
    /// Queue offset of the oldest message that can be read; equals [`max_offset`](Self::max_offset)
    /// when there is none.
    pub fn min_offset(&self) -> i64 {
        (self.min / ENTRY_LEN as u64) as i64
    }

    /// Queue offset of the next message.
    pub fn max_offset(&self) -> i64 {
        (self.end / ENTRY_LEN as u64) as i64
    }

    /// What [`resume`](Self::resume) needs after a restart.
    pub fn queue_tail(&self) -> QueueTail {
        QueueTail {
            max_offset: self.max_offset(),
            last_physical: self.last_physical,
        }
    }
}

impl<U: Unit> fmt::Debug for ConsumeQueue<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumeQueue")
            .field("queue", &self.name())
            .field("min", &(self.min / U::LEN as u64))
            .field("end", &(self.end / U::LEN as u64))
            .field("last_physical", &self.last_physical)
            .finish_non_exhaustive()
    }
}
