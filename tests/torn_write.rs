//! What was flushed survives any power loss, and what was not does no harm.
//!
//! A workload runs over a file system that records every change. Then, for a cut after each change,
//! crash images are built: any unsynced page may be old or new, unsynced names are lost. Recovery
//! of each image has to find every record that was below the flushed position at the cut, and
//! nothing but what was written, in order.

mod support;

use std::path::Path;

use bytes::Bytes;
use callboard::store::{
    StoreError,
    checkpoint::{Checkpoint, CheckpointFile},
    commit_log::{
        CommitLogConfig, CommitLogReader, CommitLogWriter, Flusher, RecoverFrom, RecoveryReport,
    },
    fs::{Fs, recording::RecordingFs},
    tails::{Anchor, Tails},
};
use support::Random;

const SEGMENT_LEN: u64 = 32 * 1024;
const STEPS: usize = 45;

/// What had been promised after a number of changes.
#[derive(Debug, Clone, Copy)]
struct Promise {
    changes: usize,
    flushed: i64,
    min_offset: i64,
}

struct Workload {
    recording: RecordingFs,
    fs: Fs,
    root: tempfile::TempDir,
    writer: CommitLogWriter,
    flusher: Flusher,
    checkpoint_file: CheckpointFile,
    checkpoint: Checkpoint,
    random: Random,
    written: Vec<(i64, Bytes)>,
    promises: Vec<Promise>,
    now: i64,
}

fn config(root: &Path) -> CommitLogConfig {
    CommitLogConfig {
        segment_len: SEGMENT_LEN,
        ..CommitLogConfig::new(root.join("commitlog"))
    }
}

/// Recovers as a broker does that finds an `abort` file.
fn recover(fs: &Fs, root: &Path) -> Result<(CommitLogWriter, RecoveryReport), StoreError> {
    let checkpoint = CheckpointFile::peek(fs, &root.join("checkpoint"))?;
    let tails = Tails::load(fs, &root.join("tails"), checkpoint.as_ref());
    let from = RecoverFrom {
        clean: false,
        checkpoint,
        queues_max_offset: None,
        index_safe: false,
        snapshot: tails.map(|t| t.anchor),
    };
    CommitLogWriter::recover(fs, config(root), &from)
}

