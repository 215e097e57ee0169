//! One entry of a compaction queue: where a record lies in the compaction log.
//!
//! ```text
//!  0          8      12          20           28             36      38                 42         46
//!  | position | size | tags code | store time | queue offset | batch | compacted offset | reserved |
//! ```
//!
//! | offset | width | name             | meaning                                              |
//! | ------ | ----- | ---------------- | ---------------------------------------------------- |
//! | 0      | 8     | position         | first byte of the record in the compaction log       |
//! | 8      | 4     | size             | length of the record in bytes                        |
//! | 12     | 8     | tags code        | hash of the tags                                     |
//! | 20     | 8     | store time       | of the record, ms                                    |
//! | 28     | 8     | queue offset     | of the record                                        |
//! | 36     | 2     | batch            | how many messages the record is: 1                   |
//! | 38     | 4     | compacted offset | −1                                                   |
//! | 42     | 4     | reserved         | 0                                                    |
//!
//! Everything is big-endian. It is the unit of RocketMQ's `BatchConsumeQueue`. An entry with position −1 and
//! nothing else ends a file (`SparseConsumeQueue.putEndPositionInfo`); what was never written reads as zeros.

/// Bytes of one entry.
pub const ENTRY_LEN: usize = 46;

/// What RocketMQ writes as the compacted offset.
const NO_COMPACTED_OFFSET: i32 = -1;

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
        let (position, rest) = split::<8>(bytes);
        let (size, rest) = split::<4>(rest);
        let (tags_code, rest) = split::<8>(rest);
        let (store_time, rest) = split::<8>(rest);
        let (queue_offset, rest) = split::<8>(rest);
        let (batch, _) = split::<2>(rest);
        Self {
            position: i64::from_be_bytes(position),
            size: i32::from_be_bytes(size),
            tags_code: i64::from_be_bytes(tags_code),
            store_time: i64::from_be_bytes(store_time),
            queue_offset: i64::from_be_bytes(queue_offset),
            batch: i16::from_be_bytes(batch),
        }
    }

    /// Writes an entry.
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..8].copy_from_slice(&self.position.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes[20..28].copy_from_slice(&self.store_time.to_be_bytes());
        bytes[28..36].copy_from_slice(&self.queue_offset.to_be_bytes());
        bytes[36..38].copy_from_slice(&self.batch.to_be_bytes());
        bytes[38..42].copy_from_slice(&NO_COMPACTED_OFFSET.to_be_bytes());
        bytes
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

/// The first bytes of a slice that has more than those; zeros of one that has not.
fn split<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    match bytes.split_first_chunk::<N>() {
        Some((first, rest)) => (*first, rest),
        None => ([0; N], &[]),
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
