//! One topic queue: its newest entries, its consume-queue files, and the pulls that wait for its
//! next message.
//!
//! Its shard alone sends to it. A restart opens the files again and reads from the log what they
//! lack; pulls that waited are asked again. What is lost is the message that was being handled: a
//! pull in it is answered with "outcome unknown", a hand-over in it is read again from the log.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use actix::{Actor, ActorContext, Context, Handler, Message, Supervised};
use tokio::sync::oneshot;

use super::{
    cold_reader::Warm,
    dispatcher::Dispatched,
    pull::{Pull, may_wait},
    rescan::Rescan,
    shard::QueueGauge,
    watermarks::Watermarks,
};
use crate::{
    actors::{
        broker::stats::Stats,
        kernel::{ActorCell, Shutdown, TellRef},
    },
    store::{
        commit_log::CommitLogReader,
        consume_queue::{Boundary, ConsumeQueue, ConsumeQueueError, Entry, QueueHome, QueueTail},
        error::StoreError,
        get_message::{self, GetLimits, GetResult, GetStatus},
        queue_table::QueueSlot,
    },
};

/// Pulls that one queue holds at most; a further one is answered at once.
pub const HELD_PULLS_MAX: usize = 10_000;

/// What all queues of a broker share.
pub struct QueueParts {
    /// Where the files live.
    pub home: Arc<QueueHome>,
    /// Positions of the log.
    pub watermarks: Watermarks,
    /// Limits of one pull.
    pub limits: GetLimits,
    /// Statistics.
    pub stats: Stats,
    /// Reads records again after a gap.
    pub rescan: Rescan,
    /// Brings bytes into memory before they are answered.
    pub cold_reader: TellRef<Warm>,
}

impl QueueParts {
    fn log(&self) -> &CommitLogReader {
        self.watermarks.log()
    }
}

/// Records of this queue became visible.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Arrived {
    /// The records, in order.
    pub items: Vec<Dispatched>,
    /// The log is handed over up to here.
    pub log_end: i64,
}

/// Write what is unwritten, answer pulls whose time is over.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Tick {
    /// The log is handed over up to here.
    pub log_end: i64,
}

/// A pull.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Serve(pub Box<Pull>);

/// Read from the log what the files lack: a hand-over may have been lost.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CatchUp {
    /// The log is handed over up to here.
    pub log_end: i64,
}

/// Nothing has happened for long: write what is unwritten and end.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Sleep;

/// A look at the queue's entries by a request processor or a delivery actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Inspect(pub Box<dyn FnOnce(&mut QueueView<'_>) + Send>);

/// The log was cut at its old end: entries below its first offset are gone.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct LogCut {
    /// First offset of the log.
    pub log_min: i64,
}

/// The topic was deleted: the files go.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Destroy(pub Arc<AllGone>);

/// Shared by all queues of a deleted topic; the last one to drop it tells the asker.
#[derive(Debug)]
pub struct AllGone {
    done: Option<oneshot::Sender<i64>>,
    log_end: i64,
}

impl AllGone {
    /// Sends `log_end` to `done` when the last clone is dropped.
    pub fn new(done: oneshot::Sender<i64>, log_end: i64) -> Arc<Self> {
        let done = Some(done);
        Arc::new(Self { done, log_end })
    }
}

impl Drop for AllGone {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            // The asker may have gone.
            let _ = done.send(self.log_end);
        }
    }
}

/// What [`Inspect`] may look at.
pub struct QueueView<'a> {
    queue: &'a mut ConsumeQueue,
    log: &'a CommitLogReader,
}

impl QueueView<'_> {
    /// First and behind-the-last offset.
    pub fn range(&self) -> (i64, i64) {
        (self.queue.min_offset(), self.queue.max_offset())
    }

    /// At most `count` entries from `from` on.
    pub fn entries(&mut self, from: i64, count: usize) -> Result<Vec<Entry>, StoreError> {
        self.queue.get(from, count)
    }

    /// The offset whose message was stored around `timestamp` (ms).
    pub fn offset_by_time(
        &mut self,
        timestamp: i64,
        boundary: Boundary,
    ) -> Result<i64, StoreError> {
        let log = self.log;
        self.queue.offset_by_time(timestamp, boundary, |entry| {
            log.store_timestamp_at(entry.physical_offset)
        })
    }

    /// Store time (ms) of the message at an offset.
    pub fn store_time(&mut self, offset: i64) -> Option<i64> {
        let entries = self.queue.get(offset, 1).ok()?;
        self.log
            .store_timestamp_at(entries.first()?.physical_offset)
    }
}

