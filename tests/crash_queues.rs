//! What queues and tables promise survives a power loss, and a call that fails harms nothing.

mod support;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use callboard::{
    protocol::body::offset::ConsumerOffsetTable,
    store::{
        StoreError,
        consume_queue::{ConsumeQueue, ConsumeQueueError, ENTRY_LEN, Entry, QueueHome},
        fs::{
            Fs, RealFs,
            fault::{Call, Fault, FaultFs, Faults},
            recording::RecordingFs,
        },
        index::{IndexService, IndexShape, LastExit},
        tables::Tables,
    },
};
use support::Random;

/// Files of four pages.
const FILE_LEN: u64 = 4 * 4096 / 20 * ENTRY_LEN as u64;

fn home(fs: Fs, root: &Path) -> Arc<QueueHome> {
    QueueHome::new(fs, root.join("consumequeue"), FILE_LEN)
}

fn recover(home: &Arc<QueueHome>) -> Result<ConsumeQueue, StoreError> {
    ConsumeQueue::recover(Arc::clone(home), "T".into(), 0)
}

/// What is in a queue, and how much of it has to survive.
#[derive(Debug, Clone, Default)]
struct Model {
    entries: Vec<Entry>,
    durable: usize,
}

fn step(queue: &mut ConsumeQueue, model: &mut Model, random: &mut Random, life: i64) {
    match random.below(10) {
        0..=5 => {
            let first = model.entries.len();
            for _ in 0..=random.below(300) {
                let after = model.entries.last().map_or(0, Entry::physical_end);
                model.entries.push(Entry {
                    physical_offset: after + random.below(100) as i64,
                    size: 50,
                    tags_code: life,
                });
            }
            let new = &model.entries[first..];
            queue.append(first as i64, new).expect("in order");
        }
        6 | 7 => queue.flush().expect("flushed"),
        8 => {
            queue.sync().expect("synced");
            model.durable = model.entries.len();
        }
        _ => {
            let cut = model.entries.len() - random.below(model.entries.len().min(1500) + 1);
            let end = cut
                .checked_sub(1)
                .map_or(0, |i| model.entries[i].physical_end());
            queue.truncate_above(end).expect("truncated");
            model.entries.truncate(cut);
            model.durable = model.durable.min(cut);
        }
    }
}

/// Entries that were cut off, or that a power loss took, never come back; synced ones stay.
#[test]
fn synced_entries_survive_a_power_loss_and_cut_ones_do_not() {
    let mut random = Random::seeded(20);
    for round in 0..40 {
        let dir = tempfile::tempdir().expect("a folder");
        let recording = RecordingFs::new(dir.path());
        let home_before = home(recording.shared(), dir.path());
        let mut queue = recover(&home_before).expect("a queue");
        let mut model = Model::default();
        let mut moments = vec![(recording.changes(), model.clone())];
        for n in 0..=random.below(30) {
            step(&mut queue, &mut model, &mut random, n as i64);
            moments.push((recording.changes(), model.clone()));
        }
        for _ in 0..4 {
            let (changes, model) = &moments[random.below(moments.len())];
            let image = tempfile::tempdir().expect("a folder");
            let mut choose = |n| random.below(n);
            (recording.crash_image(*changes, image.path(), &mut choose)).expect("an image");
            let home = home(RealFs::shared(), image.path());
            let mut queue = recover(&home).expect("a queue");
            let left = usize::try_from(queue.max_offset()).expect("a count");
            let entries = queue.get(0, usize::MAX).expect("entries");
            assert!(
                left + 1 >= model.durable,
                "round {round}: {left} of {}",
                model.durable
            );
            // The tags code of the last one may have been on a page that was lost.
            let known = left.saturating_sub(1).max(model.durable);
            assert!(entries[..known] == model.entries[..known], "round {round}");
            queue.append(0, &model.entries).expect("in order");
            queue.flush().expect("flushed");
            let mut queue = recover(&home).expect("a queue");
            let entries = queue.get(0, usize::MAX).expect("entries");
            assert!(entries == model.entries, "round {round}");
        }
    }
}

struct Place {
    dir: tempfile::TempDir,
    fs: Fs,
    faults: Arc<Faults>,
}

impl Place {
    /// It records only so that nothing is really synced, which would take long.
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (fs, faults) = FaultFs::wrap(RecordingFs::new(dir.path()).shared());
        Self { dir, fs, faults }
    }

    /// For what needs a writable mapping; in memory where there is such a place.
    fn real() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let dir = dir.expect("a folder");
        let (fs, faults) = FaultFs::wrap(RealFs::shared());
        Self { dir, fs, faults }
    }

    fn fail_call(&self, after: u64, errno: i32) {
        self.faults.arm(Fault {
            kind: None,
            after,
            times: 1,
            errno,
        });
    }
}

fn entries(range: std::ops::Range<i64>) -> Vec<Entry> {
    let entry = |n| Entry {
        physical_offset: n * 100,
        size: 100,
        tags_code: n,
    };
    range.map(entry).collect()
}

