//! Each call to the file system fails once: nothing that was stored is lost, nothing that was refused
//! comes back, and work goes on when the cause is gone.

mod support;

use std::sync::Arc;

use callboard::store::{
    StoreError,
    commit_log::{CommitLogConfig, CommitLogWriter, Pending, RecoverFrom},
    fs::{
        Fs,
        fault::{Call, Fault, FaultFs, Faults},
        recording::RecordingFs,
    },
};
use support::Random;

const SEGMENT_LEN: u64 = 8192;

struct Place {
    _dir: tempfile::TempDir,
    fs: Fs,
    faults: Arc<Faults>,
    config: CommitLogConfig,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        // It records only so that nothing is really synced, which would take long.
        let (fs, faults) = FaultFs::wrap(RecordingFs::new(dir.path()).shared());
        let config = CommitLogConfig {
            segment_len: SEGMENT_LEN,
            ..CommitLogConfig::new(dir.path().join("commitlog"))
        };
        Self {
            _dir: dir,
            fs,
            faults,
            config,
        }
    }

    fn recover(&self) -> Result<CommitLogWriter, StoreError> {
        let from = RecoverFrom::default();
        let (writer, report) = CommitLogWriter::recover(&self.fs, self.config.clone(), &from)?;
        assert_eq!((report.torn, report.damage), (None, Vec::new()));
        Ok(writer)
    }

    fn fail(&self, kind: Option<Call>, after: u64, times: u64, errno: i32) {
        self.faults.arm(Fault {
            kind,
            after,
            times,
            errno,
        });
    }
}

/// The stored queue offsets, in log order.
fn stored(writer: &CommitLogWriter) -> Result<Vec<i64>, StoreError> {
    let reader = writer.reader();
    let scan = reader.scan(reader.min_offset(), reader.end());
    scan.map(|found| Ok(found?.record.queue_offset)).collect()
}

fn batch(first: i64) -> Vec<Pending> {
    let mut random = Random(first as u64);
    let len = |i| if i == 2 { 3000 } else { 200 };
    (0..4)
        .map(|i| support::record(&mut random, len(i), first + i))
        .collect()
}

/// Appends, flushes, prepares and recovers; whatever fails is tried once more. Returns what has to
/// be stored.
fn workload(place: &Place) -> (Vec<i64>, CommitLogWriter) {
    let retry = |what: &str, error: StoreError| {
        let expected = matches!(error, StoreError::Io { .. } | StoreError::Full { .. });
        assert!(expected, "{what}: {error}");
    };
    let mut expected = Vec::new();
    let mut writer = place.recover().unwrap_or_else(|error| {
        retry("recover", error);
        place.recover().expect("recovered at the second try")
    });
    let mut flusher = writer.flusher();
    for round in 0..6 {
        let mut units = batch(round * 10);
        if let Err(error) = writer.append(&mut units, round) {
            // Those before are stored; the refused ones are given up, as a broker's sends are.
            retry("append", error.source);
            units.truncate(error.appended);
            let mut again = batch(round * 10 + 5);
            let done = writer.append(&mut again, round);
            done.expect("appended at the second try");
            units.extend(again);
        }
        expected.extend(units.iter().map(|u| u.queue_offset));
        if round == 2 {
            let prepared = writer.reader().preparer().prepare();
            prepared.unwrap_or_else(|error| {
                retry("prepare", error);
                true
            });
        }
        let flushed = flusher.flush(writer.end()).or_else(|error| {
            retry("flush", error);
            flusher.flush(writer.end())
        });
        assert_eq!(flushed.expect("flushed at the second try"), writer.end());
        let found = stored(&writer).unwrap_or_else(|error| {
            retry("scan", error);
            stored(&writer).expect("read at the second try")
        });
        assert_eq!(found, expected);
    }
    (expected, writer)
}

#[test]
fn each_call_fails_once() {
    let calls = {
        let place = Place::new();
        workload(&place);
        place.faults.calls()
    };
    println!("{calls} calls");
    for errno in [libc::EIO, libc::ENOSPC] {
        for after in 0..calls {
            let place = Place::new();
            place.fail(None, after, 1, errno);
            let (expected, writer) = workload(&place);
            assert_eq!(place.faults.failed(), 1, "call {after}");
            drop(writer);
            let writer = place.recover().expect("recovered");
            assert_eq!(stored(&writer).expect("read"), expected, "call {after}");
        }
    }
}

