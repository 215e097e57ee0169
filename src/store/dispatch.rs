//! What queues and index need to know of one stored record.

use smallvec::SmallVec;

use super::queue_table::QueueKey;

/// Mask of the transaction bits in a system flag.
const TRANSACTION_MASK: i32 = 0xC;
/// Transaction bits of a half message.
const TRANSACTION_PREPARED: i32 = 0x4;
/// Transaction bits of a rolled back message.
const TRANSACTION_ROLLBACK: i32 = 0xC;

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
    /// Hashes of the index keys, see [`key_hash`]; empty when the record is not indexed.
    pub index_keys: SmallVec<[i32; 4]>,
}

impl DispatchRecord {
    /// Physical offset of the byte after the record.
    pub fn end(&self) -> i64 {
        self.physical_offset + i64::from(self.size)
    }

    /// Whether the record has an entry in its consume queue: all but half and rolled back ones.
    pub fn in_queue(&self) -> bool {
        let kind = self.sys_flag & TRANSACTION_MASK;
        kind != TRANSACTION_PREPARED && kind != TRANSACTION_ROLLBACK
    }
}

/// A record found by a scan, with the queue it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedRecord {
    /// The record's topic and queue.
    pub key: QueueKey,
    /// What queues and index need of it.
    pub record: DispatchRecord,
}

/// Java's `String.hashCode` of a text that is given in pieces.
#[derive(Debug, Clone, Copy, Default)]
pub struct JavaHash(i32);

impl JavaHash {
    /// Continues the hash with more text.
    pub fn push(self, text: &str) -> Self {
        let step = |hash: i32, unit: i32| hash.wrapping_mul(31).wrapping_add(unit);
        if text.is_ascii() {
            return Self(text.bytes().fold(self.0, |h, b| step(h, i32::from(b))));
        }
        Self(
            text.encode_utf16()
                .fold(self.0, |h, u| step(h, i32::from(u))),
        )
    }

    /// The hash as the index stores it: RocketMQ's `indexKeyHashMethod`, the absolute value, and 0
    /// where there is none.
    pub fn index_key(self) -> i32 {
        self.0.checked_abs().unwrap_or(0)
    }
}

/// Hash of an index key: of the text `topic#key`.
pub fn key_hash(topic: &str, key: &str) -> i32 {
    JavaHash::default()
        .push(topic)
        .push("#")
        .push(key)
        .index_key()
}

/// Hash of a tag's index key: of the text `topic#T#tag` (RocketMQ 5.4.0).
pub fn tag_key_hash(topic: &str, tag: &str) -> i32 {
    JavaHash::default()
        .push(topic)
        .push("#T#")
        .push(tag)
        .index_key()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        // "TopicTest#key".hashCode() computed by the definition over UTF-16 units.
        let slow = |text: &str| {
            text.encode_utf16()
                .fold(0_i32, |h, u| h.wrapping_mul(31).wrapping_add(i32::from(u)))
        };
        for (topic, key) in [("TopicTest", "key"), ("主题", "ключ𝄞"), ("", "")] {
            let whole = slow(&format!("{topic}#{key}"));
            assert_eq!(key_hash(topic, key), whole.checked_abs().unwrap_or(0));
            let whole = slow(&format!("{topic}#T#{key}"));
            assert_eq!(tag_key_hash(topic, key), whole.checked_abs().unwrap_or(0));
        }
        assert_eq!(JavaHash::default().push("hello").index_key(), 99_162_322);
        assert_eq!(JavaHash(i32::MIN).index_key(), 0);
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
            index_keys: SmallVec::new(),
        };
        assert!(with(0).in_queue());
        assert!(with(0x8 | 0x1).in_queue());
        assert!(!with(0x4).in_queue());
        assert!(!with(0xC).in_queue());
        assert_eq!(with(0).end(), 191);
    }
}