/// Does everything with a queue, each step again if it fails; a failed cut means a new recovery.
fn use_queue(place: &Place) -> Vec<Entry> {
    let home = home(place.fs.clone(), place.dir.path());
    let open = || {
        recover(&home)
            .or_else(|_| recover(&home))
            .expect("the second time")
    };
    let mut queue = open();
    for n in 0..10 {
        match queue.append(n * 200, &entries(n * 200..n * 200 + 200)) {
            Ok(_) => {}
            Err(ConsumeQueueError::Gap { .. }) => panic!("nothing is missing"),
            Err(_) => drop(
                queue
                    .append(n * 200, &entries(n * 200..n * 200 + 200))
                    .expect("again"),
            ),
        }
        queue
            .flush()
            .or_else(|_| queue.flush())
            .expect("the second time");
        if n % 3 == 0 {
            queue
                .sync()
                .or_else(|_| queue.sync())
                .expect("the second time");
            queue.close_files();
        }
    }
    if queue.truncate_above(150_000).is_err() {
        queue = open();
        queue.truncate_above(150_000).expect("the second time");
    }
    queue.append(1500, &entries(1500..1510)).expect("in order");
    queue
        .sync()
        .or_else(|_| queue.sync())
        .expect("the second time");
    if queue.delete_expired(120_000).is_err() {
        queue.delete_expired(120_000).expect("the second time");
    }
    let got = queue.get(1200, 1000);
    assert_eq!(
        got.or_else(|_| queue.get(1200, 1000)).expect("entries"),
        entries(1200..1510)
    );
    place.faults.disarm();
    let mut queue = open();
    queue.correct_min_offset(120_000).expect("corrected");
    assert_eq!(queue.min_offset(), 1200);
    queue.get(1200, 1000).expect("entries")
}

#[test]
fn each_call_of_a_queue_fails_once() {
    let calls = {
        let place = Place::new();
        assert_eq!(use_queue(&place), entries(1200..1510));
        place.faults.calls()
    };
    for errno in [libc::EIO, libc::ENOSPC] {
        for after in 0..calls {
            let place = Place::new();
            place.fail_call(after, errno);
            assert_eq!(
                use_queue(&place),
                entries(1200..1510),
                "call {after} of {calls}"
            );
        }
    }
}

fn use_index(place: &Place) -> Vec<i64> {
    let recover = || {
        let (fs, dir) = (place.fs.clone(), place.dir.path().join("index"));
        let last_exit = LastExit::Crashed { safe_timestamp: 0 };
        IndexService::recover(fs, dir, IndexShape::new(5, 30), last_exit)
    };
    let open = || recover().or_else(|_| recover()).expect("the second time");
    let mut index = open();
    for n in 0..60 {
        let put = index.put_record(n * 10, 1000 + n, &[1, 2]);
        put.or_else(|_| index.put_record(n * 10, 1000 + n, &[1, 2]))
            .expect("the second time");
        if n % 20 == 0 {
            index
                .flush()
                .or_else(|_| index.flush())
                .expect("the second time");
        }
        if n == 40 {
            drop(index);
            index = open();
            for n in 0..=n {
                let put = index.put_record(n * 10, 1000 + n, &[1, 2]);
                put.or_else(|_| index.put_record(n * 10, 1000 + n, &[1, 2]))
                    .expect("again");
            }
        }
    }
    place.faults.disarm();
    drop(index);
    let mut index = open();
    index.put_record(590, 1059, &[1, 2]).expect("put");
    index.query(1, 100, 0, i64::MAX).physical_offsets
}

#[test]
fn each_call_of_the_index_fails_once() {
    let expected: Vec<_> = (0..60).rev().map(|n| n * 10).collect();
    let calls = {
        let place = Place::real();
        assert_eq!(use_index(&place), expected);
        place.faults.calls()
    };
    for errno in [libc::EIO, libc::ENOSPC] {
        for after in 0..calls {
            let place = Place::real();
            place.fail_call(after, errno);
            assert_eq!(use_index(&place), expected, "call {after} of {calls}");
        }
    }
}

fn offsets(offset: i64) -> ConsumerOffsetTable {
    ConsumerOffsetTable {
        offset_table: BTreeMap::from([("T@G".to_owned(), BTreeMap::from([(0, offset)]))]),
        ..ConsumerOffsetTable::default()
    }
}

fn loaded(fs: Fs, root: &Path) -> i64 {
    let (_, table) = Tables::new(fs, root.join("config"))
        .consumer_offsets()
        .expect("readable");
    table.map_or(0, |table| table.offset_table["T@G"][&0])
}

/// A table that was saved is there after a power loss, or a newer one is; and while the disk is full
/// the last good one stays.
#[test]
fn a_saved_table_survives() {
    let mut random = Random::seeded(21);
    for after in 0..24 {
        let dir = tempfile::tempdir().expect("a folder");
        let recording = RecordingFs::new(dir.path());
        let (fs, faults) = FaultFs::wrap(recording.shared());
        let tables = Tables::new(fs.clone(), dir.path().join("config"));
        let (mut file, _) = tables.consumer_offsets().expect("readable");
        faults.arm(Fault {
            kind: Some([Call::Write, Call::Rename, Call::SyncDir, Call::Sync][after % 4]),
            after: after as u64 / 4,
            times: 3,
            errno: libc::ENOSPC,
        });
        let mut saved = 0;
        for offset in 1..12 {
            if file.save(&offsets(offset)).is_ok() {
                saved = offset;
            }
            let now = loaded(RealFs::shared(), dir.path());
            assert!(
                (saved..=offset).contains(&now),
                "{now} at {offset}, saved {saved}"
            );
            let image = tempfile::tempdir().expect("a folder");
            let mut choose = |n| random.below(n);
            recording
                .crash_image(recording.changes(), image.path(), &mut choose)
                .expect("an image");
            let left = loaded(RealFs::shared(), image.path());
            assert!(
                (saved..=offset).contains(&left),
                "{left} at {offset}, saved {saved}"
            );
        }
        faults.disarm();
        assert!(file.save(&offsets(12)).expect("saved"));
        assert_eq!(loaded(RealFs::shared(), dir.path()), 12);
    }
}
