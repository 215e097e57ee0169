//! Which client holds which queue for ordered consumption, so that a restart does not give a queue
//! away while its holder still trusts its lock.
//!
//! RocketMQ's broker keeps its locks in memory only: whoever asks first after a restart gets them.
//!
//! The file is wrapped as [`envelope`] says; a Java broker neither reads nor minds it. It is replaced
//! whole.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{envelope, error::StoreError, fs::Fs};

/// Version of the format; another one is ignored.
const FORMAT_VERSION: u32 = 1;

/// Longest file that is read, in bytes: a million locks.
const FILE_LEN_MAX: u64 = 256 << 20;

/// A locked queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldQueue {
    /// Topic.
    pub topic: String,
    /// Name of the broker.
    pub broker_name: String,
    /// Number of the queue.
    pub queue_id: i32,
    /// Who holds it.
    pub client_id: String,
}

/// All locks at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueLocks {
    /// No lock of the file was renewed later than this, ms since the Unix epoch.
    pub renewed_by_ms: u64,
    /// By group.
    pub groups: Vec<(String, Vec<HeldQueue>)>,
}

/// The file.
#[derive(Debug, Clone)]
pub struct QueueLocksFile {
    fs: Fs,
    path: PathBuf,
}

impl QueueLocks {
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
}

impl QueueLocksFile {
    /// The file of a store whose own files are in `own_dir`.
    pub fn new(fs: &Fs, own_dir: &Path) -> Self {
        Self {
            fs: fs.clone(),
            path: own_dir.join("queue_locks"),
        }
    }

    /// What the file holds; nothing when it is absent or unreadable.
    pub fn load(&self) -> QueueLocks {
        let locks = envelope::load(&self.fs, &self.path, FILE_LEN_MAX, QueueLocks::decode);
        locks.unwrap_or_default()
    }

    /// Replaces the file durably.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Full`]; the former file is then still whole.
    pub fn save(&self, locks: &QueueLocks) -> Result<(), StoreError> {
        envelope::save(&self.fs, &self.path, &locks.encode()?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::fs::RealFs;

    fn held() -> impl Strategy<Value = HeldQueue> {
        (".*", ".*", any::<i32>(), ".*").prop_map(|(topic, broker_name, queue_id, client_id)| {
            HeldQueue {
                topic,
                broker_name,
                queue_id,
                client_id,
            }
        })
    }

    fn locks() -> impl Strategy<Value = QueueLocks> {
        let group = (".*", prop::collection::vec(held(), 0..4));
        (any::<u64>(), prop::collection::vec(group, 0..4)).prop_map(|(renewed_by_ms, groups)| {
            QueueLocks {
                renewed_by_ms,
                groups,
            }
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(locks in locks(), at in any::<prop::sample::Index>()) {
            let mut file = locks.encode().unwrap();
            prop_assert_eq!(QueueLocks::decode(&file), Some(locks));
            let at = at.index(file.len());
            prop_assert_eq!(QueueLocks::decode(&file[..at]), None);
            file[at] ^= 1;
            prop_assert_eq!(QueueLocks::decode(&file), None);
        }
    }

    #[test]
    fn a_file_that_is_absent_or_damaged_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = QueueLocksFile::new(&RealFs::shared(), dir.path());
        assert_eq!(file.load(), QueueLocks::default());
        let locks = QueueLocks {
            renewed_by_ms: 7,
            groups: vec![("G".into(), Vec::new())],
        };
        file.save(&locks).unwrap();
        file.save(&locks).unwrap();
        assert_eq!(file.load(), locks);
        std::fs::write(dir.path().join("queue_locks"), b"nothing of ours").unwrap();
        assert_eq!(file.load(), QueueLocks::default());
    }
}
