//! One topic queue: its newest entries, its consume-queue files, and the pulls that wait for its
//! next message.
//!
//! Its shard alone sends to it. A restart opens the files again and reads from the log what they
//! lack (`queue/reread.rs`); pulls that waited are asked again. What is lost is the message that was
//! being handled: a pull in it is answered with "outcome unknown", a hand-over in it is read again
//! from the log.

use std::{
    sync::{Arc, Mutex, OnceLock, atomic::Ordering},
    time::Instant,
};

use actix::{Actor, ActorContext, Context, Handler, Supervised};
use smallvec::SmallVec;

use self::{
    reread::{Reread, skips_offsets},
    serving::HeldPull,
};
use super::{
    arrivals::Arrivals, cold_reader::ColdReader, compaction::Compactions, dispatcher::Dispatched,
    far_reader::AnswerFar, rescan::Rescan, shard::QueueGauge, watermarks::Watermarks,
};
use crate::{
    actors::{
        broker::stats::Stats,
        kernel::{ActorCell, ActorRef, Shutdown, TellRef, after_drain},
    },
    config::Derived,
    filter::bloom::BitMaps,
    protocol::message::record,
    store::{
        commit_log::{ColdBlocks, CommitLogReader},
        consume_queue::{ConsumeQueueError, Entry, Extension, QueueHomes, TopicQueue},
        deleted_topics::DeletedTopics,
        error::StoreError,
        get_message::GetLimits,
        queue_table::{QueueKind, QueueSlot},
    },
};

mod batches;
mod messages;
mod reread;
mod serving;

pub use self::{
    messages::{
        AllGone, Arrived, CatchUp, Destroy, Inspect, LogCut, QueueView, Read, Serve, Sleep, Tick,
    },
    serving::HELD_PULLS_MAX,
};

/// What all queues of a broker share.
pub struct QueueParts {
    /// Where the files live.
    pub homes: QueueHomes,
    /// Positions of the log.
    pub watermarks: Watermarks,
    /// Limits of one pull.
    pub limits: Derived<GetLimits>,
    /// Statistics.
    pub stats: Stats,
    /// Reads records again after a gap.
    pub rescan: Rescan,
    /// The deleted topics: their records belong to no queue of today.
    pub deleted: Arc<Mutex<DeletedTopics>>,
    /// Reads what is not in memory.
    pub cold_reader: ActorRef<ColdReader>,
    /// What it has read.
    pub cold_blocks: ColdBlocks,
    /// Who waits for messages of whole topics.
    pub arrivals: Arrivals,
    /// What makes the bit maps of extensions; without it they have none.
    pub bit_maps: Arc<OnceLock<Arc<dyn BitMaps>>>,
    /// The queues of which only the last message of each key is kept.
    pub compactions: Compactions,
}

impl QueueParts {
    /// The log.
    pub fn log(&self) -> &CommitLogReader {
        self.watermarks.log()
    }
}

/// The actor; see the module.
pub struct Queue {
    cell: Arc<ActorCell>,
    slot: Arc<QueueSlot>,
    parts: Arc<QueueParts>,
    /// Answers what lies far back.
    far_reader: TellRef<AnswerFar>,
    /// `None` while its files cannot be opened: the next message tries again.
    files: Option<TopicQueue>,
    /// Set while the files lack entries that the log has.
    reread: Option<Reread>,
    held: Vec<HeldPull>,
    gauge: Arc<QueueGauge>,
    entries: Vec<Entry>,
    extensions: Vec<Option<Extension>>,
}

impl Queue {
    /// State for a first start and for every restart.
    pub fn recover(
        cell: Arc<ActorCell>,
        slot: Arc<QueueSlot>,
        parts: Arc<QueueParts>,
        far_reader: TellRef<AnswerFar>,
        gauge: Arc<QueueGauge>,
    ) -> Self {
        gauge.held.store(0, Ordering::Relaxed);
        let (held, entries, extensions) = (Vec::new(), Vec::new(), Vec::new());
        let mut queue = Self {
            cell,
            slot,
            parts,
            far_reader,
            files: None,
            reread: None,
            held,
            gauge,
            entries,
            extensions,
        };
        if let Err(error) = queue.open() {
            queue.report(&error);
        }
        queue
    }

