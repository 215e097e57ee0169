//! What the log contains, decided at a start.
//!
//! The rules are RocketMQ's (`CommitLog.recoverNormally` and `recoverAbnormally`): find a segment to
//! begin with, walk the records, and end the log at the first thing that is none. Two things are
//! done otherwise. A valid snapshot of the queues' tails says from where to walk. And what is cut
//! off is looked at: if the log had been promised to reach further, it is reported as damage and
//! kept aside instead of being lost in silence.

use std::{path::PathBuf, sync::Arc};

use super::{
    config::CommitLogConfig,
    reader::CommitLogReader,
    report::{Damage, RecoverFrom, RecoveryMode, RecoveryReport, TornTail},
    scan::{Scan, Step},
    segment::Segment,
    state::{LogState, Segments, find},
    tail::{Residue, inspect, quarantine_rest, quarantine_segment},
    writer::CommitLogWriter,
};
use crate::store::{error::StoreError, fs::Fs, tails::Anchor};

impl CommitLogWriter {
    /// Opens the log in the configured directories, ends it behind its last valid record, and wipes
    /// what is behind. An absent directory is an empty log.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a segment of a wrong size, [`StoreError::Invalid`] for settings
    /// that make no sense, [`StoreError::Io`] and [`StoreError::Full`]. Torn and damaged records are
    /// no errors: the report has them.
    pub fn recover(
        fs: &Fs,
        config: CommitLogConfig,
        from: &RecoverFrom,
    ) -> Result<(Self, RecoveryReport), StoreError> {
        config.check()?;
        let mut damage = Vec::new();
        let mut removed = Vec::new();
        let segments = load(fs, &config, &mut damage, &mut removed)?;
        let state = LogState::new(fs, config, segments);
        let mut recovery = Recovery::new(state, from.clone());
        recovery.report.damage = damage;
        recovery.report.removed = removed;
        recovery.begin()?;
        recovery.run()?;
        let report = recovery.report;
        report.log();
        Ok((Self::new(recovery.state), report))
    }
}

impl CommitLogReader {
    /// A new writer for a log that lost its writer to a panic: from the published end on it keeps
    /// whole records, which were written but not published, and wipes a torn one.
    ///
    /// The caller brings queue offsets up to date and dispatches by a scan from the report's
    /// `scan_from` to its `end`. The old writer must be gone.
    ///
    /// # Errors
    /// As [`CommitLogWriter::recover`].
    pub fn resume(&self) -> Result<(CommitLogWriter, RecoveryReport), StoreError> {
        self.resume_at(self.end())
    }

    /// As [`resume`](Self::resume), on a slave, whose published end may lie inside a record: looks at
    /// everything from `boundary` on, where a record has to begin.
    ///
    /// # Errors
    /// As [`CommitLogWriter::recover`].
    pub fn resume_at(
        &self,
        boundary: i64,
    ) -> Result<(CommitLogWriter, RecoveryReport), StoreError> {
        let state = self.state.clone();
        let writer = CommitLogWriter::new(state.clone());
        // Remains of a failed write are known to be refused: they are not records.
        writer.wipe()?;
        let mut recovery = Recovery::new(state, RecoverFrom::default());
        recovery.report.mode = RecoveryMode::Resumed;
        recovery.report.scan_from = boundary;
        recovery.run()?;
        recovery.report.log();
        Ok((CommitLogWriter::new(recovery.state), recovery.report))
    }
}

/// Lists the segments of all directories and checks names, sizes and order.
fn load(
    fs: &Fs,
    config: &CommitLogConfig,
    damage: &mut Vec<Damage>,
    removed: &mut Vec<PathBuf>,
) -> Result<Segments, StoreError> {
    let mut found = Vec::new();
    let writable = config.dirs.iter().map(|dir| (dir, false));
    let all = writable.chain(config.read_only_dirs.iter().map(|dir| (dir, true)));
    for (dir, read_only) in all {
        let listing = fs.read_dir(dir);
        for entry in listing.map_err(|e| StoreError::io("list", dir, e))? {
            let path = dir.join(&entry.name);
            match super::segment::parse_file_name(&entry.name) {
                Some(start) if !entry.is_dir => found.push((start, entry.len, path, read_only)),
                _ => log::warn!("store/commit_log ignoring file={}", path.display()),
            }
        }
    }
    found.sort();
    if let Some((_, 0, path, false)) = found.last() {
        // A segment whose creation was cut short.
        fs.remove_file(path)
            .map_err(|e| StoreError::io("remove", path, e))?;
        removed.push(path.clone());
        found.pop();
    }
    let segment_len = config.segment_len;
    let mut segments = Segments::new();
    for (start, len, path, read_only) in found {
        if len != segment_len || start % segment_len as i64 != 0 {
            let what = format!("{len} bytes long, segments have {segment_len}");
            return Err(StoreError::corrupt(&path, len, what));
        }
        if let Some(last) = segments.last().filter(|last| last.end() != start) {
            // What lies before a missing segment is out of the log; its files are left alone.
            damage.push(Damage {
                file: last.path().to_path_buf(),
                offset: segment_len,
                what: format!("no segment between {} and {start}", last.end()),
                kept_in: None,
            });
            segments.clear();
        }
        segments.push(Segment::new(fs, path, start, len, read_only));
    }
    Ok(segments)
}

