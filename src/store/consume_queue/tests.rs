//! A queue against a vector, through restarts, cuts at both ends and damaged files.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::store::fs::{OpenMode, recording::RecordingFs};

/// Entries per file.
const PER_FILE: i64 = 7;

struct Bench {
    dir: tempfile::TempDir,
    home: Arc<QueueHome>,
}

impl Bench {
    fn new() -> Self {
        Self::with(false)
    }

    /// With extensions in small files.
    fn with(extensions: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let size = PER_FILE as u64 * ENTRY_LEN as u64;
        // It records only so that nothing is really synced, which would take long.
        let fs = RecordingFs::new(dir.path()).shared();
        let extensions =
            extensions.then(|| ExtensionsHome::new(dir.path().join("consumequeue_ext"), 150));
        let root = dir.path().join("consumequeue");
        let home = QueueHome::with_extensions(fs, root, size, extensions);
        Self { dir, home }
    }

    fn recover(&self) -> ConsumeQueue {
        ConsumeQueue::recover(self.home.clone(), "T".into(), 3).unwrap()
    }

    fn path(&self, file: i64) -> PathBuf {
        let start = file * PER_FILE * ENTRY_LEN as i64;
        self.dir
            .path()
            .join(format!("consumequeue/T/3/{start:020}"))
    }

    fn files(&self) -> Vec<i64> {
        let dir = self.dir.path().join("consumequeue/T/3");
        let listed = self.home.fs.read_dir(&dir).unwrap();
        let start = |name: &str| name.parse::<i64>().unwrap();
        let unit = ENTRY_LEN as i64 * PER_FILE;
        listed.iter().map(|e| start(&e.name) / unit).collect()
    }
}

fn entry(n: i64) -> Entry {
    Entry {
        physical_offset: n * 100,
        size: 60,
        tags_code: -n,
    }
}

/// That of `entry(n)`; few fit into a file, and some into none.
fn extension(n: i64) -> Extension {
    let len = n.unsigned_abs() as usize * 7 % 200;
    Extension {
        tags_code: -n,
        store_time: n * 10,
        bit_map: (0..len).map(|at| at as u8 ^ n as u8).collect(),
    }
}

fn entries(range: std::ops::Range<i64>) -> Vec<Entry> {
    range.map(entry).collect()
}

#[test]
fn what_is_not_in_memory_is_told_and_then_brought() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    queue.append(0, &entries(0..30)).unwrap();
    queue.flush().unwrap();
    for file in bench.files() {
        let file = fs::File::open(bench.path(file)).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    // A file system in memory has nothing to bring.
    for _ in bench.files() {
        let mut found = Vec::new();
        let cold = queue.get_in_memory_into(0, 30, &mut found, None).unwrap();
        let count = found.len() as i64;
        assert_eq!(found, entries(0..count));
        match cold {
            Some(cold) => {
                assert_eq!(count % PER_FILE, 0);
                cold.bring(&mut [0; 16]);
            }
            None => assert_eq!(count, 30),
        }
    }
    let mut found = Vec::new();
    let cold = queue.get_in_memory_into(0, 30, &mut found, None).unwrap();
    assert!(cold.is_none());
    assert_eq!(found, entries(0..30));
}

#[test]
fn files_beyond_the_limit_do_not_stay_open() {
    let bench = Bench::new();
    let open = |queue_id| {
        let home = Arc::clone(&bench.home);
        ConsumeQueue::recover(home, "T".into(), queue_id).unwrap()
    };
    bench.home.set_open_files_max(1);
    let (mut first, mut second) = (open(1), open(2));
    for queue in [&mut first, &mut second] {
        queue.append(0, &entries(0..3)).unwrap();
        queue.flush().unwrap();
        queue.close_surplus();
    }
    assert!(first.has_open_files() && !second.has_open_files());
    first.close_files();
    second.append(3, &entries(3..5)).unwrap();
    second.flush().unwrap();
    second.close_surplus();
    assert!(second.has_open_files());
    assert_eq!(open(2).get(0, 9).unwrap(), entries(0..5));
}

