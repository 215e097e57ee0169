//! The key index: which messages have a key.
//!
//! Owns the index files. The dispatcher sends keys, request processors ask. A restart opens the
//! files again and reads from the log what they lack.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use actix::{Actor, ActorContext, Context, Handler, Message, Supervised};
use smallvec::SmallVec;

use super::{dispatcher::Dispatched, rescan::Rescan, watermarks::Watermarks};
use crate::{
    actors::kernel::{ActorCell, Shutdown},
    store::{error::StoreError, index::IndexService, queue_table::QueueTable},
};

/// The longest that writing index files may take before the watchdog counts it as stuck.
const WRITE_MAX: Duration = Duration::from_secs(60);

/// Keys of visible records, in log order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PutKeys {
    /// The records that have keys.
    pub records: Vec<IndexedRecord>,
    /// The log's position before these records.
    pub start: i64,
    /// The log is handed over up to here.
    pub end: i64,
}

/// A record with its keys.
#[derive(Debug, Clone)]
pub struct IndexedRecord {
    /// Where the record is.
    pub physical_offset: i64,
    /// When it was stored, ms.
    pub store_timestamp: i64,
    /// Hashes of its keys.
    pub keys: SmallVec<[i32; 4]>,
}

/// Asks for messages by key.
#[derive(Debug, Message)]
#[rtype(result = "Found")]
pub struct FindKey {
    /// Hash of `topic#key`.
    pub hash: i32,
    /// Most messages wanted.
    pub max: usize,
    /// First store time wanted, ms.
    pub begin: i64,
    /// Last store time wanted, ms.
    pub end: i64,
}

/// What was found for a key.
#[derive(Debug, Default, actix::MessageResponse)]
pub struct Found {
    /// Physical offsets, newest first.
    pub offsets: Vec<i64>,
    /// Store time of the newest indexed message, ms.
    pub last_timestamp: i64,
    /// Physical offset of the newest indexed message.
    pub last_physical: i64,
}

/// The log was cut at its old end.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CutIndex {
    /// First offset of the log.
    pub log_min: i64,
}

/// Positions that the index publishes.
#[derive(Debug, Default)]
pub struct IndexMarks {
    /// Below this position of the log everything is in the index files: that survives a process.
    pub taken: AtomicI64,
    /// Store time (ms) of the last message in the files but the newest, which is being filled.
    pub finished: AtomicI64,
    /// Store time (ms) of the first message in the newest file.
    pub begun: AtomicI64,
}

/// What the index is made of.
#[derive(Clone)]
pub struct IndexParts {
    /// Opens the index files.
    pub open: Arc<dyn Fn() -> Result<IndexService, StoreError> + Send + Sync>,
    /// Published positions.
    pub marks: Arc<IndexMarks>,
    /// Visible end.
    pub watermarks: Watermarks,
    /// Reads the log again.
    pub rescan: Rescan,
    /// All queues, for reading the log again.
    pub table: Arc<QueueTable>,
}

/// The actor; see the module.
pub struct IndexActor {
    cell: Arc<ActorCell>,
    parts: IndexParts,
    files: Option<IndexService>,
}

impl IndexActor {
    /// State for a first start (with the files that recovery used) and for every restart.
    pub fn recover(cell: Arc<ActorCell>, parts: IndexParts, files: Option<IndexService>) -> Self {
        let mut actor = Self { cell, parts, files };
        actor.files();
        actor.publish_times();
        actor
    }

    fn publish_times(&self) {
        let Some(files) = &self.files else { return };
        let (finished, begun) = files.finished_and_begun();
        let marks = &self.parts.marks;
        marks.finished.store(finished, Ordering::Release);
        marks.begun.store(begun, Ordering::Release);
    }

    fn files(&mut self) -> Option<&mut IndexService> {
        if self.files.is_none() {
            match (self.parts.open)() {
                Ok(files) => self.files = Some(files),
                Err(error) => self.report(&error),
            }
        }
        self.files.as_mut()
    }

