use std::{collections::BTreeMap, sync::Arc};

use bytes::BytesMut;
use proptest::prelude::*;
use smallvec::SmallVec;

use super::{
    Check, Compaction, CompactionFiles, CompactionHome, Item, Outcome, entry::ENTRY_LEN, get,
    position::Positions,
};
use crate::{
    protocol::message::{
        properties,
        record::{self, CheckCrc, NewRecord, RecordView, encode_record, patch_record},
        tags_code,
    },
    store::{
        StoreError,
        fs::{
            Fs, RealFs,
            fault::{Fault, FaultFs},
            recording::RecordingFs,
        },
        get_message::{EntryFilter, GetLimits, GetRequest, GetStatus},
    },
};

const TOPIC: &str = "Compacted";

/// Room for eight entries and an end, and a log of five times as much.
const CQ_LEN: u64 = 10 * ENTRY_LEN as u64;

/// A message as the tests know it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    key: String,
    body: Vec<u8>,
    tags: &'static str,
}

fn sent(number: usize, keys: usize) -> Sent {
    Sent {
        key: format!("k{}", number * 7 % keys),
        body: format!("body {number} {}", "x".repeat(number * 13 % 60)).into_bytes(),
        tags: if number.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        },
    }
}

fn record_of(sent: &Sent, queue_offset: i64) -> Vec<u8> {
    let mut text = Vec::new();
    properties::append(&mut text, properties::KEYS, &sent.key);
    properties::append(&mut text, properties::TAGS, sent.tags);
    let mut out = BytesMut::new();
    let record = NewRecord {
        topic: TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_host: "127.0.0.1:2".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &sent.body,
        properties: &text,
    };
    encode_record(&record, &mut out).unwrap();
    patch_record(
        &mut out,
        queue_offset,
        queue_offset * 1000,
        5000 + queue_offset,
    );
    out.to_vec()
}

fn append(files: &mut CompactionFiles, all: &BTreeMap<i64, Sent>) -> Result<(), StoreError> {
    let records: Vec<_> = all
        .iter()
        .map(|(&at, sent)| (at, record_of(sent, at), tags_code(sent.tags)))
        .collect();
    files.append(records.iter().map(|(at, record, tags_code)| Item {
        record,
        queue_offset: *at,
        tags_code: *tags_code,
        store_time: 5000 + at,
    }))
}

struct Dir {
    dir: tempfile::TempDir,
    fs: Fs,
}

impl Dir {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::shared();
        Self { dir, fs }
    }

    fn home(&self) -> Arc<CompactionHome> {
        self.home_on(&self.fs)
    }

    fn home_on(&self, fs: &Fs) -> Arc<CompactionHome> {
        let root = self.dir.path();
        CompactionHome::new(fs.clone(), root, &root.join("callboard"), 0, CQ_LEN)
    }

    fn open(&self) -> CompactionFiles {
        CompactionFiles::open(&self.home(), TOPIC, 0, Check::Ends).unwrap()
    }
}

fn limits() -> GetLimits {
    GetLimits {
        memory_count: 5,
        memory_bytes: 1 << 20,
        disk_count: 5,
        disk_bytes: 1 << 20,
        filter_scan_bytes: 1 << 20,
        memory_distance: i64::MAX,
    }
}

