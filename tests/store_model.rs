//! The commit log against a list: random work gives what a list gives, and a log that was cut off
//! anywhere, or filled with anything, is opened without a panic.

mod support;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use callboard::store::{
    commit_log::{CommitLogConfig, CommitLogWriter, RecoverFrom, RecoveryReport},
    fs::{Fs, recording::RecordingFs},
};
use proptest::prelude::*;
use support::Random;

const SEGMENT_LEN: u64 = 4096;

#[derive(Debug, Clone)]
enum Work {
    /// Units, each of records with these body lengths.
    Append(Vec<Vec<usize>>),
    Flush,
    Prepare,
    Delete,
    ReleaseCold,
    Reopen {
        clean: bool,
    },
}

fn work() -> impl Strategy<Value = Work> {
    let unit = prop_oneof![
        4 => prop::collection::vec(0..700_usize, 1),
        1 => prop::collection::vec(0..700_usize, 2..5),
        1 => prop::collection::vec(700..3900_usize, 1),
    ];
    prop_oneof![
        8 => prop::collection::vec(unit, 1..6).prop_map(Work::Append),
        2 => Just(Work::Flush),
        1 => Just(Work::Prepare),
        1 => Just(Work::Delete),
        1 => Just(Work::ReleaseCold),
        1 => any::<bool>().prop_map(|clean| Work::Reopen { clean }),
    ]
}

struct Model {
    dir: tempfile::TempDir,
    fs: Fs,
    writer: Option<CommitLogWriter>,
    records: Vec<(i64, Bytes)>,
    random: Random,
}

impl Model {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        // It records only so that nothing is really synced.
        let fs = RecordingFs::new(dir.path()).shared();
        let (writer, _) = open(&fs, dir.path(), true);
        Self {
            dir,
            fs,
            writer: Some(writer),
            records: Vec::new(),
            random: Random(1),
        }
    }

    fn do_one(&mut self, work: &Work) {
        let writer = self.writer.as_mut().expect("open");
        let reader = writer.reader();
        match work {
            Work::Append(units) => self.append(units),
            Work::Flush => {
                let flushed = writer.flusher().flush(i64::MAX).expect("flushed");
                assert_eq!(flushed, writer.end());
            }
            Work::Prepare => drop(reader.preparer().prepare().expect("room")),
            Work::Delete => {
                if let Some(min) = reader.delete_oldest_segment().expect("deleted") {
                    self.records.retain(|(at, _)| *at >= min);
                }
            }
            Work::ReleaseCold => reader.release_cold(0),
            Work::Reopen { clean } => {
                let (end, min) = (reader.end(), reader.min_offset());
                let old = self.writer.take().expect("open");
                if *clean {
                    old.close().expect("closed");
                } else {
                    drop(old);
                }
                let (writer, report) = open(&self.fs, self.dir.path(), *clean);
                assert_eq!((report.torn, report.damage), (None, Vec::new()));
                assert_eq!((report.end, report.min_offset), (end, min));
                assert_eq!(report.records, self.records.len() as u64);
                self.writer = Some(writer);
            }
        }
    }

    fn append(&mut self, units: &[Vec<usize>]) {
        let writer = self.writer.as_mut().expect("open");
        let mut pending = Vec::new();
        for lens in units {
            let number = self.records.len() as i64;
            let mut unit = support::record(&mut self.random, lens[0], number);
            for len in &lens[1..] {
                let more = support::record(&mut self.random, *len, number);
                unit.bytes.extend_from_slice(&more.bytes);
            }
            pending.push(unit);
        }
        writer.append(&mut pending, 7).expect("room");
        for unit in pending {
            let (mut at, mut rest) = (unit.physical_offset, unit.bytes.freeze());
            assert_eq!(
                writer.reader().segment_start(at),
                writer.reader().segment_start(at + rest.len() as i64 - 1)
            );
            while !rest.is_empty() {
                let size = u32::from_be_bytes(rest[..4].try_into().expect("4 bytes"));
                let record = rest.split_to(size as usize);
                self.records.push((at, record));
                at += i64::from(size);
            }
        }
    }

    fn check(&self) {
        let reader = self.writer.as_ref().expect("open").reader();
        let scan = reader.scan(reader.min_offset(), reader.end());
        let found: Result<Vec<_>, _> = scan.collect();
        let found = found.expect("a whole log");
        assert_eq!(found.len(), self.records.len());
        for (found, (at, bytes)) in found.iter().zip(&self.records) {
            assert_eq!(found.record.physical_offset, *at);
            assert_eq!(reader.record_at(*at).as_ref(), Some(bytes));
            let mut buf = vec![0; bytes.len()];
            assert_eq!(reader.read_at(*at, &mut buf).expect("read"), buf.len());
            assert_eq!(buf, bytes[..]);
        }
    }
}

