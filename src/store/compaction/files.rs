//! The files of one queue: records, and the entries that tell where they lie.
//!
//! One actor owns them, without locks. What is written goes to the page cache; a file that is full is synced
//! before the next one is made, the one that is written when its owner [says so](CompactionFiles::sync).

use std::{path::PathBuf, sync::Arc};

use super::{COMPACTING, CompactionHome, DELETE_SUFFIX, entry::ENTRY_LEN, reader::Place};
use crate::store::{
    error::StoreError,
    fs::{FileRef, Fs, OpenMode},
};

/// Digits of a file's name.
const NAME_LEN: usize = 20;

/// Entries that are looked at in one read.
pub(super) const ENTRIES_AT_A_TIME: usize = 1024;

/// Bytes of records that one read brings while files are checked.
pub(super) const BYTES_AT_A_TIME: u64 = 1 << 20;

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

/// A file of records and the one of its entries.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// Position of its first byte in the compaction log: its name.
    pub(super) start: i64,
    pub(super) log_len: u64,
    pub(super) cq_len: u64,
    /// Entries in it.
    pub(super) entries: u64,
    /// Bytes of records in it.
    pub(super) used: u64,
    /// Queue offsets of the first and the last record; without meaning while there is none.
    pub(super) first: i64,
    pub(super) last: i64,
    /// No record is added any more.
    pub(super) closed: bool,
}

impl Pair {
    /// Without records, and without any to come until it is said that it is not closed.
    pub(super) fn empty(start: i64, log_len: u64, cq_len: u64) -> Self {
        Self {
            start,
            log_len,
            cq_len,
            entries: 0,
            used: 0,
            first: 0,
            last: 0,
            closed: true,
        }
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
    pub(super) dirty: bool,
    /// What a compaction writes into: files of the places and lengths of those that are compacted, from the last
    /// to the first. What is left of them needs no more room than they had.
    pub(super) places: Option<Vec<Pair>>,
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
        let mut files = Self::new(
            home,
            home.log_dir(topic, queue_id),
            home.cq_dir(topic, queue_id),
        );
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
        filled.map_or(0, |pair| pair.last.saturating_add(1))
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
        last.map_or(0, |pair| pair.start.saturating_add_unsigned(pair.used))
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
    pub(super) fn cut_last(&mut self, keep: u64) -> Result<(), StoreError> {
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

    pub(super) fn open_files(&mut self, start: i64) -> Result<(FileRef, FileRef), StoreError> {
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
