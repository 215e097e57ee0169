//! One entry of a consume queue: where a message lies in the commit log.
//!
//! ```text
//!  0               8       12              20
//!  | physical off. | size  | tags code     |
//! ```
//!
//! | offset | width | name            | meaning                                              |
//! | ------ | ----- | --------------- | ---------------------------------------------------- |
//! | 0      | 8     | physical offset | first byte of the record in the commit log           |
//! | 8      | 4     | size            | length of the record in bytes                        |
//! | 12     | 8     | tags code       | hash of the tags, or the delivery time (ms) of a delayed message |
//!
//! Everything is big-endian. An entry lies at byte `20 * queue offset` of its queue.

/// Bytes of one entry.
pub const ENTRY_LEN: usize = 20;

/// One entry of a consume queue (RocketMQ's `CqUnit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// First byte of the record in the commit log.
    pub physical_offset: i64,
    /// Length of the record in bytes.
    pub size: i32,
    /// Hash of the tags; for a delayed message the time (ms) at which it is due.
    pub tags_code: i64,
}

impl Entry {
    /// Fills the file of a queue whose first message does not have the first offset of that file.
    pub const BLANK: Entry = Entry {
        physical_offset: 0,
        size: i32::MAX,
        tags_code: 0,
    };

    /// Reads an entry.
    pub fn decode(bytes: &[u8; ENTRY_LEN]) -> Self {
        let [p0, p1, p2, p3, p4, p5, p6, p7, s0, s1, s2, s3, tags @ ..] = *bytes;
        Entry {
            physical_offset: i64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7]),
            size: i32::from_be_bytes([s0, s1, s2, s3]),
            tags_code: i64::from_be_bytes(tags),
        }
    }

    /// Writes an entry.
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..8].copy_from_slice(&self.physical_offset.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// All whole entries of `bytes`.
    pub fn decode_all(bytes: &[u8]) -> impl ExactSizeIterator<Item = Entry> {
        bytes.as_chunks::<ENTRY_LEN>().0.iter().map(Entry::decode)
    }

    /// First byte after the record.
    pub fn physical_end(&self) -> i64 {
        self.physical_offset.saturating_add(i64::from(self.size))
    }

    /// Whether this entry only fills space (see [`Entry::BLANK`]).
    pub fn is_blank(&self) -> bool {
        *self == Self::BLANK
    }

    /// Whether the entry can point at a record: a space that was never written reads as zeros.
    pub fn is_sane(&self) -> bool {
        self.physical_offset >= 0 && self.size > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layout_is_big_endian() {
        let entry = Entry {
            physical_offset: 0x0102_0304_0506_0708,
            size: 0x1112_1314,
            tags_code: -2,
        };
        let bytes = entry.encode();
        assert_eq!(
            bytes[..12],
            [1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14]
        );
        assert_eq!(bytes[12..], [255, 255, 255, 255, 255, 255, 255, 254]);
    }

    proptest! {
        #[test]
        fn decodes_what_it_encoded(physical_offset: i64, size: i32, tags_code: i64) {
            let entry = Entry { physical_offset, size, tags_code };
            prop_assert_eq!(Entry::decode(&entry.encode()), entry);
        }
    }
}
