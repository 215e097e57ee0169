//! One entry of a compaction queue: where a record lies in the compaction log.
//!
//! It is the unit of a queue of batches ([`BatchUnit`]), with a place in the compaction log where that has one in
//! the commit log, and one message a record. An entry with position −1 and nothing else ends a file
//! (`SparseConsumeQueue.putEndPositionInfo`); what was never written reads as zeros.

use crate::store::consume_queue::{BATCH_UNIT_LEN, BatchUnit, Entry};

/// Bytes of one entry.
pub const ENTRY_LEN: usize = BATCH_UNIT_LEN;

/// One entry; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionEntry {
    /// First byte of the record in the compaction log.
    pub position: i64,
    /// Length of the record in bytes.
    pub size: i32,
    /// Hash of the tags.
    pub tags_code: i64,
    /// Store time of the record, ms.
    pub store_time: i64,
    /// Queue offset of the record.
    pub queue_offset: i64,
    /// How many messages the record is.
    pub batch: i16,
}

impl CompactionEntry {
    /// Ends a file.
    pub const END: Self = Self {
        position: -1,
        size: 0,
        tags_code: 0,
        store_time: 0,
        queue_offset: 0,
        batch: 0,
    };

    /// Reads an entry.
    pub fn decode(bytes: &[u8; ENTRY_LEN]) -> Self {
        let unit = BatchUnit::decode(bytes);
        Self {
            position: unit.entry.physical_offset,
            size: unit.entry.size,
            tags_code: unit.entry.tags_code,
            store_time: unit.store_time,
            queue_offset: unit.base_offset,
            batch: unit.messages,
        }
    }

    /// Writes an entry.
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let unit = BatchUnit {
            entry: Entry {
                physical_offset: self.position,
                size: self.size,
                tags_code: self.tags_code,
            },
            store_time: self.store_time,
            base_offset: self.queue_offset,
            messages: self.batch,
        };
        unit.encode()
    }

    /// All whole entries of `bytes`.
    pub fn decode_all(bytes: &[u8]) -> impl ExactSizeIterator<Item = Self> {
        bytes.as_chunks::<ENTRY_LEN>().0.iter().map(Self::decode)
    }

    /// Whether it can point at a record (`CompactionLog.validateCqUnit`).
    pub fn is_sane(&self) -> bool {
        self.position >= 0 && self.size > 0 && self.queue_offset >= 0 && self.batch > 0
    }

    /// First byte after the record.
    pub fn end(&self) -> i64 {
        self.position.saturating_add(i64::from(self.size))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layout_is_big_endian() {
        let entry = CompactionEntry {
            position: 0x0102_0304_0506_0708,
            size: 0x1112_1314,
            tags_code: -2,
            store_time: 3,
            queue_offset: 4,
            batch: 1,
        };
        let bytes = entry.encode();
        let head = [1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14];
        assert_eq!(bytes[..12], head);
        assert_eq!(bytes[12..20], [255, 255, 255, 255, 255, 255, 255, 254]);
        assert_eq!(bytes[27..28], [3]);
        assert_eq!(bytes[35..38], [4, 0, 1]);
        assert_eq!(bytes[38..], [255, 255, 255, 255, 0, 0, 0, 0]);
        assert!(entry.is_sane());
        let end = CompactionEntry::END;
        let nothing = CompactionEntry::decode(&[0; ENTRY_LEN]);
        assert!(!end.is_sane() && !nothing.is_sane());
    }

    proptest! {
        #[test]
        fn decodes_what_it_encoded(
            position: i64,
            size: i32,
            tags_code: i64,
            store_time: i64,
            queue_offset: i64,
            batch: i16,
        ) {
            let entry = CompactionEntry {
                position, size, tags_code, store_time, queue_offset, batch,
            };
            prop_assert_eq!(CompactionEntry::decode(&entry.encode()), entry);
        }
    }
}
