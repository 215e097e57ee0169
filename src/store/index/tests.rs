//! The index against a list of what was put, through restarts and power losses.

use std::{collections::BTreeMap, fs};

use proptest::prelude::*;

use super::*;
use crate::store::fs::RealFs;

const ALWAYS: (i64, i64) = (0, i64::MAX);

struct Bench {
    dir: tempfile::TempDir,
    shape: IndexShape,
}

impl Bench {
    fn new(slots: u32, entries: u32) -> Self {
        Self {
            // In memory where there is such a place: syncing really would take long.
            dir: tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .unwrap(),
            shape: IndexShape::new(slots, entries),
        }
    }

    fn dir(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    fn recover(&self, last_exit: LastExit) -> IndexService {
        IndexService::recover(RealFs::shared(), self.dir(), self.shape, last_exit).unwrap()
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let listed = RealFs::shared().read_dir(&self.dir()).unwrap();
        let read = |name: &str| fs::read(self.dir().join(name)).unwrap();
        listed
            .iter()
            .map(|e| (e.name.clone(), read(&e.name)))
            .collect()
    }

    /// Leaves these files and no others.
    fn set_files(&self, files: &BTreeMap<String, Vec<u8>>) {
        fs::remove_dir_all(self.dir()).ok();
        fs::create_dir_all(self.dir()).unwrap();
        for (name, bytes) in files {
            fs::write(self.dir().join(name), bytes).unwrap();
        }
    }
}

fn find(index: &IndexService, hash: i32) -> Vec<i64> {
    index.query(hash, 1000, ALWAYS.0, ALWAYS.1).physical_offsets
}

#[test]
fn keys_are_found_newest_first_over_several_files() {
    let bench = Bench::new(3, 5);
    let mut index = bench.recover(LastExit::Clean);
    assert_eq!(index.last_physical_offset(), -1);
    for n in 0..10 {
        assert!(
            index
                .put_record(n * 100, 1000 * (n + 1), &[7, n as i32])
                .unwrap()
        );
    }
    assert!(!index.put_record(900, 10_000, &[7]).unwrap());
    assert_eq!(index.headers().len(), 5);
    assert_eq!(
        find(&index, 7),
        [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    );
    assert_eq!(find(&index, 3), [300]);
    assert!(find(&index, 10).is_empty());
    assert_eq!(find(&index, i32::MIN), [0]);
    let some = index.query(7, 3, 2000, 5000);
    assert_eq!(some.physical_offsets, [400, 300, 200]);
    assert_eq!(
        (some.last_update_timestamp, some.last_update_physical),
        (10_000, 900)
    );
    let flushed = index.flush().unwrap();
    assert_eq!((flushed.end_timestamp, flushed.end_physical), (10_000, 900));
    assert!(!index.needs_flush());
    drop(index);
    let mut index = bench.recover(LastExit::Clean);
    assert_eq!(find(&index, 7).len(), 10);
    assert_eq!(index.last_physical_offset(), 900);
    assert_eq!(index.delete_expired(400).unwrap(), 2);
    assert_eq!(find(&index, 7), [900, 800, 700, 600, 500, 400]);
    assert_eq!(index.delete_expired(i64::MAX).unwrap(), 2);
    assert_eq!(bench.files().len(), 1);
    index.destroy().unwrap();
    assert!(find(&index, 7).is_empty());
    assert!(index.put_record(0, 1, &[7]).unwrap());
    assert_eq!(find(&index, 7), [0]);
}

#[test]
fn headers_and_entries_are_those_of_rocketmq() {
    let bench = Bench::new(4, 3);
    let mut index = bench.recover(LastExit::Clean);
    index.put_record(50, 10_000, &[4]).unwrap();
    index.put_record(60, 13_500, &[8, 1]).unwrap();
    let headers: Vec<_> = index.headers().copied().collect();
    let full = IndexHeader {
        begin_timestamp: 10_000,
        end_timestamp: 13_500,
        begin_physical: 50,
        end_physical: 60,
        hash_slot_count: 1,
        index_count: 3,
    };
    assert_eq!(headers[0], full);
    let next = IndexHeader {
        begin_timestamp: 13_500,
        begin_physical: 60,
        index_count: 2,
        ..full
    };
    assert_eq!(headers[1], next);
    drop(index);
    let files: Vec<_> = bench.files().into_values().collect();
    assert_eq!(files[0][..40], full.encode());
    assert_eq!(files[0][40..44], [0, 0, 0, 2]);
    let second = IndexEntry {
        key_hash: 8,
        physical_offset: 60,
        time_difference: 3,
        previous: 1,
    };
    assert_eq!(files[0][40 + 16 + 2 * 20..], second.encode());
    // An idle hour, then a file whose first entry counts its time from the end of the one before.
    let mut index = bench.recover(LastExit::Clean);
    index.put_record(70, 14_000, &[1]).unwrap();
    index.put_record(80, 3_614_000, &[1]).unwrap();
    let last = index.headers().last().unwrap();
    assert_eq!((last.begin_timestamp, last.begin_physical), (3_614_000, 80));
    drop(index);
    let files: Vec<_> = bench.files().into_values().collect();
    let first = IndexEntry {
        key_hash: 1,
        physical_offset: 80,
        time_difference: 3600,
        previous: 0,
    };
    assert_eq!(files[2][40 + 16 + 20..40 + 16 + 40], first.encode());
}

#[test]
fn links_that_lead_nowhere_end_a_chain() {
    let bench = Bench::new(1, 10);
    let mut index = bench.recover(LastExit::Clean);
    for n in 0..5 {
        index.put_record(n * 10, 1000, &[9]).unwrap();
    }
    drop(index);
    let (name, good) = bench.files().pop_first().unwrap();
    for (previous, found) in [
        (4, 2),
        (5, 2),
        (3, 5),
        (2, 4),
        (0, 2),
        (-1, 2),
        (i32::MAX, 2),
    ] {
        let mut bytes = good.clone();
        let at = bench.shape.entry_at(4) as usize + 16;
        bytes[at..at + 4].copy_from_slice(&i32::to_be_bytes(previous));
        fs::write(bench.dir().join(&name), bytes).unwrap();
        assert_eq!(
            find(&bench.recover(LastExit::Clean), 9).len(),
            found,
            "{previous}"
        );
    }
}

#[test]
fn files_of_another_size_are_left_alone() {
    let bench = Bench::new(3, 5);
    fs::create_dir_all(bench.dir()).unwrap();
    fs::write(bench.dir().join("29990101000000000"), "other").unwrap();
    fs::write(bench.dir().join("29990101000000001"), "").unwrap();
    fs::write(bench.dir().join("readme"), "x").unwrap();
    let mut index = bench.recover(LastExit::Clean);
    index.put_record(10, 1000, &[1]).unwrap();
    let names: Vec<_> = bench.files().into_keys().collect();
    assert_eq!(names, ["29990101000000000", "29990101000000002", "readme"]);
    drop(index);
    assert_eq!(find(&bench.recover(LastExit::Clean), 1), [10]);
}

/// A flush that failed, or that began before something was put, does not hide it.
#[test]
fn a_flush_covers_what_was_put_before_it() {
    let bench = Bench::new(3, 3);
    let mut index = bench.recover(LastExit::Clean);
    index.put_record(10, 1000, &[1, 2]).unwrap();
    let flush = index.start_flush();
    index.put_record(20, 2000, &[1, 2]).unwrap();
    let flushed = flush.run().unwrap();
    assert_eq!(flushed.end_physical, 10);
    index.finish_flush(&flushed);
    assert!(index.needs_flush());
    assert_eq!(index.flush().unwrap().end_physical, 20);
    assert!(!index.needs_flush());
}

/// After a crash RocketMQ deletes the newest file and does not dispatch its messages again.
#[test]
fn a_killed_process_loses_no_keys() {
    let bench = Bench::new(3, 100);
    let mut index = bench.recover(LastExit::Clean);
    for n in 0..20 {
        index.put_record(n * 10, 1000 + n, &[1, 2]).unwrap();
    }
    drop(index);
    let mut index = bench.recover(LastExit::Crashed { safe_timestamp: 0 });
    assert_eq!(index.last_physical_offset(), 180);
    assert_eq!(find(&index, 1).len(), 19);
    for n in 0..21 {
        index.put_record(n * 10, 1000 + n, &[1, 2]).unwrap();
    }
    assert_eq!(find(&index, 1).len(), 21);
}

/// What the log lost comes back as other records at the same places.
#[test]
fn records_beyond_the_log_are_forgotten() {
    for log_end in 0..25 {
        let bench = Bench::new(3, 8);
        let mut index = bench.recover(LastExit::Clean);
        for n in 0..20 {
            index.put_record(n, 1000 + n, &[1, 2]).unwrap();
        }
        index.truncate_above(log_end).unwrap();
        let left = index.last_physical_offset();
        assert!(
            left < log_end && left >= log_end.min(20) - 4,
            "{left} {log_end}"
        );
        for n in 0..log_end.min(20) {
            index.put_record(n, 1000 + n, &[1, 2]).unwrap();
        }
        index.put_record(log_end.max(20), 2000, &[3]).unwrap();
        let expected: Vec<_> = (0..log_end.min(20)).rev().collect();
        assert_eq!(
            [find(&index, 1), find(&index, 2)],
            [expected.clone(), expected]
        );
        assert_eq!(find(&index, 3), [log_end.max(20)]);
    }
}

/// What is left of a record is taken out: its keys come once only.
#[test]
fn a_killed_process_leaves_no_key_twice() {
    let bench = Bench::new(3, 100);
    let records = |index: &mut IndexService| {
        for n in 0..6 {
            index.put_record(n, 1000 + n, &[1, 2, 4, 1]).unwrap();
        }
    };
    writer::PUTS.take();
    records(&mut bench.recover(LastExit::Clean));
    let puts = writer::PUTS.take();
    let (name, whole) = bench.files().pop_first().unwrap();
    let mut file = vec![0; whole.len()];
    for (_, at, bytes) in puts {
        file[at as usize..][..bytes.len()].copy_from_slice(&bytes);
        bench.set_files(&[(name.clone(), file.clone())].into());
        records(&mut bench.recover(LastExit::Killed { safe_timestamp: 0 }));
        let now = bench.files();
        assert!(now.len() == 1 && now.values().all(|file| *file == whole));
    }
}

#[derive(Debug, Clone)]
struct Record {
    gap: i64,
    pause: i64,
    keys: Vec<i32>,
}

fn records(max: usize) -> impl Strategy<Value = Vec<Record>> {
    let record = (
        1..50_i64,
        0..900_i64,
        prop::collection::vec(1..40_i32, 0..4),
    )
        .prop_map(|(gap, pause, keys)| Record { gap, pause, keys });
    prop::collection::vec(record, 0..max)
}

/// Puts records from a place and a time on; returns where it ended.
fn put(index: &mut IndexService, records: &[Record], mut at: (i64, i64)) -> (i64, i64) {
    for record in records {
        index.put_record(at.0, at.1, &record.keys).unwrap();
        at = (at.0 + record.gap, at.1 + record.pause);
    }
    at
}

fn expected(records: &[Record]) -> BTreeMap<i32, Vec<i64>> {
    let mut found = BTreeMap::<i32, Vec<i64>>::new();
    let mut at = 0;
    for record in records {
        for key in &record.keys {
            let places = found.entry(*key).or_default();
            if places.first() != Some(&at) {
                places.insert(0, at);
            }
        }
        at += record.gap;
    }
    found
}

fn check(index: &IndexService, records: &[Record]) -> Result<(), TestCaseError> {
    let expected = expected(records);
    for key in 0..40 {
        let places = expected.get(&key).cloned().unwrap_or_default();
        prop_assert_eq!(find(index, key), places, "key {}", key);
    }
    Ok(())
}

/// What is on disk when only some pages came there since the last sync.
fn mix(
    old: &BTreeMap<String, Vec<u8>>,
    new: &BTreeMap<String, Vec<u8>>,
    came: &[bool],
) -> BTreeMap<String, Vec<u8>> {
    const PAGE: usize = 64;
    let mut came = came.iter().copied().cycle();
    let mut mixed = new.clone();
    for (name, bytes) in &mut mixed {
        let empty = vec![0; bytes.len()];
        let old = old.get(name).unwrap_or(&empty);
        for (page, old_page) in bytes.chunks_mut(PAGE).zip(old.chunks(PAGE)) {
            if !came.next().unwrap() {
                page.copy_from_slice(old_page);
            }
        }
    }
    mixed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn an_index_behaves_as_a_list(
        before in records(60), after in records(60), slots in 1..20_u32, entries in 2..60_u32,
    ) {
        let bench = Bench::new(slots, entries);
        let mut index = bench.recover(LastExit::Clean);
        let at = put(&mut index, &before, (0, 1_800_000_000_000));
        check(&index, &before)?;
        drop(index);
        let mut index = bench.recover(LastExit::Clean);
        check(&index, &before)?;
        put(&mut index, &after, at);
        check(&index, &[before, after].concat())?;
    }

    #[test]
    fn a_power_loss_is_healed_by_dispatching_again(
        before in records(60), after in records(60), slots in 1..20_u32, entries in 2..60_u32,
        came in prop::collection::vec(any::<bool>(), 1..200),
    ) {
        let bench = Bench::new(slots, entries);
        let start = (0, 1_800_000_000_000);
        let mut index = bench.recover(LastExit::Clean);
        let at = put(&mut index, &before, start);
        let safe_timestamp = index.flush().unwrap().end_timestamp;
        let old = bench.files();
        put(&mut index, &after, at);
        let newest = index.last_physical_offset();
        drop(index);
        let mixed = mix(&old, &bench.files(), &came);
        bench.set_files(&mixed);
        let all = [before, after].concat();
        let mut index = bench.recover(LastExit::Crashed { safe_timestamp });
        prop_assert!(index.last_physical_offset() <= newest);
        put(&mut index, &all, start);
        check(&index, &all)?;
        drop(index);
        check(&bench.recover(LastExit::Clean), &all)?;
    }

    /// A process dies between any two of its writes; what it wrote is there.
    #[test]
    fn a_kill_leaves_all_but_the_last_record(
        before in records(60), after in records(60), slots in 1..20_u32, entries in 2..60_u32,
        place in any::<prop::sample::Index>(),
    ) {
        let bench = Bench::new(slots, entries);
        let start = (0, 1_800_000_000_000);
        let mut index = bench.recover(LastExit::Clean);
        let at = put(&mut index, &before, start);
        let safe_timestamp = index.flush().unwrap().end_timestamp;
        let mut files = bench.files();
        writer::PUTS.take();
        put(&mut index, &after, at);
        let newest = index.last_physical_offset();
        drop(index);
        let puts = writer::PUTS.take();
        for (path, at, bytes) in &puts[..place.index(puts.len() + 1)] {
            let name = path.file_name().unwrap().to_str().unwrap();
            let file = files
                .entry(name.to_owned())
                .or_insert_with(|| vec![0; bench.shape.file_len() as usize]);
            file[*at as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        let all = [before, after].concat();
        for _ in 0..2 {
            bench.set_files(&files);
            let mut index = bench.recover(LastExit::Killed { safe_timestamp });
            prop_assert!(index.last_physical_offset() <= newest);
            // Killed once more, before anything else was written.
            drop(index);
            files = bench.files();
            index = bench.recover(LastExit::Killed { safe_timestamp });
            put(&mut index, &all, start);
            check(&index, &all)?;
            drop(index);
            check(&bench.recover(LastExit::Clean), &all)?;
        }
        // What was mended passes a check of every entry, too.
        bench.set_files(&files);
        let mut index = bench.recover(LastExit::Crashed { safe_timestamp: 0 });
        put(&mut index, &all, start);
        check(&index, &all)?;
    }

    #[test]
    fn garbage_is_survived(
        files in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 40 + 12 + 100), 1..3),
        exit in prop_oneof![
            Just(LastExit::Clean),
            Just(LastExit::Killed { safe_timestamp: 5 }),
            Just(LastExit::Crashed { safe_timestamp: 5 }),
        ],
    ) {
        let bench = Bench::new(3, 5);
        fs::create_dir_all(bench.dir()).unwrap();
        for (n, bytes) in files.iter().enumerate() {
            fs::write(bench.dir().join(format!("2026010100000000{n}")), bytes).unwrap();
        }
        let mut index = bench.recover(exit);
        for key in 0..10 {
            find(&index, key);
        }
        if let Some(next) = index.last_physical_offset().checked_add(1) {
            prop_assert!(index.put_record(next, 1000, &[3]).unwrap());
            prop_assert!(find(&index, 3).contains(&next));
        }
    }
}
