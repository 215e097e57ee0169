//! What queues and index need to know of one stored record.

use smallvec::SmallVec;

use super::{
    commit_log::{DelayLevels, DispatchRules},
    consume_queue::{BatchUnit, Entry},
    queue_table::QueueKey,
};
use crate::protocol::{
    Str,
    java::IndexKeyHash,
    message::{
        inner_batch, keys::KeyProperties, multi_dispatch, names::SCHEDULE_TOPIC, properties,
        record::RecordView, sys_flag,
    },
};

/// Milliseconds that a scheduled message without a known level waits, as in RocketMQ's
/// `ScheduleMessageService.computeDeliverTimestamp`.
const UNKNOWN_LEVEL_DELAY_MS: i64 = 1000;

/// One record, as its consume queue and the index see it (RocketMQ's `DispatchRequest`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchRecord {
    /// Index of the record in its queue.
    pub queue_offset: i64,
    /// Where the record starts in the commit log, in bytes.
    pub physical_offset: i64,
    /// Length of the record, in bytes.
    pub size: i32,
    /// String hash of the TAGS property; the deliver time (ms) in SCHEDULE_TOPIC_XXXX.
    pub tags_code: i64,
    /// When the record was stored, in milliseconds.
    pub store_timestamp: i64,
    /// The record's system flag.
    pub sys_flag: i32,
    /// How many messages it holds: more than one only in an inner batch.
    pub messages: i16,
    /// Hashes of the index keys (`topic#key`, `topic#T#tags`); empty when the record is not indexed.
    pub index_keys: SmallVec<[i32; 4]>,
}

impl DispatchRecord {
    /// Physical offset of the byte after the record.
    pub fn end(&self) -> i64 {
        self.physical_offset + i64::from(self.size)
    }

    /// Whether the record has an entry in its consume queue: all but half and rolled back ones.
    pub fn in_queue(&self) -> bool {
        let kind = sys_flag::transaction_type(self.sys_flag);
        kind != sys_flag::TRANSACTION_PREPARED && kind != sys_flag::TRANSACTION_ROLLBACK
    }

    /// What an ordinary queue keeps of it.
    pub fn entry(&self) -> Entry {
        Entry {
            physical_offset: self.physical_offset,
            size: self.size,
            tags_code: self.tags_code,
        }
    }

    /// What a queue of batches keeps of it.
    pub fn batch_unit(&self) -> BatchUnit {
        BatchUnit {
            entry: self.entry(),
            store_time: self.store_timestamp,
            base_offset: self.queue_offset,
            messages: self.messages,
        }
    }

    /// The entry of the same record in another queue.
    pub fn in_further_queue(&self, queue_offset: i64) -> Self {
        Self {
            queue_offset,
            index_keys: SmallVec::new(),
            ..self.clone()
        }
    }

    /// What queues and index need of a stored record (RocketMQ's `checkMessageAndReturnSize`).
    pub fn of(view: &RecordView<'_>, levels: &DelayLevels) -> Self {
        let mut keys = KeyProperties::default();
        let mut delay = None;
        for (name, value) in properties::entries(view.properties) {
            if !keys.note(name, value) && name == properties::DELAY.as_bytes() {
                delay = std::str::from_utf8(value).ok();
            }
        }
        let mut code = keys.tags_code();
        if view.topic == SCHEDULE_TOPIC
            && let Some(level) = delay.and_then(|delay| delay.parse::<i32>().ok())
            && level > 0
        {
            let delay = levels.delay_ms(level).unwrap_or(UNKNOWN_LEVEL_DELAY_MS);
            code = view.store_timestamp.saturating_add(delay);
        }
        Self {
            queue_offset: view.queue_offset,
            physical_offset: view.physical_offset,
            size: i32::try_from(view.size).unwrap_or(i32::MAX),
            tags_code: code,
            store_timestamp: view.store_timestamp,
            sys_flag: view.sys_flag,
            messages: inner_batch::messages_of(view.sys_flag, view.properties),
            index_keys: index_keys(&keys, view),
        }
    }
}

/// The hashes of the keys; none for a rolled back message (`IndexService.buildIndex`).
fn index_keys(keys: &KeyProperties<'_>, view: &RecordView<'_>) -> SmallVec<[i32; 4]> {
    if sys_flag::transaction_type(view.sys_flag) == sys_flag::TRANSACTION_ROLLBACK {
        return SmallVec::new();
    }
    keys.index_keys(IndexKeyHash::of(view.topic))
}

/// A record found by a scan, with a queue that it enters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedRecord {
    /// The record's topic and queue, or one of the light message queues that it names.
    pub key: QueueKey,
    /// What that queue, and the index, need of it.
    pub record: DispatchRecord,
}