/// All that a reader from an offset on gets.
fn read_all(files: &mut CompactionFiles, filter: &EntryFilter, from: i64) -> BTreeMap<i64, Sent> {
    let mut all = BTreeMap::new();
    let end = files.next_offset();
    let mut request = GetRequest {
        offset: from,
        max_messages: 3,
        max_bytes: 1 << 20,
        filter: filter.clone(),
    };
    while request.offset < end {
        let found = get::collect(files, &request, &limits(), end, end).unwrap();
        assert!(found.next_begin_offset > request.offset, "{found:?}");
        let mut messages = 0;
        for bytes in found.parts.iter().flat_map(|part| record::slices(part)) {
            let view = RecordView::parse(bytes, CheckCrc::Body).unwrap();
            assert!(view.queue_offset >= request.offset);
            assert_eq!(view.physical_offset, view.queue_offset * 1000);
            let tags = if view.property("TAGS") == Some("even") {
                "even"
            } else {
                "odd"
            };
            let sent = Sent {
                key: view.property("KEYS").unwrap().to_owned(),
                body: view.body.to_vec(),
                tags,
            };
            assert!(all.insert(view.queue_offset, sent).is_none());
            messages += 1;
        }
        assert_eq!(found.messages, messages);
        assert!(messages <= request.max_messages, "{found:?}");
        assert_eq!(found.status == GetStatus::Found, messages > 0);
        assert_eq!(found.max_offset, end);
        request.offset = found.next_begin_offset;
    }
    all
}

fn all_of(files: &mut CompactionFiles) -> BTreeMap<i64, Sent> {
    read_all(files, &EntryFilter::All, 0)
}

fn compact(
    files: &mut CompactionFiles,
    position: i64,
    map_bytes: usize,
) -> Result<Option<Outcome>, StoreError> {
    let Some(mut job) = Compaction::begin(files, position, map_bytes)? else {
        return Ok(None);
    };
    loop {
        if let Some(outcome) = job.step(files, 1)? {
            return Ok(Some(outcome));
        }
    }
}

/// What is left of messages when those up to `upto` are compacted.
fn left(all: &BTreeMap<i64, Sent>, upto: i64) -> BTreeMap<i64, Sent> {
    let mut lasts = BTreeMap::new();
    for (at, sent) in all.range(..=upto) {
        lasts.insert(&sent.key, *at);
    }
    let is_left = |(at, sent): &(&i64, &Sent)| {
        **at > upto || (lasts[&sent.key] == **at && !sent.body.is_empty())
    };
    let left = all.iter().filter(is_left);
    left.map(|(at, sent)| (*at, sent.clone())).collect()
}

fn messages(count: usize, keys: usize) -> BTreeMap<i64, Sent> {
    (0..count).map(|n| (n as i64, sent(n, keys))).collect()
}

#[test]
fn files_have_rocketmqs_lengths() {
    let home = |log, cq| {
        let dir = Dir::new();
        let root = dir.dir.path();
        let home = CompactionHome::new(dir.fs.clone(), root, root, log, cq);
        (home.log_len(), home.cq_len())
    };
    assert_eq!(home(100 << 20, 10 << 20), (104_857_460, 10_485_746));
    assert_eq!(home(23_000, 4600), (27_600, 4600));
    assert_eq!(home(25_000, 4600), (23_000, 4600));
    assert_eq!(home(0, 4650), (23_230, 4646));
    assert_eq!(home(0, 0), (690, 138));
}

#[test]
fn what_is_appended_is_read_from_any_offset_and_after_reopening() {
    let dir = Dir::new();
    let mut files = dir.open();
    assert_eq!((files.next_offset(), files.first_offset()), (0, None));
    let all: BTreeMap<_, _> = (0..100).map(|n| (n * 3 + 5, sent(n as usize, 9))).collect();
    append(&mut files, &all).unwrap();
    // A second time changes nothing.
    append(&mut files, &all).unwrap();
    for mut files in [files, dir.open()] {
        assert!(files.file_count() > 5);
        assert_eq!((files.next_offset(), files.first_offset()), (303, Some(5)));
        for from in 0..310 {
            let expected: BTreeMap<_, _> =
                all.range(from..).map(|(a, s)| (*a, s.clone())).collect();
            assert_eq!(read_all(&mut files, &EntryFilter::All, from), expected);
        }
        let filter = EntryFilter::Tags(SmallVec::from_slice(&[tags_code("odd") as i32]));
        let odd = all.iter().filter(|(_, sent)| sent.tags == "odd");
        let odd: BTreeMap<_, _> = odd.map(|(a, s)| (*a, s.clone())).collect();
        assert_eq!(read_all(&mut files, &filter, 0), odd);
    }
}

