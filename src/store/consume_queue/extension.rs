//! Extensions of queue entries: the tags code, the store time and the bit map of filters of a message,
//! in files beside the queue's (RocketMQ's `ConsumeQueueExt`).
//!
//! An entry with an extension holds its address where its tags code would be ([`is_address`]). What is
//! lost here, or was never written, costs a look at the message: nothing else depends on it.
//!
//! A queue's extensions are a run of files below `consumequeue_ext/TOPIC/QUEUEID/`, named and sized as
//! those of its entries are. In each of them units follow each other:
//!
//! ```text
//!  0      2           10           18       20
//!  | size | tags code | store time | bit map |
//!  |      |           |            | length  | bit map ...
//! ```
//!
//! | offset | width | name           | meaning                                               |
//! | ------ | ----- | -------------- | ----------------------------------------------------- |
//! | 0      | 2     | size           | bytes of the unit; -1: the next one is in the next file, 0: the end |
//! | 2      | 8     | tags code      | what the entry would hold                             |
//! | 10     | 8     | store time     | when the message was stored, in milliseconds          |
//! | 18     | 2     | bit map length | bytes of the bit map, 0 without one                   |
//! | 20     | n     | bit map        | the groups whose expressions are true ([`crate::filter::bloom`]) |
//!
//! Everything is big-endian. The last four bytes of a file stay free for the mark of its end.

use std::{path::PathBuf, sync::Arc};

use smallvec::SmallVec;

use super::{
    Entry, QueueHome,
    files::{FileRun, Holds, UnsyncedNames},
};
use crate::{protocol::Str, store::error::StoreError};

/// The largest address (`ConsumeQueueExt.MAX_ADDR`): all tags codes are larger.
const ADDRESS_MAX: i64 = i32::MIN as i64 - 1;

/// Bytes of a unit without its bit map.
const UNIT_LEN_MIN: usize = 20;

/// Files that are shorter hold nothing of use.
const FILE_SIZE_MIN: u64 = 64;

/// Bytes at the end of each file that no unit lies in.
const END_BLANK_LEN: u64 = 4;

/// What follows the last unit of a file that has no room for the next one.
const END_MARK: [u8; 2] = (-1_i16).to_be_bytes();

/// Bytes read at once: the longest unit, or as many ordinary ones as a pull looks at.
const READ_LEN: u64 = 32 * 1024;

/// Whether an entry's tags code is the address of its extension (`ConsumeQueueExt.isExtAddr`).
pub fn is_address(tags_code: i64) -> bool {
    tags_code <= ADDRESS_MAX
}

/// The position of a unit in its run, from its address.
fn position_of(address: i64) -> Option<u64> {
    is_address(address).then(|| address.wrapping_sub(i64::MIN) as u64)
}

fn address_of(position: u64) -> i64 {
    i64::MIN.wrapping_add(position as i64)
}

/// Where the extensions of all queues of a store live.
#[derive(Debug)]
pub struct ExtensionsHome {
    pub(super) root: PathBuf,
    pub(super) file_size: u64,
}

impl ExtensionsHome {
    /// `root` is the directory `consumequeue_ext`; `file_size` is the length of each file in bytes. A unit
    /// that is longer cannot be kept.
    pub fn new(root: impl Into<PathBuf>, file_size: u64) -> Self {
        Self {
            root: root.into(),
            file_size: file_size.max(FILE_SIZE_MIN),
        }
    }
}

/// One extension (RocketMQ's `CqExtUnit`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extension {
    /// Hash of the tags; for a delayed message the time (ms) at which it is due.
    pub tags_code: i64,
    /// When the message was stored, in milliseconds.
    pub store_time: i64,
    /// The groups whose expressions are true; empty when that was not looked at.
    pub bit_map: SmallVec<[u8; 16]>,
}

impl Extension {
    /// Bytes of the unit.
    pub fn encoded_len(&self) -> usize {
        UNIT_LEN_MIN + self.bit_map.len()
    }

    /// The same as a unit says it; `None` for a bit map that none can hold.
    fn unit_len(&self) -> Option<i16> {
        i16::try_from(self.encoded_len()).ok()
    }

    /// Reads the unit that `bytes` begin with. `None` where there is none, or only a part of one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let len = usize::try_from(unit_len(bytes)?).ok()?;
        let unit = bytes.get(..len)?;
        let (_, unit) = unit.split_first_chunk::<2>()?;
        let (tags_code, unit) = unit.split_first_chunk()?;
        let (store_time, unit) = unit.split_first_chunk()?;
        let (bit_map_len, rest) = unit.split_first_chunk()?;
        // As in RocketMQ a length below zero is none.
        let bit_map_len = i16::from_be_bytes(*bit_map_len).max(0) as usize;
        Some(Self {
            tags_code: i64::from_be_bytes(*tags_code),
            store_time: i64::from_be_bytes(*store_time),
            bit_map: SmallVec::from_slice(rest.get(..bit_map_len)?),
        })
    }

    /// Adds the unit to `out`, if a unit can hold the bit map.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Some(len) = self.unit_len() else { return };
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&self.tags_code.to_be_bytes());
        out.extend_from_slice(&self.store_time.to_be_bytes());
        out.extend_from_slice(&(len - UNIT_LEN_MIN as i16).to_be_bytes());
        out.extend_from_slice(&self.bit_map);
    }
}