struct HeldPull {
    pull: Box<Pull>,
    until: Instant,
}

/// The actor; see the module.
pub struct Queue {
    cell: Arc<ActorCell>,
    slot: Arc<QueueSlot>,
    parts: Arc<QueueParts>,
    /// `None` while its files cannot be opened: the next message tries again.
    files: Option<ConsumeQueue>,
    held: Vec<HeldPull>,
    gauge: Arc<QueueGauge>,
    entries: Vec<Entry>,
}

impl Queue {
    /// State for a first start and for every restart.
    pub fn recover(
        cell: Arc<ActorCell>,
        slot: Arc<QueueSlot>,
        parts: Arc<QueueParts>,
        gauge: Arc<QueueGauge>,
    ) -> Self {
        gauge.held.store(0, Ordering::Relaxed);
        let (held, entries) = (Vec::new(), Vec::new());
        let mut queue = Self {
            cell,
            slot,
            parts,
            files: None,
            held,
            gauge,
            entries,
        };
        if let Err(error) = queue.open() {
            queue.report(&error);
        }
        queue
    }

    fn open(&mut self) -> Result<(), StoreError> {
        let tail = QueueTail {
            max_offset: self.slot.readable_end(),
            last_physical: self.slot.last_physical(),
        };
        let home = Arc::clone(&self.parts.home);
        let key = &self.slot.key;
        let mut files = ConsumeQueue::resume(home, key.topic.clone(), key.queue_id, tail)?;
        files.truncate_above(self.parts.log().end())?;
        files.correct_min_offset(self.parts.log().min_offset())?;
        self.slot.set_min_offset(files.min_offset());
        self.files = Some(files);
        Ok(())
    }

    fn report(&self, error: &StoreError) {
        log::error!("{} cannot use its files: {error}", self.cell.path());
        self.cell.set_last_error(&error.to_string());
    }

    /// The files, opened now if an earlier try failed.
    fn files(&mut self) -> Option<&mut ConsumeQueue> {
        if self.files.is_none()
            && let Err(error) = self.open()
        {
            self.report(&error);
        }
        self.files.as_mut()
    }

    fn arrived(&mut self, items: &[Dispatched], log_end: i64) {
        let Some(first) = items.first() else { return };
        let first_offset = first.record.queue_offset;
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        entries.extend(items.iter().map(|item| Entry {
            physical_offset: item.record.physical_offset,
            size: item.record.size,
            tags_code: item.record.tags_code,
        }));
        let Some(files) = self.files() else { return };
        match files.append(first_offset, &entries) {
            Ok(_) => {}
            Err(ConsumeQueueError::Gap { .. }) => self.read_again(log_end),
            Err(ConsumeQueueError::Store(error)) => self.report(&error),
        }
        self.entries = entries;
        self.cell.fail_point("mid_write");
        self.publish();
        if self.files.as_ref().is_some_and(ConsumeQueue::needs_flush) {
            self.flush(log_end);
        }
    }

    /// Reads from the log what the files lack, up to `until`.
    fn read_again(&mut self, until: i64) {
        let from = self.slot.complete_upto();
        let found = self.parts.rescan.records_of(&self.slot, from, until);
        log::info!(
            "{} reads the log again: from={from} to={until} records={}",
            self.cell.path(),
            found.len()
        );
        let Some(files) = self.files() else { return };
        for record in found {
            let entry = Entry {
                physical_offset: record.physical_offset,
                size: record.size,
                tags_code: record.tags_code,
            };
            if let Err(error) = files.append(record.queue_offset, &[entry]) {
                log::error!("{} lacks entries: {error}", self.cell.path());
                return;
            }
        }
        self.publish();
    }

    fn publish(&self) {
        if let Some(files) = &self.files {
            self.slot.set_readable_end(files.max_offset());
            self.slot.set_last_physical(files.last_physical_offset());
        }
    }

    fn flush(&mut self, log_end: i64) {
        let Some(files) = self.files.as_mut() else {
            return;
        };
        match files.flush() {
            Ok(()) => self.slot.set_complete_upto(log_end),
            Err(error) => self.report(&error),
        }
    }

