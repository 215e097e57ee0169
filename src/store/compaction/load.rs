//! Opening the files of a queue: what they hold, and entries that do not fit their records.

use std::path::Path;

use super::{
    entry::{CompactionEntry, ENTRY_LEN},
    files::{BYTES_AT_A_TIME, CompactionFiles, ENTRIES_AT_A_TIME, Pair},
    reader::{Place, runs},
    writer::make_file,
};
use crate::{
    protocol::message::{
        keys::KeyProperties,
        record::{self, CheckCrc, Peek, RecordView},
    },
    store::{error::StoreError, fs::FileRef},
};

impl CompactionFiles {
    /// What a file of entries and its records tell.
    pub(super) fn load_pair(&mut self, start: i64) -> Result<Pair, StoreError> {
        let (log, cq) = self.open_files(start)?;
        let (log_path, cq_path) = (self.log_path(start), self.cq_path(start));
        let log_len = log
            .len()
            .map_err(|e| StoreError::io("read", &log_path, e))?;
        let cq_len = cq.len().map_err(|e| StoreError::io("read", &cq_path, e))?;
        let mut pair = Pair::empty(start, log_len, cq_len);
        let (mut low, mut high) = (0, cq_len / ENTRY_LEN as u64);
        while low < high {
            let middle = low + (high - low) / 2;
            match entry_at(&cq, &cq_path, middle)?.is_sane() {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        pair.entries = low;
        if self.ends_fit(&mut pair, &log, &cq)? {
            return Ok(pair);
        }
        log::warn!(
            "compaction makes a file of entries anew file={}",
            cq_path.display()
        );
        self.rebuild(&mut pair, &log)?;
        Ok(pair)
    }

    /// Whether the first and the last entry of a file lead to their records; without an entry, whether there
    /// is no record.
    fn ends_fit(&self, pair: &mut Pair, log: &FileRef, cq: &FileRef) -> Result<bool, StoreError> {
        let (log_path, cq_path) = (self.log_path(pair.start), self.cq_path(pair.start));
        let Some(last) = pair.entries.checked_sub(1) else {
            let at_start = header_at(log, &log_path, 0)?;
            return Ok(!matches!(record::peek(&at_start), Peek::Record { .. }));
        };
        for at in [0, last] {
            let entry = entry_at(cq, &cq_path, at)?;
            let offset = u64::try_from(entry.position.saturating_sub(pair.start));
            let Ok(offset) = offset else { return Ok(false) };
            if offset.saturating_add(entry.size as u64) > pair.log_len || (at == 0 && offset > 0) {
                return Ok(false);
            }
            let header = header_at(log, &log_path, offset)?;
            let size = entry.size as usize;
            if record::peek(&header) != (Peek::Record { size })
                || record::peek_queue_offset(&header) != Some(entry.queue_offset)
            {
                return Ok(false);
            }
            if at == 0 {
                pair.first = entry.queue_offset;
            }
            pair.last = entry.queue_offset;
            pair.used = offset + entry.size as u64;
        }
        Ok(true)
    }

    /// Makes the entries of a file anew from its records.
    fn rebuild(&mut self, pair: &mut Pair, log: &FileRef) -> Result<(), StoreError> {
        let path = self.cq_path(pair.start);
        // One that lacks its end was cut short by somebody: as long as it should be, then.
        pair.cq_len = pair.cq_len.max(self.home.cq_len);
        make_file(self.fs(), &path, pair.cq_len)?;
        self.forget_open(pair.start);
        let (_, cq) = self.open_files(pair.start)?;
        (pair.entries, pair.used) = (0, 0);
        let mut entries = Vec::new();
        let mut at = 0;
        let unit = ENTRY_LEN as u64;
        let log_path = self.log_path(pair.start);
        while (pair.entries + 1) * unit < pair.cq_len {
            let Some(record) = record_at(log, &log_path, at, pair.log_len)? else {
                break;
            };
            let Some(entry) = entry_of(&record, pair.start.saturating_add_unsigned(at)) else {
                break;
            };
            if pair.entries > 0 && entry.queue_offset <= pair.last {
                break; // left over from before the file was written
            }
            if pair.entries == 0 {
                pair.first = entry.queue_offset;
            }
            pair.last = entry.queue_offset;
            entries.extend_from_slice(&entry.encode());
            pair.entries += 1;
            at += record.len() as u64;
            pair.used = at;
            if entries.len() >= ENTRIES_AT_A_TIME * ENTRY_LEN {
                write_entries(&cq, &path, &mut entries, pair.entries)?;
            }
        }
        write_entries(&cq, &path, &mut entries, pair.entries)?;
        cq.sync_data().map_err(|e| StoreError::io("sync", &path, e))
    }

    /// Looks at every record of the newest file, and keeps what comes before the first that is not whole.
    pub(super) fn check_last(&mut self) -> Result<(), StoreError> {
        let Some(file) = self.pairs.len().checked_sub(1) else {
            return Ok(());
        };
        let mut place = Place { file, entry: 0 };
        let entries = self.pairs[file].entries;
        let mut expected = self.pairs[file].start;
        let mut last_offset = -1;
        while place.entry < entries {
            let found = self.entries_until_bad(place)?;
            let mut good = 0;
            for run in runs(&found, BYTES_AT_A_TIME) {
                let (Some(first), Some(last)) = (run.first(), run.last()) else {
                    break;
                };
                let len = usize::try_from(last.end() - first.position).unwrap_or(0);
                let bytes = self.read(place, first.position, len)?;
                for entry in run {
                    let from = usize::try_from(entry.position - first.position).unwrap_or(0);
                    let record = bytes.get(from..).unwrap_or_default();
                    let whole = entry.position == expected
                        && entry.queue_offset > last_offset
                        && is_whole(record, entry);
                    if !whole {
                        return self.cut_at(place.entry + good);
                    }
                    expected = entry.end();
                    last_offset = entry.queue_offset;
                    good += 1;
                }
            }
            if good == 0 {
                return self.cut_at(place.entry);
            }
            place.entry += good;
        }
        Ok(())
    }

    fn cut_at(&mut self, keep: u64) -> Result<(), StoreError> {
        log::warn!(
            "compaction cuts what is not whole, directory={} kept_entries={keep}",
            self.log_dir.display()
        );
        self.cut_last(keep)
    }

    /// Entries from a place on, up to the first that cannot be.
    fn entries_until_bad(&mut self, from: Place) -> Result<Vec<CompactionEntry>, StoreError> {
        match self.entries(from, ENTRIES_AT_A_TIME) {
            Err(StoreError::Corrupt { .. }) => {}
            other => return other,
        }
        let mut good = Vec::new();
        for entry in from.entry..from.entry + ENTRIES_AT_A_TIME as u64 {
            match self.entries(Place { entry, ..from }, 1) {
                Ok(one) if !one.is_empty() => good.extend(one),
                Ok(_) | Err(StoreError::Corrupt { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(good)
    }
}

/// Whether a record is the one that its entry is of, and its body is whole.
fn is_whole(bytes: &[u8], entry: &CompactionEntry) -> bool {
    let size = usize::try_from(entry.size).unwrap_or(0);
    let Some(record) = bytes.get(..size) else {
        return false;
    };
    whole(record).is_some_and(|view| view.queue_offset == entry.queue_offset)
}

/// A record that was written to its end: its body fits its checksum, and the properties, which nothing is said
/// about, do not end in a byte that was never written.
fn whole(record: &[u8]) -> Option<RecordView<'_>> {
    let view = RecordView::parse(record, CheckCrc::Body).ok()?;
    let is_whole = view.size == record.len() && view.properties.last() != Some(&0);
    is_whole.then_some(view)
}

/// The entry of a record at a position.
fn entry_of(record: &[u8], position: i64) -> Option<CompactionEntry> {
    let view = whole(record)?;
    let tags = KeyProperties::of(view.properties);
    Some(CompactionEntry {
        position,
        size: i32::try_from(record.len()).ok()?,
        tags_code: tags.tags_code(),
        store_time: view.store_timestamp,
        queue_offset: view.queue_offset,
        batch: 1,
    })
}

/// The record at a place of a file of records, if one begins there.
fn record_at(
    log: &FileRef,
    path: &Path,
    at: u64,
    log_len: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let header = header_at(log, path, at)?;
    let Peek::Record { size } = record::peek(&header) else {
        return Ok(None);
    };
    if at.saturating_add(size as u64) > log_len {
        return Ok(None);
    }
    let mut record = vec![0; size];
    let read = (log.read_at(&mut record, at)).map_err(|e| StoreError::io("read", path, e))?;
    Ok((read == size).then_some(record))
}

/// Bytes of a record up to behind its queue offset; zeros where the file ends.
fn header_at(log: &FileRef, path: &Path, at: u64) -> Result<[u8; 28], StoreError> {
    let mut header = [0; 28];
    log.read_at(&mut header, at)
        .map_err(|e| StoreError::io("read", path, e))?;
    Ok(header)
}

fn entry_at(cq: &FileRef, path: &Path, at: u64) -> Result<CompactionEntry, StoreError> {
    let mut bytes = [0; ENTRY_LEN];
    (cq.read_at(&mut bytes, at * ENTRY_LEN as u64)).map_err(|e| StoreError::io("read", path, e))?;
    Ok(CompactionEntry::decode(&bytes))
}

/// Writes the last entries of so many.
fn write_entries(
    cq: &FileRef,
    path: &Path,
    entries: &mut Vec<u8>,
    total: u64,
) -> Result<(), StoreError> {
    let at = (total * ENTRY_LEN as u64).saturating_sub(entries.len() as u64);
    cq.write_at(entries, at)
        .map_err(|e| StoreError::io("write", path, e))?;
    entries.clear();
    Ok(())
}
