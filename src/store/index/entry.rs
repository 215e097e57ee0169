//! Layout of an index file. Everything is big-endian.
//!
//! ```text
//!  0            40                 40 + 4 * slots            40 + 4 * slots + 20 * entries
//!  | header     | slots, 4 bytes   | entries, 20 bytes each  |
//! ```
//!
//! Header:
//!
//! | offset | width | name             | meaning                                          |
//! | ------ | ----- | ---------------- | ------------------------------------------------ |
//! | 0      | 8     | begin timestamp  | store time (ms) of the first entry               |
//! | 8      | 8     | end timestamp    | store time (ms) of the last entry                |
//! | 16     | 8     | begin physical   | physical offset of the first entry               |
//! | 24     | 8     | end physical     | physical offset of the last entry                |
//! | 32     | 4     | hash slot count  | slots in use                                     |
//! | 36     | 4     | index count      | number of the next entry: starts at 1            |
//!
//! A file that follows another starts with that one's end values in all four.
//!
//! Slot i holds the number of the newest entry whose key hash is i modulo the number of slots; 0,
//! or a number above the index count, when there is none.
//!
//! Entry n:
//!
//! | offset | width | name            | meaning                                                |
//! | ------ | ----- | --------------- | ------------------------------------------------------ |
//! | 0      | 4     | key hash        | absolute value of Java's string hash of `topic#key`    |
//! | 4      | 8     | physical offset | of the record in the commit log                        |
//! | 12     | 4     | time difference | seconds from the begin timestamp to the store time     |
//! | 16     | 4     | previous        | number of the next older entry of the slot, 0 if none  |
//!
//! The first entry of a file that follows another has its time difference counted from the begin
//! timestamp before itself set that: from the end of the file before. So writes RocketMQ.

/// Bytes of the header.
pub const HEADER_LEN: u64 = 40;
/// Bytes of a slot.
pub const SLOT_LEN: u64 = 4;
/// Bytes of an entry.
pub const INDEX_ENTRY_LEN: u64 = 20;
/// Where in the header the index count lies.
pub(super) const INDEX_COUNT_AT: u64 = 36;
/// Number of the first entry; entry 0 is never used.
pub(super) const FIRST_ENTRY: u32 = 1;

/// How many slots and entries each file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexShape {
    slots: u32,
    entries: u32,
}

impl IndexShape {
    /// `slots` is RocketMQ's `maxHashSlotNum` and `entries` its `maxIndexNum`; both are brought into
    /// 1 (2 for entries, as number 0 is never used) to 2^30.
    pub fn new(slots: u32, entries: u32) -> Self {
        Self {
            slots: slots.clamp(1, 1 << 30),
            entries: entries.clamp(2, 1 << 30),
        }
    }

    /// Slots of a file.
    pub fn slots(self) -> u32 {
        self.slots
    }

    /// Entry numbers of a file, the unused 0 included.
    pub fn entries(self) -> u32 {
        self.entries
    }

    /// Bytes of a file.
    pub fn file_len(self) -> u64 {
        self.entry_at(self.entries)
    }

    /// The slot of a key hash.
    pub fn slot_of(self, key_hash: i32) -> u32 {
        key_hash.unsigned_abs() % self.slots
    }

    /// Where slot `n` lies.
    pub fn slot_at(self, n: u32) -> u64 {
        HEADER_LEN + u64::from(n) * SLOT_LEN
    }

    /// Where entry `n` lies.
    pub fn entry_at(self, n: u32) -> u64 {
        HEADER_LEN + u64::from(self.slots) * SLOT_LEN + u64::from(n) * INDEX_ENTRY_LEN
    }
}

impl Default for IndexShape {
    /// RocketMQ's defaults: 5,000,000 slots and 20,000,000 entries, a file of 420,000,040 bytes.
    fn default() -> Self {
        Self::new(5_000_000, 20_000_000)
    }
}

/// Header of an index file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexHeader {
    /// Store time (ms) of the first entry.
    pub begin_timestamp: i64,
    /// Store time (ms) of the last entry.
    pub end_timestamp: i64,
    /// Physical offset of the first entry.
    pub begin_physical: i64,
    /// Physical offset of the last entry.
    pub end_physical: i64,
    /// Slots in use.
    pub hash_slot_count: i32,
    /// Number of the next entry.
    pub index_count: u32,
}

impl Default for IndexHeader {
    fn default() -> Self {
        Self {
            begin_timestamp: 0,
            end_timestamp: 0,
            begin_physical: 0,
            end_physical: 0,
            hash_slot_count: 0,
            index_count: FIRST_ENTRY,
        }
    }
}