fn open(fs: &Fs, root: &Path, clean: bool) -> (CommitLogWriter, RecoveryReport) {
    let config = CommitLogConfig {
        segment_len: SEGMENT_LEN,
        ..CommitLogConfig::new(root.join("commitlog"))
    };
    let from = RecoverFrom {
        clean,
        ..RecoverFrom::default()
    };
    CommitLogWriter::recover(fs, config, &from).expect("a log")
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(root.join("commitlog"));
    let mut paths: Vec<_> = listing
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_work_gives_what_a_list_gives(works in prop::collection::vec(work(), 1..30)) {
        let mut model = Model::new();
        for work in &works {
            model.do_one(work);
        }
        model.check();
    }

    #[test]
    fn a_log_cut_at_any_byte_keeps_the_whole_records(
        units in prop::collection::vec(prop::collection::vec(0..900_usize, 1), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut model = Model::new();
        model.append(&units);
        let writer = model.writer.take().expect("open");
        let cut = cut.index(writer.end() as usize + 1) as i64;
        drop(writer);
        for (number, path) in segments(model.dir.path()).iter().enumerate() {
            let mut content = std::fs::read(path).expect("a segment");
            let from = (cut - (number as u64 * SEGMENT_LEN) as i64).clamp(0, SEGMENT_LEN as i64);
            content[from as usize..].fill(0);
            std::fs::write(path, content).expect("written");
        }
        let (mut writer, report) = open(&model.fs, model.dir.path(), false);
        prop_assert_eq!(&report.damage, &[]);
        model.records.retain(|(at, bytes)| at + bytes.len() as i64 <= cut);
        prop_assert_eq!(report.records, model.records.len() as u64);
        let mut more = [support::record(&mut model.random, 5, 0)];
        writer.append(&mut more, 8).expect("room");
        let [more] = more;
        model.records.push((more.physical_offset, more.bytes.freeze()));
        model.writer = Some(writer);
        model.check();
    }

    #[test]
    fn a_log_with_changed_bytes_keeps_the_records_before(
        units in prop::collection::vec(prop::collection::vec(0..900_usize, 1), 1..20),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
        clean in any::<bool>(),
    ) {
        let mut model = Model::new();
        model.append(&units);
        let end = model.writer.take().expect("open").end() as usize;
        let paths = segments(model.dir.path());
        let mut first = end as i64;
        for (at, xor) in changes {
            let at = at.index(end);
            let path = &paths[at / SEGMENT_LEN as usize];
            let mut content = std::fs::read(path).expect("a segment");
            content[at % SEGMENT_LEN as usize] ^= xor;
            std::fs::write(path, content).expect("written");
            first = first.min(at as i64);
        }
        let (writer, report) = open(&model.fs, model.dir.path(), clean);
        let untouched = model.records.iter().filter(|(at, b)| at + b.len() as i64 <= first);
        prop_assert!(report.records >= untouched.count() as u64);
        let reader = writer.reader();
        let read = reader.scan(0, reader.end()).collect::<Result<Vec<_>, _>>();
        prop_assert_eq!(read.expect("a whole log").len() as u64, report.records);
    }

    #[test]
    fn a_segment_of_anything_is_opened(
        content in prop::collection::vec(any::<u8>(), SEGMENT_LEN as usize),
        heads in prop::collection::vec((0..SEGMENT_LEN as usize - 8, 0..5000_u32), 0..5),
        clean in any::<bool>(),
    ) {
        let model = Model::new();
        let dir = model.dir.path().join("commitlog");
        std::fs::create_dir_all(&dir).expect("a folder");
        let mut content = content;
        for (at, size) in heads {
            content[at..at + 4].copy_from_slice(&size.to_be_bytes());
            content[at + 4..at + 8].copy_from_slice(&[0xDA, 0xA3, 0x20, 0xA7]);
        }
        std::fs::write(dir.join(format!("{:020}", 0)), content).expect("written");
        let (mut writer, report) = open(&model.fs, model.dir.path(), clean);
        let mut random = Random(3);
        let mut more = [support::record(&mut random, 5, 0)];
        writer.append(&mut more, 8).expect("room");
        let (_, again) = open(&model.fs, model.dir.path(), clean);
        prop_assert_eq!(again.records, report.records + 1);
    }
}
