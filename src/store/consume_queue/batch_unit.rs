//! One unit of a queue of batches: where a record that holds one or several messages lies.
//!
//! ```text
//!  0               8       12              20              28              36  38      42      46
//!  | physical off. | size  | tags code     | store time    | base offset   | n | -1    | 0     |
//! ```
//!
//! | offset | width | name              | meaning                                                |
//! | ------ | ----- | ----------------- | ------------------------------------------------------ |
//! | 0      | 8     | physical offset   | first byte of the record in the commit log             |
//! | 8      | 4     | size              | length of the record in bytes                          |
//! | 12     | 8     | tags code         | hash of the record's tags                              |
//! | 20     | 8     | store time        | when the record was stored, ms                         |
//! | 28     | 8     | base offset       | queue offset of the record's first message             |
//! | 36     | 2     | number            | how many messages the record holds                     |
//! | 38     | 4     | compacted offset  | -1: only RocketMQ's compaction sets it                 |
//! | 42     | 4     | reserved          | 0                                                      |
//!
//! Everything is big-endian and signed (RocketMQ's `BatchConsumeQueue`). The place of a unit tells
//! nothing of its offset: units are found by a search in their base offsets.

use super::{Entry, unit::Unit};

/// Bytes of one unit.
pub const BATCH_UNIT_LEN: usize = 46;

/// Largest queue offset: sums of two stay numbers.
pub(super) const OFFSET_MAX: i64 = i64::MAX / 2;

/// What RocketMQ writes where compaction has nothing to say.
const NOT_COMPACTED: i32 = -1;

/// One unit of a queue of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BatchUnit {
    /// Where the record lies, and the hash of its tags.
    pub entry: Entry,
    /// When the record was stored, ms.
    pub store_time: i64,
    /// Queue offset of its first message.
    pub base_offset: i64,
    /// How many messages it holds.
    pub messages: i16,
}

impl BatchUnit {
    /// Reads a unit.
    pub fn decode(bytes: &[u8; BATCH_UNIT_LEN]) -> Self {
        let (entry, rest) = bytes.split_at(20);
        let long = |at: usize| {
            let word = rest.get(at..).and_then(|rest| rest.first_chunk());
            i64::from_be_bytes(*word.unwrap_or(&[0; 8]))
        };
        Self {
            entry: Entry::of_bytes(entry),
            store_time: long(0),
            base_offset: long(8),
            messages: i16::from_be_bytes([bytes[36], bytes[37]]),
        }
    }

    /// Writes a unit.
    pub fn encode(&self) -> [u8; BATCH_UNIT_LEN] {
        let mut bytes = [0; BATCH_UNIT_LEN];
        bytes[..20].copy_from_slice(&self.entry.encode());
        bytes[20..28].copy_from_slice(&self.store_time.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.base_offset.to_be_bytes());
        bytes[36..38].copy_from_slice(&self.messages.to_be_bytes());
        bytes[38..42].copy_from_slice(&NOT_COMPACTED.to_be_bytes());
        bytes
    }

    /// Queue offset behind its last message.
    pub fn end_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.messages))
    }
}

impl Unit for BatchUnit {
    const LEN: usize = BATCH_UNIT_LEN;
    /// A queue of batches needs no filler: its units stand one behind the other wherever it begins.
    const BLANK: Self = Self {
        entry: Entry::BLANK,
        store_time: 0,
        base_offset: 0,
        messages: 0,
    };
    // Spelled so in RocketMQ.
    const FILE_SIZE_KEY: &'static str = "mapperFileSizeBatchConsumeQueue";

    fn of_bytes(bytes: &[u8]) -> Self {
        Self::decode(bytes.first_chunk().unwrap_or(&[0; BATCH_UNIT_LEN]))
    }

    fn push_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.encode());
    }

    fn entry(&self) -> Entry {
        self.entry
    }

    fn is_blank(&self) -> bool {
        false
    }

    fn is_sane(&self) -> bool {
        let is_offset = (0..=OFFSET_MAX).contains(&self.base_offset);
        self.entry.is_sane() && is_offset && self.messages > 0
    }

    fn follows(&self, before: &Self) -> bool {
        self.base_offset >= before.end_offset()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layout_is_big_endian() {
        let unit = BatchUnit {
            entry: Entry {
                physical_offset: 1,
                size: 2,
                tags_code: 3,
            },
            store_time: 4,
            base_offset: 5,
            messages: 6,
        };
        let mut wanted = [0; BATCH_UNIT_LEN];
        for (at, value) in [(7, 1), (11, 2), (19, 3), (27, 4), (35, 5), (37, 6)] {
            wanted[at] = value;
        }
        wanted[38..42].fill(255);
        assert_eq!(unit.encode(), wanted);
        assert!(unit.is_sane() && !BatchUnit::of_bytes(&[]).is_sane());
        assert_eq!((unit.end_offset(), unit.physical_end()), (11, 3));
    }

    proptest! {
        #[test]
        fn decodes_what_it_encoded(
            physical_offset: i64, size: i32, tags_code: i64, store_time: i64, base_offset: i64,
            messages: i16,
        ) {
            let entry = Entry { physical_offset, size, tags_code };
            let unit = BatchUnit { entry, store_time, base_offset, messages };
            prop_assert_eq!(BatchUnit::decode(&unit.encode()), unit);
        }
    }
}
