//! Which topics were deleted, and where the log ended then.
//!
//! The log keeps a deleted topic's records until retention takes their segment. A start that reads
//! the log again must not give them to a new topic of the same name: records below the remembered
//! position belong to nobody, and neither do queue files that end there.
//!
//! A deletion is written down before its first step, too: it takes several files, and a process that
//! was killed between them has to finish what it began. Until then its records count as they did.
//!
//! The file is ours (MessagePack: format version, topic → position, topics whose deletion was begun);
//! a Java broker neither reads nor minds it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{envelope, error::StoreError, fs::Fs};

/// Version of the format; another one is ignored.
const FORMAT_VERSION: u32 = 2;

/// Longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 64 << 20;

/// The deleted topics of a store.
#[derive(Debug)]
pub struct DeletedTopics {
    fs: Fs,
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Default)]
struct Content {
    positions: BTreeMap<String, i64>,
    begun: BTreeSet<String>,
}

impl DeletedTopics {
    /// Loads the file; an absent or unreadable one is empty.
    pub fn load(fs: &Fs, path: &Path) -> Self {
        let content = envelope::load(fs, path, FILE_LEN_MAX, decode).unwrap_or_default();
        Self {
            fs: fs.clone(),
            path: path.to_path_buf(),
            content,
        }
    }

    /// The deleted topics, each with the log's end as of its deletion.
    pub fn positions(&self) -> impl Iterator<Item = (&str, i64)> {
        let positions = self.content.positions.iter();
        positions.map(|(topic, &position)| (topic.as_str(), position))
    }

    /// Topics whose deletion was begun and did not end.
    pub fn begun(&self) -> Vec<String> {
        self.content.begun.iter().cloned().collect()
    }

    /// Whether a record of `topic` at `physical_offset` was written before the topic was deleted.
    pub fn covers(&self, topic: &str, physical_offset: i64) -> bool {
        self.content
            .positions
            .get(topic)
            .is_some_and(|&position| physical_offset < position)
    }

    /// Where the log ended when `topic` was last deleted, if that is remembered.
    pub fn position(&self, topic: &str) -> Option<i64> {
        self.content.positions.get(topic).copied()
    }

    /// Remembers durably that a deletion begins.
    ///
    /// # Errors
    /// As [`remember`](Self::remember).
    pub fn begin(&mut self, topic: &str) -> Result<(), StoreError> {
        self.content.begun.insert(topic.to_owned());
        self.save()
    }

    /// Forgets a deletion that was begun: nothing of it was done.
    ///
    /// # Errors
    /// As [`remember`](Self::remember).
    pub fn forget_begun(&mut self, topic: &str) -> Result<(), StoreError> {
        self.content.begun.remove(topic);
        self.save()
    }

    /// Remembers a deletion durably; those of which the log holds nothing any more are forgotten.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Full`]; the former file is then still whole.
    pub fn remember(&mut self, topic: &str, log_end: i64, log_min: i64) -> Result<(), StoreError> {
        let Content { positions, begun } = &mut self.content;
        positions.retain(|_, position| *position > log_min);
        positions.insert(topic.to_owned(), log_end);
        begun.remove(topic);
        self.save()
    }

    fn save(&self) -> Result<(), StoreError> {
        let Content { positions, begun } = &self.content;
        let content = rmp_serde::to_vec(&(FORMAT_VERSION, positions, begun))
            .map_err(|e| StoreError::invalid(e.to_string()))?;
        envelope::save(&self.fs, &self.path, &content)
    }
}

fn decode(content: &[u8]) -> Option<Content> {
    let (version, positions, begun): (u32, _, _) = rmp_serde::from_slice(content).ok()?;
    (version == FORMAT_VERSION).then_some(Content { positions, begun })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::fs::RealFs;

    #[test]
    fn a_deletion_is_remembered_while_the_log_holds_the_records() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deleted_topics");
        let fs: Fs = Arc::new(RealFs);
        let mut deleted = DeletedTopics::load(&fs, &path);
        deleted.remember("T", 100, 0).unwrap();
        let deleted = DeletedTopics::load(&fs, &path);
        assert!(deleted.covers("T", 99));
        assert!(!deleted.covers("T", 100));
        assert!(!deleted.covers("U", 0));
        let mut deleted = deleted;
        deleted.remember("U", 300, 100).unwrap();
        assert!(!DeletedTopics::load(&fs, &path).covers("T", 99));
    }

    #[test]
    fn a_deletion_that_was_begun_is_remembered_until_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deleted_topics");
        let fs: Fs = Arc::new(RealFs);
        let mut deleted = DeletedTopics::load(&fs, &path);
        deleted.remember("T", 100, 0).unwrap();
        for topic in ["T", "U"] {
            deleted.begin(topic).unwrap();
        }
        let mut deleted = DeletedTopics::load(&fs, &path);
        assert_eq!(deleted.begun(), ["T", "U"]);
        assert!(deleted.covers("T", 99) && !deleted.covers("T", 100));
        deleted.forget_begun("U").unwrap();
        deleted.remember("T", 200, 0).unwrap();
        let deleted = DeletedTopics::load(&fs, &path);
        assert!(deleted.begun().is_empty());
        assert_eq!(deleted.positions().collect::<Vec<_>>(), [("T", 200)]);
    }

    #[test]
    fn an_unreadable_file_is_no_deletion() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deleted_topics");
        std::fs::write(&path, b"\xc1garbage").unwrap();
        assert!(!DeletedTopics::load(&(Arc::new(RealFs) as Fs), &path).covers("T", 0));
    }
}
