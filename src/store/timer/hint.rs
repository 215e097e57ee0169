//! Where in the commit log the deliveries lie that `timercheck` does not count yet.
//!
//! A broker that was killed reads the slot again that it was delivering. To deliver nothing twice it
//! looks for what it delivered already, from this position of the commit log on. The file is ours
//! (MessagePack: format version; precision, read time, queue offset, log position; their checksum); a Java
//! broker neither reads nor minds it. It is written behind `timercheck`, so that it never tells
//! of a later state: a stale one only makes the search longer.

use std::path::{Path, PathBuf};

use super::checkpoint::TimerCheckpoint;
use crate::store::{
    error::StoreError,
    fs::{FileRef, Fs, OpenMode},
};

/// Version of the format; another one is ignored.
const FORMAT_VERSION: u32 = 1;

/// Bytes of the file at most.
const FILE_LEN_MAX: usize = 128;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TimerHint {
    /// Milliseconds of a slot of the wheel.
    pub precision_ms: i64,
    /// `lastReadTimeMs` of the checkpoint that this was written behind.
    pub read_time_ms: i64,
    /// Its `lastTimerQueueOffset`.
    pub queue_offset: i64,
    /// What was delivered and is not counted by that checkpoint lies at or behind this position.
    pub log_position: i64,
}

impl TimerHint {
    /// Whether the position still holds for a checkpoint: it does for every later one.
    pub fn holds_for(&self, checkpoint: &TimerCheckpoint) -> bool {
        self.read_time_ms <= checkpoint.last_read_time_ms
            && self.queue_offset <= checkpoint.last_timer_queue_offset
    }

    fn crc(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        let longs = [
            self.precision_ms,
            self.read_time_ms,
            self.queue_offset,
            self.log_position,
        ];
        for long in longs {
            hasher.update(&long.to_be_bytes());
        }
        hasher.finalize()
    }
}

/// The open file.
#[derive(Debug)]
pub struct TimerHintFile {
    path: PathBuf,
    file: FileRef,
}

impl TimerHintFile {
    /// Opens the file, makes it when absent, and reads it; nothing for one that is not whole.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn open(fs: &Fs, path: &Path) -> Result<(Self, Option<TimerHint>), StoreError> {
        let open = || {
            if let Some(dir) = path.parent() {
                fs.create_dir_all(dir)?;
            }
            let file = fs.open(path, OpenMode::Create)?;
            let mut bytes = [0; FILE_LEN_MAX];
            let len = file.read_at(&mut bytes, 0)?;
            Ok((file, bytes.get(..len).and_then(decode)))
        };
        let (file, hint) = open().map_err(|e| StoreError::io("open", path, e))?;
        let path = path.to_path_buf();
        Ok((Self { path, file }, hint))
    }

    /// Writes the hint in place; a killed process leaves it behind whole.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn write(&self, hint: &TimerHint) -> Result<(), StoreError> {
        let bytes = rmp_serde::to_vec(&(FORMAT_VERSION, hint, hint.crc()))
            .map_err(|e| StoreError::invalid(e.to_string()))?;
        let written = self.file.write_at(&bytes, 0);
        written.map_err(|e| StoreError::io("write", &self.path, e))
    }
}

fn decode(bytes: &[u8]) -> Option<TimerHint> {
    let mut bytes = bytes;
    let (version, hint, crc): (u32, TimerHint, u32) = rmp_serde::from_read(&mut bytes).ok()?;
    (version == FORMAT_VERSION && crc == hint.crc()).then_some(hint)
}