impl Workload {
    fn new(random: Random) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        let recording = RecordingFs::new(root.path());
        let fs = recording.shared();
        let (writer, _) = recover(&fs, root.path()).expect("an empty log");
        let path = root.path().join("checkpoint");
        let (checkpoint_file, checkpoint) = CheckpointFile::open(&fs, &path).expect("a page");
        Self {
            flusher: writer.flusher(),
            recording,
            fs,
            root,
            writer,
            checkpoint_file,
            checkpoint,
            random,
            written: Vec::new(),
            promises: Vec::new(),
            now: 1_000_000,
        }
    }

    fn run(mut self) -> Self {
        for _ in 0..STEPS {
            match self.random.below(12) {
                0..=5 => self.append(),
                6..=8 => self.flush(),
                9 => self.take_snapshot(),
                10 => drop(self.writer.reader().preparer().prepare().expect("room")),
                _ => self.delete(),
            }
            self.now += self.random.below(3000) as i64;
        }
        self
    }

    fn append(&mut self) {
        let count = 1 + self.random.below(5);
        let mut units = Vec::new();
        for i in 0..count {
            let len = match self.random.below(4) {
                0 => self.random.below(12_000),
                _ => self.random.below(600),
            };
            let queue_offset = (self.written.len() + i) as i64;
            units.push(support::record(&mut self.random, len, queue_offset));
        }
        self.writer.append(&mut units, self.now).expect("room");
        let stored = units.into_iter();
        let stored = stored.map(|u| (u.physical_offset, u.bytes.freeze()));
        self.written.extend(stored);
    }

    fn flush(&mut self) {
        let flushed = self.flusher.flush(self.writer.end()).expect("flushed");
        self.promise(flushed);
    }

    fn promise(&mut self, flushed: i64) {
        self.promises.push(Promise {
            changes: self.recording.changes(),
            flushed,
            min_offset: self.writer.reader().min_offset(),
        });
    }

    /// Tails first, with the page before and the page to come, then the page.
    fn take_snapshot(&mut self) {
        self.flush();
        let reader = self.writer.reader();
        let last = self.written.last();
        let before = self.checkpoint;
        self.checkpoint.physic_msg_timestamp = reader.flushed_timestamp();
        self.checkpoint.logics_msg_timestamp = reader.flushed_timestamp();
        let anchor = last.and_then(|(at, _)| reader.anchor(*at));
        let tails = Tails {
            anchor: anchor.unwrap_or(Anchor {
                log_end: reader.min_offset(),
                last_record: None,
                last_store_timestamp: 0,
            }),
            boot_id: callboard::store::tails::boot_id(),
            checkpoints: vec![before, self.checkpoint],
            queues: Vec::new(),
        };
        let path = self.root.path().join("tails");
        tails.save(&self.fs, &path).expect("saved");
        self.checkpoint_file.save(&self.checkpoint).expect("saved");
    }

    fn delete(&mut self) {
        let reader = self.writer.reader();
        let flushed = reader.flushed();
        let next = self.recording.changes();
        if reader.delete_oldest_segment().expect("deleted").is_some() {
            self.promise(flushed);
            if let Some(promise) = self.promises.last_mut() {
                // The file is gone as soon as its removal begins.
                promise.changes = next;
            }
        }
    }

    /// What was promised when this many changes were made.
    fn promised(&self, changes: usize) -> Promise {
        let kept = self.promises.iter().filter(|p| p.changes <= changes);
        let nothing = Promise {
            changes: 0,
            flushed: 0,
            min_offset: 0,
        };
        kept.fold(nothing, |sum, p| Promise {
            changes: p.changes,
            flushed: sum.flushed.max(p.flushed),
            min_offset: sum.min_offset.max(p.min_offset),
        })
    }

    fn check_image(&self, cut: usize, choose: &mut dyn FnMut(usize) -> usize, what: &str) {
        let image = tempfile::tempdir().expect("a folder");
        let made = self.recording.crash_image(cut, image.path(), choose);
        made.expect("an image");
        // Recorded as well, only so that nothing is really synced.
        let fs = RecordingFs::new(image.path()).shared();
        let (mut writer, report) =
            recover(&fs, image.path()).unwrap_or_else(|error| panic!("cut {cut} {what}: {error}"));
        assert_eq!(report.damage, [], "cut {cut} {what}");
        let promised = self.promised(cut);
        assert!(report.min_offset <= promised.min_offset, "cut {cut} {what}");
        assert!(
            report.end >= promised.flushed,
            "cut {cut} {what}: {} bytes were promised, the log ends at {}",
            promised.flushed,
            report.end
        );
        let reader = writer.reader();
        let found = self.check_records(&reader, &format!("cut {cut} {what}"));

        let mut random = Random(cut as u64);
        let mut more = [support::record(&mut random, 100, 0)];
        writer.append(&mut more, self.now).expect("room");
        drop(writer);
        let (writer, report) = recover(&fs, image.path()).expect("recovered again");
        assert_eq!((report.torn, report.damage), (None, Vec::new()));
        let reader = writer.reader();
        let scan = reader.scan(reader.min_offset(), reader.end());
        assert_eq!(scan.count(), found + 1, "cut {cut} {what}");
    }

    /// The log holds a part of what was written, without holes, byte for byte. Returns how many
    /// records.
    fn check_records(&self, reader: &CommitLogReader, what: &str) -> usize {
        let from = reader.min_offset();
        let mut expected = self.written.iter().filter(|(at, _)| *at >= from);
        let mut found = 0;
        for record in reader.scan(from, reader.end()) {
            let record = record.unwrap_or_else(|e| panic!("{what}: {e}")).record;
            let Some((at, bytes)) = expected.next() else {
                panic!("{what}: a record too many at {}", record.physical_offset);
            };
            assert_eq!(record.physical_offset, *at, "{what}");
            let stored = reader.record_at(*at);
            assert_eq!(stored.as_ref(), Some(bytes), "{what} at {at}");
            found += 1;
        }
        found
    }
}

#[test]
fn flushed_records_survive_a_power_loss_at_any_write() {
    let mut random = Random::seeded(0x5EED);
    for run in 0..3 {
        let work = Workload::new(Random(random.next())).run();
        let changes = work.recording.changes();
        println!(
            "run {run}: {changes} changes, {} records",
            work.written.len()
        );
        for cut in 0..=changes {
            work.check_image(cut, &mut |_| 0, "all lost");
            work.check_image(cut, &mut |n| n - 1, "all kept");
            let mut dice = Random(random.next());
            work.check_image(cut, &mut |n| dice.below(n), "some lost");
            let mut dice = Random(random.next());
            let mut mostly = |n: usize| if dice.below(8) == 0 { 0 } else { n - 1 };
            work.check_image(cut, &mut mostly, "few lost");
        }
    }
}
