//! Opening the index after a restart.
//!
//! A process that was killed leaves all it wrote, at most without the last keys of its last record.
//! A machine that lost its power leaves some pages as they were at the last sync: slots and header
//! may be older or newer than the entries. But entries are only ever added, and each tells what its
//! slot held before it: so reading them from the first on gives the right content of all slots, and
//! shows where the first wrong entry is.

use std::path::{Path, PathBuf};

use super::{
    IndexEntry, IndexFile, IndexHeader, IndexService, IndexShape,
    entry::{FIRST_ENTRY, INDEX_ENTRY_LEN},
    tail::Tail,
    writer::read_header,
};
use crate::store::{
    error::StoreError,
    fs::{FileRef, Fs, OpenMode},
};

/// Length of a file name.
const NAME_LEN: usize = 17;
/// Entries read at once.
const READ_ENTRIES: u32 = 52_000;
/// More keys than the properties of one record have room for.
pub(super) const RECORD_KEYS_MAX: usize = 1 << 16;
/// What a power loss leaves or takes as a whole; small in tests, so that they see many.
const PAGE_LEN: u64 = if cfg!(test) { 64 } else { 4096 };
/// Slots written at once.
const WRITE_SLOTS: usize = 16_384;

/// How the process ended that wrote the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastExit {
    /// In order; or only the owning actor is made anew, in the same process.
    Clean,
    /// Killed on a machine that runs on: all that was written is there, if only in its memory.
    Killed {
        /// See [`LastExit::Crashed`].
        safe_timestamp: i64,
    },
    /// Perhaps the machine lost its power.
    Crashed {
        /// Index timestamp (ms) of the checkpoint: files that end before it were synced (one that
        /// ends with it may hold more records of the same millisecond).
        safe_timestamp: i64,
    },
}

impl LastExit {
    /// Whether a file that ends then may not be on the disk yet.
    fn may_be_unsynced(self, end_timestamp: i64) -> bool {
        match self {
            Self::Clean => false,
            Self::Killed { safe_timestamp } | Self::Crashed { safe_timestamp } => {
                end_timestamp >= safe_timestamp
            }
        }
    }
}

impl IndexService {
    /// Opens the index; one that does not exist is empty.
    ///
    /// After a crash each file that is newer than the checkpoint is checked and cut before the first
    /// entry that cannot be right, at the latest before the last record, some of whose keys may be
    /// missing; the files behind a cut one are removed. After a kill only that last record is looked
    /// at, unless it is not as a killed process leaves it. Dispatch the log again from
    /// [`last_physical_offset`](Self::last_physical_offset).
    ///
    /// Files of another length than `shape` says are left alone and not used.
    ///
    /// # Errors
    /// From the file system.
    pub fn recover(
        fs: Fs,
        dir: impl Into<PathBuf>,
        shape: IndexShape,
        last_exit: LastExit,
    ) -> Result<Self, StoreError> {
        let mut index = Self::empty(fs, dir.into(), shape);
        let names = index.list_files()?;
        let mut cut = None;
        for (i, name) in names.iter().enumerate() {
            let path = index.path(name);
            let file = (index.fs.open(&path, OpenMode::Write))
                .map_err(|e| StoreError::io("open", &path, e))?;
            let header = read_header(&file).map_err(|e| StoreError::io("read", &path, e))?;
            let is_newest = i + 1 == names.len();
            let known = match last_exit {
                LastExit::Killed { .. } if is_newest => Tail::mend(&file, shape, header)
                    .map_err(|e| StoreError::io("mend", &path, e))?,
                LastExit::Clean | LastExit::Killed { .. } => Some(Tail::whole(header)),
                // An empty file is not worth knowing whether its slots are empty too.
                LastExit::Crashed { .. } => (header.index_count > FIRST_ENTRY
                    && !last_exit.may_be_unsynced(header.end_timestamp))
                .then_some(Tail::whole(header)),
            };
            if let Some(tail) = known.filter(|tail| index.is_plausible(&tail.header)) {
                let name = name.clone();
                let header = tail.header;
                cut = tail.cut;
                if last_exit.may_be_unsynced(header.end_timestamp) {
                    index.generation += 1;
                    (index.unsynced).push((index.generation, path, file));
                }
                index.files.push(IndexFile { name, header });
                continue;
            }
            cut = index.repair(name, header, i64::MAX, is_newest)?;
            if cut.is_some() {
                for later in names.iter().skip(i + 1) {
                    index.remove_file(&index.path(later), "behind a damaged file")?;
                }
                break;
            }
        }
        index.find_end(cut);
        Ok(index)
    }