    fn report(&self, error: &StoreError) {
        log::error!("{} cannot use its files: {error}", self.cell.path());
        self.cell.set_last_error(&error.to_string());
    }

    /// Whether the record is in the files now. If not (the disk is full), everything behind it has
    /// to wait, for the files take records in log order only.
    fn put(&mut self, record: &IndexedRecord) -> bool {
        let Some(files) = self.files() else {
            return false;
        };
        let (at, time) = (record.physical_offset, record.store_timestamp);
        match files.put_record(at, time, &record.keys) {
            Ok(_) => true,
            Err(error) => {
                self.report(&error);
                false
            }
        }
    }

    /// Takes from the log what lies between `taken` and `until`; records that the files have are
    /// dropped by them.
    fn read_again(&mut self, until: i64) {
        let from = self.parts.marks.taken.load(Ordering::Acquire);
        if from >= until || self.files().is_none() {
            return;
        }
        let (mut records, reached) = self.parts.rescan.records(&self.parts.table, from, until);
        log::info!(
            "{} reads the log again: from={from} to={reached}",
            self.cell.path()
        );
        for item in &mut records {
            if !self.put(&IndexedRecord::taken_from(item)) {
                let missing = item.record.physical_offset;
                self.parts.marks.taken.store(missing, Ordering::Release);
                return;
            }
        }
        self.publish_times();
        self.parts.marks.taken.store(reached, Ordering::Release);
    }
}

impl IndexedRecord {
    /// The keys of a dispatched record, which nobody else needs.
    pub fn taken_from(item: &mut Dispatched) -> Self {
        Self {
            physical_offset: item.record.physical_offset,
            store_timestamp: item.record.store_timestamp,
            keys: std::mem::take(&mut item.record.index_keys),
        }
    }
}

impl Actor for IndexActor {
    type Context = Context<Self>;
}

impl Supervised for IndexActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.files = None;
        *self = Self::recover(self.cell.clone(), self.parts.clone(), None);
        self.read_again(self.parts.watermarks.visible());
    }
}

impl Handler<PutKeys> for IndexActor {
    type Result = ();

    fn handle(&mut self, batch: PutKeys, _: &mut Self::Context) {
        self.cell.begin_work();
        let taken = self.parts.marks.taken.load(Ordering::Acquire);
        if batch.end <= taken {
            return;
        }
        if batch.start > taken {
            self.read_again(batch.start);
            if self.parts.marks.taken.load(Ordering::Acquire) < batch.start {
                return; // the next batch finds the gap and tries again
            }
        }
        // The files drop records that they have: a key twice would be found twice.
        for record in &batch.records {
            if !self.put(record) {
                return;
            }
        }
        self.publish_times();
        self.parts.marks.taken.store(batch.end, Ordering::Release);
    }
}

impl Handler<FindKey> for IndexActor {
    type Result = Found;

    fn handle(&mut self, find: FindKey, _: &mut Self::Context) -> Found {
        self.cell.begin_work();
        let Some(files) = self.files() else {
            return Found::default();
        };
        let answer = files.query(find.hash, find.max, find.begin, find.end);
        Found {
            offsets: answer.physical_offsets,
            last_timestamp: answer.last_update_timestamp,
            last_physical: answer.last_update_physical,
        }
    }
}

impl Handler<CutIndex> for IndexActor {
    type Result = ();

    fn handle(&mut self, cut: CutIndex, _: &mut Self::Context) {
        self.cell.begin_work();
        let Some(files) = self.files() else { return };
        if let Err(error) = files.delete_expired(cut.log_min) {
            self.report(&error);
        }
    }
}

impl Handler<Shutdown> for IndexActor {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        let cell = Arc::clone(&self.cell);
        if let Some(files) = self.files.as_mut()
            && let Err(error) = cell.blocking(WRITE_MAX, || files.flush())
        {
            self.report(&error);
        }
        ctx.stop();
    }
}

crate::crashable!(IndexActor);