impl ScannedRecord {
    /// A record with the queue of its topic.
    pub fn of(view: &RecordView<'_>, topic: Str, rules: &DispatchRules) -> Self {
        Self {
            key: QueueKey::new(topic, view.queue_id),
            record: DispatchRecord::of(view, &rules.delay_levels),
        }
    }

    /// The same record with each light message queue that it entered. The index needs it only once.
    pub fn further(&self, view: &RecordView<'_>, rules: &DispatchRules) -> Vec<Self> {
        if !rules.multi_dispatch || !self.record.in_queue() {
            return Vec::new();
        }
        let entries = multi_dispatch::entries_of(view.topic, view.properties).into_iter();
        let further = entries.map(|(name, queue_offset)| Self {
            key: QueueKey::new(Str::from(name), multi_dispatch::LMQ_QUEUE_ID),
            record: self.record.in_further_queue(queue_offset),
        });
        further.collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::protocol::message::{
        record::{CheckCrc, NewRecord, encode_record, patch_record},
        tags_code,
    };

    fn stored(new: &NewRecord<'_>) -> DispatchRecord {
        let mut bytes = BytesMut::new();
        encode_record(new, &mut bytes).unwrap();
        patch_record(&mut bytes, 5, 1000, 77);
        let view = RecordView::parse(&bytes, CheckCrc::Body).unwrap();
        let record = DispatchRecord::of(&view, &DelayLevels::default());
        assert_eq!(record.queue_offset, 5);
        assert_eq!(record.physical_offset, 1000);
        assert_eq!(record.store_timestamp, 77);
        assert_eq!(record.end(), 1000 + bytes.len() as i64);
        record
    }

    fn new<'a>(topic: &'a str, sys_flag: i32, properties: &'a str) -> NewRecord<'a> {
        NewRecord {
            topic,
            queue_id: 1,
            flag: 0,
            sys_flag,
            born_timestamp: 1,
            born_host: "127.0.0.1:1".parse().unwrap(),
            store_host: "[::1]:2".parse().unwrap(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"body",
            properties: properties.as_bytes(),
        }
    }

    #[test]
    fn keys_and_tags_are_hashed() {
        let text = "KEYS\u{1}a  b\u{2}UNIQ_KEY\u{1}U\u{2}TAGS\u{1}old\u{2}TAGS\u{1}t\u{2}";
        let record = stored(&new("T", 0, text));
        let mut hashes = record.index_keys.to_vec();
        let key = |key| IndexKeyHash::of("T").key(key);
        assert_eq!(hashes.pop(), Some(IndexKeyHash::of("T").tags("t")));
        assert_eq!(hashes, [key("U"), key("a"), key("b")]);
        assert_eq!(record.tags_code, tags_code("t"));
        assert!(record.in_queue());

        let half = stored(&new("T", sys_flag::TRANSACTION_PREPARED, text));
        assert_eq!(half.index_keys, record.index_keys);
        assert!(!half.in_queue());
        let gone = stored(&new("T", sys_flag::TRANSACTION_ROLLBACK, text));
        assert!(gone.index_keys.is_empty());
        assert_eq!(stored(&new("T", 0, "")).tags_code, 0);
    }

    #[test]
    fn scheduled_messages_have_their_deliver_time() {
        let code = |text: &str| stored(&new(SCHEDULE_TOPIC, 0, text)).tags_code;
        assert_eq!(code("DELAY\u{1}2\u{2}TAGS\u{1}x\u{2}"), 77 + 5000);
        assert_eq!(code("DELAY\u{1}99\u{2}"), 77 + 7_200_000);
        assert_eq!(code("DELAY\u{1}0\u{2}TAGS\u{1}x\u{2}"), tags_code("x"));
        assert_eq!(code("DELAY\u{1}soon\u{2}"), 0);
        let elsewhere = stored(&new("T", 0, "DELAY\u{1}2\u{2}"));
        assert_eq!(elsewhere.tags_code, 0);
    }

    #[test]
    fn half_and_rolled_back_messages_have_no_queue_entry() {
        let with = |sys_flag| DispatchRecord {
            queue_offset: 0,
            physical_offset: 100,
            size: 91,
            tags_code: 0,
            store_timestamp: 0,
            sys_flag,
            messages: 1,
            index_keys: SmallVec::new(),
        };
        assert!(with(0).in_queue());
        assert!(with(0x8 | 0x1).in_queue());
        assert!(!with(0x4).in_queue());
        assert!(!with(0xC).in_queue());
        assert_eq!(with(0).end(), 191);
    }
}
