//! Offsets after a kill.
//!
//! consumerOffset.json is written every few seconds; a killed broker of RocketMQ's gives what was
//! popped since to others at once, although its receipts are in flight. But every pop left a check
//! point in the log before its group's offset moved: those behind the file's last writing say how far
//! the groups were.

use std::{sync::Arc, time::SystemTime};

use super::PopParts;
use crate::{
    protocol::{
        body::pop::{CK_TAG, PopCheckPoint},
        fastjson,
        message::{
            names, properties,
            record::{self, CheckCrc, RecordView},
        },
    },
    store::{
        consume_queue::Boundary,
        get_message::{EntryFilter, GetRequest, GetStatus, PULL_BYTES_MAX},
        now_ms,
        queue_table::QueueSlot,
    },
};

/// A pop may have been noted before the table was copied for the file, and stored so long before, ms.
const BEFORE_FILE_MS: i64 = 1000;

/// However old the file is: what lies so far back has long been written, ms.
const WINDOW_MAX_MS: i64 = 120_000;

/// Records of one read.
const READ_BATCH: usize = 32;

/// Raises the offsets of groups to what the check points say that are newer than the offsets' file,
/// last written at `saved_at`. Yields how many offsets were raised.
pub async fn raise_offsets(parts: &PopParts, saved_at: Option<SystemTime>) -> usize {
    let saved_ms = saved_at
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0);
    let store = &parts.log.store;
    let newest = store.watermarks.log().end_timestamp().min(now_ms());
    let since = (saved_ms - BEFORE_FILE_MS).max(newest - WINDOW_MAX_MS);
    let revive = (0..parts.revive_queues).map(|queue| (&*parts.log.topic, queue));
    let mut raised = 0;
    for (topic, queue) in revive.chain([(names::TIMER_TOPIC, 0)]) {
        if let Some(slot) = store.table.get(topic, queue) {
            raised += raise_from(parts, slot, since).await;
        }
    }
    raised
}

/// Reads the records of one queue that were stored at `since` (ms) or later.
async fn raise_from(parts: &PopParts, slot: Arc<QueueSlot>, since: i64) -> usize {
    let shards = &parts.log.store.shards;
    let first = shards.inspect(Arc::clone(&slot), move |view| {
        view.offset_by_time(since, Boundary::Lower).ok()
    });
    let Ok(Some(mut offset)) = first.await else {
        return 0;
    };
    let mut raised = 0;
    while offset < slot.readable_end() {
        let request = GetRequest {
            offset,
            max_messages: READ_BATCH,
            max_bytes: PULL_BYTES_MAX,
            filter: EntryFilter::All,
        };
        let Ok(found) = shards.read(Arc::clone(&slot), request).await else {
            return raised;
        };
        if found.next_begin_offset <= offset || found.status == GetStatus::OffsetFoundNull {
            return raised;
        }
        offset = found.next_begin_offset;
        for record in found.parts.iter().flat_map(|part| record::slices(part)) {
            let view = RecordView::parse(record, CheckCrc::No).ok();
            let point = view.and_then(|view| check_point(parts, &view));
            let point = point.filter(|point| point.pop_time >= since);
            raised += usize::from(point.is_some_and(|point| raise(parts, &point)));
        }
    }
    raised
}

/// A check point, in its own topic or on its way there.
fn check_point(parts: &PopParts, view: &RecordView<'_>) -> Option<PopCheckPoint> {
    let is_on_its_way = view.topic == names::TIMER_TOPIC;
    let real_topic = view.property(properties::REAL_TOPIC);
    let is_of_pops = !is_on_its_way || real_topic == Some(&parts.log.topic);
    let is_check_point = is_of_pops && view.property(properties::TAGS) == Some(CK_TAG);
    is_check_point
        .then(|| fastjson::from_slice(view.body).ok())
        .flatten()
}

/// Raises the offset of a check point's group behind its last message.
fn raise(parts: &PopParts, point: &PopCheckPoint) -> bool {
    let (Some(topic), Some(group)) = (&point.topic, &point.consumer_group) else {
        return false;
    };
    let last = point
        .len()
        .checked_sub(1)
        .and_then(|last| point.offset_of(last));
    let Some(last) = last else { return false };
    let queue_id = point.queue_id;
    let slot = parts.log.store.table.get(topic, queue_id);
    let exists = slot.is_some_and(|slot| last < slot.readable_end());
    let committed = parts.offsets.query(group, topic, queue_id).unwrap_or(0);
    if !exists || last < committed {
        return false;
    }
    parts.offsets.commit(group, topic, queue_id, last + 1);
    true
}