/// The size that a unit begins with: positive for a unit.
fn unit_len(bytes: &[u8]) -> Option<i16> {
    bytes.first_chunk().map(|size| i16::from_be_bytes(*size))
}

/// The extensions of one queue's entries. Like the queue it belongs to one actor.
pub(super) struct Extensions {
    files: FileRun,
    /// Whether the files were looked at; before that nothing below is known.
    is_loaded: bool,
    /// Position after the newest unit.
    end: u64,
    /// The file holds what lies below this position.
    written: u64,
    /// What lies below this position survives a power loss.
    synced: u64,
    /// The units from `written` on; all of them lie in one file.
    pending: Vec<u8>,
}

impl Extensions {
    /// Those of a queue; `None` where extensions are not kept. No file is looked at yet.
    pub(super) fn new(home: &Arc<QueueHome>, topic: &Str, queue_id: i32) -> Option<Self> {
        home.extensions.as_ref()?;
        let files = FileRun::empty(Arc::clone(home), Holds::Extensions, topic.clone(), queue_id);
        Some(Self {
            files,
            is_loaded: false,
            end: 0,
            written: 0,
            synced: 0,
            pending: Vec::new(),
        })
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    pub(super) fn close(&mut self) {
        self.files.close();
    }

    pub(super) fn close_surplus(&mut self) {
        self.files.close_surplus();
    }

    pub(super) fn is_open(&self) -> bool {
        self.files.is_open()
    }

    /// Looks at the files, and clears what follows the newest unit: that of `last_tags_code`, the tags
    /// code of the queue's last entry, or where that is none the last of the last file.
    ///
    /// # Errors
    /// From the file system; [`StoreError::Corrupt`] when a file does not have the configured size.
    pub(super) fn load(&mut self, last_tags_code: Option<i64>) -> Result<(), StoreError> {
        let files = self.files.list()?;
        let newest = last_tags_code.and_then(position_of);
        // No address is given twice, also where its unit was lost: another message's would be read there.
        let after_newest = newest.map(|at| self.files.start_of(at) + self.files.file_size());
        let end = match (files.first(), files.last()) {
            (Some(&first), Some(&last)) => {
                let last_end = last + self.files.file_size();
                self.files.first = first;
                self.files.end = last_end;
                match newest {
                    Some(at) if at >= last_end || at < first => None,
                    Some(at) => self.unit_end(at)?.or(after_newest),
                    None => Some(self.last_unit_end(last)?),
                }
            }
            _ => None,
        };
        match end {
            Some(end) => {
                self.files.adopt(&files, end)?;
                self.files.unsynced_names = UnsyncedNames::Directories;
            }
            None if files.is_empty() => {}
            None => self.files.destroy()?,
        }
        let end = end.or(after_newest).unwrap_or(0);
        if self.files.first == self.files.end {
            self.files.first = end;
            self.files.end = end;
        }
        self.go_on_at(end);
        // What a killed process wrote may still be only in the machine's memory.
        let last = self.files.first.max(end.saturating_sub(1));
        self.synced = self.files.start_of(last);
        self.is_loaded = true;
        Ok(())
    }

    /// Where the unit at a position of the files ends; `None` where there is none.
    fn unit_end(&mut self, position: u64) -> Result<Option<u64>, StoreError> {
        let file_end = self.files.start_of(position) + self.files.file_size();
        if position + END_BLANK_LEN > file_end {
            return Ok(None);
        }
        let mut size = [0; 2];
        self.files.read_exact(position, &mut size)?;
        let len = unit_len(&size).and_then(|len| u64::try_from(len).ok());
        let end = len.filter(|len| *len >= UNIT_LEN_MIN as u64);
        Ok(end.map(|len| position + len).filter(|end| *end <= file_end))
    }

    /// Where the last unit of a file ends.
    fn last_unit_end(&mut self, start: u64) -> Result<u64, StoreError> {
        let file_end = start + self.files.file_size();
        let mut buf = Vec::new();
        let mut position = start;
        while position + END_BLANK_LEN <= file_end {
            buf.resize((file_end - position).min(READ_LEN * 8) as usize, 0);
            self.files.read_exact(position, &mut buf)?;
            let begin = position;
            let mut rest = &buf[..];
            while rest.len() >= END_BLANK_LEN as usize {
                match unit_len(rest) {
                    Some(-1) => return Ok(file_end),
                    Some(len) if len >= UNIT_LEN_MIN as i16 => {
                        let Some((_, after)) = rest.split_at_checked(len as usize) else {
                            break;
                        };
                        rest = after;
                        position += len as u64;
                    }
                    _ => return Ok(position),
                }
            }
            if position == begin {
                break; // a unit that would end behind its file
            }
        }
        Ok(position)
    }

    /// Takes a unit into memory and returns its address. `None` for one that cannot be kept: the entry
    /// then holds its tags code.
    ///
    /// # Errors
    /// From the file system, when a file was full and could not be written.
    pub(super) fn put(&mut self, unit: &Extension) -> Result<Option<i64>, StoreError> {
        let Some(len) = unit.unit_len().map(|len| len as u64) else {
            return Ok(None);
        };
        let file_size = self.files.file_size();
        if len + END_BLANK_LEN > file_size {
            return Ok(None);
        }
        let start = self.files.start_of(self.end);
        if self.end + len + END_BLANK_LEN > start + file_size {
            self.pending.extend_from_slice(&END_MARK);
            let rolled = self.write_pending();
            self.pending.truncate(self.pending.len() - END_MARK.len());
            rolled?;
            self.go_on_at(start + file_size);
        }
        if !is_address(address_of(self.end + len)) {
            return Ok(None);
        }
        unit.encode(&mut self.pending);
        let address = address_of(self.end);
        self.end += len;
        Ok(Some(address))
    }

    /// The next unit begins a file.
    fn go_on_at(&mut self, start: u64) {
        self.pending.clear();
        self.end = start;
        self.written = start;
    }

    fn write_pending(&mut self) -> Result<(), StoreError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let start = self.files.start_of(self.written);
        if start >= self.files.end && self.files.end > self.files.first {
            self.sync_data()?;
        }
        self.files.write(self.written, &self.pending)
    }

