//! Finding and reading records of a queue.

use bytes::Bytes;

use super::{
    entry::{CompactionEntry, ENTRY_LEN},
    files::{CompactionFiles, Pair},
};
use crate::store::error::StoreError;

/// An entry of one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which file, counted from the oldest.
    pub(super) file: usize,
    /// Which entry of it.
    pub(super) entry: u64,
}

impl CompactionFiles {
    /// Where the first record lies whose queue offset is at least this.
    ///
    /// # Errors
    /// From the file system.
    pub fn find(&mut self, queue_offset: i64) -> Result<Option<Place>, StoreError> {
        // Empty files are few: a file that was made and not written to when a process was killed.
        let has_it = |pair: &Pair| pair.entries > 0 && pair.last >= queue_offset;
        let Some(file) = self.pairs.iter().position(has_it) else {
            return Ok(None);
        };
        let (mut low, mut high) = (0, self.pairs[file].entries);
        while low < high {
            let entry = low + (high - low) / 2;
            let found = self.entries(Place { file, entry }, 1)?;
            if found.first().is_some_and(|e| e.queue_offset < queue_offset) {
                low = entry + 1;
            } else {
                high = entry;
            }
        }
        Ok(Some(Place { file, entry: low }))
    }

    /// At most `count` entries of one file, from a place on.
    ///
    /// # Errors
    /// From the file system, or [`StoreError::Corrupt`] for entries that cannot be.
    pub fn entries(
        &mut self,
        from: Place,
        count: usize,
    ) -> Result<Vec<CompactionEntry>, StoreError> {
        let Some(pair) = self.pairs.get(from.file) else {
            return Ok(Vec::new());
        };
        let (start, log_len) = (pair.start, pair.log_len);
        let left = pair.entries.saturating_sub(from.entry);
        let count = left.min(count as u64) as usize;
        let at = from.entry * ENTRY_LEN as u64;
        let mut bytes = vec![0; count * ENTRY_LEN];
        let (_, cq) = self.handles(from.file)?;
        let read = (cq.read_at(&mut bytes, at))
            .map_err(|e| StoreError::io("read", &self.cq_path(start), e))?;
        let entries: Vec<_> = CompactionEntry::decode_all(&bytes[..read]).collect();
        let within = start..=start.saturating_add_unsigned(log_len);
        let fits = |e: &CompactionEntry| {
            e.is_sane() && within.contains(&e.position) && within.contains(&e.end())
        };
        if entries.len() < count || !entries.iter().all(fits) {
            let what = "entries that cannot be";
            return Err(StoreError::corrupt(&self.cq_path(start), at, what));
        }
        Ok(entries)
    }

    /// The place behind `count` entries of the same file, or the first of the next one.
    pub fn behind(&self, place: Place, count: usize) -> Place {
        let entry = place.entry + count as u64;
        match self.pairs.get(place.file) {
            Some(pair) if entry < pair.entries => Place { entry, ..place },
            _ => Place {
                file: place.file + 1,
                entry: 0,
            },
        }
    }

    /// Whether the file of a place holds nothing: it was made and not written to when a process was killed.
    pub fn is_empty_file(&self, place: Place) -> bool {
        self.pairs
            .get(place.file)
            .is_some_and(|pair| pair.entries == 0)
    }

    /// Whether a place is behind all files.
    pub fn is_end(&self, place: Place) -> bool {
        place.file >= self.pairs.len()
    }

    /// Bytes of the file of a place.
    ///
    /// # Errors
    /// From the file system, or [`StoreError::Corrupt`] when they lead out of the file.
    pub fn read(&mut self, place: Place, position: i64, len: usize) -> Result<Bytes, StoreError> {
        let Some(pair) = self.pairs.get(place.file) else {
            return Ok(Bytes::new());
        };
        let start = pair.start;
        let at = u64::try_from(position.saturating_sub(start)).unwrap_or(u64::MAX);
        let path = self.log_path(start);
        if at.saturating_add(len as u64) > pair.log_len {
            return Err(StoreError::corrupt(&path, at, "an entry leads out of it"));
        }
        let mut bytes = vec![0; len];
        let (log, _) = self.handles(place.file)?;
        let read = (log.read_at(&mut bytes, at)).map_err(|e| StoreError::io("read", &path, e))?;
        if read < len {
            return Err(StoreError::corrupt(&path, at, "it is too short"));
        }
        Ok(bytes.into())
    }
}

/// Neighbouring records that are read at once: pieces of `entries`, each of about so many bytes, and without
/// gaps.
pub(super) fn runs(
    entries: &[CompactionEntry],
    bytes_max: u64,
) -> impl Iterator<Item = &[CompactionEntry]> {
    let mut rest = entries;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let mut end = first.position;
        let fits = |entry: &&CompactionEntry| {
            let follows = entry.position == end;
            end = entry.end();
            follows && end.saturating_sub(first.position) as u64 <= bytes_max
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (run, behind) = rest.split_at(count);
        rest = behind;
        Some(run)
    })
}
