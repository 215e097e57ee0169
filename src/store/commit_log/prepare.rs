//! Making the next segment before it is needed, on a background thread.

use std::sync::Arc;

use super::{config::Preallocation, reader::CommitLogReader, segment::Segment, state::LogState};
use crate::store::error::StoreError;

/// Zeros written per step; the writer waits for at most one step.
const ZEROS_STEP: u64 = 1 << 20;

/// Makes the next segment ahead of time, so that the writer need not wait for it.
#[derive(Debug)]
pub struct Preparer {
    state: Arc<LogState>,
}

impl CommitLogReader {
    /// A preparer of this log.
    pub fn preparer(&self) -> Preparer {
        Preparer {
            state: self.state.clone(),
        }
    }
}

impl Preparer {
    /// Makes the segment after the last one, unless it is there or the log is empty. Returns
    /// whether one was made.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`]: the writer will then try for itself.
    pub fn prepare(&self) -> Result<bool, StoreError> {
        let segment = {
            let mut prepared = self.state.prepared();
            // Read under the lock: the writer takes the prepared one before it publishes it.
            let Some(next) = self.state.segments.load().last().map(|last| last.end()) else {
                return Ok(false);
            };
            if prepared.is_some() {
                return Ok(false);
            }
            let segment = self.state.create_segment(next)?;
            *prepared = Some(segment.clone());
            segment
        };
        match self.state.config.preallocation {
            Preallocation::Sparse => {}
            Preallocation::Reserve => self.fill(&segment, segment.len())?,
            Preallocation::Zeros => self.fill(&segment, ZEROS_STEP)?,
        }
        Ok(true)
    }

    /// Reserves (in one step) or zeroes (in many) the segment, for as long as the writer has not
    /// taken it.
    fn fill(&self, segment: &Arc<Segment>, step: u64) -> Result<(), StoreError> {
        let file = segment.file()?;
        let zeros = self.state.config.preallocation == Preallocation::Zeros;
        let content = vec![0; if zeros { step as usize } else { 0 }];
        let mut at = 0;
        while at < segment.len() {
            let prepared = self.state.prepared();
            if !prepared.as_ref().is_some_and(|p| Arc::ptr_eq(p, segment)) {
                return Ok(());
            }
            let len = step.min(segment.len() - at);
            let done = match content.get(..len as usize).filter(|_| zeros) {
                Some(piece) => file.write_at(piece, at),
                None => file.allocate(at, len),
            };
            done.map_err(|e| StoreError::io("reserve", segment.path(), e))?;
            at += len;
        }
        if zeros {
            let synced = file.sync_data();
            synced.map_err(|e| StoreError::io("sync", segment.path(), e))?;
        }
        Ok(())
    }
}
