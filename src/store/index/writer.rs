//! Putting keys, making files, and bringing them to disk.

use std::{io, ops::Range, path::PathBuf, sync::Arc};

use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};

use super::{
    IndexEntry, IndexFile, IndexHeader, IndexService, IndexShape,
    entry::{FIRST_ENTRY, HEADER_LEN, INDEX_COUNT_AT, INDEX_ENTRY_LEN},
};
use crate::store::{
    error::StoreError,
    fs::{FileRef, Fs, OpenMode},
    mapped::MappedMut,
};

/// Entries whose disk space is allocated at once: 4 MiB of them.
const ALLOCATE_ENTRIES: u32 = (4 << 20) / INDEX_ENTRY_LEN as u32;

/// The file that is written.
pub(super) struct Writer {
    path: PathBuf,
    pub(super) file: FileRef,
    pub(super) map: MappedMut,
    /// Entries below this number have their disk space.
    allocated: u32,
}

impl IndexService {
    /// Adds the keys of one record, given as hashes; records have to come in log order. Returns
    /// `false`, and does nothing, for a record that is indexed already.
    ///
    /// # Errors
    /// From the file system. Some of the keys may be there then; the same record can be put again.
    pub fn put_record(
        &mut self,
        physical_offset: i64,
        store_timestamp: i64,
        key_hashes: &[i32],
    ) -> Result<bool, StoreError> {
        let is_known = physical_offset < self.last_physical
            || physical_offset == self.last_physical && self.is_last_whole;
        if is_known {
            return Ok(false);
        }
        if !key_hashes.is_empty() {
            self.generation += 1;
            for key_hash in key_hashes {
                self.put_key(key_hash & i32::MAX, physical_offset, store_timestamp)?;
            }
            self.put_header()?;
            self.last_physical = physical_offset;
            self.is_last_whole = true;
        }
        Ok(true)
    }

    fn put_key(
        &mut self,
        key_hash: i32,
        physical_offset: i64,
        store_timestamp: i64,
    ) -> Result<(), StoreError> {
        self.prepare_writer(store_timestamp)?;
        let shape = self.shape;
        let (Some(writer), Some(file)) = (&mut self.writer, self.files.last_mut()) else {
            unreachable!("prepare_writer made both");
        };
        let header = &mut file.header;
        let number = header.index_count;
        let slot_at = shape.slot_at(shape.slot_of(key_hash));
        let previous = match i32::from_be_bytes(writer.get(slot_at)?) {
            newest if newest > 0 && newest.unsigned_abs() <= number => newest,
            _ => 0,
        };
        let entry = IndexEntry {
            key_hash,
            physical_offset,
            time_difference: header.time_difference(store_timestamp),
            previous,
        };
        if number <= FIRST_ENTRY {
            header.begin_physical = physical_offset;
            header.begin_timestamp = store_timestamp;
            writer.put(0, &header.encode())?;
        }
        // In this order, so that a process that dies in between leaves a whole table.
        writer.put(shape.entry_at(number), &entry.encode())?;
        writer.put(slot_at, &number.to_be_bytes())?;
        header.index_count = number + 1;
        writer.put(INDEX_COUNT_AT, &header.index_count.to_be_bytes())?;
        header.hash_slot_count += i32::from(previous == 0);
        header.end_physical = physical_offset;
        header.end_timestamp = store_timestamp;
        Ok(())
    }

    fn put_header(&mut self) -> Result<(), StoreError> {
        match (&mut self.writer, self.files.last()) {
            (Some(writer), Some(file)) => writer.put(0, &file.header.encode()),
            _ => Ok(()),
        }
    }

    /// Makes the last file one that takes another entry.
    fn prepare_writer(&mut self, store_timestamp: i64) -> Result<(), StoreError> {
        let entries = self.shape.entries();
        match self.files.last() {
            Some(file) if file.header.index_count < entries => {
                let number = file.header.index_count;
                match &mut self.writer {
                    Some(writer) if number < writer.allocated => Ok(()),
                    Some(writer) => writer.allocate(self.shape, number),
                    None => {
                        let path = self.path(&file.name);
                        let writer = Writer::open(&self.fs, path, self.shape, number)?;
                        self.writer = Some(writer);
                        Ok(())
                    }
                }
            }
            _ => self.roll(store_timestamp),
        }
    }

