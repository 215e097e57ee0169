//! Deleting the oldest segments.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use super::{reader::CommitLogReader, state::Segments};
use crate::store::error::StoreError;

/// What retention has to know of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Physical offset of its first byte.
    pub start: i64,
    /// Physical offset of the byte after its last.
    pub end: i64,
    /// Its file.
    pub path: PathBuf,
    /// When the file was last written.
    pub modified: SystemTime,
    /// Whether it lies in a directory that is only read, so that it is never deleted.
    pub read_only: bool,
}

impl CommitLogReader {
    /// All segments, oldest first, with the time of their last modification.
    ///
    /// # Errors
    /// [`StoreError::Io`] when a directory cannot be listed.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, StoreError> {
        let config = &self.state.config;
        let mut times = std::collections::HashMap::new();
        for dir in config.dirs.iter().chain(&config.read_only_dirs) {
            let listing = self.state.fs.read_dir(dir);
            let listing = listing.map_err(|e| StoreError::io("list", dir, e))?;
            times.extend(listing.into_iter().map(|e| (dir.join(e.name), e.modified)));
        }
        let segments = self.state.segments.load();
        let info = |segment: &Arc<super::segment::Segment>| SegmentInfo {
            start: segment.start(),
            end: segment.end(),
            path: segment.path().to_path_buf(),
            modified: times
                .get(segment.path())
                .copied()
                .unwrap_or(SystemTime::UNIX_EPOCH),
            read_only: segment.is_read_only(),
        };
        Ok(segments.iter().map(info).collect())
    }

    /// The file that holds `offset`, if there is one.
    pub fn path_of(&self, offset: i64) -> Option<PathBuf> {
        let segments = self.state.segments.load();
        super::state::find(&segments, offset).map(|segment| segment.path().to_path_buf())
    }

    /// Physical offset of the last segment's first byte (an empty slave starts there); the end in
    /// an empty log.
    pub fn last_segment_start(&self) -> i64 {
        let segments = self.state.segments.load();
        segments.last().map_or_else(|| self.end(), |s| s.start())
    }

    /// Takes the oldest segment out and deletes its file. Returns the new min offset, or `None`
    /// when there is nothing to delete: the last segment, one that is not flushed yet and one in a
    /// read-only directory stay.
    ///
    /// First the min offset moves, then the segment leaves the list, then the file goes: readers
    /// never find a gap, and slices that were handed out stay whole.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the segment is then out of the log, its file may still be there and
    /// comes back at the next start.
    pub fn delete_oldest_segment(&self) -> Result<Option<i64>, StoreError> {
        let segments = self.state.segments.load_full();
        let [oldest, next, ..] = segments.as_slice() else {
            return Ok(None);
        };
        if oldest.is_read_only() || oldest.end() > self.flushed() {
            return Ok(None);
        }
        self.state.min.set(next.start());
        self.state.segments.rcu(|current| {
            let keep = |s: &&Arc<super::segment::Segment>| !Arc::ptr_eq(s, oldest);
            current.iter().filter(keep).cloned().collect::<Segments>()
        });
        log::info!("store/commit_log deleting file={}", oldest.path().display());
        oldest.remove()?;
        Ok(Some(next.start()))
    }
}