#[test]
fn entries_are_read_from_memory_and_from_disk() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    assert_eq!(queue.append(0, &entries(0..20)).unwrap(), 20);
    assert_eq!(queue.get(0, 100).unwrap(), entries(0..20));
    queue.flush().unwrap();
    queue.close_files();
    assert!(!queue.has_open_files());
    assert_eq!(queue.append(18, &entries(18..25)).unwrap(), 5);
    assert_eq!(queue.get(3, 21).unwrap(), entries(3..24));
    assert_eq!(queue.get(25, 1).unwrap(), []);
    assert_eq!(queue.get(-1, 1).unwrap(), []);
    queue.sync().unwrap();
    assert!(!queue.needs_sync());
    assert_eq!(bench.files(), [0, 1, 2, 3]);
    let unit = PER_FILE as u64 * ENTRY_LEN as u64;
    assert_eq!(fs::metadata(bench.path(3)).unwrap().len(), unit);
    assert_eq!(bench.recover().get(0, 100).unwrap(), entries(0..25));
}

#[test]
fn a_gap_is_told_and_keeps_what_came_before_it() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    queue.append(0, &entries(0..2)).unwrap();
    let error = queue.append(3, &entries(3..5)).unwrap_err();
    assert!(matches!(
        error,
        ConsumeQueueError::Gap {
            expected: 2,
            got: 3,
            ..
        }
    ));
    assert_eq!(queue.append(0, &entries(0..5)).unwrap(), 3);
    assert_eq!(queue.max_offset(), 5);
    assert_eq!(queue.last_physical_offset(), 460);
}

#[test]
fn a_queue_without_messages_keeps_its_offset() {
    // Inside a file, and at the start of one.
    for offset in [PER_FILE + 3, 2 * PER_FILE] {
        let bench = Bench::new();
        let mut queue = bench.recover();
        queue.begin_at(offset).unwrap();
        assert_eq!((queue.min_offset(), queue.max_offset()), (offset, offset));
        let mut queue = bench.recover();
        assert_eq!(queue.max_offset(), offset);
        let gap = queue.append(offset + 1, &entries(1..2));
        assert!(gap.is_ok(), "a queue without entries begins anywhere");
        queue.destroy().unwrap();
        queue.begin_at(offset).unwrap();
        queue.append(offset, &entries(5..7)).unwrap();
        assert!(queue.begin_at(offset + 9).is_err());
        queue.flush().unwrap();
        let mut queue = bench.recover();
        assert_eq!(queue.get(offset, 9).unwrap(), entries(5..7));
        assert_eq!(queue.max_offset(), offset + 2);
    }
}

#[test]
fn a_queue_that_starts_inside_a_file_is_filled_with_blanks() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    queue.append(10, &entries(10..12)).unwrap();
    assert_eq!((queue.min_offset(), queue.max_offset()), (10, 12));
    queue.flush().unwrap();
    let bytes = fs::read(bench.path(1)).unwrap();
    let on_disk: Vec<_> = Entry::decode_all(&bytes).collect();
    assert_eq!(on_disk[..3], [Entry::BLANK; 3]);
    assert_eq!(on_disk[3..5], entries(10..12));
    assert!(!on_disk[5].is_sane());
    let mut queue = bench.recover();
    assert_eq!((queue.min_offset(), queue.max_offset()), (10, 12));
    assert_eq!(queue.get(10, 9).unwrap(), entries(10..12));
    // Only the blanks stay: the queue is open for any start again.
    queue.truncate_above(0).unwrap();
    assert_eq!((queue.min_offset(), queue.max_offset()), (10, 10));
    assert_eq!(queue.last_physical_offset(), -1);
    let mut queue = bench.recover();
    assert_eq!((queue.min_offset(), queue.max_offset()), (10, 10));
    queue.append(8, &entries(8..9)).unwrap();
    queue.flush().unwrap();
    let mut queue = bench.recover();
    assert_eq!((queue.min_offset(), queue.max_offset()), (8, 9));
    queue.truncate_above(0).unwrap();
    queue.append(30, &entries(30..31)).unwrap();
    queue.flush().unwrap();
    assert_eq!(bench.files(), [4]);
    let queue = bench.recover();
    assert_eq!((queue.min_offset(), queue.max_offset()), (30, 31));
}