    /// Starts a new file behind a full one, or the first one.
    fn roll(&mut self, store_timestamp: i64) -> Result<(), StoreError> {
        let header = self
            .files
            .last()
            .map_or_else(IndexHeader::default, |file| file.header.successor());
        self.put_header()?;
        self.fs
            .create_dir_all(&self.dir)
            .map_err(|e| StoreError::io("create", &self.dir, e))?;
        let name = next_name(&self.newest_name, store_timestamp);
        let path = self.path(&name);
        // A name that failed is not tried again: something may have that name already.
        self.newest_name.clone_from(&name);
        let file = (self.fs.open(&path, OpenMode::Create))
            .map_err(|e| StoreError::io("create", &path, e))?;
        let made = (file.set_len(self.shape.file_len()))
            .map_err(|e| StoreError::io("extend", &path, e))
            .and_then(|()| Writer::open(&self.fs, path.clone(), self.shape, header.index_count))
            .and_then(|mut writer| writer.put(0, &header.encode()).map(|()| writer))
            .and_then(|writer| self.sync_new(&writer).map(|()| writer));
        let writer = match made {
            Ok(writer) => writer,
            Err(error) => {
                let _ = self.remove_file(&path, "could not be made");
                return Err(error);
            }
        };
        log::info!("index file made, path={}", path.display());
        if let Some(full) = self.writer.replace(writer) {
            (self.unsynced).push((self.generation, full.path, full.file));
        }
        self.files.push(IndexFile { name, header });
        Ok(())
    }

    /// A file without the one before it would pass for the whole index after a power loss: so each
    /// name is durable before the next one can be.
    fn sync_new(&self, writer: &Writer) -> Result<(), StoreError> {
        (writer.file.sync_data()).map_err(|e| StoreError::io("sync", &writer.path, e))?;
        for dir in [Some(self.dir.as_path()), self.dir.parent()]
            .into_iter()
            .flatten()
        {
            (self.fs.sync_dir(dir)).map_err(|e| StoreError::io("sync", dir, e))?;
        }
        Ok(())
    }

    /// Whether a power loss could take something back.
    pub fn needs_flush(&self) -> bool {
        self.generation > self.flushed_generation
    }

    /// What has to be done to make everything put so far durable. It can be run on another thread;
    /// hand its result to [`finish_flush`](Self::finish_flush).
    pub fn start_flush(&self) -> IndexFlush {
        let mut files: Vec<_> = self
            .unsynced
            .iter()
            .map(|(_, path, file)| (path.clone(), Arc::clone(file)))
            .collect();
        if let Some(writer) = self.writer.as_ref().filter(|_| self.needs_flush()) {
            files.push((writer.path.clone(), Arc::clone(&writer.file)));
        }
        IndexFlush {
            files,
            flushed: IndexFlushed {
                end_timestamp: self.last_timestamp(),
                end_physical: self.last_physical,
                generation: self.generation,
            },
        }
    }

    /// Notes that a flush was done.
    pub fn finish_flush(&mut self, flushed: &IndexFlushed) {
        self.flushed_generation = self.flushed_generation.max(flushed.generation);
        let upto = self.flushed_generation;
        self.unsynced.retain(|(changed, ..)| *changed > upto);
    }

    /// Makes everything put so far durable, here and now.
    ///
    /// # Errors
    /// From the file system; the next call tries again.
    pub fn flush(&mut self) -> Result<IndexFlushed, StoreError> {
        let flushed = self.start_flush().run()?;
        self.finish_flush(&flushed);
        Ok(flushed)
    }
}

