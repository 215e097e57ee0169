//! The files of one queue: records, and the entries that tell where they lie.
//!
//! One actor owns them, without locks. What is written goes to the page cache; a file that is full is synced
//! before the next one is made, the one that is written when its owner [says so](CompactionFiles::sync).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    COMPACTING, CompactionHome, DELETE_SUFFIX,
    entry::{CompactionEntry, ENTRY_LEN},
};
use crate::{
    protocol::message::record::{self, BLANK_LEN, CheckCrc, MAGIC_BLANK, Peek, RecordView},
    store::{
        error::StoreError,
        fs::{FileRef, Fs, OpenMode},
    },
};

/// Digits of a file's name.
const NAME_LEN: usize = 20;

/// Entries that are looked at in one read.
const ENTRIES_AT_A_TIME: usize = 1024;

/// Bytes of records that one read brings while files are checked.
const BYTES_AT_A_TIME: u64 = 1 << 20;

/// Pairs of files that stay open.
const OPEN_MAX: usize = 3;

/// How closely the newest file is looked at when a queue is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Nothing was lost: its ends are.
    Ends,
    /// The machine may have lost power: every record of it is.
    All,
}

/// A record that is appended.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The record.
    pub record: &'a [u8],
    /// Its queue offset.
    pub queue_offset: i64,
    /// Hash of its tags.
    pub tags_code: i64,
    /// Its store time, ms.
    pub store_time: i64,
}

/// An entry of one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which file, counted from the oldest.
    pub(super) file: usize,
    /// Which entry of it.
    pub(super) entry: u64,
}

/// A file of records and the one of its entries.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// Position of its first byte in the compaction log: its name.
    pub(super) start: i64,
    log_len: u64,
    cq_len: u64,
    /// Entries in it.
    pub(super) entries: u64,
    /// Bytes of records in it.
    used: u64,
    /// Queue offsets of the first and the last record; without meaning while there is none.
    pub(super) first: i64,
    pub(super) last: i64,
    /// No record is added any more.
    closed: bool,
}

impl Pair {
    fn has_room(&self, record_len: u64) -> bool {
        let unit = ENTRY_LEN as u64;
        // Room for what ends the files stays.
        !self.closed
            && (self.entries + 1) * unit < self.cq_len
            && self.used + record_len + BLANK_LEN as u64 <= self.log_len
    }
}

struct OpenPair {
    start: i64,
    log: FileRef,
    cq: FileRef,
}

/// The files of one queue; see the module.
pub struct CompactionFiles {
    pub(super) home: Arc<CompactionHome>,
    pub(super) log_dir: PathBuf,
    pub(super) cq_dir: PathBuf,
    pub(super) pairs: Vec<Pair>,
    /// The one that was used last comes last.
    open: Vec<OpenPair>,
    /// Whether what was appended last is not synced.
    dirty: bool,
    /// What a compaction writes into: files of the places and lengths of those that are compacted, from the last
    /// to the first. What is left of them needs no more room than they had.
    places: Option<Vec<Pair>>,
}

impl CompactionFiles {
    /// Opens the files of a queue; ends what a killed process was about.
    ///
    /// # Errors
    /// From the file system, or [`StoreError::Corrupt`] where the order of the records cannot be.
    pub fn open(
        home: &Arc<CompactionHome>,
        topic: &str,
        queue_id: i32,
        check: Check,
    ) -> Result<Self, StoreError> {
        let mut files = Self::new(home, home.log_dir(topic, queue_id), home.cq_dir(topic, queue_id));
        files.heal_renames()?;
        for start in files.heal_names()? {
            let pair = files.load_pair(start)?;
            if pair.entries > 0 {
                files.pairs.push(pair);
            } else {
                // Made, perhaps not to its end, and not written to when a process was killed.
                files.remove_pair(start)?;
            }
        }
        files.check_order()?;
        if let Some(last) = files.pairs.last_mut() {
            last.closed = false;
            if check == Check::All {
                files.check_last()?;
            }
        }
        Ok(files)
    }

    /// Empty ones, in the directories that a compaction of the first `count` writes into.
    pub(super) fn for_compaction(&self, count: usize) -> Result<Self, StoreError> {
        self.remove_compacting()?;
        let (log_dir, cq_dir) = (self.log_dir.join(COMPACTING), self.cq_dir.join(COMPACTING));
        let places = self.pairs.iter().take(count).rev().cloned().collect();
        Ok(Self {
            places: Some(places),
            ..Self::new(&self.home, log_dir, cq_dir)
        })
    }

