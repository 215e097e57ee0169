//! How far the timer is, and what it does with a message: into the wheel, to its topic, or nothing.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::atomic::Ordering::Relaxed,
};

use super::{
    TimerParts,
    ahead::{Ahead, AskedUnit, in_time_order},
    due::{Due, NEVER_TAKEN_IN, Recalls, due, waiting},
};
use crate::{
    actors::store::append::AppendRequest,
    protocol::{
        java::string_hash,
        message::{properties, record::RecordView},
    },
    store::{
        StoreError,
        consume_queue::Entry,
        timer::{
            Timed, TimerStore, checkpoint::TimerCheckpoint, delivered::Delivered, unit::Unit,
            walk::SlotWalk, wheel::Slot,
        },
    },
};

/// Messages that are delivered with one append.
const BATCH_MAX: usize = 256;

/// Bytes after which a batch is appended though it is short.
const BATCH_BYTES: usize = 1024 * 1024;

/// The open files, and how far the timer is.
pub(super) struct Running {
    pub(super) store: TimerStore,
    /// Slots before this time are delivered.
    pub(super) read_time_ms: i64,
    /// The present, in whole ticks: slots before it are due.
    pub(super) write_time_ms: i64,
    /// The next message of the queue.
    pub(super) queue_offset: i64,
    /// What a master had done when this life began, and at a slave what its master has done: what it took
    /// in for slots that it has delivered needs nothing any more.
    pub(super) known_master: TimerCheckpoint,
    /// What was done before this life began and is not counted.
    pub(super) leftovers: Leftovers,
    /// The slot that is being delivered.
    pub(super) reading: Option<Reading>,
    /// The slot that is delivered next.
    pub(super) ahead: Option<Ahead>,
}

/// What an earlier life did and did not count, before it was killed or crashed.
pub(super) struct Leftovers {
    /// Messages of the queue that are in the timer log already, by their place in the commit log.
    pub(super) taken: HashSet<i64>,
    /// Deliveries.
    pub(super) delivered: Delivered,
    /// The deliveries lie at or behind this position of the commit log: the next life has to look there,
    /// too, if this one ends before they are met.
    pub(super) log_position: i64,
    /// There are none in slots from this time on…
    pub(super) until_ms: i64,
    /// …and for messages of the queue from this one on.
    pub(super) until_offset: i64,
}

impl Leftovers {
    pub(super) fn forget_behind(&mut self, read_time_ms: i64, queue_offset: i64) {
        if read_time_ms >= self.until_ms && queue_offset >= self.until_offset {
            self.taken = HashSet::new();
            self.delivered = Delivered::default();
            self.log_position = i64::MAX;
            (self.until_ms, self.until_offset) = (i64::MAX, i64::MAX);
        }
    }
}

pub(super) struct Reading {
    pub(super) slot: Slot,
    /// What it has got since it was read ahead.
    pub(super) walk: SlotWalk,
    /// What was read ahead, until the first piece is made of it.
    pub(super) ahead: Vec<AskedUnit>,
    pub(super) piece: VecDeque<Unit>,
    pub(super) recalls: Recalls,
    /// Its deliveries lie at or behind this position of the commit log.
    pub(super) log_position: i64,
}

/// Messages that are being appended, and what to count when they are.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) requests: Vec<AppendRequest>,
    pub(super) bytes: usize,
    pub(super) counts: BTreeMap<String, i64>,
    pub(super) delivered: u64,
    /// Messages of the queue that this batch ends; 0 for a batch of a slot.
    pub(super) taken_in: i64,
}

impl Batch {
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= BATCH_MAX || self.bytes >= BATCH_BYTES
    }

    fn count(&mut self, topic: String, change: i64) {
        *self.counts.entry(topic).or_default() += change;
    }

    fn append(&mut self, request: AppendRequest) {
        self.bytes += request.bytes.len();
        self.requests.push(request);
        self.delivered += 1;
    }
}

impl Running {
    /// Looks at one message of the queue.
    pub(super) fn take_in(
        &mut self,
        parts: &TimerParts,
        entry: &Entry,
        timed: &mut Vec<Timed>,
        batch: &mut Batch,
    ) {
        let queue_offset = self.queue_offset + batch.taken_in;
        if self.leftovers.taken.contains(&entry.physical_offset) {
            return;
        }
        let place = (entry.physical_offset, entry.size);
        let looked_at = waiting(&parts.store, place, |view| {
            self.take_in_view(parts, (entry, queue_offset), view, timed, batch);
        });
        if looked_at.is_none() {
            parts.marks.missed.fetch_add(1, Relaxed);
            log::warn!("a timed message is unreadable: {entry:?}");
        }
    }

