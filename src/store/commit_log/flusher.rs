//! Making published bytes durable, on a thread of its own.

use std::sync::{Arc, atomic::Ordering};

use super::{
    reader::CommitLogReader,
    scan::Scan,
    segment::Segment,
    state::{LogState, find},
    writer::CommitLogWriter,
};
use crate::store::error::StoreError;

/// Syncs the log's segments in order and publishes how far. One per log.
#[derive(Debug)]
pub struct Flusher {
    state: Arc<LogState>,
}

impl CommitLogReader {
    /// A flusher of this log. There is to be one only; a new one takes over after a panic.
    pub fn flusher(&self) -> Flusher {
        Flusher {
            state: self.state.clone(),
        }
    }
}

impl CommitLogWriter {
    /// A flusher of this log, for a thread of its own.
    pub fn flusher(&self) -> Flusher {
        self.reader().flusher()
    }
}

impl Flusher {
    /// Bytes below this survive a power loss.
    pub fn flushed(&self) -> i64 {
        self.state.flushed.get()
    }

    /// Makes everything below `up_to` (at most the published end) durable and returns the new
    /// flushed position, which may lie further than asked for.
    ///
    /// After a failed sync the position stays, and the range is written and synced once more: Linux
    /// marks the pages of a failed write-back clean, so that a second sync alone would succeed
    /// without having written anything. If that fails as well the log is poisoned.
    ///
    /// # Errors
    /// [`StoreError::Io`] from the sync that failed for good, then always [`StoreError::Poisoned`].
    pub fn flush(&mut self, up_to: i64) -> Result<i64, StoreError> {
        if self.state.is_poisoned() {
            return Err(StoreError::Poisoned);
        }
        // The time first: what it belongs to is below the end that is read after it.
        let timestamp = self.state.end_timestamp.get();
        let end = self.state.end.get();
        let wanted = up_to.min(end);
        let mut flushed = self.flushed();
        while flushed < wanted {
            let segments = self.state.segments.load();
            let Some(segment) = find(&segments, flushed) else {
                let what = format!("no segment holds the unflushed offset {flushed}");
                return Err(StoreError::invalid(what));
            };
            // All that is published in this segment goes with the one sync.
            let reach = end.min(segment.end());
            self.sync(segment, flushed, reach)?;
            flushed = reach;
            self.state.flushed.set(flushed);
        }
        if flushed >= end {
            self.state.flushed_timestamp.set(timestamp);
        }
        Ok(flushed)
    }

    fn sync(&self, segment: &Arc<Segment>, from: i64, to: i64) -> Result<(), StoreError> {
        let file = segment.file()?;
        let Err(first) = file.sync_data() else {
            return Ok(());
        };
        let path = segment.path().display();
        log::error!("store/flush sync failed file={path} from={from} to={to} error={first}");
        let again = self.rewrite(segment, from, to).and_then(|()| {
            let synced = file.sync_data();
            synced.map_err(|e| StoreError::io("sync", segment.path(), e))
        });
        match again {
            Ok(()) => {
                log::warn!("store/flush range written and synced again from={from} to={to}");
                Ok(())
            }
            Err(error) => {
                self.state.poisoned.store(true, Ordering::Release);
                log::error!("store/flush poisoned from={from} to={to} error={error}");
                Err(error)
            }
        }
    }

    /// Writes a range once more with the bytes that it has, so that its pages are dirty again.
    ///
    /// The bytes come from the page cache, which may have dropped the pages that could not be
    /// written: only a range whose records all pass their CRC is trusted.
    fn rewrite(&self, segment: &Arc<Segment>, from: i64, to: i64) -> Result<(), StoreError> {
        let rules = self.state.config.dispatch.clone();
        let segments = self.state.segments.load_full();
        for record in Scan::new(segments, from, to, true, rules) {
            record?;
        }
        let file = segment.file()?;
        let mut buf = vec![0; REWRITE_STEP];
        let mut at = from;
        while at < to {
            let step = usize::try_from(to - at).map_or(REWRITE_STEP, |n| n.min(REWRITE_STEP));
            let piece = &mut buf[..step];
            let position = segment.position(at);
            let read = file
                .read_at(piece, position)
                .map_err(|e| StoreError::io("read", segment.path(), e))?;
            if read < step {
                let what = "the file is shorter than what was published";
                return Err(StoreError::corrupt(segment.path(), position, what));
            }
            file.write_at(piece, position)
                .map_err(|e| StoreError::io("write", segment.path(), e))?;
            at += step as i64;
        }
        Ok(())
    }
}

/// Bytes that are written again at a time.
const REWRITE_STEP: usize = 1 << 20;
