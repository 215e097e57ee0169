//! The first step of the timer's every life: where it goes on, and what it must not do again.
//!
//! A kill, or a crash of the actor, may fall between a delivery and the note that it was made. So the
//! commit log is read from the place where such deliveries begin, and what is found there is skipped
//! when its slot is read again. What was taken in and not counted is found in the timer log's tail.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use super::{Leftovers, Running, TimerParts, due::waiting};
use crate::{
    actors::store::append::{AppendBatch, AppendReply, Appended},
    protocol::message::{
        names, properties,
        record::{self, CheckCrc, Peek, RecordView},
    },
    store::{
        StoreError,
        commit_log::CommitLogReader,
        now_ms,
        timer::{Opened, TimerStore, delivered::Delivered, wheel::SLOTS_TOTAL},
    },
};

/// The longest that opening may take before the watchdog counts it as stuck.
pub(super) const OPEN_MAX: Duration = Duration::from_secs(300);

/// Answers when the writer has done all that it was sent before: a crashed life of this actor may have
/// a batch on its way, which must be in the log before the log is searched.
#[derive(Debug)]
struct Passed(tokio::sync::oneshot::Sender<()>);

impl AppendReply for Passed {
    fn answer(self: Box<Self>, _: &Appended) {
        let _ = self.0.send(());
    }
}

pub(super) async fn writer_passed(parts: &TimerParts) {
    let (answer, answered) = tokio::sync::oneshot::channel();
    parts.store.writer.tell(AppendBatch {
        requests: Vec::new(),
        wait_store_ok: false,
        permit: None,
        reply: Box::new(Passed(answer)),
    });
    // A writer that crashed meanwhile has lost that batch as well.
    let _ = answered.await;
}

/// What the timer's queue has: its range, and where the messages from an offset on are.
pub(super) struct QueueStart {
    /// The next message that is taken in.
    pub(super) offset: i64,
    /// Where it is in the commit log; nothing at the queue's end.
    pub(super) physical_offset: Option<i64>,
    /// The queue's end.
    pub(super) end: i64,
}

/// The queue's range tells where to go on: within it, and not behind what is in the timer log.
pub(super) async fn queue_start(parts: &TimerParts, wanted: i64) -> Option<QueueStart> {
    let Some(slot) = parts.store.table.get(names::TIMER_TOPIC, 0) else {
        return Some(QueueStart {
            offset: 0,
            physical_offset: None,
            end: 0,
        });
    };
    let found = parts.store.shards.inspect(slot, move |view| {
        let (min, max) = view.range();
        let offset = wanted.clamp(min, max.max(min));
        let entries = view.entries(offset, 1)?;
        Ok::<_, StoreError>(QueueStart {
            offset,
            physical_offset: entries.first().map(|entry| entry.physical_offset),
            end: max,
        })
    });
    found.await.ok()?.ok()
}

/// The offset in the queue that the timer's files tell (`reviseQueueOffset`).
pub(super) fn wanted_offset(parts: &TimerParts, opened: &Opened) -> i64 {
    let told = opened.store.checkpoint().last_timer_queue_offset;
    if opened.has_checkpoint && !opened.lost_units {
        return told;
    }
    let log = opened.store.log();
    let last = log
        .last_before(log.end())
        .and_then(|pos| log.unit(pos).ok()?);
    let behind_last =
        last.and_then(|unit| waiting(&parts.store, unit.place(), |view| view.queue_offset));
    match behind_last {
        Some(offset) if opened.has_checkpoint => told.min(offset + 1),
        Some(offset) => offset + 1,
        None => 0,
    }
}

/// Puts together what the actor goes on with.
pub(super) fn running(
    parts: &TimerParts,
    opened: Opened,
    queue: &QueueStart,
) -> Result<Running, StoreError> {
    let store = opened.store;
    let checkpoint = *store.checkpoint();
    let write_time_ms = store.floor(now_ms());
    let read_time_ms = match opened.has_checkpoint {
        true => checkpoint.last_read_time_ms.min(write_time_ms),
        false if store.log().is_empty() => write_time_ms,
        // As RocketMQ: a week of slots is looked through.
        false => write_time_ms - SLOTS_TOTAL * store.precision_ms(),
    };
    let taken = match queue.physical_offset {
        Some(first) => store.log().taken_since(first)?.into_iter().collect(),
        None => HashSet::new(),
    };
    if parts.delivers {
        recount(parts, &store, read_time_ms)?;
    }
    let late = store.next_slot(read_time_ms, write_time_ms)?.is_some();
    let (delivered, log_position) = if parts.delivers && (late || queue.physical_offset.is_some()) {
        search(parts, &store, read_time_ms, queue)
    } else {
        (Delivered::default(), parts.store.watermarks.appended())
    };
    Ok(Running {
        read_time_ms,
        write_time_ms,
        queue_offset: queue.offset,
        known_master: checkpoint,
        leftovers: Leftovers {
            taken,
            delivered,
            log_position,
            until_ms: write_time_ms,
            until_offset: queue.end,
        },
        reading: None,
        ahead: None,
        store,
    })
}

/// Counts what waits for each topic anew, unless too much waits (`checkAndReviseMetrics`): the file
/// timermetrics may be older than what a killed broker took in and delivered.
fn recount(parts: &TimerParts, store: &TimerStore, read_time_ms: i64) -> Result<(), StoreError> {
    let units_max = parts.policy.load().recounts_up_to;
    let Some(counts) = store.count_topics(read_time_ms, units_max)? else {
        return Ok(());
    };
    let mut found = BTreeMap::new();
    for (count, unit) in counts.into_values() {
        waiting(&parts.store, unit.place(), |view| {
            if let Some(topic) = view.property(properties::REAL_TOPIC) {
                found.insert(topic.to_owned(), count);
            }
        });
    }
    parts.marks.recount(&found);
    Ok(())
}

/// Reads the commit log from where deliveries may lie that the checkpoint does not count; yields them and
/// that position.
fn search(
    parts: &TimerParts,
    store: &TimerStore,
    read_time_ms: i64,
    queue: &QueueStart,
) -> (Delivered, i64) {
    let log = parts.store.watermarks.log();
    let first_taken = queue.physical_offset.unwrap_or(i64::MAX);
    let from = by_time(log, read_time_ms).min(first_taken);
    let from = store
        .hint()
        .map_or(from, |hint| hint.log_position.max(from));
    let mut found = Delivered::default();
    let from = from.max(log.min_offset());
    let mut at = from;
    let end = log.end();
    while at < end {
        let head = log.slice(at, record::BLANK_LEN);
        match head.map_or(Peek::Invalid, |head| record::peek(&head)) {
            Peek::Record { size } => {
                if let Some(bytes) = log.slice(at, size)
                    && let Ok(view) = RecordView::parse(&bytes, CheckCrc::No)
                {
                    found.note(&view);
                }
                at += size as i64;
            }
            Peek::Blank { .. } | Peek::Invalid => {
                at = log.segment_start(at) + log.segment_len() as i64;
            }
        }
    }
    if !found.is_empty() {
        log::info!(
            "timer found {} deliveries at {from}..{end} that timercheck does not count",
            found.len()
        );
    }
    (found, from)
}

/// The start of the last segment that begins before a time. What slots at or after that time hold is
/// delivered after it.
fn by_time(log: &CommitLogReader, time_ms: i64) -> i64 {
    let min = log.min_offset();
    let mut start = log.segment_start(log.end());
    while start > min {
        if log
            .store_timestamp_at(start)
            .is_some_and(|stored| stored < time_ms)
        {
            return start;
        }
        start -= log.segment_len() as i64;
    }
    min
}