    /// Removes the records from `log_end` on, where the commit log ends: other ones will be there.
    /// Then the log has to be dispatched again from
    /// [`last_physical_offset`](Self::last_physical_offset).
    ///
    /// # Errors
    /// From the file system; the index is then to be recovered again.
    pub fn truncate_above(&mut self, log_end: i64) -> Result<(), StoreError> {
        let whole = |file: &IndexFile| file.header.end_physical < log_end;
        let kept = self.files.iter().take_while(|file| whole(file)).count();
        if kept == self.files.len() {
            return Ok(());
        }
        log::info!(
            "index truncated, log_end={log_end} was={}",
            self.last_physical
        );
        self.writer = None;
        self.generation += 1;
        let mut beyond = self.files.split_off(kept).into_iter();
        let mut cut = None;
        if let Some(file) = beyond.next() {
            cut = self.repair(&file.name, file.header, log_end, true)?;
        }
        for file in beyond {
            self.remove_file(&self.path(&file.name), "beyond the log")?;
        }
        self.find_end(cut);
        Ok(())
    }

    /// Checks a file and keeps what is good of it; if that is not all, tells from which record on
    /// something may be missing.
    fn repair(
        &mut self,
        name: &str,
        header: IndexHeader,
        log_end: i64,
        is_newest: bool,
    ) -> Result<Option<i64>, StoreError> {
        let path = self.path(name);
        let file =
            (self.fs.open(&path, OpenMode::Write)).map_err(|e| StoreError::io("open", &path, e))?;
        // Without any good entry: the keys of the record before may have been cut in two.
        let newest = self.files.last().map_or(0, |file| file.header.end_physical);
        let repaired = Repair::new(&path, &file, self.shape, header, log_end).run(is_newest)?;
        match repaired.header {
            Some(header) => {
                let name = name.to_owned();
                self.files.push(IndexFile { name, header });
            }
            None => self.remove_file(&path, "no good entries")?,
        }
        let last_seen = repaired.last_seen.unwrap_or(newest).max(newest);
        Ok(repaired.is_cut.then_some(last_seen))
    }

    /// Where the index ends, when records may be missing from `cut` on.
    fn find_end(&mut self, cut: Option<i64>) {
        let is_used = |file: &&IndexFile| file.header.index_count > FIRST_ENTRY;
        let newest_used = self.files.iter().rfind(is_used);
        self.last_physical = newest_used.map_or(-1, |file| file.header.end_physical);
        self.is_last_whole = cut.is_none_or(|cut| cut > self.last_physical);
    }

    /// Whether a header can be one that was written whole, behind the files before it.
    fn is_plausible(&self, header: &IndexHeader) -> bool {
        let newest = self.files.last().map_or(0, |file| file.header.end_physical);
        header.begin_timestamp >= 0
            && header.index_count <= self.shape.entries()
            && header.hash_slot_count >= 0
            && header.begin_physical >= 0
            && header.end_physical >= header.begin_physical.max(newest)
    }