    fn open(&mut self) -> Result<(), StoreError> {
        let promised = self.slot.readable_end();
        let mut files = TopicQueue::resume(&self.parts.homes, &self.slot)?;
        files.truncate_above(self.parts.log().end())?;
        files.correct_min_offset(self.parts.log().min_offset())?;
        let has_none = files.last_physical_offset() < 0 && self.slot.last_physical() < 0;
        if files.kind() == QueueKind::Batch && has_none && files.max_offset() < promised {
            // The log has let go of all of its messages, and units alone tell an offset.
            files.begin_at(promised)?;
        }
        let is_short = files.max_offset() < promised;
        if !is_short {
            self.slot.set_min_offset(files.min_offset());
        }
        self.files = Some(files);
        if is_short {
            self.read_again();
        }
        Ok(())
    }

    fn report(&self, error: &StoreError) {
        log::error!("{} cannot use its files: {error}", self.cell.path());
        self.cell.set_last_error(&error.to_string());
    }

    /// The files, opened now if an earlier try failed.
    fn open_files(&mut self) -> Option<&mut TopicQueue> {
        if self.reread.is_none() && self.is_of_other_kind() {
            self.change_kind();
        }
        if self.files.is_none()
            && let Err(error) = self.open()
        {
            self.report(&error);
        }
        self.files.as_mut()
    }

    /// The files while they have all entries that were promised.
    fn whole_files(&mut self) -> Option<&mut TopicQueue> {
        self.open_files()?;
        self.files.as_mut().filter(|_| self.reread.is_none())
    }

    fn arrived(&mut self, items: &[Dispatched], log_end: i64) {
        let Some(first) = items.first() else { return };
        if self.open_files().is_none() {
            self.read_again();
        }
        if self.reread.is_some() {
            // The log has them: they are found there.
            return;
        }
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        entries.extend(items.iter().map(|item| item.record.entry()));
        let extensions = self.extensions_of(items);
        let Some(files) = self.files.as_mut() else {
            return;
        };
        let first_offset = first.record.queue_offset;
        let skips = skips_offsets(files, first_offset);
        let appended = (!skips).then(|| match files {
            TopicQueue::Simple(files) => files
                .append_extended(first_offset, &entries, &extensions)
                .map(drop),
            TopicQueue::Batch(files) => {
                let mut records = items.iter().map(|item| item.record.batch_unit());
                records.try_for_each(|unit| files.append(&unit).map(drop))
            }
        });
        self.entries = entries;
        self.cell.fail_point("mid_write");
        match appended {
            Some(Ok(())) => {}
            None | Some(Err(ConsumeQueueError::Gap { .. })) => return self.read_again(),
            Some(Err(ConsumeQueueError::Store(error))) => {
                self.report(&error);
                return self.read_again();
            }
        }
        self.publish();
        if self.files.as_ref().is_some_and(TopicQueue::needs_flush) {
            self.flush(log_end);
        }
    }

    /// What new entries have beside them; nothing where extensions are not kept. Entries that are read
    /// again from the log have none, which costs a look at their messages.
    fn extensions_of(&self, items: &[Dispatched]) -> Vec<Extension> {
        if !self.parts.homes.of(self.slot.kind()).keeps_extensions() {
            return Vec::new();
        }
        let (topic, log) = (&self.slot.key.topic, self.parts.log());
        let bit_maps = self.parts.bit_maps.get();
        let extension = |item: &Dispatched| {
            let record = &item.record;
            let properties = || {
                let size = record.size.max(0) as usize;
                let bytes = log.slice(record.physical_offset, size)?;
                let properties = record::peek_properties(&bytes)?;
                Some(bytes.slice_ref(properties))
            };
            Extension {
                tags_code: record.tags_code,
                store_time: record.store_timestamp,
                bit_map: bit_maps
                    .map_or_else(SmallVec::new, |maps| maps.bit_map(topic, &properties)),
            }
        };
        items.iter().map(extension).collect()
    }

    fn publish(&self) {
        if let Some(files) = &self.files {
            self.slot.set_readable_end(files.max_offset());
            self.slot.set_last_physical(files.last_physical_offset());
        }
    }

