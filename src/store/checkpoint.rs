//! The `checkpoint` file: up to which store times everything is on disk.
//!
//! ```text
//! 0        8        16       24            32            40          4096
//! | physic | logics | index  | master      | confirm     | zeros ... |
//! | time   | time   | time   | flushed off | phys offset |
//! ```
//!
//! One page of 4096 bytes, five big-endian longs at its start, as RocketMQ's `StoreCheckpoint`:
//!
//! | offset | name | meaning |
//! | --- | --- | --- |
//! | 0 | physicMsgTimestamp | store time (ms) of the newest message whose commit log bytes are on disk |
//! | 8 | logicsMsgTimestamp | the same for its consume queue entry |
//! | 16 | indexMsgTimestamp | the same for its index entries |
//! | 24 | masterFlushedOffset | physical offset that the master had flushed (slaves) |
//! | 32 | confirmPhyOffset | physical offset up to which the log is confirmed (controller mode) |

use std::path::{Path, PathBuf};

use super::{
    error::StoreError,
    fs::{FileRef, Fs, OpenMode},
};

/// Length of the file, in bytes.
pub const CHECKPOINT_FILE_LEN: usize = 4096;

/// Recovery goes back this much further than the timestamps say, in milliseconds.
const SAFETY_MARGIN_MS: i64 = 3000;

/// Bytes that the five longs take.
const USED_LEN: usize = 40;

/// The five numbers of the checkpoint page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checkpoint {
    /// Store time (ms) up to which commit log bytes are on disk.
    pub physic_msg_timestamp: i64,
    /// Store time (ms) up to which consume queue entries are on disk.
    pub logics_msg_timestamp: i64,
    /// Store time (ms) up to which index entries are on disk.
    pub index_msg_timestamp: i64,
    /// Physical offset that the master had flushed, on slaves.
    pub master_flushed_offset: i64,
    /// Physical offset up to which the log is confirmed.
    pub confirm_phy_offset: i64,
}

impl Checkpoint {
    /// The store time from which on commit log records may lack queue entries: RocketMQ's
    /// `getMinTimestamp`, 3 s before the older of log and queues, never below 0.
    pub fn min_timestamp(&self) -> i64 {
        let older = self.physic_msg_timestamp.min(self.logics_msg_timestamp);
        older.saturating_sub(SAFETY_MARGIN_MS).max(0)
    }

    /// The page as it is on disk.
    pub fn encode(&self) -> [u8; CHECKPOINT_FILE_LEN] {
        let mut page = [0; CHECKPOINT_FILE_LEN];
        let longs = [
            self.physic_msg_timestamp,
            self.logics_msg_timestamp,
            self.index_msg_timestamp,
            self.master_flushed_offset,
            self.confirm_phy_offset,
        ];
        for (place, long) in page.chunks_exact_mut(8).zip(longs) {
            place.copy_from_slice(&long.to_be_bytes());
        }
        page
    }

    /// Reads a page; `None` when it is too short to hold the five longs.
    pub fn decode(page: &[u8]) -> Option<Self> {
        let mut longs = page.get(..USED_LEN)?.chunks_exact(8).map(|bytes| {
            let mut long = [0; 8];
            long.copy_from_slice(bytes);
            i64::from_be_bytes(long)
        });
        Some(Self {
            physic_msg_timestamp: longs.next()?,
            logics_msg_timestamp: longs.next()?,
            index_msg_timestamp: longs.next()?,
            master_flushed_offset: longs.next()?,
            confirm_phy_offset: longs.next()?,
        })
    }
}

/// The open `checkpoint` file.
#[derive(Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    file: FileRef,
}

impl CheckpointFile {
    /// Reads the page without making the file; `None` when there is none or it is too short.
    ///
    /// # Errors
    /// [`StoreError::Io`] when an existing file cannot be read.
    pub fn peek(fs: &Fs, path: &Path) -> Result<Option<Checkpoint>, StoreError> {
        if !fs.exists(path) {
            return Ok(None);
        }
        let read = || {
            let file = fs.open(path, OpenMode::Read)?;
            let mut page = [0; USED_LEN];
            let len = file.read_at(&mut page, 0)?;
            Ok(page.get(..len).and_then(Checkpoint::decode))
        };
        read().map_err(|e| StoreError::io("read", path, e))
    }

    /// Opens the file, makes it when absent, and reads it (zeros when it was absent or too short).
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Full`].
    pub fn open(fs: &Fs, path: &Path) -> Result<(Self, Checkpoint), StoreError> {
        let current = Self::peek(fs, path)?.unwrap_or_default();
        let open = || {
            let file = fs.open(path, OpenMode::Create)?;
            if file.len()? < CHECKPOINT_FILE_LEN as u64 {
                file.write_at(&current.encode(), 0)?;
                file.sync_data()?;
                if let Some(dir) = path.parent() {
                    fs.sync_dir(dir)?;
                }
            }
            Ok(file)
        };
        let file = open().map_err(|e| StoreError::io("open", path, e))?;
        let path = path.to_path_buf();
        Ok((Self { path, file }, current))
    }

    /// Writes the page and makes it durable. All used bytes lie in one sector, so a crash leaves
    /// the old page or the new one.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Full`]; the page on disk is then the old or the new one.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.file
            .write_at(&checkpoint.encode(), 0)
            .map_err(|e| StoreError::io("write", &self.path, e))?;
        self.file
            .sync_data()
            .map_err(|e| StoreError::io("sync", &self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::RealFs;

    const SAMPLE: Checkpoint = Checkpoint {
        physic_msg_timestamp: 1_795_389_416_250,
        logics_msg_timestamp: 1_795_389_416_000,
        index_msg_timestamp: 3,
        master_flushed_offset: 4,
        confirm_phy_offset: -5,
    };

    #[test]
    fn the_page_holds_five_big_endian_longs() {
        let page = SAMPLE.encode();
        assert_eq!(page[32..40], (-5_i64).to_be_bytes());
        assert!(page[40..].iter().all(|&b| b == 0));
        assert_eq!(Checkpoint::decode(&page), Some(SAMPLE));
        assert_eq!(Checkpoint::decode(&page[..39]), None);
    }

    #[test]
    fn recovery_starts_three_seconds_before_the_older_time() {
        assert_eq!(SAMPLE.min_timestamp(), 1_795_389_413_000);
        assert_eq!(Checkpoint::default().min_timestamp(), 0);
    }

    #[test]
    fn a_saved_page_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        let fs = RealFs::shared();
        assert_eq!(CheckpointFile::peek(&fs, &path).unwrap(), None);
        let (file, empty) = CheckpointFile::open(&fs, &path).unwrap();
        assert_eq!(empty, Checkpoint::default());
        file.save(&SAMPLE).unwrap();
        assert_eq!(CheckpointFile::peek(&fs, &path).unwrap(), Some(SAMPLE));
        assert_eq!(CheckpointFile::open(&fs, &path).unwrap().1, SAMPLE);
        assert_eq!(fs.read_file(&path, 1 << 20).unwrap().len(), 4096);
    }
}
