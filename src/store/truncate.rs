//! Cutting a log on purpose: what an operator does with a slave whose history is not its master's.
//!
//! The broker must not run. What is cut off is kept beside the log; queues and index follow at the
//! next start, which reads the log as RocketMQ does, for our snapshot of the queues' tails goes.

use std::path::PathBuf;

use super::{
    abort::AbortFile,
    checkpoint::CheckpointFile,
    commit_log::{CommitLogWriter, RecoverFrom},
    error::StoreError,
    fs::Fs,
    lock::StoreLock,
    open::StoreConfig,
    tails::Tails,
};

/// What was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truncated {
    /// Where the log ended.
    pub old_end: i64,
    /// Where it ends now: at the end of a record, at or before the offset that was asked for.
    pub end: i64,
    /// Where the bytes behind it are now.
    pub kept_in: Vec<PathBuf>,
}

/// Ends the log of a store at `offset`, or at the end of the last record before it.
///
/// # Errors
/// [`StoreError::Locked`] while a broker works on the store, [`StoreError::Invalid`] for an offset that
/// the log does not hold, [`StoreError::Io`].
pub fn truncate_log(fs: &Fs, config: &StoreConfig, offset: i64) -> Result<Truncated, StoreError> {
    let _lock = StoreLock::acquire(fs, &config.root.join("lock"))?;
    let checkpoint = CheckpointFile::peek(fs, &config.root.join("checkpoint"))?;
    let tails = Tails::load(fs, &config.tails_path(), checkpoint.as_ref());
    let from = RecoverFrom {
        clean: !AbortFile::new(fs, &config.root.join("abort")).exists(),
        checkpoint,
        queues_max_offset: None,
        index_safe: config.index_safe,
        snapshot: tails.map(|tails| tails.anchor),
    };
    let (mut writer, _) = CommitLogWriter::recover(fs, config.commit_log.clone(), &from)?;
    let log = writer.reader();
    let (min, old_end) = (log.min_offset(), log.end());
    if !(min..=old_end).contains(&offset) {
        let what = format!("the log holds {min} to {old_end}, not {offset}");
        return Err(StoreError::invalid(what));
    }
    let mut end = log.segment_start(offset).max(min);
    for scanned in log.scan(end, old_end) {
        let record = scanned?.record;
        if record.end() > offset {
            break;
        }
        end = record.end();
    }
    let kept_in = writer.truncate(end)?;
    let tails_path = config.tails_path();
    if fs.exists(&tails_path) {
        fs.remove_file(&tails_path)
            .map_err(|error| StoreError::io("remove", &tails_path, error))?;
    }
    Ok(Truncated {
        old_end,
        end,
        kept_in,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        commit_log::testing::{Place, unit},
        consume_queue::QueueFileSizes,
        index::IndexShape,
        open::OpenStore,
    };

    fn config(place: &Place) -> StoreConfig {
        StoreConfig {
            root: place.dir.path().to_path_buf(),
            commit_log: place.config(),
            queue_file_sizes: QueueFileSizes {
                simple: 6000,
                batch: 4600,
                extensions: None,
            },
            index: Some(IndexShape::new(10, 100)),
            index_safe: false,
            holds_back: false,
            boot: None,
        }
    }

    #[test]
    fn a_log_ends_at_the_record_before_the_offset() {
        let place = Place::new();
        let (mut writer, _) = place.open_clean();
        let mut units: Vec<_> = (0..12).map(|i| unit(900, i)).collect();
        writer.append(&mut units, 9).unwrap();
        let old_end = writer.end();
        drop(writer);
        let config = config(&place);
        let at = units[5].physical_offset + 7;
        truncate_log(&place.fs, &config, old_end + 1).unwrap_err();
        let cut = truncate_log(&place.fs, &config, at).unwrap();
        assert_eq!((cut.old_end, cut.end), (old_end, units[5].physical_offset));
        assert_eq!(cut.kept_in.len(), 2, "a rest and a segment: {cut:?}");
        let open = OpenStore::open(&place.fs, &config).unwrap();
        assert_eq!(open.report.end, cut.end);
        assert_eq!(
            open.table.get("T", 0).map(|slot| slot.next_offset()),
            Some(5)
        );
        let in_use = truncate_log(&place.fs, &config, at);
        assert!(matches!(in_use, Err(StoreError::Locked { .. })));
        drop(open);
        let all = truncate_log(&place.fs, &config, 0).unwrap();
        assert_eq!(all.end, 0);
        let (mut writer, report) = place.open_clean();
        assert_eq!((report.end, report.min_offset), (0, 0));
        writer.append(&mut [unit(5, 0)], 1).unwrap();
        assert!(writer.end() > 0);
    }
}