    /// Writes what is unwritten. While entries are missing the files are not complete, whatever they
    /// hold.
    fn flush(&mut self, log_end: i64) {
        let Some(files) = self.files.as_mut().filter(|_| self.reread.is_none()) else {
            return;
        };
        match files.flush() {
            Ok(()) => self.slot.set_complete_upto(log_end),
            Err(error) => self.report(&error),
        }
    }
}

impl Actor for Queue {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // This also keeps the queue alive without addresses: the shard alone decides when it ends.
        after_drain(ctx, |queue: &mut Self, ctx| {
            queue.go_on_reading(ctx);
            if let Some(files) = &mut queue.files {
                files.close_surplus();
            }
        });
        let (slot, gauge) = (Arc::clone(&self.slot), Arc::clone(&self.gauge));
        self.cell.set_detail(move || {
            serde_json::json!({
                "min_offset": slot.min_offset(),
                "max_offset": slot.readable_end(),
                "held_pulls": gauge.held.load(Ordering::Relaxed),
            })
        });
    }
}

impl Supervised for Queue {
    fn restarting(&mut self, _: &mut Self::Context) {
        let held = std::mem::take(&mut self.held);
        let (slot, parts, gauge) = (self.slot.clone(), self.parts.clone(), self.gauge.clone());
        let far_reader = self.far_reader.clone();
        *self = Self::recover(self.cell.clone(), slot, parts, far_reader, gauge);
        self.held = held;
        self.publish_held();
        self.read_again();
    }
}

impl Handler<Arrived> for Queue {
    type Result = ();

    fn handle(&mut self, message: Arrived, _: &mut Self::Context) {
        self.cell.begin_work();
        self.arrived(&message.items, message.log_end);
        if !self.held.is_empty() {
            self.wake(&message.items);
        }
        let tags_codes = message.items.iter().map(|item| item.record.tags_code);
        self.parts.arrivals.tell(&self.slot.key, tags_codes);
    }
}

impl Handler<Serve> for Queue {
    type Result = ();

    fn handle(&mut self, message: Serve, _: &mut Self::Context) {
        self.cell.begin_work();
        self.serve(message.pull, message.turn);
    }
}

impl Handler<Read> for Queue {
    type Result = ();

    fn handle(&mut self, message: Read, _: &mut Self::Context) {
        self.cell.begin_work();
        self.read(message);
    }
}

impl Handler<Tick> for Queue {
    type Result = ();

    fn handle(&mut self, tick: Tick, _: &mut Self::Context) {
        self.cell.begin_work();
        self.flush(tick.log_end);
        if !self.held.is_empty() {
            self.expire(Instant::now());
        }
    }
}

impl Handler<Inspect> for Queue {
    type Result = ();

    fn handle(&mut self, message: Inspect, _: &mut Self::Context) {
        self.cell.begin_work();
        let parts = Arc::clone(&self.parts);
        if let Some(queue) = self.whole_files() {
            (message.0)(&mut QueueView {
                queue,
                log: parts.log(),
            });
        }
    }
}

impl Handler<LogCut> for Queue {
    type Result = ();

    fn handle(&mut self, cut: LogCut, _: &mut Self::Context) {
        self.cell.begin_work();
        let Some(files) = self.whole_files() else {
            return;
        };
        let outcome = files
            .correct_min_offset(cut.log_min)
            .and_then(|()| files.delete_expired(cut.log_min).map(|_| ()));
        let min = files.min_offset();
        self.slot.set_min_offset(min);
        if let Err(error) = outcome {
            self.report(&error);
        }
    }
}

impl Handler<Destroy> for Queue {
    type Result = ();

    fn handle(&mut self, _gone: Destroy, ctx: &mut Self::Context) {
        self.cell.begin_work();
        if let Some(mut files) = self.files.take()
            && let Err(error) = files.destroy()
        {
            self.report(&error);
        }
        self.dismiss_held();
        ctx.stop();
    }
}

impl Handler<CatchUp> for Queue {
    type Result = ();

    fn handle(&mut self, _: CatchUp, _: &mut Self::Context) {
        self.cell.begin_work();
        self.read_again();
    }
}

impl Handler<Sleep> for Queue {
    type Result = ();

    fn handle(&mut self, _: Sleep, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}

impl Handler<Shutdown> for Queue {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.flush(self.parts.watermarks.visible());
        ctx.stop();
    }
}

crate::crashable!(Queue);
