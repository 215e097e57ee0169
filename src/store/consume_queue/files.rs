//! A run of files of equal size, each named after the position of its first byte in the run (20 digits):
//! what holds the entries of a queue, and what holds their extensions (RocketMQ's `MappedFileQueue`).

use std::{
    io::{self, ErrorKind},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use super::QueueHome;
use crate::{
    protocol::Str,
    store::{
        error::StoreError,
        fs::{FileRef, OpenMode, read_through},
    },
};

/// What the files of a run hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Entries or units of batches, below `consumequeue` or `batchconsumequeue`.
    Entries,
    /// Their extensions, below `consumequeue_ext`.
    Extensions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum UnsyncedNames {
    None,
    Files,
    Directories,
}

/// The files of one queue. Positions are bytes in the run.
pub(super) struct FileRun {
    pub(super) home: Arc<QueueHome>,
    holds: Holds,
    pub(super) topic: Str,
    pub(super) queue_id: i32,
    /// Position of the oldest file.
    pub(super) first: u64,
    /// Position after the newest file; equals `first` while there is no file.
    pub(super) end: u64,
    /// Names that a power loss could take back.
    pub(super) unsynced_names: UnsyncedNames,
    /// The file last written to.
    writing: Option<OpenFile>,
    /// The file last read from, unless that is `writing`.
    reading: Option<OpenFile>,
}

/// A piece of a queue's file that is not in memory.
#[derive(Debug)]
pub struct ColdPiece {
    file: FileRef,
    /// Where in the file, in bytes.
    offset: u64,
    /// Bytes.
    len: usize,
}

impl ColdPiece {
    /// Brings it into memory, which waits for the disk, through `buf`, whose content is of no use. Whoever
    /// reads it then learns of what cannot be read.
    pub fn bring(&self, buf: &mut [u8]) {
        read_through(buf, self.len, |piece, done| {
            self.file.read_at(piece, self.offset + done as u64)
        });
    }
}

struct OpenFile {
    start: u64,
    file: FileRef,
    home: Arc<QueueHome>,
    /// Whether it may stay open between two uses.
    may_stay: bool,
}

impl OpenFile {
    fn new(home: &Arc<QueueHome>, start: u64, file: &FileRef) -> Self {
        let before = home.open_files.fetch_add(1, Ordering::Relaxed);
        Self {
            start,
            file: Arc::clone(file),
            home: Arc::clone(home),
            may_stay: before < home.open_files_max.load(Ordering::Relaxed),
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.home.open_files.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FileRun {
    /// A run that has no file yet; whether there are some is for [`list`](Self::list) to tell.
    pub(super) fn empty(home: Arc<QueueHome>, holds: Holds, topic: Str, queue_id: i32) -> Self {
        Self {
            home,
            holds,
            topic,
            queue_id,
            first: 0,
            end: 0,
            unsynced_names: UnsyncedNames::None,
            writing: None,
            reading: None,
        }
    }

    /// The queue, for the log.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.topic, self.queue_id)
    }

    /// Length of each file in bytes.
    pub(super) fn file_size(&self) -> u64 {
        match (self.holds, &self.home.extensions) {
            (Holds::Extensions, Some(extensions)) => extensions.file_size,
            _ => self.home.file_size,
        }
    }

    /// The key of the configuration that says the same.
    fn size_key(&self) -> &'static str {
        match self.holds {
            Holds::Entries => self.home.file_size_key,
            Holds::Extensions => "mappedFileSizeConsumeQueueExt",
        }
    }

    /// The directory that holds a directory for each topic.
    fn root(&self) -> &PathBuf {
        match (self.holds, &self.home.extensions) {
            (Holds::Extensions, Some(extensions)) => &extensions.root,
            _ => &self.home.root,
        }
    }

    fn topic_dir(&self) -> PathBuf {
        self.root().join(&*self.topic)
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.topic_dir().join(self.queue_id.to_string())
    }

    pub(super) fn path(&self, start: u64) -> PathBuf {
        self.dir().join(format!("{start:020}"))
    }

    /// Start of the file that holds `position`.
    pub(super) fn start_of(&self, position: u64) -> u64 {
        position - position % self.file_size()
    }

    pub(super) fn is_open(&self) -> bool {
        self.writing.is_some() || self.reading.is_some()
    }

    pub(super) fn close(&mut self) {
        self.writing = None;
        self.reading = None;
    }

    /// Closes the files that may not stay open, see [`QueueHome::set_open_files_max`].
    pub(super) fn close_surplus(&mut self) {
        for open in [&mut self.writing, &mut self.reading] {
            if open.as_ref().is_some_and(|open| !open.may_stay) {
                *open = None;
            }
        }
    }

    /// Start positions of the files on disk, in order.
    ///
    /// # Errors
    /// From the file system; [`StoreError::Corrupt`] when a file does not have the configured size.
    pub(super) fn list(&self) -> Result<Vec<u64>, StoreError> {
        let (fs, dir) = (&self.home.fs, self.dir());
        let listed = fs
            .read_dir(&dir)
            .map_err(|e| StoreError::io("list", &dir, e))?;
        let mut files = Vec::with_capacity(listed.len());
        for entry in listed.iter().filter(|e| !e.is_dir) {
            match entry.name.parse::<u64>() {
                Ok(start) if entry.name.len() == 20 && start <= i64::MAX as u64 / 2 => {
                    files.push((start, entry.len));
                }
                _ => log::warn!("not a queue file: {}/{}", dir.display(), entry.name),
            }
        }
        // A crash between making a file and giving it its length.
        for (start, _) in files.extract_if(.., |(_, len)| *len == 0) {
            let path = self.path(start);
            fs.remove_file(&path)
                .map_err(|e| StoreError::io("remove", &path, e))?;
        }
        let size = self.file_size();
        for (start, len) in &files {
            if *len != size || start % size != 0 {
                let what = format!("{len} bytes from {start}, but {}={size}", self.size_key());
                return Err(StoreError::corrupt(&self.path(*start), 0, what));
            }
        }
        Ok(files.into_iter().map(|(start, _)| start).collect())
    }

    /// The files up to the first one that is missing. What is behind it cannot be kept: nobody would
    /// ever notice that entries are missing. A queue that ends before it is filled from the log.
    pub(super) fn unbroken<'a>(&self, files: &'a [u64]) -> &'a [u64] {
        let follows = |pair: &&[u64]| pair[0] + self.file_size() == pair[1];
        let count = files.windows(2).take_while(follows).count() + 1;
        if let Some(missing) = files.get(count) {
            log::warn!("{} lacks the file before {missing:020}", self.name());
        }
        &files[..count.min(files.len())]
    }

    /// Takes over the files that hold what lies before `end`, and the very first one in any case. The
    /// rest is removed, and what follows `end` in its file made to read as zeros.
    pub(super) fn adopt(&mut self, files: &[u64], end: u64) -> Result<(), StoreError> {
        let Some(&first) = files.first() else {
            return Ok(());
        };
        let last = files
            .partition_point(|start| *start < end)
            .saturating_sub(1);
        for start in files[last + 1..].iter().rev() {
            let path = self.path(*start);
            (self.home.fs.remove_file(&path)).map_err(|e| StoreError::io("remove", &path, e))?;
            log::info!(
                "{} file without entries removed, path={}",
                self.name(),
                path.display()
            );
        }
        if last + 1 < files.len() {
            // They must not come back behind new entries.
            let dir = self.dir();
            (self.home.fs.sync_dir(&dir)).map_err(|e| StoreError::io("sync", &dir, e))?;
        }
        self.first = first;
        self.end = files[last] + self.file_size();
        self.clear_rest(end)
    }

    /// Makes what follows `end` in its file read as zeros. Most often it does, and is not touched.
    fn clear_rest(&self, end: u64) -> Result<(), StoreError> {
        if end >= self.end {
            return Ok(());
        }
        let start = self.start_of(end);
        let path = self.path(start);
        let (from, upto) = (end - start, self.file_size());
        let page_end = from.next_multiple_of(super::PAGE_LEN).min(upto);
        let mut rest_of_page = vec![0; (page_end - from) as usize];
        let fs = &self.home.fs;
        let is_clear = fs.open(&path, OpenMode::Read).and_then(|file| {
            file.read_at(&mut rest_of_page, from)?;
            let is_zero = rest_of_page.iter().all(|byte| *byte == 0);
            Ok(is_zero && file.next_data(page_end)?.is_none_or(|at| at >= upto))
        });
        if is_clear.map_err(|e| StoreError::io("read", &path, e))? {
            return Ok(());
        }
        (fs.open(&path, OpenMode::Write))
            .and_then(|file| file.zero(from, upto - from))
            .map_err(|e| StoreError::io("clear", &path, e))
    }

    /// The file that starts at `start`, made when it is the next one.
    pub(super) fn for_writing(&mut self, start: u64) -> Result<FileRef, StoreError> {
        if let Some(open) = &self.writing
            && open.start == start
        {
            return Ok(Arc::clone(&open.file));
        }
        let path = self.path(start);
        let fs = &self.home.fs;
        let file = if start < self.end {
            fs.open(&path, OpenMode::Write)
                .map_err(|e| StoreError::io("open", &path, e))?
        } else {
            let names = if self.first == self.end {
                let dir = self.dir();
                fs.create_dir_all(&dir)
                    .map_err(|e| StoreError::io("create", &dir, e))?;
                UnsyncedNames::Directories
            } else {
                UnsyncedNames::Files
            };
            let file = fs
                .open(&path, OpenMode::Create)
                .map_err(|e| StoreError::io("create", &path, e))?;
            file.set_len(self.file_size())
                .map_err(|e| StoreError::io("extend", &path, e))?;
            self.end = start + self.file_size();
            self.unsynced_names = self.unsynced_names.max(names);
            file
        };
        if self
            .reading
            .as_ref()
            .is_some_and(|open| open.start == start)
        {
            self.reading = None;
        }
        self.writing = Some(OpenFile::new(&self.home, start, &file));
        Ok(file)
    }

    fn for_reading(&mut self, start: u64) -> Result<FileRef, StoreError> {
        for open in [&self.writing, &self.reading].into_iter().flatten() {
            if open.start == start {
                return Ok(Arc::clone(&open.file));
            }
        }
        let path = self.path(start);
        let file = (self.home.fs.open(&path, OpenMode::Read))
            .map_err(|e| StoreError::io("open", &path, e))?;
        self.reading = Some(OpenFile::new(&self.home, start, &file));
        Ok(file)
    }

    /// Reads within one file.
    ///
    /// # Errors
    /// From the file system; [`StoreError::Corrupt`] where the file ends before.
    pub(super) fn read_exact(&mut self, position: u64, buf: &mut [u8]) -> Result<(), StoreError> {
        let start = self.start_of(position);
        let read = self.for_reading(start)?.read_at(buf, position - start);
        self.check_read(position, buf.len(), read)
    }

    /// As [`read_exact`](Self::read_exact), without waiting for a disk: answers what has to be brought into
    /// memory first, if anything has.
    ///
    /// # Errors
    /// As [`read_exact`](Self::read_exact).
    pub(super) fn read_in_memory(
        &mut self,
        position: u64,
        buf: &mut [u8],
    ) -> Result<Option<ColdPiece>, StoreError> {
        let start = self.start_of(position);
        let (file, offset, len) = (self.for_reading(start)?, position - start, buf.len());
        match file.read_in_memory_at(buf, offset) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Ok(Some(ColdPiece { file, offset, len }));
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                self.read_exact(position, buf)?
            }
            read => self.check_read(position, len, read)?,
        }
        Ok(None)
    }

    fn check_read(
        &self,
        position: u64,
        wanted: usize,
        read: io::Result<usize>,
    ) -> Result<(), StoreError> {
        let start = self.start_of(position);
        let read = read.map_err(|e| StoreError::io("read", &self.path(start), e))?;
        if read < wanted {
            let end = position - start + read as u64;
            let path = self.path(start);
            return Err(StoreError::corrupt(&path, end, "file ends here"));
        }
        Ok(())
    }

    /// Writes within one file, which is made when it is the next one.
    pub(super) fn write(&mut self, position: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let start = self.start_of(position);
        let file = self.for_writing(start)?;
        file.write_at(bytes, position - start)
            .map_err(|e| StoreError::io("write", &self.path(start), e))
    }

    /// Makes what lies in the files from `from` to `upto` durable.
    pub(super) fn sync_data(&mut self, from: u64, upto: u64) -> Result<(), StoreError> {
        let mut position = from;
        while position < upto {
            let start = self.start_of(position);
            let file = self.for_writing(start)?;
            file.sync_data()
                .map_err(|e| StoreError::io("sync", &self.path(start), e))?;
            position = start + self.file_size();
        }
        Ok(())
    }

    /// Makes the names of new and removed files durable.
    pub(super) fn sync_names(&mut self) -> Result<(), StoreError> {
        let dirs = match self.unsynced_names {
            UnsyncedNames::None => return Ok(()),
            UnsyncedNames::Files => vec![self.dir()],
            UnsyncedNames::Directories => {
                vec![self.dir(), self.topic_dir(), self.root().clone()]
            }
        };
        for dir in dirs {
            self.home
                .fs
                .sync_dir(&dir)
                .map_err(|e| StoreError::io("sync", &dir, e))?;
        }
        self.unsynced_names = UnsyncedNames::None;
        Ok(())
    }

    /// Makes the files hold nothing from `position` on. One file stays, in a run that has any: it tells
    /// the position to go on with.
    pub(super) fn clear_from(&mut self, position: u64) -> Result<(), StoreError> {
        let size = self.file_size();
        let keep_upto = position.max(self.first + 1).div_ceil(size) * size;
        self.remove_from(keep_upto)?;
        let start = self.start_of(position);
        if start >= self.end {
            return Ok(());
        }
        let file = self.for_writing(start)?;
        file.zero(position - start, start + size - position)
            .and_then(|()| file.sync_data())
            .map_err(|e| StoreError::io("clear", &self.path(start), e))
    }

    /// Removes the files from the one that starts at `start` on, newest first.
    pub(super) fn remove_from(&mut self, start: u64) -> Result<(), StoreError> {
        while self.end > start.max(self.first) {
            let newest = self.end - self.file_size();
            self.remove(newest)?;
            self.end = newest;
        }
        Ok(())
    }

    /// Removes the files that end at or before `position`, oldest first, but for the newest one. Returns
    /// how many.
    pub(super) fn remove_before(&mut self, position: u64) -> Result<usize, StoreError> {
        let mut removed = 0;
        let size = self.file_size();
        while self.first + size <= position && self.first + size < self.end {
            self.remove(self.first)?;
            self.first += size;
            removed += 1;
        }
        Ok(removed)
    }

    fn remove(&mut self, start: u64) -> Result<(), StoreError> {
        for open in [&mut self.writing, &mut self.reading] {
            if open.as_ref().is_some_and(|open| open.start == start) {
                *open = None;
            }
        }
        let path = self.path(start);
        log::info!("{} file removed, path={}", self.name(), path.display());
        match self.home.fs.remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &path, e));
            }
            _ => {}
        }
        self.unsynced_names = self.unsynced_names.max(UnsyncedNames::Files);
        Ok(())
    }

    /// Removes all that is on disk, and the topic's directory with the last of its queues.
    ///
    /// # Errors
    /// From the file system; some files may be gone then, and the next call removes the rest.
    pub(super) fn destroy(&mut self) -> Result<(), StoreError> {
        let fs = self.home.fs.clone();
        let (topic, queue_id) = (self.topic.clone(), self.queue_id);
        *self = Self::empty(self.home.clone(), self.holds, topic, queue_id);
        let dir = self.dir();
        fs.remove_dir_all(&dir)
            .map_err(|e| StoreError::io("remove", &dir, e))?;
        let topic_dir = self.topic_dir();
        let others = fs
            .read_dir(&topic_dir)
            .map_err(|e| StoreError::io("list", &topic_dir, e))?;
        if others.is_empty() {
            fs.remove_dir_all(&topic_dir)
                .map_err(|e| StoreError::io("remove", &topic_dir, e))?;
        }
        Ok(())
    }
}
