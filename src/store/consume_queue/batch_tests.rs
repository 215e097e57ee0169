//! A queue of batches against a vector, through restarts, cuts at both ends and damaged files.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::store::fs::recording::RecordingFs;

/// Units per file.
const PER_FILE: u64 = 7;

/// Bytes of a file.
const FILE_LEN: u64 = PER_FILE * BATCH_UNIT_LEN as u64;

struct Bench {
    dir: tempfile::TempDir,
    home: Arc<QueueHome>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // It records only so that nothing is really synced, which would take long.
        let fs = RecordingFs::new(dir.path()).shared();
        let home = QueueHome::of_batches(fs, dir.path().join("batchconsumequeue"), FILE_LEN);
        Self { dir, home }
    }

    fn recover(&self) -> BatchConsumeQueue {
        BatchConsumeQueue::recover(self.home.clone(), "T".into(), 3).unwrap()
    }

    fn resume(&self, max_offset: i64, last_physical: i64) -> BatchConsumeQueue {
        let tail = QueueTail {
            max_offset,
            last_physical,
        };
        BatchConsumeQueue::resume(self.home.clone(), "T".into(), 3, tail).unwrap()
    }

    fn path(&self, file: u64) -> PathBuf {
        let name = format!("batchconsumequeue/T/3/{:020}", file * FILE_LEN);
        self.dir.path().join(name)
    }
}

/// Units of so many messages each, from an offset on.
fn units(base: i64, messages: impl IntoIterator<Item = i16>) -> Vec<BatchUnit> {
    let mut base_offset = base;
    let unit = |(n, messages): (i64, i16)| {
        let unit = BatchUnit {
            entry: Entry {
                physical_offset: base * 1000 + n * 100,
                size: 60,
                tags_code: -n,
            },
            store_time: 5000 + n / 2 * 10,
            base_offset,
            messages,
        };
        base_offset = unit.end_offset();
        unit
    };
    (0..).zip(messages).map(unit).collect()
}

fn append(queue: &mut BatchConsumeQueue, units: &[BatchUnit]) -> usize {
    let is_new = |unit: &&BatchUnit| queue.append(unit).unwrap();
    units.iter().filter(is_new).count()
}

#[test]
fn a_message_is_found_in_the_unit_that_holds_it() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    let all = units(0, [3, 1, 5, 1, 1, 20, 2, 2, 9, 300]);
    assert_eq!(append(&mut queue, &all), all.len());
    assert_eq!(append(&mut queue, &all), 0, "it has them");
    for step in ["memory", "disk"] {
        for offset in 0..344 {
            let found = queue.get(offset, 1).unwrap();
            let holds = |unit: &&BatchUnit| (unit.base_offset..unit.end_offset()).contains(&offset);
            assert_eq!(
                found,
                [*all.iter().find(holds).unwrap()],
                "{offset} in {step}"
            );
        }
        assert_eq!(queue.get(2, 3).unwrap(), all[..3], "{step}");
        assert_eq!(queue.get(8, 500).unwrap(), all[2..], "{step}");
        assert_eq!(queue.get(344, 9).unwrap(), []);
        assert_eq!(queue.get(-1, 9).unwrap(), []);
        queue.sync().unwrap();
        queue = bench.recover();
    }
    assert_eq!((queue.min_offset(), queue.max_offset()), (0, 344));
    assert_eq!(fs::metadata(bench.path(1)).unwrap().len(), FILE_LEN);
    assert!(!bench.path(2).exists());
}

#[test]
fn a_gap_is_told_and_another_message_stays_out() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    append(&mut queue, &units(0, [3, 4]));
    let late = units(9, [2])[0];
    let told = queue.append(&late).unwrap_err().to_string();
    assert_eq!(told, "T/3: next queue offset is 7, got 9");
    let other = units(5, [2])[0];
    assert!(!queue.append(&other).unwrap());
    let no_messages = units(7, [0])[0];
    assert!(matches!(
        queue.append(&no_messages),
        Err(ConsumeQueueError::Store(StoreError::Invalid { .. }))
    ));
    assert_eq!(queue.max_offset(), 7);
}

#[test]
fn a_queue_begins_anywhere_and_goes_on_where_it_is_told() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    assert_eq!((queue.min_offset(), queue.max_offset()), (0, 0));
    queue.begin_at(50).unwrap();
    assert_eq!((queue.min_offset(), queue.max_offset()), (50, 50));
    append(&mut queue, &units(1000, [4, 4]));
    assert_eq!((queue.min_offset(), queue.max_offset()), (1000, 1008));
    assert!(queue.begin_at(5).is_err());
    queue.flush().unwrap();
    let again = bench.recover();
    assert_eq!((again.min_offset(), again.max_offset()), (1000, 1008));
    queue.destroy().unwrap();
    assert_eq!((queue.min_offset(), queue.max_offset()), (0, 0));
    assert!(!bench.dir.path().join("batchconsumequeue/T").exists());
}

#[test]
fn it_is_resumed_where_its_tail_says() {
    let bench = Bench::new();
    let all = units(0, (1..=17).map(|n| n % 4 + 1));
    let mut queue = bench.recover();
    append(&mut queue, &all);
    queue.flush().unwrap();
    for known in (1..=all.len()).rev() {
        let last = all[known - 1];
        let mut queue = bench.resume(last.end_offset(), last.physical_end());
        assert_eq!(queue.max_offset(), last.end_offset());
        assert_eq!(queue.get(0, 1000).unwrap(), all[..known], "{known}");
    }
    // A tail of another life is ignored.
    let queue = bench.resume(5, 77);
    assert_eq!(queue.max_offset(), all[0].end_offset());
}

