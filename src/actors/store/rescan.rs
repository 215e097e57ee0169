//! Reading records again from the log, for actors that notice a gap.

use super::dispatcher::Dispatched;
use crate::store::{
    commit_log::CommitLogReader,
    dispatch::{DispatchRecord, ScannedRecord},
    error::StoreError,
    queue_table::{QueueSlot, QueueTable},
};

/// Reads parts of the log again; cheap to clone.
#[derive(Debug, Clone)]
pub struct Rescan {
    log: CommitLogReader,
}

impl Rescan {
    /// Reads `log`.
    pub fn new(log: CommitLogReader) -> Self {
        Self { log }
    }

    /// The records that start in `from..until`, with the queues of `table`, and where the scan got to.
    /// A queue was in the table before its first record was in the log, so a record without one is of
    /// a deleted topic.
    pub fn records(&self, table: &QueueTable, from: i64, until: i64) -> (Vec<Dispatched>, i64) {
        let mut found = Vec::new();
        let mut scan = self.log.scan(from, until);
        for item in scan.by_ref() {
            match item {
                Ok(scanned) => {
                    let (key, record) = (scanned.key, scanned.record);
                    let slot = table.get(&key.topic, key.queue_id);
                    if let Some(slot) = slot.filter(|slot| slot.may_hold(record.physical_offset)) {
                        found.push(Dispatched { slot, record });
                    }
                }
                Err(error) => {
                    log::error!("the log cannot be read again: {error}");
                    break;
                }
            }
        }
        (found, scan.position())
    }

    /// The records of one queue that start in `from..until`, where the scan got to, and what kept it
    /// from `until`.
    pub fn records_of(
        &self,
        slot: &QueueSlot,
        from: i64,
        until: i64,
    ) -> (Vec<DispatchRecord>, i64, Option<StoreError>) {
        let (mut found, mut failed) = (Vec::new(), None);
        let mut scan = self.log.scan(from, until);
        for item in scan.by_ref() {
            match item {
                Ok(ScannedRecord { key, record })
                    if key == slot.key
                        && record.in_queue()
                        && slot.may_hold(record.physical_offset) =>
                {
                    found.push(record);
                }
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        let reached = scan.position();
        if reached < until && failed.is_none() {
            let what = format!("the log cannot be read at {reached}");
            failed = Some(StoreError::invalid(what));
        }
        (found, reached, failed)
    }
}
