//! What recovery is told, and what it tells.

use std::path::PathBuf;

use crate::store::{checkpoint::Checkpoint, tails::Anchor};

/// What is known, before the log is looked at, about where to begin.
#[derive(Debug, Clone, Default)]
pub struct RecoverFrom {
    /// Whether the last run ended with a clean stop (no `abort` file).
    pub clean: bool,
    /// The checkpoint page, if there is one.
    pub checkpoint: Option<Checkpoint>,
    /// Largest physical offset (end of a record) in any consume queue; `None` without queues.
    pub queues_max_offset: Option<i64>,
    /// Whether the index has to be complete as well (`messageIndexSafe`).
    pub index_safe: bool,
    /// From a snapshot of the queues' tails that fits the checkpoint.
    pub snapshot: Option<Anchor>,
}

/// Which rule chose the place to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryMode {
    /// There is no segment.
    Empty,
    /// The snapshot of the queues' tails.
    Snapshot,
    /// Clean stop: the newest segment that begins below the queues' largest physical offset.
    Normal,
    /// After a crash: the newest segment that begins before the checkpoint's time.
    Abnormal,
    /// Within the process: the published end.
    Resumed,
}

/// The incomplete record that a crash left at the end; wiped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The last segment's file.
    pub file: PathBuf,
    /// Where in the file, in bytes: the log ends here now.
    pub offset: u64,
    /// What stood there.
    pub what: String,
}

/// Something that was stored for good once and is not readable any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
    /// Where the bytes from there on are now, if they were moved or copied out of the log.
    pub kept_in: Option<PathBuf>,
}

/// What recovery found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryReport {
    /// How the place to begin was chosen.
    pub mode: RecoveryMode,
    /// Physical offset where the walk began: dispatch again from here.
    pub scan_from: i64,
    /// Physical offset where the log ends.
    pub end: i64,
    /// First physical offset of the log.
    pub min_offset: i64,
    /// Records walked over.
    pub records: u64,
    /// Store time (ms) of the last of them; 0 when there was none.
    pub last_store_timestamp: i64,
    /// The torn record at the end, if any.
    pub torn: Option<TornTail>,
    /// Damage, if any: to be told loudly.
    pub damage: Vec<Damage>,
    /// Files behind the end that were removed: nothing in them had been promised.
    pub removed: Vec<PathBuf>,
}

impl RecoveryReport {
    /// Writes the report to the program's log.
    pub(super) fn log(&self) {
        log::info!(
            "store/commit_log recovered mode={:?} scan_from={} end={} min={} records={}",
            self.mode,
            self.scan_from,
            self.end,
            self.min_offset,
            self.records
        );
        if let Some(torn) = &self.torn {
            let file = torn.file.display();
            log::warn!(
                "store/commit_log torn tail wiped file={file} offset={} what={}",
                torn.offset,
                torn.what
            );
        }
        for damage in &self.damage {
            let file = damage.file.display();
            log::error!(
                "store/commit_log damaged file={file} offset={} what={} kept_in={:?}",
                damage.offset,
                damage.what,
                damage.kept_in
            );
        }
    }
}