#[test]
fn times_are_searched_as_rocketmq_does() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    assert_eq!(queue.offset_by_time(5, Boundary::Lower).unwrap(), 0);
    // Stored at 5000, 5000, 5010, 5010, 5020.
    append(&mut queue, &units(0, [3; 5]));
    let mut find = |time, boundary| queue.offset_by_time(time, boundary).unwrap();
    for (time, lower, upper) in [
        (4999, 0, 0),
        (5000, 0, 3),
        (5005, 6, 6),
        (5010, 6, 9),
        (5015, 12, 12),
        (5020, 12, 12),
        (9999, 12, 12),
    ] {
        assert_eq!(find(time, Boundary::Lower), lower, "{time}");
        assert_eq!(find(time, Boundary::Upper), upper, "{time}");
    }
}

/// All pages from some on are lost: whichever field of a unit the border goes through, none is left that
/// holds other messages than it did.
#[test]
fn a_torn_unit_is_none() {
    const COUNT: usize = 23 * 4096 / BATCH_UNIT_LEN * 2;
    let bench = Bench::new();
    let fs = RecordingFs::new(bench.dir.path()).shared();
    let root = bench.dir.path().join("large");
    let home = QueueHome::of_batches(fs, &root, (COUNT * BATCH_UNIT_LEN) as u64);
    let open = || BatchConsumeQueue::recover(home.clone(), "T".into(), 0).unwrap();
    let all = units(0, [257; COUNT]);
    let mut queue = open();
    append(&mut queue, &all);
    queue.flush().unwrap();
    let path = root.join("T/0").join("0".repeat(20));
    let whole = fs::read(&path).unwrap();
    for border in (4096..whole.len()).step_by(4096) {
        let mut bytes = whole.clone();
        bytes[border..].fill(0);
        fs::write(&path, &bytes).unwrap();
        let mut queue = open();
        let left = queue.get(0, usize::MAX).unwrap();
        assert_eq!(left, all[..left.len()], "{border}");
        // What is lost behind the number of messages tells nothing.
        assert!([0, 1].contains(&(left.len() - border / BATCH_UNIT_LEN)));
        append(&mut queue, &all);
        assert_eq!(queue.get(0, usize::MAX).unwrap(), all);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<i16>),
    Flush,
    Reopen,
    Resume,
    CutAbove(usize),
    CutBelow(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(1..40_i16, 1..12).prop_map(Step::Append),
        2 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        1 => Just(Step::Resume),
        1 => (0..30_usize).prop_map(Step::CutAbove),
        1 => (0..30_usize).prop_map(Step::CutBelow),
    ]
}

proptest! {
    #[test]
    fn it_holds_what_a_vector_holds(steps in prop::collection::vec(step(), 1..40)) {
        let bench = Bench::new();
        let mut queue = bench.recover();
        // The units of the log, and how many of them are below its beginning.
        let (mut all, mut gone): (Vec<BatchUnit>, usize) = (Vec::new(), 0);
        for step in steps {
            let log_min = all.get(gone).map_or(i64::MAX / 4, |unit| unit.entry.physical_offset);
            match step {
                Step::Append(messages) => {
                    let base = all.last().map_or(0, BatchUnit::end_offset);
                    let at = all.last().map_or(0, Unit::physical_end);
                    let mut more = units(base, messages);
                    for (n, unit) in (0..).zip(&mut more) {
                        unit.entry.physical_offset = at + n * 70;
                    }
                    append(&mut queue, &more);
                    all.extend(more);
                }
                Step::Flush => queue.flush().unwrap(),
                Step::Reopen => {
                    queue.flush().unwrap();
                    queue = bench.recover();
                    queue.correct_min_offset(log_min).unwrap();
                }
                Step::Resume => {
                    queue.flush().unwrap();
                    queue = bench.resume(queue.max_offset(), queue.last_physical_offset());
                    queue.correct_min_offset(log_min).unwrap();
                }
                Step::CutAbove(count) => {
                    let keep = all.len().saturating_sub(count).max(gone);
                    // A queue whose messages are all gone keeps its end, which its model does not.
                    if keep > gone {
                        let end = all[keep - 1].physical_end();
                        queue.truncate_above(end).unwrap();
                        all.truncate(keep);
                    }
                }
                Step::CutBelow(count) => {
                    gone = (gone + count).min(all.len().saturating_sub(1));
                    if let Some(first) = all.get(gone) {
                        queue.delete_expired(first.entry.physical_offset).unwrap();
                    }
                }
            }
            let alive = &all[gone.min(all.len())..];
            let max = all.last().map_or(0, BatchUnit::end_offset);
            let min = alive.first().map_or(max, |first| first.base_offset);
            prop_assert_eq!((queue.min_offset(), queue.max_offset()), (min, max));
            prop_assert_eq!(queue.get(min, usize::MAX).unwrap(), alive);
            if let Some(last) = alive.last() {
                prop_assert_eq!(queue.get(max - 1, 1).unwrap(), [*last]);
            }
        }
    }

    #[test]
    fn any_files_are_recovered_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..900)) {
        let bench = Bench::new();
        fs::create_dir_all(bench.path(0).parent().unwrap()).unwrap();
        for (number, chunk) in (0..).zip(bytes.chunks(FILE_LEN as usize)) {
            let mut file = chunk.to_vec();
            file.resize(FILE_LEN as usize, 0);
            fs::write(bench.path(number), file).unwrap();
        }
        let mut queue = bench.recover();
        prop_assert!(queue.min_offset() <= queue.max_offset());
        let _ = queue.get(queue.min_offset(), 1000);
        let _ = queue.offset_by_time(5, Boundary::Upper);
        queue.truncate_above(1 << 40).unwrap();
        queue.correct_min_offset(1 << 20).unwrap();
        prop_assert!(queue.min_offset() <= queue.max_offset());
    }
}
