//! Writes down how far everything is on disk, so that the next start reads little.
//!
//! Owns RocketMQ's `checkpoint` file and our `tails` snapshot. Nobody sends to it; it reads
//! published positions. A restart loses nothing.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Supervised};

use super::{index::IndexMarks, watermarks::Watermarks};
use crate::{
    actors::kernel::{ActorCell, Shutdown},
    config::Derived,
    store::{
        checkpoint::{Checkpoint, CheckpointFile},
        error::StoreError,
        fs::Fs,
        queue_table::QueueTable,
        tails::{Anchor, QueueTail, Tails, boot_id},
    },
};

/// The longest that writing may take before the watchdog counts it as stuck.
const WRITE_MAX: Duration = Duration::from_secs(60);

/// Store time (ms) between remembered hand-overs.
const MARK_EVERY_MS: i64 = 10;

/// Hand-overs that are remembered at most.
const MARKS_MAX: usize = 8192;

/// Places in the log where a hand-over ended, published by the dispatcher.
#[derive(Debug, Clone, Default)]
pub struct HandOverMarks(Arc<Mutex<VecDeque<Anchor>>>);

impl HandOverMarks {
    /// Remembers the end of a hand-over.
    pub fn push(&self, anchor: Anchor) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The newest always counts; of the others one every few milliseconds is enough.
        let before_last = marks.len().checked_sub(2).and_then(|at| marks.get(at));
        let near = before_last.is_some_and(|mark| {
            anchor.last_store_timestamp - mark.last_store_timestamp < MARK_EVERY_MS
        });
        if near || marks.len() >= MARKS_MAX {
            marks.pop_back();
        }
        marks.push_back(anchor);
    }

    /// The last hand-over that ended at or before `position`.
    fn last_before(&self, position: i64) -> Option<Anchor> {
        let marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = marks.partition_point(|mark| mark.log_end <= position);
        behind.checked_sub(1).and_then(|at| marks.get(at)).copied()
    }

    /// Forgets hand-overs that ended before the last one at or before `position`.
    fn forget_before(&self, position: i64) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = marks.partition_point(|mark| mark.log_end <= position);
        marks.drain(..behind.saturating_sub(1));
    }
}

/// What the checkpointer is made of.
#[derive(Clone)]
pub struct CheckpointParts {
    /// Positions of the log.
    pub watermarks: Watermarks,
    /// All queues.
    pub table: Arc<QueueTable>,
    /// Per shard: below this position of the log every entry is in a file.
    pub shards: Vec<Arc<AtomicI64>>,
    /// Positions of the index; `None` while there is no index.
    pub index: Option<Arc<IndexMarks>>,
    /// Where hand-overs ended.
    pub marks: HandOverMarks,
    /// RocketMQ's file.
    pub checkpoint: Arc<CheckpointFile>,
    /// The page that is on disk.
    pub page: Checkpoint,
    /// The file system.
    pub fs: Fs,
    /// The store's root.
    pub root: PathBuf,
    /// Our file.
    pub tails_path: PathBuf,
    /// How often both files are written while the log grows (`tailsIntervalMs`).
    pub write_every: Duration,
    /// How often queue and index files are synced.
    pub sync_every: Derived<Duration>,
}

impl CheckpointParts {
    /// Below this position of the log queues and index are in their files: that survives a process.
    fn complete(&self) -> i64 {
        let queues = self.shards.iter().map(|mark| mark.load(Ordering::Acquire));
        let index = self
            .index
            .iter()
            .map(|marks| marks.taken.load(Ordering::Acquire));
        queues.chain(index).min().unwrap_or(0)
    }
}

/// The actor; see the module.
pub struct Checkpointer {
    cell: Arc<ActorCell>,
    parts: CheckpointParts,
    written_upto: i64,
    /// Below this position queues and index survive a power loss.
    synced: i64,
    /// See [`Self::index_time`], as of the last sync.
    index_time: Option<i64>,
    last_sync: Instant,
}

impl Checkpointer {
    /// State for a first start and for every restart.
    pub fn recover(cell: Arc<ActorCell>, parts: CheckpointParts) -> Self {
        Self {
            cell,
            parts,
            written_upto: -1,
            synced: 0,
            index_time: None,
            last_sync: Instant::now(),
        }
    }