    /// Names of the files with the right length, oldest first.
    fn list_files(&mut self) -> Result<Vec<String>, StoreError> {
        let listed =
            (self.fs.read_dir(&self.dir)).map_err(|e| StoreError::io("list", &self.dir, e))?;
        let mut names = Vec::new();
        for entry in listed.into_iter().filter(|entry| !entry.is_dir) {
            let path = self.path(&entry.name);
            if entry.name.len() != NAME_LEN || !entry.name.bytes().all(|b| b.is_ascii_digit()) {
                log::warn!("not an index file, path={}", path.display());
                continue;
            }
            self.newest_name.clone_from(&entry.name);
            if entry.len == self.shape.file_len() {
                names.push(entry.name);
            } else if entry.len == 0 {
                self.remove_file(&path, "empty")?;
            } else {
                log::warn!(
                    "index file has another size than configured and is not used, path={} len={} \
                     expected={}",
                    path.display(),
                    entry.len,
                    self.shape.file_len()
                );
            }
        }
        Ok(names)
    }
}

/// Checks a file from its entries alone, and writes slots and header anew.
struct Repair<'a> {
    path: &'a Path,
    file: &'a FileRef,
    shape: IndexShape,
    header: IndexHeader,
    /// Records from here on are not good.
    log_end: i64,
    slots: Vec<u32>,
    /// Entries of the record that is being read, with what their slots held before.
    record: Vec<(u32, u32)>,
    /// The last good entry.
    last: Option<IndexEntry>,
}

struct Repaired {
    /// Header of what is left, if anything is.
    header: Option<IndexHeader>,
    /// Whether something may be missing from the last seen record on.
    is_cut: bool,
    /// Physical offset of the last record with a good entry.
    last_seen: Option<i64>,
}

impl<'a> Repair<'a> {
    fn new(
        path: &'a Path,
        file: &'a FileRef,
        shape: IndexShape,
        header: IndexHeader,
        log_end: i64,
    ) -> Self {
        Self {
            path,
            file,
            shape,
            header,
            log_end,
            slots: vec![0; shape.slots() as usize],
            record: Vec::new(),
            last: None,
        }
    }

    /// `is_newest`: no file follows, so the last record may lack keys.
    fn run(mut self, is_newest: bool) -> Result<Repaired, StoreError> {
        let claimed = self.header.index_count.min(self.shape.entries());
        let good = self.read_entries(claimed)?;
        // Only a full file is followed by another: less is an older header.
        let is_full = good == self.shape.entries() && good == self.header.index_count;
        let is_whole = is_full && !self.may_end_torn();
        let is_cut = is_newest || !is_whole;
        let last_seen = self.last.map(|entry| entry.physical_offset);
        let mut kept = good;
        if is_cut {
            kept -= self.record.len() as u32;
            for (slot, before) in std::mem::take(&mut self.record).into_iter().rev() {
                if let Some(slot_value) = self.slots.get_mut(slot as usize) {
                    *slot_value = before;
                }
            }
        }
        log::info!(
            "index file checked, path={} entries={} good={} kept={}",
            self.path.display(),
            self.header.index_count - FIRST_ENTRY,
            good - FIRST_ENTRY,
            kept - FIRST_ENTRY
        );
        let mut header = None;
        if kept > FIRST_ENTRY {
            self.write(kept, claimed)?;
            header = Some(self.header);
        }
        Ok(Repaired {
            header,
            is_cut,
            last_seen,
        })
    }

    /// Whether the last entry of a full file lies on two pages and reads as if the second were lost.
    /// (Inside of the file the entry after a torn one shows it, and the whole record is cut off.)
    fn may_end_torn(&self) -> bool {
        let first_byte = self.shape.entry_at(self.shape.entries() - 1);
        let is_on_two_pages = first_byte / PAGE_LEN != (self.shape.file_len() - 1) / PAGE_LEN;
        is_on_two_pages && self.last.is_none_or(|last| last.previous == 0)
    }