/// RocketMQ leaves cut entries in the file, where the next recovery takes them for good ones as
/// soon as the log has grown past them.
#[test]
fn cut_entries_do_not_come_back() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    queue.append(0, &entries(0..30)).unwrap();
    queue.sync().unwrap();
    queue.truncate_above(15 * 100).unwrap();
    assert_eq!(queue.max_offset(), 15);
    assert_eq!(bench.files(), [0, 1, 2]);
    let next = Entry {
        tags_code: 7,
        ..entry(15)
    };
    queue.append(15, &[next]).unwrap();
    queue.flush().unwrap();
    let mut queue = bench.recover();
    assert_eq!(queue.max_offset(), 16);
    assert_eq!(queue.get(15, 9).unwrap(), [next]);
}

#[test]
fn a_hole_ends_the_queue_and_what_lies_behind_it_is_cleared() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    queue.append(0, &entries(0..30)).unwrap();
    queue.flush().unwrap();
    let file = bench.home.fs.open(&bench.path(3), OpenMode::Write).unwrap();
    file.zero(2 * ENTRY_LEN as u64, ENTRY_LEN as u64).unwrap();
    let mut queue = bench.recover();
    assert_eq!(queue.max_offset(), 23);
    queue.append(23, &entries(23..24)).unwrap();
    queue.flush().unwrap();
    assert_eq!(bench.recover().max_offset(), 24);
    // A whole file lost: nothing behind it can be right, and recovery looks further back.
    for i in 1..4 {
        fs::write(bench.path(i), vec![0; PER_FILE as usize * ENTRY_LEN]).unwrap();
    }
    let mut queue = bench.recover();
    assert_eq!(queue.max_offset(), 7);
    assert_eq!(queue.last_physical_offset(), 660);
    assert_eq!(queue.get(0, 100).unwrap(), entries(0..7));
    assert_eq!(bench.files(), [0]);
}

#[test]
fn files_of_another_length_are_refused_and_empty_ones_removed() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    queue.append(0, &entries(0..30)).unwrap();
    queue.flush().unwrap();
    fs::write(bench.path(5), "").unwrap();
    fs::write(bench.dir.path().join("consumequeue/T/3/notes"), "x").unwrap();
    assert_eq!(bench.recover().max_offset(), 30);
    assert!(!bench.path(5).exists());
    fs::write(bench.path(2), "x").unwrap();
    let error = ConsumeQueue::recover(bench.home.clone(), "T".into(), 3).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_queue_ends_before_a_missing_file() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    queue.append(0, &entries(0..50)).unwrap();
    queue.flush().unwrap();
    let tail = queue.queue_tail();
    fs::remove_file(bench.path(2)).unwrap();
    let queue = ConsumeQueue::resume(bench.home.clone(), "T".into(), 3, tail).unwrap();
    assert_eq!((queue.min_offset(), queue.max_offset()), (0, 14));
    assert_eq!(bench.files(), [0, 1]);
}

#[test]
fn a_remembered_end_is_trusted_only_when_it_fits() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    queue.append(0, &entries(0..20)).unwrap();
    let tail = queue.queue_tail();
    queue.append(20, &entries(20..30)).unwrap();
    queue.flush().unwrap();
    let resume = |tail| ConsumeQueue::resume(bench.home.clone(), "T".into(), 3, tail).unwrap();
    let wrong = QueueTail {
        last_physical: 5,
        ..tail
    };
    assert_eq!(resume(wrong).max_offset(), 30);
    let mut queue = resume(tail);
    assert_eq!(queue.queue_tail(), tail);
    assert_eq!(queue.append(15, &entries(15..21)).unwrap(), 1);
    queue.flush().unwrap();
    assert_eq!(bench.recover().max_offset(), 21);
    bench.recover().destroy().unwrap();
    assert_eq!(resume(tail).max_offset(), 0);
    assert!(!bench.home.root().join("T").exists());
}

