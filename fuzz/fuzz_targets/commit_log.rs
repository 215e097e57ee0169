//! A commit log whose segments hold anything: it is recovered, and every record that the recovered
//! log gives is whole. The same bytes are what a slave may be sent: they are cut into records.
#![no_main]

use callboard::protocol::message::record::{CheckCrc, RecordView};
use callboard::store::commit_log::{CommitLogConfig, CommitLogWriter, RecoverFrom};
use callboard::store::fs::recording::RecordingFs;
use libfuzzer_sys::fuzz_target;

#[path = "../src/files.rs"]
mod files;

const SEGMENT_LEN: usize = 4096;

fuzz_target!(|input: (bool, &[u8])| {
    let (clean, bytes) = input;
    if bytes.len() > 4 * SEGMENT_LEN {
        return;
    }
    let dir = tempfile::tempdir().expect("folder");
    let log = dir.path().join("commitlog");
    files::write_files(&log, SEGMENT_LEN, bytes);
    let mut config = CommitLogConfig::new(log);
    config.segment_len = SEGMENT_LEN as u64;
    let from = RecoverFrom {
        clean,
        ..RecoverFrom::default()
    };
    // It records only so that nothing is really synced, which would take long.
    let fs = RecordingFs::new(dir.path()).shared();
    let Ok((writer, report)) = CommitLogWriter::recover(&fs, config, &from) else {
        return;
    };
    let reader = writer.reader();
    assert!(report.end >= report.min_offset);
    assert_eq!(reader.end(), report.end);
    let mut cutter = reader.cutter(0);
    let mut records = Vec::new();
    for piece in bytes.chunks(97) {
        if cutter.feed(piece, &mut records).is_err() {
            break;
        }
        assert!(cutter.whole() <= cutter.position());
    }
    for offset in (0..reader.end().min(SEGMENT_LEN as i64)).step_by(91) {
        if let Some(record) = reader.record_at(offset) {
            let _ = RecordView::parse(&record, CheckCrc::Body);
        }
    }
});
