//! The end of the newest index file after its process was killed.
//!
//! All writes are there, in the order of [`put_record`](super::IndexService::put_record): for each key its
//! entry, the slot, the count; behind the last key of a record the whole header. So a header whose end is the
//! last entry's record was written behind all of its keys. If it is not, the entries behind the header's end
//! are of a record that may lack keys, and are taken out, as is one that a slot knows and the count does not.

use std::io;

use super::{
    IndexEntry, IndexHeader, IndexShape,
    entry::{FIRST_ENTRY, INDEX_ENTRY_LEN, SLOT_LEN},
    recovery::RECORD_KEYS_MAX,
};
use crate::store::fs::FileRef;

/// What is known of a file that need not be read.
#[derive(Debug)]
pub(super) struct Tail {
    /// Of what is kept.
    pub(super) header: IndexHeader,
    /// The record that was taken out.
    pub(super) cut: Option<i64>,
}

impl Tail {
    /// A file that ends with a whole record.
    pub(super) fn whole(header: IndexHeader) -> Self {
        Self { header, cut: None }
    }

    /// Looks at the last record, and takes it out if it may lack keys. `None` for a file that has to be
    /// read from its first entry on: one that is full, or holds one record only, or is not as a killed
    /// process leaves it.
    ///
    /// # Errors
    /// From the file system.
    pub(super) fn mend(
        file: &FileRef,
        shape: IndexShape,
        header: IndexHeader,
    ) -> io::Result<Option<Self>> {
        let end = End { file, shape };
        let count = header.index_count;
        if count <= FIRST_ENTRY || count >= shape.entries() {
            return Ok(None);
        }
        let (first, last) = (end.entry(FIRST_ENTRY)?, end.entry(count - 1)?);
        // The header of a file starts with the end of the one before, which may be of the same record.
        if first.physical_offset == last.physical_offset || !end.take_out(count)? {
            return Ok(None);
        }
        if last.physical_offset == header.end_physical {
            return Ok(Some(Self::whole(header)));
        }
        let mut kept = count;
        loop {
            let newest = end.entry(kept - 1)?;
            if newest.physical_offset == header.end_physical {
                break;
            }
            let is_last_record = newest.physical_offset == last.physical_offset;
            let is_too_much = (count - kept) as usize >= RECORD_KEYS_MAX;
            if !is_last_record || is_too_much || !end.take_out(kept - 1)? {
                return Ok(None);
            }
            kept -= 1;
        }
        let header = IndexHeader {
            index_count: kept,
            ..header
        };
        file.write_at(&header.encode(), 0)?;
        file.zero(
            shape.entry_at(kept),
            u64::from(count - kept) * INDEX_ENTRY_LEN,
        )?;
        log::info!(
            "index file mended, entries={} kept={}",
            count - FIRST_ENTRY,
            kept - FIRST_ENTRY
        );
        let cut = Some(last.physical_offset);
        Ok(Some(Self { header, cut }))
    }
}

struct End<'a> {
    file: &'a FileRef,
    shape: IndexShape,
}

impl End<'_> {
    fn entry(&self, number: u32) -> io::Result<IndexEntry> {
        let mut bytes = [0; INDEX_ENTRY_LEN as usize];
        self.file.read_at(&mut bytes, self.shape.entry_at(number))?;
        Ok(IndexEntry::decode(&bytes))
    }

    /// Makes the slot of an entry forget it, if it knows it as its newest. Whether entry and slot are as
    /// they can be.
    fn take_out(&self, number: u32) -> io::Result<bool> {
        let entry = self.entry(number)?;
        let at = self.shape.slot_at(self.shape.slot_of(entry.key_hash));
        let mut slot = [0; SLOT_LEN as usize];
        self.file.read_at(&mut slot, at)?;
        if u32::from_be_bytes(slot) != number {
            // Not yet, or no more: a kill may have come while this was done.
            return Ok(u32::from_be_bytes(slot) < number);
        }
        let is_sane = u32::try_from(entry.previous).is_ok_and(|previous| previous < number);
        if is_sane {
            self.file.write_at(&entry.previous.to_be_bytes(), at)?;
        }
        Ok(is_sane)
    }
}