    fn new(home: &Arc<CompactionHome>, log_dir: PathBuf, cq_dir: PathBuf) -> Self {
        Self {
            home: Arc::clone(home),
            log_dir,
            cq_dir,
            pairs: Vec::new(),
            open: Vec::new(),
            dirty: false,
            places: None,
        }
    }

    pub(super) fn fs(&self) -> &Fs {
        &self.home.fs
    }

    /// Queue offset of the first record.
    pub fn first_offset(&self) -> Option<i64> {
        let filled = self.pairs.iter().find(|pair| pair.entries > 0);
        filled.map(|pair| pair.first)
    }

    /// Queue offset after that of the last record; 0 without any.
    pub fn next_offset(&self) -> i64 {
        let filled = self.pairs.iter().rfind(|pair| pair.entries > 0);
        filled.map_or(0, |pair| pair.last + 1)
    }

    /// How many records there are.
    pub fn records(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.entries).sum()
    }

    /// How many files of records there are.
    pub fn file_count(&self) -> usize {
        self.pairs.len()
    }

    /// Position behind the last record.
    pub fn log_end(&self) -> i64 {
        let last = self.pairs.last();
        last.map_or(0, |pair| pair.start + pair.used as i64)
    }

    /// Appends records in the order of their queue offsets. Those that are there already are passed over, as
    /// is one that fits into no file. On an error nothing of what was not written counts.
    ///
    /// # Errors
    /// From the file system.
    pub fn append<'a>(
        &mut self,
        items: impl IntoIterator<Item = Item<'a>>,
    ) -> Result<(), StoreError> {
        let mut run = Run::default();
        let mut next_offset = self.next_offset();
        for item in items {
            let len = item.record.len() as u64;
            if item.queue_offset < next_offset {
                continue;
            }
            if self.places.is_none() && len > self.home.record_len_max() {
                log::warn!(
                    "compaction leaves out a message that is longer than a file, file={} queue_offset={} size={len}",
                    self.log_dir.display(),
                    item.queue_offset
                );
                continue;
            }
            if !self.pairs.last().is_some_and(|last| run.fits(last, len)) {
                self.write(&mut run)?;
                self.roll()?;
            }
            let Some(last) = self.pairs.last() else { break };
            run.push(last, &item);
            next_offset = item.queue_offset + 1;
        }
        self.write(&mut run)
    }

    /// Writes a run to the newest file.
    fn write(&mut self, run: &mut Run) -> Result<(), StoreError> {
        let Some((first, last)) = run.offsets.take() else {
            return Ok(());
        };
        let Some(index) = self.pairs.len().checked_sub(1) else {
            return Ok(());
        };
        let (log, cq) = self.handles(index)?;
        let pair = &self.pairs[index];
        let unit = ENTRY_LEN as u64;
        (log.write_at(&run.records, pair.used))
            .map_err(|e| StoreError::io("write", &self.log_path(pair.start), e))?;
        (cq.write_at(&run.entries, pair.entries * unit))
            .map_err(|e| StoreError::io("write", &self.cq_path(pair.start), e))?;
        self.dirty = true;
        let pair = &mut self.pairs[index];
        if pair.entries == 0 {
            pair.first = first;
        }
        pair.last = last;
        pair.used += run.records.len() as u64;
        pair.entries += run.entries.len() as u64 / unit;
        run.records.clear();
        run.entries.clear();
        Ok(())
    }

    /// Ends the newest file and makes the next one.
    fn roll(&mut self) -> Result<(), StoreError> {
        self.close_last()?;
        let (start, log_len, cq_len) = self.next_place()?;
        for (dir, len) in [(&self.log_dir, log_len), (&self.cq_dir, cq_len)] {
            (self.fs().create_dir_all(dir)).map_err(|e| StoreError::io("create", dir, e))?;
            make_file(self.fs(), &dir.join(file_name(start)), len)?;
            (self.fs().sync_dir(dir)).map_err(|e| StoreError::io("sync", dir, e))?;
        }
        self.pairs.push(Pair {
            start,
            log_len,
            cq_len,
            entries: 0,
            used: 0,
            first: 0,
            last: 0,
            closed: false,
        });
        Ok(())
    }

    /// Where the next pair of files begins, and how long they are.
    fn next_place(&mut self) -> Result<(i64, u64, u64), StoreError> {
        if let Some(places) = &mut self.places {
            let full = || StoreError::invalid("a compaction leaves more than there was");
            let place = places.pop().ok_or_else(full)?;
            return Ok((place.start, place.log_len, place.cq_len));
        }
        let last = self.pairs.last();
        let start = last.map_or(0, |last| last.start + last.log_len as i64);
        Ok((start, self.home.log_len, self.home.cq_len))
    }

    /// Writes what ends the newest files, and syncs them: nothing is added to them any more.
    pub(super) fn close_last(&mut self) -> Result<(), StoreError> {
        let Some(index) = self.pairs.len().checked_sub(1) else {
            return Ok(());
        };
        let (log, cq) = self.handles(index)?;
        let pair = &self.pairs[index];
        let rest = pair.log_len.saturating_sub(pair.used);
        if rest >= BLANK_LEN as u64 {
            let size = i32::try_from(rest).unwrap_or(i32::MAX).to_be_bytes();
            let blank = [size, MAGIC_BLANK.to_be_bytes()].concat();
            (log.write_at(&blank, pair.used))
                .map_err(|e| StoreError::io("write", &self.log_path(pair.start), e))?;
        }
        let at = pair.entries * ENTRY_LEN as u64;
        if at + ENTRY_LEN as u64 <= pair.cq_len {
            (cq.write_at(&CompactionEntry::END.encode(), at))
                .map_err(|e| StoreError::io("write", &self.cq_path(pair.start), e))?;
        }
        self.dirty = true;
        self.pairs[index].closed = true;
        self.sync()
    }

    /// Makes durable what was appended.
    ///
    /// # Errors
    /// From the file system.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if !self.dirty {
            return Ok(());
        }
        let Some(index) = self.pairs.len().checked_sub(1) else {
            return Ok(());
        };
        let (log, cq) = self.handles(index)?;
        let start = self.pairs[index].start;
        // The records first: entries without them would have to be found out.
        (log.sync_data()).map_err(|e| StoreError::io("sync", &self.log_path(start), e))?;
        (cq.sync_data()).map_err(|e| StoreError::io("sync", &self.cq_path(start), e))?;
        self.dirty = false;
        Ok(())
    }

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
        self.pairs.get(place.file).is_some_and(|pair| pair.entries == 0)
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

    /// Drops all records from this queue offset on: the commit log lost them, and others will have their
    /// offsets.
    ///
    /// # Errors
    /// From the file system.
    pub fn truncate(&mut self, queue_offset: i64) -> Result<(), StoreError> {
        while let Some(last) = self.pairs.last() {
            if last.entries > 0 && last.first < queue_offset {
                break;
            }
            let start = last.start;
            self.pairs.pop();
            self.remove_pair(start)?;
        }
        let Some(place) = self.find(queue_offset)? else {
            return Ok(());
        };
        self.cut_last(place.entry)
    }

    fn remove_pair(&mut self, start: i64) -> Result<(), StoreError> {
        self.forget_open(start);
        for path in [self.cq_path(start), self.log_path(start)] {
            (self.fs().remove_file(&path)).map_err(|e| StoreError::io("remove", &path, e))?;
        }
        Ok(())
    }

    /// Keeps so many entries of the newest file; what follows reads as zeros then.
    fn cut_last(&mut self, keep: u64) -> Result<(), StoreError> {
        let Some(file) = self.pairs.len().checked_sub(1) else {
            return Ok(());
        };
        let kept = match keep.checked_sub(1) {
            Some(entry) => self.entries(Place { file, entry }, 1)?.pop(),
            None => None,
        };
        let (log, cq) = self.handles(file)?;
        let pair = &mut self.pairs[file];
        pair.closed = false;
        pair.entries = keep;
        pair.used = kept.map_or(0, |kept| (kept.end() - pair.start).max(0) as u64);
        pair.last = kept.map_or(0, |kept| kept.queue_offset);
        let (start, used, log_len) = (pair.start, pair.used, pair.log_len);
        let (at, cq_len) = (keep * ENTRY_LEN as u64, pair.cq_len);
        (cq.zero(at, cq_len.saturating_sub(at)))
            .map_err(|e| StoreError::io("zero", &self.cq_path(start), e))?;
        (log.zero(used, log_len.saturating_sub(used)))
            .map_err(|e| StoreError::io("zero", &self.log_path(start), e))?;
        self.dirty = true;
        self.sync()
    }

    /// What a file of entries and its records tell.
    fn load_pair(&mut self, start: i64) -> Result<Pair, StoreError> {
        let (log, cq) = self.open_files(start)?;
        let (log_path, cq_path) = (self.log_path(start), self.cq_path(start));
        let log_len = log.len().map_err(|e| StoreError::io("read", &log_path, e))?;
        let cq_len = cq.len().map_err(|e| StoreError::io("read", &cq_path, e))?;
        let mut pair = Pair {
            start,
            log_len,
            cq_len,
            entries: 0,
            used: 0,
            first: 0,
            last: 0,
            closed: true,
        };
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
            let Some(entry) = entry_of(&record, pair.start + at as i64) else {
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
    fn check_last(&mut self) -> Result<(), StoreError> {
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

    fn check_order(&self) -> Result<(), StoreError> {
        let filled: Vec<_> = self.pairs.iter().filter(|pair| pair.entries > 0).collect();
        for two in filled.windows(2) {
            if let [before, after] = two
                && (after.first <= before.last
                    || after.start < before.start.saturating_add_unsigned(before.log_len))
            {
                let what = "its records should come before those of the file before it";
                return Err(StoreError::corrupt(&self.log_path(after.start), 0, what));
            }
        }
        Ok(())
    }

    /// The two files of a pair, opened if they are not.
    pub(super) fn handles(&mut self, index: usize) -> Result<(FileRef, FileRef), StoreError> {
        let start = self.pairs.get(index).map_or(-1, |pair| pair.start);
        self.open_files(start)
    }

    fn open_files(&mut self, start: i64) -> Result<(FileRef, FileRef), StoreError> {
        if let Some(at) = self.open.iter().position(|open| open.start == start) {
            let found = self.open.remove(at);
            let both = (FileRef::clone(&found.log), FileRef::clone(&found.cq));
            self.open.push(found);
            return Ok(both);
        }
        let open = |path: PathBuf| {
            (self.fs().open(&path, OpenMode::Write)).map_err(|e| StoreError::io("open", &path, e))
        };
        let (log, cq) = (open(self.log_path(start))?, open(self.cq_path(start))?);
        if self.open.len() >= OPEN_MAX {
            self.open.remove(0);
        }
        self.open.push(OpenPair {
            start,
            log: FileRef::clone(&log),
            cq: FileRef::clone(&cq),
        });
        Ok((log, cq))
    }

    pub(super) fn forget_open(&mut self, start: i64) {
        self.open.retain(|open| open.start != start);
    }

    pub(super) fn forget_all_open(&mut self) {
        self.open.clear();
    }

    pub(super) fn log_path(&self, start: i64) -> PathBuf {
        self.log_dir.join(file_name(start))
    }

    pub(super) fn cq_path(&self, start: i64) -> PathBuf {
        self.cq_dir.join(file_name(start))
    }
}

/// Records and their entries that are written together.
#[derive(Default)]
struct Run {
    records: Vec<u8>,
    entries: Vec<u8>,
    /// Queue offsets of the first and the last of them.
    offsets: Option<(i64, i64)>,
}

impl Run {
    fn fits(&self, pair: &Pair, record_len: u64) -> bool {
        let ahead = Pair {
            used: pair.used + self.records.len() as u64,
            entries: pair.entries + (self.entries.len() / ENTRY_LEN) as u64,
            ..pair.clone()
        };
        ahead.has_room(record_len)
    }

    fn push(&mut self, pair: &Pair, item: &Item<'_>) {
        let position = pair.start + (pair.used + self.records.len() as u64) as i64;
        let entry = CompactionEntry {
            position,
            size: i32::try_from(item.record.len()).unwrap_or(i32::MAX),
            tags_code: item.tags_code,
            store_time: item.store_time,
            queue_offset: item.queue_offset,
            batch: 1,
        };
        self.records.extend_from_slice(item.record);
        self.entries.extend_from_slice(&entry.encode());
        let first = self.offsets.map_or(item.queue_offset, |(first, _)| first);
        self.offsets = Some((first, item.queue_offset));
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
    let tags = crate::protocol::message::keys::KeyProperties::of(view.properties);
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

/// Makes a file of zeros, whatever has its name.
fn make_file(fs: &Fs, path: &Path, len: u64) -> Result<(), StoreError> {
    let made = fs.open(path, OpenMode::Create).and_then(|file| {
        file.set_len(0)?;
        file.set_len(len)?;
        file.sync_data()
    });
    made.map_err(|e| StoreError::io("create", path, e))
}

pub(super) fn file_name(start: i64) -> String {
    format!("{start:020}")
}

/// The position that a file's name tells.
pub(super) fn start_of(name: &str) -> Option<i64> {
    let digits = name.len() == NAME_LEN && name.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| name.parse().ok()).flatten()
}

/// The position that the name of a file tells whose place another one takes.
pub(super) fn replaced_start_of(name: &str) -> Option<i64> {
    name.strip_suffix(DELETE_SUFFIX).and_then(start_of)
}
