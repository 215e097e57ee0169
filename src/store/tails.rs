//! Our own snapshot of the queues' tails, so that a start need not read what was stored long ago.
//!
//! RocketMQ learns the queues' ends from the consume queue files, and walks the commit log from the
//! beginning of a segment. The snapshot says instead: as of log offset P, these were the queues and
//! their next offsets. A start walks the log from P.
//!
//! The file is wrapped as [`envelope`] says, and written beside its place, synced and renamed. It is
//! ignored, and RocketMQ's files decide, when anything about it does not fit: the version, the CRC,
//! the `checkpoint` page that it remembers (a Java broker has been here), or the log (see
//! `RecoverFrom::snapshot`).

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{checkpoint::Checkpoint, envelope, error::StoreError, fs::Fs};

/// Version of the format; another one is ignored.
const FORMAT_VERSION: u32 = 1;

/// Longest file that is read, in bytes: some millions of queues.
const FILE_LEN_MAX: u64 = 512 << 20;

/// Ties a snapshot to a place in the commit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// Physical offset P: everything below is in the snapshot, nothing above.
    pub log_end: i64,
    /// Physical offset of the last record below P; `None` when there was none.
    pub last_record: Option<i64>,
    /// Store time (ms) of that record.
    pub last_store_timestamp: i64,
}

/// The tail of one queue as of P.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueTail {
    /// The topic.
    pub topic: String,
    /// The queue's number.
    pub queue_id: i32,
    /// Offset that its next message gets.
    pub next_offset: i64,
    /// Physical offset of the end of its last record; -1 when not known.
    pub last_physical_offset: i64,
}

/// A snapshot of all queues' tails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tails {
    /// Where in the log it was taken.
    pub anchor: Anchor,
    /// Which boot of the machine it was taken in, see [`boot_id`]: queue files are complete up to
    /// the anchor in the page cache, not on disk, so that another boot cannot rely on it.
    pub boot_id: String,
    /// The `checkpoint` pages that may be on disk beside this snapshot: the one before and the one
    /// after the checkpoint that it was taken for, so that a crash between the two files is no harm.
    pub checkpoints: Vec<Checkpoint>,
    /// All queues.
    pub queues: Vec<QueueTail>,
}

impl Tails {
    /// Encodes the file.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when it cannot be serialized.
    pub fn encode(&self) -> Result<Vec<u8>, StoreError> {
        envelope::seal(FORMAT_VERSION, self)
    }

    /// Decodes the file; `None` for another version, a wrong CRC, or anything else that is wrong.
    pub fn decode(file: &[u8]) -> Option<Self> {
        envelope::open(FORMAT_VERSION, file)
    }

    /// Saves the snapshot durably over the former one.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Full`]; the former snapshot is then still whole.
    pub fn save(&self, fs: &Fs, path: &Path) -> Result<(), StoreError> {
        envelope::save(fs, path, &self.encode()?)
    }

    /// Loads the snapshot if there is one and it fits the `checkpoint` page that is on disk.
    pub fn load(fs: &Fs, path: &Path, on_disk: Option<&Checkpoint>) -> Option<Self> {
        let tails = envelope::load(fs, path, FILE_LEN_MAX, Self::decode)?;
        if tails.boot_id != boot_id() {
            envelope::ignored(path, "reason=the machine was restarted");
            return None;
        }
        let on_disk = on_disk.copied().unwrap_or_default();
        if !tails.checkpoints.contains(&on_disk) {
            envelope::ignored(path, "reason=other checkpoint");
            return None;
        }
        Some(tails)
    }
}

/// Names the current boot of this machine; empty where the system has no such name.
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::RealFs;

    fn sample() -> Tails {
        let page = |physic_msg_timestamp| Checkpoint {
            physic_msg_timestamp,
            ..Checkpoint::default()
        };
        Tails {
            anchor: Anchor {
                log_end: 12_345,
                last_record: Some(12_000),
                last_store_timestamp: 99,
            },
            boot_id: boot_id(),
            checkpoints: vec![page(1), page(2)],
            queues: vec![QueueTail {
                topic: "主题".into(),
                queue_id: 3,
                next_offset: 77,
                last_physical_offset: 12_345,
            }],
        }
    }

    #[test]
    fn a_snapshot_is_used_only_beside_its_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tails");
        let fs = RealFs::shared();
        let tails = sample();
        assert_eq!(Tails::load(&fs, &path, None), None);
        tails.save(&fs, &path).unwrap();
        tails.save(&fs, &path).unwrap();
        for page in &tails.checkpoints {
            assert_eq!(Tails::load(&fs, &path, Some(page)), Some(tails.clone()));
        }
        let other = Checkpoint::default();
        assert_eq!(Tails::load(&fs, &path, Some(&other)), None);
        assert_eq!(Tails::load(&fs, &path, None), None);
    }

    #[test]
    fn any_changed_byte_makes_it_unreadable() {
        let file = sample().encode().unwrap();
        assert_eq!(Tails::decode(&file), Some(sample()));
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x10;
            assert_eq!(Tails::decode(&changed), None, "byte {at}");
            assert_eq!(Tails::decode(&file[..at]), None, "prefix {at}");
        }
    }
}
