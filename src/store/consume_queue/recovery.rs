//! Finding the ends of a queue again from its files.

use std::{path::Path, sync::Arc};

use super::{
    ConsumeQueue, ENTRY_LEN, QueueHome, QueueTail,
    files::UnsyncedNames,
    unit::{UNIT_LEN_MAX, Unit},
};
use crate::{
    protocol::Str,
    store::{
        error::StoreError,
        fs::{FileSystem, OpenMode},
    },
};

/// So many of the newest files are looked at, as in RocketMQ.
const SCANNED_FILES: usize = 3;

/// First read of a scan, in units: most queues are short.
const FIRST_READ_UNITS: usize = 204;
/// The reads after it.
const READ_UNITS: usize = 3276;

/// The topic queues that have a directory below `root`, by topic and number.
///
/// # Errors
/// From the file system.
pub fn list_queues(fs: &dyn FileSystem, root: &Path) -> Result<Vec<(Str, i32)>, StoreError> {
    let mut queues = Vec::new();
    for topic in list_dirs(fs, root)? {
        let topic = Str::from(topic);
        let of_topic = list_queues_of(fs, root, &topic)?;
        queues.extend(of_topic.into_iter().map(|id| (topic.clone(), id)));
    }
    queues.sort();
    Ok(queues)
}

/// The queues of one topic that have a directory below `root`, in no order.
///
/// # Errors
/// From the file system.
pub fn list_queues_of(
    fs: &dyn FileSystem,
    root: &Path,
    topic: &str,
) -> Result<Vec<i32>, StoreError> {
    let mut queues = Vec::new();
    for name in list_dirs(fs, &root.join(topic))? {
        match name.parse() {
            Ok(queue_id) if queue_id >= 0 => queues.push(queue_id),
            _ => log::warn!("not a queue: {}/{topic}/{name}", root.display()),
        }
    }
    Ok(queues)
}

pub(super) fn list_dirs(
    fs: &dyn FileSystem,
    dir: &Path,
) -> Result<impl Iterator<Item = String> + use<>, StoreError> {
    let entries = fs
        .read_dir(dir)
        .map_err(|e| StoreError::io("list", dir, e))?;
    Ok(entries.into_iter().filter(|e| e.is_dir).map(|e| e.name))
}

/// What a scan found.
#[derive(Debug, Clone, Copy)]
struct Scan<U> {
    /// Position after the last whole entry.
    end: u64,
    /// End of the message of the last entry that is not blank; -1 if there is none.
    last_physical: i64,
    /// That entry, if it was read.
    last: Option<U>,
}

impl ConsumeQueue {
    /// Opens a queue by looking at its files, and makes it a new one where there are none. What lies
    /// behind the last good entry is cleared.
    ///
    /// After a power loss the tags code of the last entry may be wrong, if its bytes lie on two
    /// pages: [`append`](Self::append) corrects it when the log tells the entry again.
    ///
    /// The caller then [truncates](Self::truncate_above) what the log does not have, and
    /// [corrects the min offset](Self::correct_min_offset).
    ///
    /// # Errors
    /// From the file system; [`StoreError::Corrupt`] when a file does not have the configured size.
    pub fn recover(home: Arc<QueueHome>, topic: Str, queue_id: i32) -> Result<Self, StoreError> {
        Self::recover_files(home, topic, queue_id)
    }

    /// Opens a queue whose end is known from elsewhere, without looking at all of it. What lies
    /// behind that end is cleared, so the log has to be dispatched again from where the end was
    /// known, and to have been [synced](Self::sync) then. An end that does not fit the files is
    /// ignored, and this is [`recover`](Self::recover): compare [`queue_tail`](Self::queue_tail).
    ///
    /// # Errors
    /// As [`recover`](Self::recover).
    pub fn resume(
        home: Arc<QueueHome>,
        topic: Str,
        queue_id: i32,
        tail: QueueTail,
    ) -> Result<Self, StoreError> {
        let end = u64::try_from(tail.max_offset)
            .ok()
            .and_then(|offset| offset.checked_mul(ENTRY_LEN as u64));
        Self::resume_at(home, topic, queue_id, tail, |_, _| Ok(end))
    }
}

impl<U: Unit> ConsumeQueue<U> {
    /// As `recover`, for both kinds of queues.
    pub(super) fn recover_files(
        home: Arc<QueueHome>,
        topic: Str,
        queue_id: i32,
    ) -> Result<Self, StoreError> {
        let mut queue = Self::empty(home, topic, queue_id)?;
        let files = queue.files.list()?;
        if files.is_empty() {
            return Ok(queue);
        }
        let whole = queue.files.unbroken(&files);
        let mut oldest_scanned = whole.len().saturating_sub(SCANNED_FILES);
        let scan = loop {
            let scan = queue.scan(&whole[oldest_scanned..])?;
            if scan.last_physical >= 0 || oldest_scanned == 0 {
                break scan;
            }
            oldest_scanned -= 1;
        };
        queue.adopt(&files, scan)?;
        // What a killed process wrote may still be only in the machine's memory.
        queue.synced = whole[oldest_scanned].min(queue.end);
        queue.files.unsynced_names = UnsyncedNames::Directories;
        Ok(queue)
    }

