//! What the files of a queue are made of, for the code that ordinary queues and queues of batches share.

use std::fmt::Debug;

use super::{ENTRY_LEN, Entry};

/// Length of the longest unit.
pub(super) const UNIT_LEN_MAX: usize = 64;

/// One unit of a queue's files: a fixed number of bytes that tell where a record lies.
pub trait Unit: Copy + PartialEq + Debug {
    /// Bytes of one unit, at most 64.
    const LEN: usize;
    /// Fills space that holds no unit.
    const BLANK: Self;
    /// Configuration key of the length of a file.
    const FILE_SIZE_KEY: &'static str;

    /// Reads a unit from so many bytes; fewer read as a unit that was never written.
    fn of_bytes(bytes: &[u8]) -> Self;

    /// Writes the unit behind `out`.
    fn push_to(&self, out: &mut Vec<u8>);

    /// Where the record lies in the commit log, and how long it is.
    fn entry(&self) -> Entry;

    /// Whether the unit only fills space.
    fn is_blank(&self) -> bool;

    /// Whether the unit can point at a record: a space that was never written reads as zeros.
    fn is_sane(&self) -> bool;

    /// Whether the unit can stand behind another.
    fn follows(&self, _before: &Self) -> bool {
        true
    }

    /// First byte after the record.
    fn physical_end(&self) -> i64 {
        self.entry().physical_end()
    }
}

impl Unit for Entry {
    const LEN: usize = ENTRY_LEN;
    const BLANK: Self = Entry::BLANK;
    const FILE_SIZE_KEY: &'static str = "mappedFileSizeConsumeQueue";

    fn of_bytes(bytes: &[u8]) -> Self {
        Entry::decode(bytes.first_chunk().unwrap_or(&[0; ENTRY_LEN]))
    }

    fn push_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.encode());
    }

    fn entry(&self) -> Entry {
        *self
    }

    fn is_blank(&self) -> bool {
        Entry::is_blank(self)
    }

    fn is_sane(&self) -> bool {
        Entry::is_sane(self)
    }
}