#[test]
fn the_last_of_each_key_is_left_and_a_deleted_key_is_not() {
    let dir = Dir::new();
    let mut files = dir.open();
    let mut all = messages(100, 9);
    all.get_mut(&37).unwrap().body = Vec::new();
    for n in 38..100 {
        let deleted = all[&37].key.clone();
        let sent = all.get_mut(&n).unwrap();
        if sent.key == deleted {
            sent.key = "another".to_owned();
        }
    }
    append(&mut files, &all).unwrap();
    let outcome = compact(&mut files, -1, 1 << 20).unwrap().unwrap();
    let expected = left(&all, outcome.position);
    assert!(outcome.position > 80 && !outcome.cut_short, "{outcome:?}");
    assert_eq!(all_of(&mut files), expected);
    assert!(!expected.values().any(|sent| sent.key == all[&37].key));
    assert_eq!(outcome.dropped, 100 - expected.len() as u64);
    assert_eq!(all_of(&mut dir.open()), expected);
    // Nothing new: nothing to do.
    assert_eq!(
        compact(&mut files, outcome.position, 1 << 20).unwrap(),
        None
    );
    // And it goes on.
    let more: BTreeMap<_, _> = (100..200).map(|n| (n, sent(n as usize, 9))).collect();
    append(&mut files, &more).unwrap();
    let second = compact(&mut files, outcome.position, 1 << 20)
        .unwrap()
        .unwrap();
    all.extend(more);
    assert_eq!(all_of(&mut files), left(&all, second.position));
    assert_eq!(all_of(&mut dir.open()), left(&all, second.position));
}

#[test]
fn more_keys_than_memory_are_compacted_in_several_turns() {
    let dir = Dir::new();
    let mut files = dir.open();
    let all = messages(1000, 450);
    append(&mut files, &all).unwrap();
    let (mut position, mut turns) = (-1, 0);
    while let Some(outcome) = compact(&mut files, position, 0).unwrap() {
        assert!(outcome.position > position);
        position = outcome.position;
        turns += 1;
        assert_eq!(all_of(&mut files), left(&all, position));
        if !outcome.cut_short {
            break;
        }
    }
    assert!(turns > 3, "{turns}");
    assert_eq!(compact(&mut files, position, 0).unwrap(), None);
}

#[test]
fn nothing_may_be_left_but_what_is_written() {
    let dir = Dir::new();
    let mut files = dir.open();
    let mut all = messages(30, 1);
    for sent in all.values_mut() {
        sent.body = Vec::new();
    }
    append(&mut files, &all).unwrap();
    let outcome = compact(&mut files, -1, 1 << 20).unwrap().unwrap();
    let expected = left(&all, outcome.position);
    assert!(expected.len() < 10);
    assert_eq!(files.file_count(), 1);
    for mut files in [files, dir.open()] {
        assert_eq!(all_of(&mut files), expected);
        assert_eq!(files.next_offset(), 30);
    }
}

#[test]
fn what_the_commit_log_lost_is_cut_off() {
    let dir = Dir::new();
    let all = messages(100, 9);
    append(&mut dir.open(), &all).unwrap();
    for cut in [99, 64, 16, 8, 1] {
        let mut files = dir.open();
        files.truncate(cut).unwrap();
        let expected: BTreeMap<_, _> = all.range(..cut).map(|(a, s)| (*a, s.clone())).collect();
        assert_eq!(all_of(&mut files), expected);
        assert_eq!(all_of(&mut dir.open()), expected);
    }
    let mut files = dir.open();
    let other: BTreeMap<_, _> = (1..100).map(|n| (n, sent(n as usize + 1, 5))).collect();
    append(&mut files, &other).unwrap();
    let read = all_of(&mut dir.open());
    assert_eq!(
        read.range(1..)
            .map(|(a, s)| (*a, s.clone()))
            .collect::<BTreeMap<_, _>>(),
        other
    );
    files.truncate(0).unwrap();
    assert_eq!((files.file_count(), dir.open().file_count()), (0, 0));
}