impl Writer {
    /// Opens a file of full length to put entry `number` next.
    fn open(fs: &Fs, path: PathBuf, shape: IndexShape, number: u32) -> Result<Self, StoreError> {
        let file =
            (fs.open(&path, OpenMode::Write)).map_err(|e| StoreError::io("open", &path, e))?;
        match file.allocate(0, shape.entry_at(FIRST_ENTRY)) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                log::warn!("space cannot be allocated ahead, path={}", path.display());
            }
            other => other.map_err(|e| StoreError::io("allocate", &path, e))?,
        }
        let map = (file.map_mut(shape.file_len())).map_err(|e| StoreError::io("map", &path, e))?;
        let mut writer = Self {
            path,
            file,
            map,
            allocated: 0,
        };
        writer.allocate(shape, number)?;
        Ok(writer)
    }

    /// Gives entry `number` and many after it their disk space.
    fn allocate(&mut self, shape: IndexShape, number: u32) -> Result<(), StoreError> {
        let upto = number.saturating_add(ALLOCATE_ENTRIES).min(shape.entries());
        let (from, end) = (shape.entry_at(number), shape.entry_at(upto));
        match self.file.allocate(from, end - from) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {}
            other => other.map_err(|e| StoreError::io("allocate", &self.path, e))?,
        }
        self.allocated = upto;
        Ok(())
    }

    pub(super) fn get<const N: usize>(&self, at: u64) -> Result<[u8; N], StoreError> {
        (self.map.get(at)).ok_or_else(|| StoreError::corrupt(&self.path, at, "file ends here"))
    }

    fn put(&mut self, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
        #[cfg(test)]
        PUTS.with_borrow_mut(|puts| puts.push((self.path.clone(), at, bytes.to_vec())));
        (self.map.put(at, bytes))
            .ok_or_else(|| StoreError::corrupt(&self.path, at, "file ends here"))
    }
}

#[cfg(test)]
thread_local! {
    /// What this thread wrote, in order: file, place, bytes.
    pub(super) static PUTS: std::cell::RefCell<Vec<(PathBuf, u64, Vec<u8>)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Files to sync: see [`IndexService::start_flush`].
#[derive(Debug)]
pub struct IndexFlush {
    files: Vec<(PathBuf, FileRef)>,
    flushed: IndexFlushed,
}

/// What is durable after a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexFlushed {
    /// Store time (ms) of the newest durable record: the checkpoint's index timestamp.
    pub end_timestamp: i64,
    /// Physical offset of the newest durable record, -1 if there is none.
    pub end_physical: i64,
    generation: u64,
}

impl IndexFlush {
    /// Syncs the files.
    ///
    /// # Errors
    /// From the file system; the service still knows what is to be flushed.
    pub fn run(self) -> Result<IndexFlushed, StoreError> {
        for (path, file) in &self.files {
            file.sync_data()
                .map_err(|e| StoreError::io("sync", path, e))?;
        }
        Ok(self.flushed)
    }
}

/// A file name for a time (ms), in local time, that sorts behind `newest`.
fn next_name(newest: &str, timestamp: i64) -> String {
    let time = Timestamp::from_millisecond(timestamp)
        .unwrap_or_default()
        .to_zoned(TimeZone::system())
        .datetime();
    let name = name_of(time);
    if name.as_str() > newest {
        return name;
    }
    let later = time_of(newest).and_then(|time| time.checked_add(1.millisecond()).ok());
    later.map_or_else(
        || {
            format!(
                "{:017}",
                newest.parse::<u64>().unwrap_or(0).saturating_add(1)
            )
        },
        name_of,
    )
}

fn name_of(time: civil::DateTime) -> String {
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}{:03}",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

/// The time that a file name tells; `None` for one that is none.
fn time_of(name: &str) -> Option<civil::DateTime> {
    let digits = |range: Range<usize>| name.get(range)?.parse::<i16>().ok();
    let small = |at: usize| name.get(at..at + 2)?.parse::<i8>().ok();
    let nanos = i32::from(digits(14..17)?) * 1_000_000;
    let (year, month, day) = (digits(0..4)?, small(4)?, small(6)?);
    civil::DateTime::new(year, month, day, small(8)?, small(10)?, small(12)?, nanos).ok()
}

/// The header of a file that nobody writes.
pub(super) fn read_header(file: &FileRef) -> io::Result<IndexHeader> {
    let mut bytes = [0; HEADER_LEN as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(IndexHeader::decode(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_only_go_up() {
        let name = next_name("", 1_800_000_000_123);
        assert_eq!(name.len(), 17);
        assert!(name.ends_with("123"), "{name}");
        assert_eq!(next_name("20261231235959999", 0), "20270101000000000");
        assert_eq!(next_name("99991231235959999", 0), "99991231235960000");
        assert_eq!(next_name("99999999999999999", 0), "100000000000000000");
        assert_eq!(
            time_of("20261231235959999").map(name_of).unwrap(),
            "20261231235959999"
        );
        assert!(time_of("x").is_none());
    }
}