/// One recovery under way.
struct Recovery {
    state: Arc<LogState>,
    from: RecoverFrom,
    report: RecoveryReport,
}

impl Recovery {
    fn new(state: Arc<LogState>, from: RecoverFrom) -> Self {
        let min_offset = state.min.get();
        let report = RecoveryReport {
            mode: RecoveryMode::Empty,
            scan_from: min_offset,
            end: min_offset,
            min_offset,
            records: 0,
            last_store_timestamp: 0,
            torn: None,
            damage: Vec::new(),
            removed: Vec::new(),
        };
        Self {
            state,
            from,
            report,
        }
    }

    /// Chooses where to walk from.
    fn begin(&mut self) -> Result<(), StoreError> {
        let segments = self.state.segments.load_full();
        if segments.is_empty() {
            return Ok(());
        }
        if let Some(anchor) = &self.from.snapshot {
            if self.snapshot_fits(&segments, anchor)? {
                self.report.mode = RecoveryMode::Snapshot;
                self.report.scan_from = anchor.log_end;
                return Ok(());
            }
            let log_end = anchor.log_end;
            log::warn!("store/commit_log tails snapshot does not fit the log log_end={log_end}");
        }
        self.report.mode = match self.from.clean {
            true => RecoveryMode::Normal,
            false => RecoveryMode::Abnormal,
        };
        for segment in segments.iter().rev() {
            self.report.scan_from = segment.start();
            if self.may_begin_with(&segments, segment)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether all records before this segment are in the queues (and in the index).
    fn may_begin_with(
        &self,
        segments: &Arc<Segments>,
        segment: &Segment,
    ) -> Result<bool, StoreError> {
        let checkpoint = self.from.checkpoint.unwrap_or_default();
        let mut scan = self.scan(segments, segment.start());
        let Step::Record { view } = scan.step()? else {
            return Ok(false);
        };
        let time = view.store_timestamp;
        if time == 0 || (self.from.index_safe && time > checkpoint.index_msg_timestamp) {
            return Ok(false);
        }
        Ok(match self.from.clean {
            true => segment.start() <= self.from.queues_max_offset.unwrap_or(-1),
            false => time <= checkpoint.min_timestamp(),
        })
    }

    /// Whether a snapshot was taken of this very log: its last record is there and ends where the
    /// snapshot says.
    fn snapshot_fits(&self, segments: &Arc<Segments>, anchor: &Anchor) -> Result<bool, StoreError> {
        let Some(first) = segments.first() else {
            return Ok(false);
        };
        let Some(last_record) = anchor.last_record else {
            return Ok(anchor.log_end == first.start());
        };
        if last_record < first.start() || anchor.log_end < last_record {
            return Ok(false);
        }
        let mut scan = self.scan(segments, last_record);
        let fits = match scan.step()? {
            Step::Record { view } => view.store_timestamp == anchor.last_store_timestamp,
            _ => false,
        };
        let behind = scan.position();
        let next_start = find(segments, last_record).map(|s| s.end());
        Ok(fits && (behind == anchor.log_end || next_start == Some(anchor.log_end)))
    }

    fn scan(&self, segments: &Arc<Segments>, from: i64) -> Scan {
        let config = &self.state.config;
        let rules = config.dispatch.clone();
        let check_crc = config.check_crc_on_recover;
        Scan::new(segments.clone(), from, i64::MAX, check_crc, rules)
    }

    /// Walks, cuts, wipes and publishes.
    fn run(&mut self) -> Result<(), StoreError> {
        let segments = self.state.segments.load_full();
        let stop = self.walk(&segments)?;
        self.report.end = stop.end;
        let kept = self.cut(&segments, &stop)?;
        self.sync(&kept)?;
        if kept.len() != segments.len() {
            self.state.segments.store(Arc::new(kept));
        }
        self.publish();
        Ok(())
    }

    /// After a crash, what the old process wrote may not be on disk yet, and is promised from now
    /// on. Segments that were synced long ago cost next to nothing.
    fn sync(&self, segments: &Segments) -> Result<(), StoreError> {
        let resumed = self.report.mode == RecoveryMode::Resumed;
        if self.from.clean && !resumed {
            return Ok(());
        }
        let flushed = if resumed { self.state.flushed.get() } else { 0 };
        let unsynced = segments.iter().filter(|s| s.end() > flushed);
        for segment in unsynced.filter(|s| !s.is_read_only()) {
            let synced = segment.file()?.sync_data();
            synced.map_err(|e| StoreError::io("sync", segment.path(), e))?;
            segment.close_if_unmapped();
        }
        Ok(())
    }

    fn publish(&self) {
        let (state, report) = (&self.state, &self.report);
        let known = self.from.checkpoint.unwrap_or_default();
        let timestamp = match report.last_store_timestamp {
            0 if report.mode == RecoveryMode::Resumed => state.end_timestamp.get(),
            0 => known.physic_msg_timestamp,
            last => last,
        };
        state.end.set(report.end);
        state.flushed.set(report.end);
        state.end_timestamp.set(timestamp);
        state.flushed_timestamp.set(timestamp);
    }

    /// Walks the records to the first thing that is none.
    fn walk(&mut self, segments: &Arc<Segments>) -> Result<Stop, StoreError> {
        let scan = self.scan(segments, self.report.scan_from);
        let mut scan = scan.refusing_holes(!self.from.clean);
        loop {
            let (what, record_like) = match scan.step()? {
                Step::Record { view } => {
                    self.report.records += 1;
                    self.report.last_store_timestamp = view.store_timestamp;
                    continue;
                }
                Step::End => ("the end of the last segment".to_owned(), false),
                Step::Zeros => ("zeros".to_owned(), false),
                Step::LastBlank => ("a blank without a next segment".to_owned(), false),
                Step::Invalid { what, record_like } => (what, record_like),
            };
            let end = scan.position();
            return Ok(Stop {
                end,
                what,
                record_like,
            });
        }
    }

    /// Ends the log at the stop: wipes the rest of its segment and takes the later ones out.
    /// Returns the segments that are left.
    fn cut(&mut self, segments: &Segments, stop: &Stop) -> Result<Segments, StoreError> {
        let mut kept = Segments::new();
        for segment in segments {
            if segment.end() <= stop.end {
                kept.push(segment.clone());
            } else if segment.start() < stop.end || kept.is_empty() {
                self.cut_within(segment, stop)?;
                kept.push(segment.clone());
            } else {
                self.take_out(segment, stop)?;
            }
        }
        Ok(kept)
    }

    /// Wipes what stands behind the stop in its segment.
    fn cut_within(&mut self, segment: &Arc<Segment>, stop: &Stop) -> Result<(), StoreError> {
        let position = segment.position(stop.end);
        let residue = inspect(segment, position)?;
        if !residue.nonzero {
            return Ok(());
        }
        let file = segment.path().to_path_buf();
        if segment.is_read_only() {
            let what = format!("{} in a directory that is only read", stop.what);
            return Err(StoreError::corrupt(&file, position, what));
        }
        let what = stop.what.clone();
        if self.is_damage(&residue) || (self.from.clean && stop.record_like) {
            let kept_in = Some(quarantine_rest(&self.state.fs, segment, position)?);
            self.report.damage.push(Damage {
                file,
                offset: position,
                what,
                kept_in,
            });
        } else {
            let offset = position;
            self.report.torn = Some(TornTail { file, offset, what });
        }
        let wiped = segment.file()?;
        wiped
            .zero(position, segment.len() - position)
            .and_then(|()| wiped.sync_data())
            .map_err(|e| StoreError::io("wipe", segment.path(), e))
    }

    /// Takes a segment behind the stop out of the log.
    fn take_out(&mut self, segment: &Arc<Segment>, stop: &Stop) -> Result<(), StoreError> {
        let residue = inspect(segment, 0)?;
        let file = segment.path().to_path_buf();
        if segment.is_read_only() {
            let what = format!(
                "behind the log's end {}, in a directory only read",
                stop.end
            );
            return Err(StoreError::corrupt(&file, 0, what));
        }
        // Made ahead of time and never used, or written after the last sync: never promised.
        if !residue.nonzero || !self.is_damage(&residue) {
            segment.remove()?;
            self.report.removed.push(file);
            return Ok(());
        }
        let kept_in = Some(quarantine_segment(&self.state.fs, segment)?);
        self.report.damage.push(Damage {
            file,
            offset: 0,
            what: format!("content behind the log's end {}: {}", stop.end, stop.what),
            kept_in,
        });
        Ok(())
    }

    /// Whether the log had been promised to reach further: a valid record comes later, and the stop
    /// was clean or that record is older than one that was synced.
    fn is_damage(&self, residue: &Residue) -> bool {
        let synced = self.from.checkpoint.unwrap_or_default();
        residue
            .later_record_time
            .is_some_and(|time| self.from.clean || time < synced.physic_msg_timestamp)
    }
}

/// Where and why the walk ended.
struct Stop {
    end: i64,
    what: String,
    record_like: bool,
}

#[cfg(test)]
mod tests {
    use super::super::{
        Pending,
        testing::{EMPTY_LEN, Place, SEGMENT_LEN, unit},
    };
    use super::*;
    use crate::store::checkpoint::Checkpoint;

    fn crashed() -> RecoverFrom {
        RecoverFrom::default()
    }

    fn filled(place: &Place, count: i64) -> Vec<Pending> {
        let (mut writer, _) = place.open_clean();
        let mut units: Vec<_> = (0..count).map(|i| unit(900, i)).collect();
        for (i, unit) in units.iter_mut().enumerate() {
            let time = 10_000 + 1000 * i as i64;
            writer.append(std::slice::from_mut(unit), time).unwrap();
        }
        units
    }

    fn file(place: &Place, start: u64) -> PathBuf {
        place.dir.path().join(format!("commitlog/{start:020}"))
    }

    fn change(path: &std::path::Path, at: usize, bytes: &[u8]) {
        let mut content = std::fs::read(path).unwrap();
        content[at..at + bytes.len()].copy_from_slice(bytes);
        std::fs::write(path, content).unwrap();
    }

    #[test]
    fn each_prefix_of_the_last_record_is_cut_off_and_wiped() {
        let place = Place::new();
        let mut units = filled(&place, 5);
        let (mut writer, _) = place.open_clean();
        units.push(unit(30, 5));
        writer.append(&mut units[5..], 1).unwrap();
        let path = file(&place, SEGMENT_LEN);
        let last = units[5].physical_offset;
        let at = (last as u64 - SEGMENT_LEN) as usize;
        let whole = std::fs::read(&path).unwrap();
        for len in 0..units[5].bytes.len() {
            let mut torn = whole.clone();
            torn[at + len..].fill(0);
            std::fs::write(&path, &torn).unwrap();
            let (mut writer, report) = place.open(&crashed());
            assert_eq!(
                (report.records, report.end),
                (5, last),
                "{len} bytes are left"
            );
            let something = whole[at..at + len].iter().any(|&b| b != 0);
            assert_eq!(report.torn.is_some(), something);
            assert!(report.damage.is_empty());
            assert!(std::fs::read(&path).unwrap()[at..].iter().all(|&b| b == 0));
            writer.append(&mut [unit(1, 5)], 1).unwrap();
            assert_eq!(place.open(&crashed()).1.records, 6);
        }
    }

    #[test]
    fn normal_recovery_begins_where_the_queues_end() {
        let place = Place::new();
        let units = filled(&place, 12);
        let from = |queues_max_offset| RecoverFrom {
            clean: true,
            queues_max_offset,
            ..RecoverFrom::default()
        };
        let begin = |max| place.open(&from(max)).1.scan_from;
        let step = SEGMENT_LEN as i64;
        assert_eq!(begin(Some(units[11].physical_offset)), 2 * step);
        assert_eq!(begin(Some(2 * step - 1)), step);
        assert_eq!(begin(Some(-1)), 0);
        assert_eq!(begin(None), 0);
        let (writer, report) = place.open(&from(Some(2 * step)));
        assert_eq!(report.mode, RecoveryMode::Normal);
        assert_eq!(report.records, 4);
        assert_eq!(report.last_store_timestamp, 21_000);
        let reader = writer.reader();
        assert_eq!(reader.flushed(), reader.end());
        assert_eq!(reader.min_offset(), 0);
    }

    #[test]
    fn abnormal_recovery_begins_before_the_checkpoint() {
        let place = Place::new();
        filled(&place, 12);
        let begin = |physic, logics, index, index_safe| {
            let checkpoint = Checkpoint {
                physic_msg_timestamp: physic,
                logics_msg_timestamp: logics,
                index_msg_timestamp: index,
                ..Checkpoint::default()
            };
            let from = RecoverFrom {
                checkpoint: Some(checkpoint),
                index_safe,
                ..RecoverFrom::default()
            };
            let report = place.open(&from).1;
            assert_eq!(report.mode, RecoveryMode::Abnormal);
            assert_eq!(report.damage, []);
            report.scan_from / SEGMENT_LEN as i64
        };
        // segments begin at the store times 10,000, 14,000 and 18,000; the margin is 3,000
        assert_eq!(begin(21_000, 21_000, 0, false), 2);
        assert_eq!(begin(21_000, 20_999, 0, false), 1);
        assert_eq!(begin(16_999, 99_999, 0, false), 0);
        assert_eq!(begin(0, 0, 0, false), 0);
        assert_eq!(begin(21_000, 21_000, 17_999, true), 1);
        assert_eq!(begin(21_000, 21_000, 18_000, true), 2);
    }

    #[test]
    fn a_snapshot_is_believed_only_if_the_log_confirms_it() {
        let place = Place::new();
        let units = filled(&place, 6);
        let anchor = |last: usize, log_end, time| Anchor {
            log_end,
            last_record: Some(units[last].physical_offset),
            last_store_timestamp: time,
        };
        let mode = |snapshot| {
            let from = RecoverFrom {
                snapshot: Some(snapshot),
                ..RecoverFrom::default()
            };
            let report = place.open(&from).1;
            (report.mode, report.records)
        };
        let good = anchor(4, units[5].physical_offset, 14_000);
        assert_eq!(mode(good), (RecoveryMode::Snapshot, 1));
        let at_roll = anchor(3, SEGMENT_LEN as i64, 13_000);
        assert_eq!(mode(at_roll), (RecoveryMode::Snapshot, 2));
        let whole = anchor(5, units[5].physical_offset + 996, 15_000);
        assert_eq!(mode(whole), (RecoveryMode::Snapshot, 0));
        let bad = (RecoveryMode::Abnormal, 6);
        assert_eq!(mode(anchor(4, units[5].physical_offset, 14_001)), bad);
        assert_eq!(mode(anchor(4, units[5].physical_offset + 1, 14_000)), bad);
        let none = Anchor {
            log_end: 5,
            last_record: None,
            last_store_timestamp: 0,
        };
        assert_eq!(mode(none), bad);
        let first = Anchor { log_end: 0, ..none };
        assert_eq!(mode(first), (RecoveryMode::Snapshot, 6));
        let far = Anchor {
            log_end: 1 << 40,
            last_record: Some(1 << 40),
            last_store_timestamp: 0,
        };
        assert_eq!(mode(far), bad);
    }

    #[test]
    fn damage_in_the_middle_is_told_and_kept_aside() {
        let place = Place::new();
        let units = filled(&place, 12);
        let at = units[5].physical_offset;
        let in_file = (at as u64 - SEGMENT_LEN) as usize;
        let path = file(&place, SEGMENT_LEN);
        let before = std::fs::read(&path).unwrap();
        change(&path, in_file + 500, &[!before[in_file + 500]]);
        let from = RecoverFrom {
            clean: true,
            ..RecoverFrom::default()
        };
        let (writer, report) = place.open(&from);
        assert_eq!((report.records, report.end), (5, at));
        assert_eq!(report.torn, None);
        let [within, behind] = report.damage.as_slice() else {
            panic!("{:?}", report.damage);
        };
        assert_eq!((&within.file, within.offset), (&path, in_file as u64));
        assert!(within.what.contains("crc"), "{}", within.what);
        assert_eq!(behind.file, file(&place, 2 * SEGMENT_LEN));
        let rest = std::fs::read(within.kept_in.as_ref().unwrap()).unwrap();
        assert_eq!(rest[1000..], before[in_file + 1000..]);
        assert!(behind.kept_in.as_ref().unwrap().exists());
        assert!(!behind.file.exists());
        assert!(writer.reader().record_at(at).is_none());
        assert_eq!(place.open(&from).1.damage, []);
    }

    #[test]
    fn what_a_crash_lost_is_damage_only_if_it_was_synced() {
        for (physic, damaged) in [(16_000, false), (16_001, true)] {
            let place = Place::new();
            let units = filled(&place, 8);
            let in_file = (units[5].physical_offset as u64 - SEGMENT_LEN) as usize;
            change(&file(&place, SEGMENT_LEN), in_file, &[0; 996]);
            let checkpoint = Checkpoint {
                physic_msg_timestamp: physic,
                ..Checkpoint::default()
            };
            let from = RecoverFrom {
                checkpoint: Some(checkpoint),
                ..RecoverFrom::default()
            };
            let report = place.open(&from).1;
            assert_eq!(report.records, 5);
            assert_eq!(report.damage.len(), usize::from(damaged));
            assert_eq!(report.torn.is_some(), !damaged);
            assert_eq!(place.open(&from).1.torn, None, "it was wiped");
        }
    }

    #[test]
    fn empty_and_prepared_files_are_removed_and_wrong_sizes_refused() {
        let place = Place::new();
        filled(&place, 2);
        let prepared = file(&place, SEGMENT_LEN);
        let empty = file(&place, 2 * SEGMENT_LEN);
        std::fs::write(&prepared, vec![0; SEGMENT_LEN as usize]).unwrap();
        std::fs::write(&empty, "").unwrap();
        std::fs::write(place.dir.path().join("commitlog/notes"), "x").unwrap();
        let report = place.open(&crashed()).1;
        assert_eq!(report.removed, [empty.clone(), prepared.clone()]);
        assert_eq!((report.records, report.damage.len()), (2, 0));
        std::fs::write(&prepared, "too short").unwrap();
        let error = CommitLogWriter::recover(&place.fs, place.config(), &crashed());
        assert!(
            matches!(error, Err(StoreError::Corrupt { .. })),
            "{error:?}"
        );
    }

    #[test]
    fn a_missing_segment_ends_what_is_before() {
        let place = Place::new();
        filled(&place, 12);
        std::fs::remove_file(file(&place, SEGMENT_LEN)).unwrap();
        let (_, report) = place.open_clean();
        assert_eq!(report.min_offset, 2 * SEGMENT_LEN as i64);
        assert_eq!((report.records, report.damage.len()), (4, 1));
        assert!(file(&place, 0).exists());
    }

    #[test]
    fn a_blank_without_a_next_segment_is_taken_back() {
        let place = Place::new();
        let units = filled(&place, 5);
        std::fs::remove_file(file(&place, SEGMENT_LEN)).unwrap();
        let (mut writer, report) = place.open(&crashed());
        let end = units[3].physical_offset + (900 + EMPTY_LEN) as i64;
        assert_eq!((report.records, report.end), (4, end));
        writer.append(&mut [unit(1, 4), unit(900, 5)], 1).unwrap();
        assert_eq!(place.open(&crashed()).1.records, 6);
    }

    #[test]
    fn a_resumed_writer_keeps_whole_records_behind_the_published_end() {
        let place = Place::new();
        let (mut writer, _) = place.open_clean();
        writer.append(&mut [unit(10, 0)], 1).unwrap();
        let reader = writer.reader();
        let published = reader.end();
        let mut unpublished = [unit(20, 1), unit(30, 2)];
        writer.append(&mut unpublished, 2).unwrap();
        let torn_at = unpublished[1].physical_offset;
        // The writer panicked between writing and publishing, its last record is half there.
        writer.state.end.set(published);
        drop(writer);
        change(&file(&place, 0), torn_at as usize + 60, &[0; 80]);
        let (mut writer, report) = reader.resume().unwrap();
        assert_eq!(report.mode, RecoveryMode::Resumed);
        assert_eq!((report.scan_from, report.end), (published, torn_at));
        assert_eq!(report.records, 1);
        assert!(report.torn.is_some());
        assert_eq!(reader.end(), torn_at);
        writer.append(&mut [unit(3, 2)], 3).unwrap();
        assert_eq!(place.open(&crashed()).1.records, 3);
    }
}
