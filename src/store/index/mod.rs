//! The index: from a message key to the places of its messages in the commit log.
//!
//! A run of files below `index/`, each a hash table that is filled once and then only read. A file
//! is named after the local time at which it was made (`yyyyMMddHHmmssSSS`); the newest name is the
//! one that is written. Layout: see [`IndexHeader`] and [`IndexEntry`].
//!
//! [`IndexService`] is owned by one actor. The file that is written is mapped, because a positioned
//! write per key would cost more than all the rest; its disk space is allocated ahead, because a
//! full disk under a mapping is a signal and not an error. Older files are read with positioned
//! reads. Only hashes are stored: a query may find other keys, and its caller compares.
//!
//! The index can be built again from the log: [`last_physical_offset`](IndexService::last_physical_offset)
//! tells from where, and records up to there are dropped when they come again.
//!
//! The rules come from RocketMQ's `IndexService`, `IndexFile` and `IndexHeader`. One differs: after a
//! crash RocketMQ deletes files newer than the checkpoint, and with them the keys of messages that
//! it does not dispatch again; here such a file is checked entry by entry and what is whole is kept. Only
//! its last record is looked at when the machine ran on since (`tail`).

use std::{
    fmt,
    path::{Path, PathBuf},
};

use self::writer::Writer;
pub use self::{
    entry::{HEADER_LEN, INDEX_ENTRY_LEN, IndexEntry, IndexHeader, IndexShape, SLOT_LEN},
    reader::IndexQuery,
    recovery::LastExit,
    writer::{IndexFlush, IndexFlushed},
};
use super::{
    error::StoreError,
    fs::{FileRef, Fs},
};

mod entry;
mod reader;
mod recovery;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

/// All index files of a store.
pub struct IndexService {
    fs: Fs,
    dir: PathBuf,
    shape: IndexShape,
    /// Oldest first; only the last is written.
    files: Vec<IndexFile>,
    /// The last file, once it was written to.
    writer: Option<Writer>,
    /// All records up to this one are indexed; -1 when none is.
    last_physical: i64,
    /// Whether all keys of that record are.
    is_last_whole: bool,
    /// The newest name in the directory, of a file that is used or not.
    newest_name: String,
    /// Counts changes, so that a flush knows what it covered.
    generation: u64,
    flushed_generation: u64,
    /// Files that a flush has to sync beside the one that is written, with their last change.
    unsynced: Vec<(u64, PathBuf, FileRef)>,
}

/// One file of the index.
#[derive(Debug, Clone)]
struct IndexFile {
    name: String,
    header: IndexHeader,
}

impl IndexService {
    fn empty(fs: Fs, dir: PathBuf, shape: IndexShape) -> Self {
        Self {
            fs,
            dir,
            shape,
            files: Vec::new(),
            writer: None,
            last_physical: -1,
            is_last_whole: true,
            newest_name: String::new(),
            generation: 0,
            flushed_generation: 0,
            unsynced: Vec::new(),
        }
    }

    /// Physical offset of the newest record that is indexed, -1 when there is none. Older ones are
    /// dropped by [`put_record`](Self::put_record), and so is this one if all its keys are there;
    /// after a restart the log is dispatched again from this record at the latest.
    pub fn last_physical_offset(&self) -> i64 {
        self.last_physical
    }

    /// Store times (ms): of the last message in the files but the newest, which is being filled, 0 without
    /// such files; and of the first message in the newest, `i64::MAX` without one.
    pub fn finished_and_begun(&self) -> (i64, i64) {
        let mut newest = self.files.iter().rev();
        let begun = newest
            .next()
            .map_or(i64::MAX, |file| file.header.begin_timestamp);
        (
            newest.next().map_or(0, |file| file.header.end_timestamp),
            begun,
        )
    }

    /// Store time (ms) of the newest record that is indexed, 0 when there is none.
    pub fn last_timestamp(&self) -> i64 {
        self.files
            .last()
            .map_or(0, |file| file.header.end_timestamp)
    }

    /// How many slots and entries the files have.
    pub fn shape(&self) -> IndexShape {
        self.shape
    }

    /// Headers of all files, oldest first.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = &IndexHeader> {
        self.files.iter().map(|file| &file.header)
    }

    /// Bytes that the files claim (they are sparse).
    pub fn total_file_size(&self) -> u64 {
        self.shape.file_len() * self.files.len() as u64
    }

    /// Removes the files whose records all lie before `log_min`, the physical offset at which the
    /// commit log begins; the newest file stays. Returns how many were removed.
    ///
    /// # Errors
    /// From the file system.
    pub fn delete_expired(&mut self, log_min: i64) -> Result<usize, StoreError> {
        let expired = self
            .files
            .iter()
            .take(self.files.len().saturating_sub(1))
            .take_while(|file| file.header.end_physical < log_min)
            .count();
        for removed in 0..expired {
            self.remove_file(&self.path(&self.files[0].name), "expired")?;
            self.files.remove(0);
            log::debug!("index file {} of {expired} expired", removed + 1);
        }
        Ok(expired)
    }

    /// Removes everything from memory and disk.
    ///
    /// # Errors
    /// From the file system.
    pub fn destroy(&mut self) -> Result<(), StoreError> {
        let (fs, dir) = (self.fs.clone(), self.dir.clone());
        fs.remove_dir_all(&dir)
            .map_err(|e| StoreError::io("remove", &dir, e))?;
        *self = Self::empty(fs, dir, self.shape);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn remove_file(&self, path: &Path, why: &str) -> Result<(), StoreError> {
        log::info!("index file removed, path={} why={why}", path.display());
        self.fs
            .remove_file(path)
            .map_err(|e| StoreError::io("remove", path, e))
    }
}

impl fmt::Debug for IndexService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexService")
            .field("dir", &self.dir)
            .field("files", &self.files)
            .field("last_physical", &self.last_physical)
            .finish_non_exhaustive()
    }
}