#[test]
fn entries_that_are_missing_or_wrong_are_made_anew() {
    let dir = Dir::new();
    let all = messages(60, 9);
    append(&mut dir.open(), &all).unwrap();
    let cq = dir
        .dir
        .path()
        .join("compaction/compactionCq")
        .join(TOPIC)
        .join("0");
    let mut names: Vec<_> = std::fs::read_dir(&cq)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    names.sort();
    std::fs::remove_file(&names[1]).unwrap();
    std::fs::copy(&names[0], &names[2]).unwrap();
    std::fs::write(&names[3], [0; 5]).unwrap();
    std::fs::write(cq.join("00000000000000999999"), [0; 460]).unwrap();
    assert_eq!(all_of(&mut dir.open()), all);
    assert_eq!(std::fs::metadata(&names[3]).unwrap().len(), CQ_LEN);
}

/// Every call to the file system fails once, on the way through appends and two compactions; whatever was
/// left behind, what is opened then has everything that a compaction must leave.
#[test]
fn a_failure_at_any_call_loses_nothing() {
    let all = messages(60, 9);
    for after in 0.. {
        let dir = Dir::new();
        let (fs, faults) = FaultFs::wrap(RealFs::shared());
        let home = dir.home_on(&fs);
        let mut written = 0;
        let mut position = -1;
        faults.arm(Fault {
            kind: None,
            after,
            times: 1,
            errno: libc::EIO,
        });
        let mut run = || -> Result<(), StoreError> {
            let mut files = CompactionFiles::open(&home, TOPIC, 0, Check::Ends)?;
            for upto in [20, 40, 60] {
                let part = all.range(written..upto).map(|(a, s)| (*a, s.clone()));
                append(&mut files, &part.collect())?;
                written = upto;
                if let Some(outcome) = compact(&mut files, position, 1 << 20)? {
                    position = outcome.position;
                }
            }
            files.sync()
        };
        let failed = run().is_err();
        faults.disarm();
        let mut files = dir.open();
        let read = all_of(&mut files);
        let next = files.next_offset();
        assert!(next >= written, "{after}: {next} {written}");
        let there: BTreeMap<_, _> = all.range(..next).map(|(a, s)| (*a, s.clone())).collect();
        // Some compaction or none went through, and all of it.
        let fits = (position..next).any(|upto| read == left(&there, upto));
        assert!(
            fits,
            "{after}: {position} {written} {next} {:?}",
            read.keys().collect::<Vec<_>>()
        );
        append(&mut files, &all).unwrap();
        let again = compact(&mut files, -1, 1 << 20);
        again.unwrap_or_else(|error| panic!("{after}: {error}"));
        let read = all_of(&mut files);
        let fits = (position..60).any(|upto| read == left(&all, upto));
        assert!(fits, "{after}: {:?}", read.keys().collect::<Vec<_>>());
        if !failed && faults.failed() == 0 {
            println!("{after} calls");
            assert!(after > 100);
            break;
        }
    }
}