    /// Reads up to the first wrong entry, whose number is returned, and fills the slots.
    fn read_entries(&mut self, claimed: u32) -> Result<u32, StoreError> {
        let mut number = FIRST_ENTRY;
        let mut buf = Vec::new();
        while number < claimed {
            let count = (claimed - number).min(READ_ENTRIES);
            buf.resize(count as usize * INDEX_ENTRY_LEN as usize, 0);
            let read = (self.file.read_at(&mut buf, self.shape.entry_at(number)))
                .map_err(|e| StoreError::io("read", self.path, e))?;
            let (entries, _) = buf[..read].as_chunks();
            for bytes in entries {
                if !self.take(number, IndexEntry::decode(bytes)) {
                    return Ok(number);
                }
                number += 1;
            }
            if entries.len() < count as usize {
                return Ok(number);
            }
        }
        Ok(number)
    }

    /// Takes an entry if it can be right.
    fn take(&mut self, number: u32, entry: IndexEntry) -> bool {
        // The header's begin values come from the first entry, or the header is an older page.
        let is_in_order = match &self.last {
            Some(last) => entry.physical_offset >= last.physical_offset,
            None => entry.physical_offset == self.header.begin_physical.max(0),
        };
        // A hash of 0 is most likely one that was never written.
        let is_sane = entry.key_hash > 0
            && entry.time_difference >= 0
            && entry.physical_offset < self.log_end;
        let slot = self.shape.slot_of(entry.key_hash);
        let Some(slot_value) = self.slots.get_mut(slot as usize) else {
            return false;
        };
        if !is_in_order || !is_sane || u32::try_from(entry.previous) != Ok(*slot_value) {
            return false;
        }
        let is_same_record = |last: IndexEntry| last.physical_offset == entry.physical_offset;
        if !self.last.is_some_and(is_same_record) {
            self.record.clear();
        } else if self.record.len() >= RECORD_KEYS_MAX {
            return false;
        }
        self.record.push((slot, *slot_value));
        *slot_value = number;
        self.last = Some(entry);
        true
    }

    /// Writes the slots, clears the entries from `count` to `claimed`, then writes the header.
    fn write(&mut self, count: u32, claimed: u32) -> Result<(), StoreError> {
        let io = |op, e| StoreError::io(op, self.path, e);
        let (from, end) = (self.shape.entry_at(count), self.shape.entry_at(claimed));
        self.file
            .zero(from, end - from)
            .map_err(|e| io("clear", e))?;
        let mut old = Vec::new();
        for (i, slots) in self.slots.chunks(WRITE_SLOTS).enumerate() {
            let at = self.shape.slot_at((i * WRITE_SLOTS) as u32);
            let new: Vec<u8> = slots.iter().flat_map(|n| n.to_be_bytes()).collect();
            old.resize(new.len(), 0);
            let read = self.file.read_at(&mut old, at).map_err(|e| io("read", e))?;
            if read < old.len() || old != new {
                self.file.write_at(&new, at).map_err(|e| io("write", e))?;
            }
        }
        let mut last = [0; INDEX_ENTRY_LEN as usize];
        let last_at = self.shape.entry_at(count - 1);
        self.file
            .read_at(&mut last, last_at)
            .map_err(|e| io("read", e))?;
        let last = IndexEntry::decode(&last);
        let header = &mut self.header;
        if count != header.index_count || last.physical_offset != header.end_physical {
            header.index_count = count;
            header.end_physical = last.physical_offset;
            // The entry knows its second only, and the first one not even that.
            let seconds = if count == FIRST_ENTRY + 1 {
                0
            } else {
                last.time_difference
            };
            let latest = (header.begin_timestamp)
                .saturating_add(i64::from(seconds).saturating_mul(1000))
                .saturating_add(999);
            header.end_timestamp = header.end_timestamp.min(latest).max(header.begin_timestamp);
        }
        header.hash_slot_count = self.slots.iter().filter(|n| **n != 0).count() as i32;
        self.file
            .write_at(&header.encode(), 0)
            .map_err(|e| io("write", e))?;
        self.file.sync_data().map_err(|e| io("sync", e))
    }
}