    fn take_in_view(
        &mut self,
        parts: &TimerParts,
        (entry, queue_offset): (&Entry, i64),
        view: &RecordView<'_>,
        timed: &mut Vec<Timed>,
        batch: &mut Batch,
    ) {
        let [out_ms, topic, delete_key] = properties::get_all(
            view.properties,
            [
                properties::TIMER_OUT_MS,
                properties::REAL_TOPIC,
                properties::TIMER_DEL_UNIQKEY,
            ],
        );
        let out_ms = out_ms.and_then(|text| text.parse().ok());
        let (Some(out_ms), Some(topic)) = (out_ms, topic) else {
            return log::warn!("a message in the timer's topic has no time or topic: {entry:?}");
        };
        let master = &self.known_master;
        if queue_offset < master.master_timer_queue_offset && out_ms < master.last_read_time_ms {
            return;
        }
        let is_delete = delete_key.is_some();
        if out_ms >= self.write_time_ms || !parts.delivers {
            if parts.delivers {
                batch.count(topic.to_owned(), if is_delete { -1 } else { 1 });
            }
            return timed.push(Timed {
                out_ms,
                physical_offset: entry.physical_offset,
                size: entry.size,
                topic_hash: string_hash(topic),
                is_delete,
            });
        }
        if is_delete {
            // Its message went out while the mark was on its way.
            return;
        }
        let delivered = &mut self.leftovers.delivered;
        match due(&parts.store, view, NEVER_TAKEN_IN, false, delivered) {
            Due::Append { request, .. } => batch.append(request),
            Due::Delivered { .. } => drop(parts.marks.skipped.fetch_add(1, Relaxed)),
            Due::Deleted { .. } | Due::Unusable => {}
        }
    }

    /// Adds the next message of the slot to a batch; `false` when the slot has no more, and is done.
    pub(super) fn deliver_next(
        &mut self,
        parts: &TimerParts,
        batch: &mut Batch,
    ) -> Result<bool, StoreError> {
        let Some(reading) = &mut self.reading else {
            return Ok(false);
        };
        let unit = loop {
            if let Some(unit) = reading.piece.pop_front() {
                break unit;
            }
            let later = reading.walk.next_piece(self.store.log())?;
            let ahead = std::mem::take(&mut reading.ahead);
            if later.is_none() && ahead.is_empty() {
                // What was added before is appended before the slot counts as done.
                if batch.requests.is_empty() {
                    self.slot_done(batch);
                }
                return Ok(false);
            }
            let later = later.unwrap_or_default();
            reading.piece = in_time_order(&parts.store, ahead, later).collect();
        };
        let recalls = &mut reading.recalls;
        let delivered = &mut self.leftovers.delivered;
        let looked_at = waiting(&parts.store, unit.place(), |view| {
            deliver_view(parts, &unit, view, recalls, delivered, batch);
        });
        if looked_at.is_none() {
            parts.marks.missed.fetch_add(1, Relaxed);
            log::warn!("a timed message is gone: {unit:?}");
        }
        Ok(true)
    }

    fn slot_done(&mut self, batch: &mut Batch) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        for topic in reading.recalls.unmet() {
            batch.count(topic, 1);
        }
        self.store.slot_done(&reading.slot);
        self.read_time_ms = self.store.time_of(&reading.slot) + self.store.precision_ms();
    }
}

fn deliver_view(
    parts: &TimerParts,
    unit: &Unit,
    view: &RecordView<'_>,
    recalls: &mut Recalls,
    delivered: &mut Delivered,
    batch: &mut Batch,
) {
    if !unit.rolls() && recalls.covers(view) {
        return;
    }
    // The mark of a recall that rolls is counted as it was when it was taken in.
    let change = if unit.is_delete() { 1 } else { -1 };
    match due(
        &parts.store,
        view,
        unit.write_time_ms,
        unit.rolls(),
        delivered,
    ) {
        Due::Append { request, topic } => {
            batch.count(topic, change);
            batch.append(request);
        }
        Due::Delivered { topic } => {
            batch.count(topic, change);
            parts.marks.skipped.fetch_add(1, Relaxed);
        }
        Due::Deleted { topic } => batch.count(topic, -1),
        Due::Unusable => log::warn!("a timed message cannot be delivered: {unit:?}"),
    }
}