/// What a power loss leaves is whole: what was synced, and of the rest a beginning. A swap of files is all or
/// nothing.
#[test]
fn a_power_loss_leaves_what_was_synced() {
    let all = messages(36, 6);
    let mut seed = 1u64;
    let mut random = move |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % n
    };
    let dir = Dir::new();
    let recording = RecordingFs::new(dir.dir.path());
    let home = dir.home_on(&recording.shared());
    let mut files = CompactionFiles::open(&home, TOPIC, 0, Check::Ends).unwrap();
    // Changes so far, and what is promised then: messages synced, and the compactions that may show.
    let mut marks = vec![(0, 0, -1)];
    let mut position = -1;
    for upto in [12, 24, 36] {
        let part = all.range(..upto).map(|(a, s)| (*a, s.clone()));
        append(&mut files, &part.collect()).unwrap();
        files.sync().unwrap();
        marks.push((recording.changes(), upto, position));
        let outcome = compact(&mut files, position, 1 << 20).unwrap().unwrap();
        position = outcome.position;
        marks.push((recording.changes(), upto, position));
    }
    for count in 0..=recording.changes() {
        let known = marks.iter().rev().find(|mark| mark.0 <= count).unwrap();
        for round in 0..4 {
            let image = Dir::new();
            let target = image.dir.path().join("image");
            recording
                .crash_image(count, &target, &mut |n| match round {
                    0 => 0,
                    1 => n - 1,
                    _ => random(n),
                })
                .unwrap();
            let root = Dir {
                dir: tempfile::tempdir().unwrap(),
                fs: RealFs::shared(),
            };
            let home =
                CompactionHome::new(root.fs.clone(), &target, &target.join("own"), 0, CQ_LEN);
            let mut files = CompactionFiles::open(&home, TOPIC, 0, Check::All)
                .unwrap_or_else(|error| panic!("{count} {round}: {error}"));
            let next = files.next_offset();
            assert!(next >= known.1, "{count} {round}: {next} of {known:?}");
            let read = all_of(&mut files);
            let there: BTreeMap<_, _> = all.range(..next).map(|(a, s)| (*a, s.clone())).collect();
            let fits = (known.2..next).any(|upto| read == left(&there, upto));
            let keys = || read.keys().collect::<Vec<_>>();
            assert!(fits || next == 0, "{count} {round} {known:?}: {:?}", keys());
        }
    }
}

#[test]
fn positions_are_those_of_rocketmqs_file() {
    let dir = Dir::new();
    let home = dir.home();
    let path = home.position_path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text =
        "{\n\t\"empty\":false,\n\t\"queueOffsetMap\":{\n\t\t\"T_0\":159,\n\t\t\"T_x_1\":7\n\t}\n}";
    std::fs::write(&path, text).unwrap();
    let mut positions = Positions::load(&home).unwrap();
    assert_eq!((positions.get("T", 0), positions.get("T", 1)), (159, -1));
    positions.set("T", 1, 5).unwrap();
    let again = Positions::load(&home).unwrap();
    assert_eq!((again.get("T", 0), again.get("T", 1)), (159, 5));
    positions.forget_topic("T").unwrap();
    positions.forget("T_x", 3).unwrap();
    let again = Positions::load(&home).unwrap();
    assert_eq!((again.get("T", 0), again.get("T_x", 1)), (-1, 7));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Appends, compactions, cuts and openings against a map.
    #[test]
    fn files_are_as_a_model(steps in prop::collection::vec((0u8..5, 0usize..40), 1..25)) {
        let dir = Dir::new();
        let mut files = dir.open();
        let (mut all, mut next, mut position) = (BTreeMap::new(), 0i64, -1);
        for (kind, n) in steps {
            match kind {
                0 | 1 => {
                    let more: BTreeMap<_, _> = (next..next + n as i64)
                        .map(|at| (at, sent(at as usize + n, 11)))
                        .collect();
                    append(&mut files, &more).unwrap();
                    next += n as i64;
                    all.extend(more);
                }
                2 => {
                    if let Some(outcome) = compact(&mut files, position, n * 48).unwrap() {
                        position = outcome.position;
                        all = left(&all, position);
                    }
                }
                3 => {
                    next = (next - n as i64).max(0);
                    all.split_off(&next);
                    position = position.min(next - 1);
                    files.truncate(next).unwrap();
                }
                _ => files = CompactionFiles::open(&dir.home(), TOPIC, 0, Check::All).unwrap(),
            }
            prop_assert_eq!(&all_of(&mut files), &all);
        }
    }
}