impl IndexHeader {
    /// Header of the file that follows one with this header.
    pub(super) fn successor(&self) -> Self {
        Self {
            begin_timestamp: self.end_timestamp.max(0),
            end_timestamp: self.end_timestamp.max(0),
            begin_physical: self.end_physical.max(0),
            end_physical: self.end_physical.max(0),
            ..Self::default()
        }
    }

    /// Reads a header; an index count below 1, as in a new file, is read as 1.
    pub fn decode(bytes: &[u8; HEADER_LEN as usize]) -> Self {
        Self {
            begin_timestamp: i64_at(bytes, 0),
            end_timestamp: i64_at(bytes, 8),
            begin_physical: i64_at(bytes, 16),
            end_physical: i64_at(bytes, 24),
            hash_slot_count: i32_at(bytes, 32),
            index_count: u32::try_from(i32_at(bytes, 36)).map_or(FIRST_ENTRY, |n| n.max(1)),
        }
    }

    /// Writes a header.
    pub fn encode(&self) -> [u8; HEADER_LEN as usize] {
        let mut bytes = [0; HEADER_LEN as usize];
        bytes[..8].copy_from_slice(&self.begin_timestamp.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.end_timestamp.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.begin_physical.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.end_physical.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.hash_slot_count.to_be_bytes());
        bytes[36..].copy_from_slice(&self.index_count.to_be_bytes());
        bytes
    }

    /// Whether the file can hold entries stored between `begin` and `end` (ms, both included).
    pub(super) fn overlaps(&self, begin: i64, end: i64) -> bool {
        begin <= self.end_timestamp && end >= self.begin_timestamp
    }

    /// Seconds that an entry stored at `store_timestamp` (ms) is written with.
    pub(super) fn time_difference(&self, store_timestamp: i64) -> i32 {
        if self.begin_timestamp <= 0 {
            return 0;
        }
        let seconds = store_timestamp.saturating_sub(self.begin_timestamp) / 1000;
        i32::try_from(seconds.max(0)).unwrap_or(i32::MAX)
    }
}

/// One entry of an index file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Hash of `topic#key`, never negative.
    pub key_hash: i32,
    /// Where the record starts in the commit log.
    pub physical_offset: i64,
    /// Seconds from the file's begin timestamp to the store time.
    pub time_difference: i32,
    /// Number of the next older entry of the slot.
    pub previous: i32,
}

impl IndexEntry {
    /// Reads an entry.
    pub fn decode(bytes: &[u8; INDEX_ENTRY_LEN as usize]) -> Self {
        Self {
            key_hash: i32_at(bytes, 0),
            physical_offset: i64_at(bytes, 4),
            time_difference: i32_at(bytes, 12),
            previous: i32_at(bytes, 16),
        }
    }

    /// Writes an entry.
    pub fn encode(&self) -> [u8; INDEX_ENTRY_LEN as usize] {
        let mut bytes = [0; INDEX_ENTRY_LEN as usize];
        bytes[..4].copy_from_slice(&self.key_hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.physical_offset.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.time_difference.to_be_bytes());
        bytes[16..].copy_from_slice(&self.previous.to_be_bytes());
        bytes
    }
}

/// Reads from a fixed-size array; `at` is a constant of the layouts above.
fn i32_at<const N: usize>(bytes: &[u8; N], at: usize) -> i32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    i32::from_be_bytes(value)
}

fn i64_at<const N: usize>(bytes: &[u8; N], at: usize) -> i64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_file_has_rocketmqs_length() {
        let shape = IndexShape::default();
        assert_eq!(shape.file_len(), 420_000_040);
        assert_eq!(shape.entry_at(0), 20_000_040);
        assert_eq!(shape.slot_of(i32::MAX), 2_147_483_647 % 5_000_000);
    }

    #[test]
    fn time_differences_are_clamped_seconds() {
        let header = IndexHeader {
            begin_timestamp: 10_000,
            ..IndexHeader::default()
        };
        let of = |t| header.time_difference(t);
        assert_eq!([of(9_000), of(10_999), of(11_000)], [0, 0, 1]);
        assert_eq!(of(i64::MAX), i32::MAX);
        assert_eq!(IndexHeader::default().time_difference(5_000), 0);
    }

    proptest! {
        #[test]
        fn decodes_what_it_encoded(a: i64, b: i64, c: i64, d: i64, e: i32, f in 1..1_u32 << 31) {
            let header = IndexHeader {
                begin_timestamp: a, end_timestamp: b, begin_physical: c, end_physical: d,
                hash_slot_count: e, index_count: f,
            };
            prop_assert_eq!(IndexHeader::decode(&header.encode()), header);
            let entry = IndexEntry {
                key_hash: e, physical_offset: a, time_difference: !e, previous: e.wrapping_mul(7),
            };
            prop_assert_eq!(IndexEntry::decode(&entry.encode()), entry);
        }
    }
}