#[test]
fn recovery_may_fail_at_any_call_and_is_simply_done_again() {
    let place = Place::new();
    let (expected, _) = workload(&place);
    let before = place.faults.calls();
    place.recover().expect("recovered");
    let calls = place.faults.calls() - before;
    for after in 0..calls {
        place.fail(None, after, 1, libc::EIO);
        let failed = place.recover();
        assert!(matches!(failed, Err(StoreError::Io { .. })), "call {after}");
        place.faults.disarm();
        let writer = place.recover().expect("recovered");
        assert_eq!(stored(&writer).expect("read"), expected, "call {after}");
    }
}

#[test]
fn a_full_disk_refuses_until_there_is_space() {
    let place = Place::new();
    let mut writer = place.recover().expect("recovered");
    writer.append(&mut batch(0), 1).expect("room");
    let end = writer.end();
    place.fail(Some(Call::Write), 0, u64::MAX, libc::ENOSPC);
    for _ in 0..3 {
        let error = writer.append(&mut batch(10), 2).expect_err("no room");
        assert_eq!(error.appended, 0);
        assert!(error.source.is_full(), "{}", error.source);
        assert_eq!(writer.end(), end);
    }
    place.faults.disarm();
    writer.append(&mut batch(20), 3).expect("room again");
    let expected = [0, 1, 2, 3, 20, 21, 22, 23];
    assert_eq!(stored(&writer).expect("read"), expected);
    drop(writer);
    let writer = place.recover().expect("recovered");
    assert_eq!(stored(&writer).expect("read"), expected);
}

#[test]
fn remains_that_cannot_be_wiped_keep_the_log_closed_until_they_can() {
    let place = Place::new();
    let mut writer = place.recover().expect("recovered");
    writer.append(&mut batch(0), 1).expect("room");
    let end = writer.end();
    // The write fails, then the wiping after it, then the wiping before the next append.
    place.fail(Some(Call::Write), 0, 1, libc::EIO);
    place.fail(Some(Call::Zero), 0, 2, libc::EIO);
    for round in [10, 20] {
        let error = writer.append(&mut batch(round), 2).expect_err("refused");
        assert_eq!((error.appended, writer.end()), (0, end));
    }
    assert_eq!(place.faults.failed(), 3);
    writer
        .append(&mut batch(30)[..1], 3)
        .expect("wiped at last");
    drop(writer);
    let writer = place.recover().expect("recovered");
    assert_eq!(stored(&writer).expect("read"), [0, 1, 2, 3, 30]);
}

#[test]
fn a_sync_that_fails_twice_poisons_the_log() {
    let place = Place::new();
    let mut writer = place.recover().expect("recovered");
    writer.append(&mut batch(0), 1).expect("room");
    let mut flusher = writer.flusher();
    flusher.flush(writer.end()).expect("flushed");
    let flushed = flusher.flushed();
    writer.append(&mut batch(10)[..1], 2).expect("room");

    place.fail(Some(Call::Sync), 0, 1, libc::EIO);
    assert_eq!(flusher.flush(writer.end()).expect("at once"), writer.end());
    writer.append(&mut batch(20)[..1], 3).expect("room");

    let flushed_once = flusher.flushed();
    assert!(flushed_once > flushed);
    place.fail(Some(Call::Sync), 0, 2, libc::EIO);
    let error = flusher.flush(writer.end());
    assert!(matches!(error, Err(StoreError::Io { .. })));
    assert_eq!(flusher.flushed(), flushed_once, "nothing moved");
    assert!(writer.reader().is_poisoned());
    let error = flusher.flush(writer.end());
    assert!(matches!(error, Err(StoreError::Poisoned)));
    let error = writer.append(&mut batch(30), 4).expect_err("refused");
    assert!(matches!(error.source, StoreError::Poisoned));
    drop((writer, flusher));
    let writer = place.recover().expect("a restart heals");
    assert_eq!(stored(&writer).expect("read"), [0, 1, 2, 3, 10, 20]);
}
