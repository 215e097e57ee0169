//! A queue of either kind, and where both kinds live.

use std::sync::Arc;

use super::{
    BatchConsumeQueue, BatchUnit, Boundary, ConsumeQueue, ConsumeQueueError, Entry, ExtensionsHome,
    QueueHome, QueueTail, list_queues, list_queues_of,
};
use crate::{
    protocol::Str,
    store::{
        dispatch::DispatchRecord,
        error::StoreError,
        fs::Fs,
        queue_table::{QueueKind, QueueSlot},
    },
};

/// How long files of queues are, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFileSizes {
    /// `mappedFileSizeConsumeQueue`.
    pub simple: u64,
    /// `mapperFileSizeBatchConsumeQueue`.
    pub batch: u64,
    /// `mappedFileSizeConsumeQueueExt`; `None` with `enableConsumeQueueExt=false`.
    pub extensions: Option<u64>,
}

/// Where the queues of a store live, by kind.
#[derive(Debug, Clone)]
pub struct QueueHomes {
    /// `consumequeue`.
    pub simple: Arc<QueueHome>,
    /// `batchconsumequeue`.
    pub batch: Arc<QueueHome>,
}

impl QueueHomes {
    /// The directories below `root`; the lengths of their files in bytes are rounded up to whole units.
    pub fn new(fs: &Fs, root: &std::path::Path, sizes: QueueFileSizes) -> Self {
        let extensions = sizes
            .extensions
            .map(|size| ExtensionsHome::new(root.join("consumequeue_ext"), size));
        let simple = QueueHome::with_extensions(
            fs.clone(),
            root.join("consumequeue"),
            sizes.simple,
            extensions,
        );
        let batch = QueueHome::of_units::<BatchUnit>(
            fs.clone(),
            root.join("batchconsumequeue"),
            sizes.batch,
            None,
            // One count for both: a process may open so many files, whatever they hold.
            Arc::clone(&simple.open_files),
        );
        Self { simple, batch }
    }

    /// As [`QueueHome::set_open_files_max`], for both together.
    pub fn set_open_files_max(&self, max: usize) {
        self.simple.set_open_files_max(max);
        self.batch.set_open_files_max(max);
    }

    /// Where queues of a kind live.
    pub fn of(&self, kind: QueueKind) -> &Arc<QueueHome> {
        match kind {
            QueueKind::Simple => &self.simple,
            QueueKind::Batch => &self.batch,
        }
    }

    /// Removes the files of one queue that are of another kind than `kind`.
    ///
    /// # Errors
    /// From the file system.
    pub fn remove_other_kind(
        &self,
        kind: QueueKind,
        topic: &str,
        queue_id: i32,
    ) -> Result<(), StoreError> {
        for other in QueueKind::ALL.into_iter().filter(|other| *other != kind) {
            self.of(other).remove_queue(topic, queue_id)?;
        }
        Ok(())
    }

    /// Removes all files of a topic, of whichever kind.
    ///
    /// # Errors
    /// From the file system.
    pub fn remove_topic(&self, topic: &str) -> Result<(), StoreError> {
        self.simple.remove_topic(topic)?;
        self.batch.remove_topic(topic)
    }

    /// The topic queues that have a directory, with their kinds.
    ///
    /// # Errors
    /// From the file system.
    pub fn list(&self) -> Result<Vec<(Str, i32, QueueKind)>, StoreError> {
        let mut all = Vec::new();
        for kind in QueueKind::ALL {
            let home = self.of(kind);
            let queues = list_queues(home.fs.as_ref(), home.root())?.into_iter();
            all.extend(queues.map(|(topic, queue_id)| (topic, queue_id, kind)));
        }
        Ok(all)
    }

    /// The queues of one topic that have a directory, with their kinds.
    ///
    /// # Errors
    /// From the file system.
    pub fn list_of(&self, topic: &str) -> Result<Vec<(i32, QueueKind)>, StoreError> {
        let mut all = Vec::new();
        for kind in QueueKind::ALL {
            let home = self.of(kind);
            let queues = list_queues_of(home.fs.as_ref(), home.root(), topic)?.into_iter();
            all.extend(queues.map(|queue_id| (queue_id, kind)));
        }
        Ok(all)
    }
}

/// One topic queue's files, of either kind.
#[derive(Debug)]
pub enum TopicQueue {
    /// A record is a message.
    Simple(ConsumeQueue),
    /// A record holds one or several (`queue.type=BatchCQ`).
    Batch(BatchConsumeQueue),
}

/// The same for both kinds.
macro_rules! either {
    ($queue:expr, $either:ident => $value:expr) => {
        match $queue {
            TopicQueue::Simple($either) => $value,
            TopicQueue::Batch($either) => $value,
        }
    };
}

impl TopicQueue {
    /// As [`ConsumeQueue::recover`].
    ///
    /// # Errors
    /// As there.
    pub fn recover(
        homes: &QueueHomes,
        kind: QueueKind,
        topic: Str,
        queue_id: i32,
    ) -> Result<Self, StoreError> {
        let home = Arc::clone(homes.of(kind));
        Ok(match kind {
            QueueKind::Simple => Self::Simple(ConsumeQueue::recover(home, topic, queue_id)?),
            QueueKind::Batch => Self::Batch(BatchConsumeQueue::recover(home, topic, queue_id)?),
        })
    }