    /// Writes both files if there is anything new to say.
    fn write(&mut self) {
        let complete = self.parts.complete();
        let Some(anchor) = self.parts.marks.last_before(complete) else {
            return;
        };
        if anchor.log_end == self.written_upto {
            return;
        }
        if self.last_sync.elapsed() >= **self.parts.sync_every.load() {
            self.sync();
        }
        let page = self.next_page();
        let cell = Arc::clone(&self.cell);
        match cell.blocking(WRITE_MAX, || self.save(anchor, page)) {
            Ok(()) => {
                self.written_upto = anchor.log_end;
                self.parts.page = page;
            }
            Err(error) => {
                log::warn!("{} cannot write: {error}", self.cell.path());
                self.cell.set_last_error(&error.to_string());
            }
        }
    }

    /// Makes queue and index files survive a power loss: one call for all of them, for there may be
    /// many thousands.
    fn sync(&mut self) {
        self.last_sync = Instant::now();
        let complete = self.parts.complete();
        let index_time = self.index_time();
        let (fs, root) = (&self.parts.fs, &self.parts.root);
        match self.cell.blocking(WRITE_MAX, || fs.sync_all(root)) {
            Ok(()) => (self.synced, self.index_time) = (complete, index_time),
            Err(error) => {
                log::warn!("{} cannot sync: {error}", self.cell.path());
                self.cell.set_last_error(&error.to_string());
            }
        }
    }

    /// The store time (ms) that a Java broker which starts after a crash keeps index files up to: it removes
    /// the others whole and reads the log from there on. So nothing of the file that is being filled may be
    /// in it (`IndexService.flush`).
    fn index_time(&self) -> Option<i64> {
        let marks = self.parts.index.as_ref()?;
        let finished = marks.finished.load(Ordering::Acquire);
        let told = self.parts.page.index_msg_timestamp;
        // What it was finished by may have been deleted with the log since.
        let is_finished = told <= marks.begun.load(Ordering::Acquire);
        Some(if is_finished {
            finished.max(told)
        } else {
            finished
        })
    }

    fn next_page(&self) -> Checkpoint {
        let safe = self.synced.min(self.parts.watermarks.flushed());
        let time = self
            .parts
            .marks
            .last_before(safe)
            .map_or(0, |mark| mark.last_store_timestamp);
        self.parts.marks.forget_before(safe);
        let page = &self.parts.page;
        Checkpoint {
            physic_msg_timestamp: self.parts.watermarks.log().flushed_timestamp(),
            logics_msg_timestamp: time.max(page.logics_msg_timestamp),
            index_msg_timestamp: self.index_time.unwrap_or(page.index_msg_timestamp),
            ..*page
        }
    }

    /// The snapshot first: it names the page before and the page after, so it fits both.
    fn save(&self, anchor: Anchor, page: Checkpoint) -> Result<(), StoreError> {
        let slots = self.parts.table.slots();
        let queues = slots.iter().map(|slot| QueueTail {
            topic: slot.key.topic.to_string(),
            queue_id: slot.key.queue_id,
            // Records behind the anchor are found in the log: those that wait for slaves, too.
            next_offset: slot.readable_end(),
            last_physical_offset: slot.last_physical(),
        });
        let tails = Tails {
            anchor,
            boot_id: boot_id(),
            checkpoints: vec![self.parts.page, page],
            queues: queues.collect(),
        };
        tails.save(&self.parts.fs, &self.parts.tails_path)?;
        self.parts.checkpoint.save(&page)
    }
}

impl Actor for Checkpointer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // What this start had to read, the next one need not read again, however soon this broker is
        // killed. A start that read nothing has no mark, and writes nothing.
        self.write();
        ctx.run_interval(self.parts.write_every, |actor, _| actor.write());
    }
}

impl Supervised for Checkpointer {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

impl Handler<Shutdown> for Checkpointer {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.sync();
        self.write();
        ctx.stop();
    }
}

crate::crashable!(Checkpointer);