    /// Answers a pull, or keeps it until there is something to answer.
    fn serve(&mut self, mut pull: Box<Pull>) {
        let begun = Instant::now();
        let result = self.get(&pull);
        self.parts.stats.get_took(begun.elapsed());
        if let Some(until) = pull.wait_until
            && may_wait(&result, pull.request.offset)
            && until > Instant::now()
            && self.held.len() < HELD_PULLS_MAX
        {
            pull.responder.park();
            self.held.push(HeldPull { pull, until });
            self.publish_held();
            self.gauge.holds_until(until);
            return;
        }
        if !pull.warmed && self.is_cold(&result) {
            self.parts.cold_reader.tell(Warm {
                pull,
                parts: result.parts,
            });
            return;
        }
        pull.answer(result, &self.parts.stats);
    }

    fn is_cold(&self, result: &GetResult) -> bool {
        let Some((low, _)) = result.physical else {
            return false;
        };
        let behind = self.parts.log().end() - low;
        behind > super::cold_reader::HOT_DISTANCE
            && !result
                .parts
                .iter()
                .all(|part| crate::store::mapped::resident(part))
    }

    fn get(&mut self, pull: &Pull) -> GetResult {
        let request = &pull.request;
        let parts = Arc::clone(&self.parts);
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        let Some(files) = self.files() else {
            return GetResult::empty(GetStatus::OffsetFoundNull, request.offset, 0, 0);
        };
        let (min, max) = (files.min_offset(), files.max_offset());
        if let Some(answer) = get_message::check_offset(request.offset, min, max) {
            return answer;
        }
        let wanted = get_message::entries_wanted(request, &parts.limits);
        if let Err(error) = files.get_into(request.offset, wanted, &mut entries) {
            self.report(&error);
        }
        let result = get_message::collect(
            request,
            &parts.limits,
            parts.log(),
            entries.iter().copied(),
            min,
            max,
        );
        self.entries = entries;
        result
    }

    /// Serves the pulls that the new entries are for.
    fn wake(&mut self, items: &[Dispatched]) {
        let mut at = 0;
        while at < self.held.len() {
            let filter = &self.held[at].pull.request.filter;
            if items
                .iter()
                .any(|item| filter.matches(item.record.tags_code))
            {
                let held = self.held.swap_remove(at);
                self.publish_held();
                self.serve(held.pull);
                if at >= self.held.len() {
                    return;
                }
            } else {
                at += 1;
            }
        }
    }

    /// Answers the pulls whose time is over with what there is by now.
    fn expire(&mut self, now: Instant) {
        let mut at = 0;
        while at < self.held.len() {
            if self.held[at].until <= now {
                let mut held = self.held.swap_remove(at);
                self.publish_held();
                held.pull.wait_until = None;
                self.serve(held.pull);
            } else {
                at += 1;
            }
        }
        self.gauge
            .set_due(self.held.iter().map(|held| held.until).min());
    }

    fn publish_held(&self) {
        self.gauge.held.store(self.held.len(), Ordering::Relaxed);
    }
}

impl Actor for Queue {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // A future that never ends, for the shard alone decides when a queue ends.
        crate::actors::kernel::after_drain(ctx, |queue: &mut Self, _| {
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
        *self = Self::recover(self.cell.clone(), slot, parts, gauge);
        self.read_again(self.parts.watermarks.visible());
        for waiting in held {
            self.serve(waiting.pull);
        }
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
    }
}

impl Handler<Serve> for Queue {
    type Result = ();

    fn handle(&mut self, message: Serve, _: &mut Self::Context) {
        self.cell.begin_work();
        self.serve(message.0);
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
        if let Some(queue) = self.files() {
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
        let Some(files) = self.files() else { return };
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
        for held in self.held.drain(..) {
            let offset = held.pull.request.offset;
            let gone = GetResult::empty(GetStatus::NoMatchedLogicQueue, offset, 0, 0);
            held.pull.answer(gone, &self.parts.stats);
        }
        ctx.stop();
    }
}

impl Handler<CatchUp> for Queue {
    type Result = ();

    fn handle(&mut self, message: CatchUp, _: &mut Self::Context) {
        self.cell.begin_work();
        self.read_again(message.log_end);
        let held = std::mem::take(&mut self.held);
        self.publish_held();
        for waiting in held {
            self.serve(waiting.pull);
        }
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