    /// Opens the files of a queue, which end as its slot says; see [`ConsumeQueue::resume`].
    ///
    /// # Errors
    /// As there.
    pub fn resume(homes: &QueueHomes, slot: &QueueSlot) -> Result<Self, StoreError> {
        let tail = QueueTail {
            max_offset: slot.readable_end(),
            last_physical: slot.last_physical(),
        };
        let kind = slot.kind();
        let home = Arc::clone(homes.of(kind));
        let (topic, queue_id) = (slot.key.topic.clone(), slot.key.queue_id);
        Ok(match kind {
            QueueKind::Simple => Self::Simple(ConsumeQueue::resume(home, topic, queue_id, tail)?),
            QueueKind::Batch => {
                Self::Batch(BatchConsumeQueue::resume(home, topic, queue_id, tail)?)
            }
        })
    }

    /// Which kind.
    pub fn kind(&self) -> QueueKind {
        match self {
            Self::Simple(_) => QueueKind::Simple,
            Self::Batch(_) => QueueKind::Batch,
        }
    }

    /// Queue offset of the oldest message that can be read; equals [`max_offset`](Self::max_offset)
    /// when there is none.
    pub fn min_offset(&self) -> i64 {
        either!(self, queue => queue.min_offset())
    }

    /// Queue offset of the next message.
    pub fn max_offset(&self) -> i64 {
        either!(self, queue => queue.max_offset())
    }

    /// End of the newest record in the commit log, -1 if there is none.
    pub fn last_physical_offset(&self) -> i64 {
        either!(self, queue => queue.last_physical_offset())
    }

    /// Takes one record into memory; see [`ConsumeQueue::append`].
    ///
    /// # Errors
    /// As there.
    pub fn append(&mut self, record: &DispatchRecord) -> Result<(), ConsumeQueueError> {
        match self {
            Self::Simple(queue) => {
                let entry = record.entry();
                queue.append(record.queue_offset, &[entry]).map(drop)
            }
            Self::Batch(queue) => queue.append(&record.batch_unit()).map(drop),
        }
    }

    /// As [`ConsumeQueue::begin_at`] and [`BatchConsumeQueue::begin_at`].
    ///
    /// # Errors
    /// As there.
    pub fn begin_at(&mut self, queue_offset: i64) -> Result<(), StoreError> {
        either!(self, queue => queue.begin_at(queue_offset))
    }

    /// Whether a whole run waits to be written.
    pub fn needs_flush(&self) -> bool {
        either!(self, queue => queue.needs_flush())
    }

    /// Writes what is only in memory.
    ///
    /// # Errors
    /// From the file system; the next call tries again.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        either!(self, queue => queue.flush())
    }

    /// Closes the files that may not stay open.
    pub fn close_surplus(&mut self) {
        match self {
            Self::Simple(queue) => queue.close_surplus(),
            Self::Batch(queue) => queue.files().close_surplus(),
        }
    }

    /// As [`ConsumeQueue::truncate_above`].
    ///
    /// # Errors
    /// As there.
    pub fn truncate_above(&mut self, physical: i64) -> Result<(), StoreError> {
        either!(self, queue => queue.truncate_above(physical))
    }

    /// As [`ConsumeQueue::correct_min_offset`].
    ///
    /// # Errors
    /// As there.
    pub fn correct_min_offset(&mut self, log_min: i64) -> Result<(), StoreError> {
        either!(self, queue => queue.correct_min_offset(log_min))
    }

    /// As [`ConsumeQueue::delete_expired`].
    ///
    /// # Errors
    /// As there.
    pub fn delete_expired(&mut self, log_min: i64) -> Result<usize, StoreError> {
        either!(self, queue => queue.delete_expired(log_min))
    }

    /// As [`ConsumeQueue::destroy`].
    ///
    /// # Errors
    /// As there.
    pub fn destroy(&mut self) -> Result<(), StoreError> {
        either!(self, queue => queue.destroy())
    }

    /// Where the records lie that hold the messages of `from..from + offsets`.
    ///
    /// # Errors
    /// From the file system.
    pub fn entries(&mut self, from: i64, offsets: usize) -> Result<Vec<Entry>, StoreError> {
        match self {
            Self::Simple(queue) => queue.get(from, offsets),
            Self::Batch(queue) => {
                let units = queue.get(from, offsets)?.into_iter();
                Ok(units.map(|unit| unit.entry).collect())
            }
        }
    }

    /// The queue offset of the message that was stored around `timestamp` (ms), by the rules of the
    /// queue's kind. `store_time` tells when a message was stored.
    ///
    /// # Errors
    /// From the file system.
    pub fn offset_by_time(
        &mut self,
        timestamp: i64,
        boundary: Boundary,
        store_time: impl FnMut(Entry) -> Option<i64>,
    ) -> Result<i64, StoreError> {
        match self {
            Self::Simple(queue) => queue.offset_by_time(timestamp, boundary, store_time),
            Self::Batch(queue) => queue.offset_by_time(timestamp, boundary),
        }
    }
}