    /// As `resume`: `find_end` tells the position of the end by its offset. Asked with all files.
    pub(super) fn resume_at(
        home: Arc<QueueHome>,
        topic: Str,
        queue_id: i32,
        tail: QueueTail,
        find_end: impl FnOnce(&Self, &[u64]) -> Result<Option<u64>, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut queue = Self::empty(Arc::clone(&home), topic.clone(), queue_id)?;
        let files = queue.files.list()?;
        if files.is_empty() {
            return Ok(queue);
        }
        if queue.files.unbroken(&files).len() == files.len()
            && let Some(end) = find_end(&queue, &files)?
            && let Some(last) = end.checked_sub(U::LEN as u64)
            && queue.disk_entry(&files, last)?.physical_end() == tail.last_physical
        {
            let (last_physical, last) = (tail.last_physical, None);
            let scan = Scan {
                end,
                last_physical,
                last,
            };
            queue.adopt(&files, scan)?;
            return Ok(queue);
        }
        log::info!(
            "{} does not end as remembered, {tail:?}: scanning",
            queue.name()
        );
        Self::recover_files(home, topic, queue_id)
    }

    /// Follows good entries from the start of the first of `files` on.
    fn scan(&self, files: &[u64]) -> Result<Scan<U>, StoreError> {
        let mut scan = Scan {
            end: files[0],
            last_physical: -1,
            last: None,
        };
        for &start in files {
            if !self.scan_file(start, &mut scan)? {
                break;
            }
        }
        Ok(scan)
    }

    /// Follows good entries in one file; whether it is full of them.
    fn scan_file(&self, start: u64, scan: &mut Scan<U>) -> Result<bool, StoreError> {
        let path = self.files.path(start);
        let file = (self.files.home.fs.open(&path, OpenMode::Read))
            .map_err(|e| StoreError::io("open", &path, e))?;
        let file_end = start + self.files.file_size();
        let mut buf = Vec::new();
        let mut read_len = (FIRST_READ_UNITS * U::LEN) as u64;
        while scan.end < file_end {
            buf.resize((file_end - scan.end).min(read_len) as usize, 0);
            let read = file
                .read_at(&mut buf, scan.end - start)
                .map_err(|e| StoreError::io("read", &path, e))?;
            if read < U::LEN {
                return Ok(false);
            }
            for entry in buf[..read].chunks_exact(U::LEN).map(U::of_bytes) {
                let is_leading_blank = entry.is_blank() && scan.last_physical < 0;
                let place = entry.entry();
                let is_next = entry.is_sane()
                    && !entry.is_blank()
                    && place
                        .physical_offset
                        .checked_add(place.size.into())
                        .is_some()
                    && entry.physical_end() > scan.last_physical
                    && scan.last.is_none_or(|last| entry.follows(&last));
                if is_next {
                    scan.last = Some(entry);
                    scan.last_physical = entry.physical_end();
                } else if !is_leading_blank {
                    return Ok(false);
                }
                scan.end += U::LEN as u64;
            }
            read_len = (READ_UNITS * U::LEN) as u64;
        }
        Ok(true)
    }

    /// The entry at `position`; zeros where there is no file.
    pub(super) fn disk_entry(&self, files: &[u64], position: u64) -> Result<U, StoreError> {
        let start = self.files.start_of(position);
        let mut bytes = [0; UNIT_LEN_MAX];
        let bytes = &mut bytes[..U::LEN];
        if files.binary_search(&start).is_ok() {
            let path = self.files.path(start);
            (self.files.home.fs.open(&path, OpenMode::Read))
                .and_then(|file| file.read_at(bytes, position - start))
                .map_err(|e| StoreError::io("read", &path, e))?;
        }
        Ok(U::of_bytes(bytes))
    }

    /// Takes over the unbroken run of `files` up to what `scan` found, and clears the rest.
    fn adopt(&mut self, files: &[u64], scan: Scan<U>) -> Result<(), StoreError> {
        self.files.adopt(files, scan.end)?;
        self.min = self.files.first;
        self.end = scan.end;
        self.written = scan.end;
        self.synced = scan.end;
        self.last_physical = scan.last_physical;
        self.correct_min_offset(0)
    }
}