#[test]
fn searching_by_time_follows_both_boundaries() {
    let bench = Bench::new();
    let mut queue = bench.recover();
    queue.append(0, &entries(0..20)).unwrap();
    queue.flush().unwrap();
    queue.delete_expired(entry(8).physical_offset).unwrap();
    assert_eq!(queue.min_offset(), 8);
    // Messages 8..12 at 1000, 12..20 at 2000.
    let time = |e: Entry| Some(if e.physical_offset < 1200 { 1000 } else { 2000 });
    let mut find = |t, boundary| queue.offset_by_time(t, boundary, time).unwrap();
    use Boundary::{Lower, Upper};
    assert_eq!([find(0, Lower), find(0, Upper)], [8, 8]);
    assert_eq!([find(1000, Lower), find(1000, Upper)], [8, 11]);
    assert_eq!([find(1500, Lower), find(1500, Upper)], [12, 11]);
    assert_eq!([find(2000, Lower), find(2000, Upper)], [12, 19]);
    assert_eq!([find(3000, Lower), find(3000, Upper)], [20, 19]);
    let gone = |e: Entry| (e.physical_offset >= 1200).then_some(2000);
    assert_eq!(queue.offset_by_time(0, Lower, gone).unwrap(), 12);
}

#[test]
fn queues_are_listed_from_their_directories() {
    let bench = Bench::new();
    let root = bench.home.root();
    assert_eq!(list_queues(&*bench.home.fs, root).unwrap(), []);
    for dir in ["%RETRY%G/0", "T/10", "T/2", "T/x", "U"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    fs::write(root.join("file"), "").unwrap();
    let queues = list_queues(&*bench.home.fs, root).unwrap();
    let queues: Vec<_> = queues.iter().map(|(t, q)| (&**t, *q)).collect();
    assert_eq!(queues, [("%RETRY%G", 0), ("T", 2), ("T", 10)]);
    for topic in ["", "..", "a/b"] {
        assert!(ConsumeQueue::recover(bench.home.clone(), topic.into(), 0).is_err());
    }
}

#[test]
fn an_idle_queue_is_small() {
    assert!(
        size_of::<ConsumeQueue>() <= 256,
        "{}",
        size_of::<ConsumeQueue>()
    );
}

#[derive(Debug, Clone)]
enum Step {
    Append { again: i64, count: i64 },
    Skip { count: i64 },
    Flush,
    Sync,
    Close,
    Get { from: i64, count: usize },
    Truncate { keep: i64 },
    Expire { count: i64, delete: bool },
    Restart { resume: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..10_i64, 1..20_i64).prop_map(|(again, count)| Step::Append { again, count }),
        1 => (1..20_i64).prop_map(|count| Step::Skip { count }),
        2 => Just(Step::Flush),
        1 => Just(Step::Sync),
        1 => Just(Step::Close),
        4 => (-3..40_i64, 0..30_usize).prop_map(|(from, count)| Step::Get { from, count }),
        1 => (-2..20_i64).prop_map(|keep| Step::Truncate { keep }),
        2 => (0..15_i64, any::<bool>()).prop_map(|(count, delete)| Step::Expire { count, delete }),
        2 => any::<bool>().prop_map(|resume| Step::Restart { resume }),
    ]
}

/// What the queue should be: entries `min..max` where entry n is `entry(n)`.
#[derive(Debug, Default)]
struct Model {
    first: i64,
    min: i64,
    max: i64,
}

