//! The file `config/timercheck`: how far the timer is.
//!
//! ```text
//! 0          8          16         24         32         40         48         56    4096
//! | readTime | flushPos | queueOff | masterOff| stateVer | timestamp| counter  | zeros |
//! ```
//!
//! One page, seven big-endian longs at its start, as RocketMQ's `TimerCheckpoint`; the 56 bytes are
//! the answer to code 60, too.
//!
//! | offset | name | meaning |
//! | --- | --- | --- |
//! | 0 | lastReadTimeMs | slots before this time are delivered |
//! | 8 | lastTimerLogFlushPos | what the rest tells is in the timer log up to here |
//! | 16 | lastTimerQueueOffset | messages of the timer's queue before this one are taken in |
//! | 24 | masterTimerQueueOffset | the same at the master |
//! | 32 | stateVersion, timestamp, counter | version of the rest |

use std::path::{Path, PathBuf};

use crate::{
    protocol::body::DataVersion,
    store::{
        error::StoreError,
        fs::{FileRef, Fs, OpenMode},
    },
};

/// Bytes that are used.
pub const CHECKPOINT_LEN: usize = 56;

/// Bytes of the file.
pub const CHECKPOINT_FILE_LEN: usize = 4096;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimerCheckpoint {
    /// Slots before this time (ms) are delivered.
    pub last_read_time_ms: i64,
    /// End of the timer log as of this checkpoint.
    pub last_timer_log_flush_pos: i64,
    /// The next message of the timer's queue that is taken in.
    pub last_timer_queue_offset: i64,
    /// The same at the master.
    pub master_timer_queue_offset: i64,
    /// Version.
    pub data_version: DataVersion,
}

impl TimerCheckpoint {
    /// The 56 bytes.
    pub fn encode(&self) -> [u8; CHECKPOINT_LEN] {
        let mut bytes = [0; CHECKPOINT_LEN];
        let longs = [
            self.last_read_time_ms,
            self.last_timer_log_flush_pos,
            self.last_timer_queue_offset,
            self.master_timer_queue_offset,
            self.data_version.state_version,
            self.data_version.timestamp,
            self.data_version.counter,
        ];
        for (place, long) in bytes.chunks_exact_mut(8).zip(longs) {
            place.copy_from_slice(&long.to_be_bytes());
        }
        bytes
    }

    /// Reads them; without a version where there are only the first four longs, as older brokers
    /// answer. `None` when even those are missing.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut longs = bytes.chunks_exact(8).map(|bytes| {
            let mut long = [0; 8];
            long.copy_from_slice(bytes);
            i64::from_be_bytes(long)
        });
        Some(Self {
            last_read_time_ms: longs.next()?,
            last_timer_log_flush_pos: longs.next()?,
            last_timer_queue_offset: longs.next()?,
            master_timer_queue_offset: longs.next()?,
            data_version: DataVersion {
                state_version: longs.next().unwrap_or_default(),
                timestamp: longs.next().unwrap_or_default(),
                counter: longs.next().unwrap_or_default(),
            },
        })
    }
}

/// The open file.
#[derive(Debug, Clone)]
pub struct TimerCheckpointFile {
    path: PathBuf,
    file: FileRef,
}

impl TimerCheckpointFile {
    /// Opens the file, makes it when absent, and reads it; tells nothing for one that was absent or is
    /// shorter than 32 bytes.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn open(fs: &Fs, path: &Path) -> Result<(Self, Option<TimerCheckpoint>), StoreError> {
        let open = || {
            if let Some(dir) = path.parent() {
                fs.create_dir_all(dir)?;
            }
            let file = fs.open(path, OpenMode::Create)?;
            let mut page = [0; CHECKPOINT_LEN];
            let len = file.read_at(&mut page, 0)?;
            if file.len()? < CHECKPOINT_FILE_LEN as u64 {
                file.set_len(CHECKPOINT_FILE_LEN as u64)?;
                if let Some(dir) = path.parent() {
                    fs.sync_dir(dir)?;
                }
            }
            Ok((file, page.get(..len).and_then(TimerCheckpoint::decode)))
        };
        let (file, read) = open().map_err(|e| StoreError::io("open", path, e))?;
        let path = path.to_path_buf();
        Ok((Self { path, file }, read))
    }

    /// Writes the checkpoint; a killed process leaves it behind whole.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn write(&self, checkpoint: &TimerCheckpoint) -> Result<(), StoreError> {
        let written = self.file.write_at(&checkpoint.encode(), 0);
        written.map_err(|e| StoreError::io("write", &self.path, e))
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn sync(&self) -> Result<(), StoreError> {
        let synced = self.file.sync_data();
        synced.map_err(|e| StoreError::io("sync", &self.path, e))
    }
}