    /// Writes what is only in memory.
    ///
    /// # Errors
    /// From the file system; what was not written stays in memory, and the next call tries again.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.write_pending()?;
        self.pending.clear();
        self.written = self.end;
        Ok(())
    }

    /// As [`put`](Self::put). That it could not be kept is told, and costs no more than that.
    pub(super) fn keep(&mut self, unit: &Extension) -> Option<i64> {
        self.put(unit).unwrap_or_else(|error| {
            log::warn!("{} keeps no extension: {error}", self.files.name());
            None
        })
    }

    fn sync_data(&mut self) -> Result<(), StoreError> {
        let upto = self.written.min(self.files.end);
        self.files.sync_data(self.synced.min(upto), upto)?;
        self.synced = self.written;
        Ok(())
    }

    /// Writes what is only in memory and makes everything durable.
    ///
    /// # Errors
    /// From the file system; the next call tries again.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        self.sync_data()?;
        self.files.sync_names()
    }

    /// Gives each entry that has an extension its tags code, and adds the extensions to `found`, one an
    /// entry. An entry whose extension is not there keeps its address.
    pub(super) fn resolve(
        &mut self,
        entries: &mut [Entry],
        mut found: Option<&mut Vec<Option<Extension>>>,
    ) {
        let mut window = Window::default();
        for entry in entries {
            let unit = position_of(entry.tags_code).and_then(|at| self.read(at, &mut window));
            if let Some(unit) = &unit {
                entry.tags_code = unit.tags_code;
            }
            if let Some(found) = &mut found {
                found.push(unit);
            }
        }
    }

    fn read(&mut self, position: u64, window: &mut Window) -> Option<Extension> {
        if position >= self.end || position < self.files.first {
            return None;
        }
        if let Some(at) = position.checked_sub(self.written) {
            return Extension::decode(self.pending.get(at as usize..)?);
        }
        if let Some(unit) = Extension::decode(window.from(position)) {
            return Some(unit);
        }
        // Neighbours follow each other: the next ones are read with it.
        let file_end = self.files.start_of(position) + self.files.file_size();
        let len = (file_end.min(self.written) - position).min(READ_LEN);
        window.start = position;
        window.bytes.resize(len as usize, 0);
        if let Err(error) = self.files.read_exact(position, &mut window.bytes) {
            log::debug!("{} lacks an extension: {error}", self.files.name());
            window.bytes.clear();
        }
        Extension::decode(&window.bytes)
    }

    /// Removes the files that hold only what lies before the extension with this address.
    ///
    /// # Errors
    /// From the file system.
    pub(super) fn delete_before(&mut self, address: i64) -> Result<(), StoreError> {
        if let Some(position) = position_of(address) {
            self.files.remove_before(position.min(self.end))?;
        }
        Ok(())
    }

    /// Removes all of it.
    ///
    /// # Errors
    /// From the file system; the next call removes the rest.
    pub(super) fn destroy(&mut self) -> Result<(), StoreError> {
        self.files.destroy()
    }
}

/// A piece of the files that was read.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn from(&self, position: u64) -> &[u8] {
        let at = position.checked_sub(self.start);
        at.and_then(|at| self.bytes.get(at as usize..))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