fn run(steps: &[Step], extended: bool) -> Result<(), TestCaseError> {
    let bench = Bench::with(extended);
    let mut queue = bench.recover();
    let mut model = Model::default();
    for step in steps {
        match *step {
            Step::Append { again, count } => {
                let from = (model.max - again).max(model.first);
                let batch = entries(from..model.max + count);
                // Some entries have no extension, as those that a recovery reads from the log.
                let extensions = (from..model.max + count - again % 3).map(extension);
                let extensions: Vec<_> = extensions.filter(|_| extended).collect();
                let appended = queue.append_extended(from, &batch, &extensions);
                prop_assert_eq!(appended.unwrap() as i64, count);
                model.max += count;
            }
            Step::Skip { count } => {
                let from = model.max + count;
                let answer = queue.append(from, &entries(from..from + 1));
                // Expired entries may still be on disk, and then tell where to go on.
                if model.min < model.max {
                    prop_assert!(answer.is_err());
                }
                if answer.is_ok() {
                    model = Model {
                        first: from,
                        min: from,
                        max: from + 1,
                    };
                }
            }
            Step::Flush => queue.flush().unwrap(),
            Step::Sync => queue.sync().unwrap(),
            Step::Close => queue.close_files(),
            Step::Get { from, count } => {
                let from = model.min + from;
                let got = queue.get(from, count).unwrap();
                let (mut again, mut found) = (Vec::new(), Vec::new());
                queue
                    .get_into(from, count, &mut again, Some(&mut found))
                    .unwrap();
                prop_assert_eq!(&again, &got);
                prop_assert_eq!(found.len(), if extended { got.len() } else { 0 });
                again.clear();
                let cold = queue.get_in_memory_into(from, count, &mut again, None);
                prop_assert!(cold.unwrap().is_some() || again == got);
                for (n, unit) in (from..).zip(found) {
                    prop_assert!(unit.is_none_or(|unit| unit == extension(n)), "of {}", n);
                }
                let upto = (from + count as i64).min(model.max);
                let expected = if from < model.min {
                    0..0
                } else {
                    from..upto.max(from)
                };
                prop_assert_eq!(got, entries(expected));
            }
            Step::Truncate { keep } => {
                let keep = (model.min + keep).clamp(model.first, model.max);
                queue.truncate_above(keep * 100).unwrap();
                model.max = keep;
                model.min = model.min.min(keep);
            }
            Step::Expire { count, delete } => {
                model.min = (model.min + count).min(model.max);
                if delete {
                    queue.delete_expired(model.min * 100).unwrap();
                } else {
                    queue.correct_min_offset(model.min * 100).unwrap();
                }
                model.first = model.min;
            }
            Step::Restart { resume } => {
                queue.flush().unwrap();
                let tail = queue.queue_tail();
                drop(queue);
                queue = if resume {
                    let (home, topic) = (bench.home.clone(), "T".into());
                    ConsumeQueue::resume(home, topic, 3, tail).unwrap()
                } else {
                    bench.recover()
                };
                queue.correct_min_offset(model.min * 100).unwrap();
            }
        }
        prop_assert_eq!(queue.max_offset(), model.max, "{:?}", step);
        prop_assert_eq!(queue.min_offset(), model.min, "{:?}", step);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_queue_behaves_as_a_vector(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps, false)?;
    }

    #[test]
    fn so_does_one_with_extensions(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps, true)?;
    }

    #[test]
    fn recovery_of_garbage_gives_a_usable_queue(
        files in prop::collection::vec((0..6_u64, prop::collection::vec(any::<u8>(), 140)), 1..4),
        good in 0..30_i64,
    ) {
        let bench = Bench::new();
        let mut queue = bench.recover();
        queue.append(0, &entries(0..good)).unwrap();
        queue.flush().unwrap();
        fs::create_dir_all(bench.path(0).parent().unwrap()).unwrap();
        for (n, content) in &files {
            fs::write(bench.path(*n as i64), content).unwrap();
        }
        let mut queue = bench.recover();
        let (min, max) = (queue.min_offset(), queue.max_offset());
        prop_assert!(min <= max);
        prop_assert_eq!(queue.get(min, 100).unwrap().len() as i64, max - min);
        queue.truncate_above(good / 2 * 100).unwrap();
        // Files older than the last three are not looked at before they are read.
        let all_good = queue.get(0, 100).unwrap().is_sorted_by(|a, b| {
            a.is_sane() && b.is_sane() && a.physical_end() < b.physical_end()
        });
        prop_assume!(all_good && queue.min_offset() == 0);
        let next = queue.max_offset();
        let entry = Entry { physical_offset: queue.last_physical_offset().max(0), size: 1, tags_code: 0 };
        if entry.physical_end() > entry.physical_offset {
            queue.append(next, &[entry]).unwrap();
            queue.sync().unwrap();
            let mut again = bench.recover();
            prop_assert_eq!(again.max_offset(), next + 1);
            prop_assert_eq!(again.get(next, 1).unwrap(), vec![entry]);
        }
    }
}
