//! The timer's files against a model, and cut off anywhere.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    checkpoint::{TimerCheckpoint, TimerCheckpointFile},
    log::TimerLog,
    unit::{BLANK_LEN, Found, UNIT_LEN, encode_blank},
    *,
};
use crate::store::fs::RealFs;

/// So small that files change often: 17 units and a blank.
const FILE_LEN: u64 = 900;

/// A time when all tests take place: whole seconds, as RocketMQ has them.
const NOW: i64 = 1_795_389_443_000;

fn config(root: &std::path::Path) -> TimerConfig {
    TimerConfig {
        root: root.to_path_buf(),
        own_dir: root.join("callboard"),
        precision_ms: 1000,
        roll_window_slots: 172_800,
        log_file_len: FILE_LEN,
    }
}

fn open(root: &std::path::Path) -> Opened {
    TimerStore::open(&RealFs::shared(), &config(root)).unwrap()
}

fn message(number: i64, ahead: i64) -> Timed {
    Timed {
        out_ms: NOW + ahead * 1000,
        physical_offset: number * 100,
        size: 100,
        topic_hash: 7,
        is_delete: false,
    }
}

/// What a slot holds, oldest first.
fn content(store: &TimerStore, slot: &Slot) -> Vec<i64> {
    let mut walk = store.walk(slot, None).unwrap();
    let mut found = Vec::new();
    while let Some(piece) = walk.next_piece(store.log()).unwrap() {
        found.extend(piece.iter().map(|unit| unit.physical_offset / 100));
    }
    found
}

/// All that waits, by seconds ahead.
fn all(store: &TimerStore) -> BTreeMap<i64, Vec<i64>> {
    let mut found = BTreeMap::new();
    let mut from = NOW - 1000;
    while let Some(slot) = store.next_slot(from, NOW + 200_000_000).unwrap() {
        from = store.time_of(&slot) + 1000;
        found.insert((store.time_of(&slot) - NOW) / 1000, content(store, &slot));
    }
    found
}

fn progress(queue_offset: i64) -> Progress {
    Progress {
        read_time_ms: NOW,
        queue_offset,
        master_queue_offset: queue_offset,
        log_position: Some(0),
    }
}

#[test]
fn what_is_taken_in_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut next = 0;
    for _ in 0..5 {
        let opened = open(dir.path());
        let mut store = opened.store;
        assert_eq!(all(&store), expected);
        assert_eq!(store.pending(), next);
        for _ in 0..4 {
            let batch: Vec<_> = (next..next + 9).map(|n| message(n, n % 5)).collect();
            for n in next..next + 9 {
                expected.entry(n % 5).or_default().push(n);
            }
            store.take_in(NOW, &batch).unwrap();
            next += 9;
        }
        store.commit(&progress(next), NOW).unwrap();
        assert_eq!(store.checkpoint().last_timer_queue_offset, next);
        // Dropped without a word, as by a kill.
    }
    assert_eq!(open(dir.path()).store.checkpoint().data_version.counter, 5);
}

#[test]
fn a_message_that_is_too_far_comes_back_before_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).store;
    let at = |ahead: i64| store.place(NOW + ahead * 1000, NOW);
    assert_eq!(at(172_799), (NOW + 172_799_000, 1));
    // As the real broker placed one of 200,000 s (golden/store, c-clean).
    assert_eq!(at(200_000), (NOW + 86_400_000, 3));
    assert_eq!(at(172_800), (NOW + 86_400_000, 3));
    assert_eq!(at(259_200), (NOW + 172_800_000, 3));
}

#[test]
fn a_mark_counts_against_its_message() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).store;
    let mark = Timed {
        is_delete: true,
        ..message(2, 3)
    };
    store.take_in(NOW, &[message(1, 3), mark]).unwrap();
    let slot = store.next_slot(NOW, NOW + 10_000).unwrap().unwrap();
    assert_eq!((slot.num, store.pending()), (0, 0));
    let mut walk = store.walk(&slot, None).unwrap();
    assert_eq!(walk.len(), 2);
    assert_eq!(walk.take_deletes().len(), 1);
    assert_eq!(content(&store, &slot), [1]);
    assert_eq!(store.wheel().get(slot.tick).unwrap(), slot);
}

#[test]
fn a_walk_may_end_at_what_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let config = TimerConfig {
        log_file_len: 64 << 20,
        ..config(dir.path())
    };
    let mut store = TimerStore::open(&RealFs::shared(), &config).unwrap().store;
    let mut known = None;
    let mut next = 0;
    // Less than a piece, several, and nothing.
    for count in [5, 7, 2 * walk::CHUNK as i64 + 3, 0, 1] {
        let batch: Vec<_> = (next..next + count).map(|n| message(n, 2)).collect();
        store.take_in(NOW, &batch).unwrap();
        let slot = store.next_slot(NOW, NOW + 10_000).unwrap().unwrap();
        let mut walk = store.walk(&slot, known).unwrap();
        let mut found = Vec::new();
        while let Some(piece) = walk.next_piece(store.log()).unwrap() {
            found.extend(piece.iter().map(|unit| unit.physical_offset / 100));
        }
        assert_eq!(found, (next..next + count).collect::<Vec<_>>());
        next += count;
        assert_eq!(content(&store, &slot), (0..next).collect::<Vec<_>>());
        known = Some(slot.last_pos);
    }
}

#[test]
fn a_lost_wheel_is_made_anew_and_a_lost_log_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).store;
    let batch: Vec<_> = (0..60).map(|n| message(n, n % 3)).collect();
    store.take_in(NOW, &batch).unwrap();
    store.commit(&progress(60), NOW).unwrap();
    let expected = all(&store);
    drop(store);
    std::fs::remove_file(dir.path().join("timerwheel")).unwrap();
    let opened = open(dir.path());
    assert_eq!(all(&opened.store), expected);
    assert!(!opened.lost_units && opened.has_checkpoint);
    assert_eq!(opened.store.pending(), 60);
    drop(opened);
    // The log ends early, as after a power loss: the wheel forgets what it lacks.
    let lost = dir.path().join("timerlog/00000000000000001800");
    std::fs::remove_file(&lost).unwrap();
    std::fs::remove_file(dir.path().join("timerlog/00000000000000002700")).unwrap();
    let opened = open(dir.path());
    assert!(opened.lost_units);
    assert_eq!(opened.store.pending(), 34);
    let kept: usize = all(&opened.store).values().map(Vec::len).sum();
    assert_eq!(kept, 34);
}

#[test]
fn files_go_with_their_messages() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).store;
    let batch: Vec<_> = (0..60).map(|n| message(n, 1)).collect();
    store.take_in(NOW, &batch).unwrap();
    assert_eq!(store.delete_expired(1_600).unwrap(), 0);
    // The first file ends with message 16.
    assert_eq!(store.delete_expired(1_601).unwrap(), 1);
    let slot = store.next_slot(NOW, NOW + 10_000).unwrap().unwrap();
    assert_eq!(content(&store, &slot).first(), Some(&17));
    assert_eq!(store.log().taken_since(5_800).unwrap(), [5_900, 5_800]);
    drop(store);
    let store = open(dir.path()).store;
    assert_eq!(store.log().start(), 900);
}

#[test]
fn a_blank_is_that_of_the_reference() {
    let blank = encode_blank(20);
    assert_eq!(&blank[..4], &[0, 0, 0, 20]);
    assert_eq!(&blank[12..], &[0xCB, 0xD4, 0x31, 0x94]);
    assert_eq!(Unit::decode(&blank, 0), Found::Blank);
    assert_eq!(blank.len(), BLANK_LEN);
}

#[test]
fn the_precision_stays_while_messages_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).store;
    store.take_in(NOW, &[message(1, 5)]).unwrap();
    store.commit(&progress(1), NOW).unwrap();
    drop(store);
    let finer = TimerConfig {
        precision_ms: 100,
        ..config(dir.path())
    };
    let opened = TimerStore::open(&RealFs::shared(), &finer).unwrap();
    assert_eq!(opened.store.precision_ms(), 1000);
    let mut store = opened.store;
    let done = Progress {
        read_time_ms: NOW + 6_000,
        ..progress(1)
    };
    store.commit(&done, NOW).unwrap();
    drop(store);
    let opened = TimerStore::open(&RealFs::shared(), &finer).unwrap();
    assert_eq!(opened.store.precision_ms(), 100);
}

proptest! {
    #[test]
    fn units_come_back(
        prev_pos in -1_i64..1_000_000, magic in 1_i32..8, write in 0_i64..NOW, delay: i32,
        physical_offset in 0..i64::MAX, size in 1..i32::MAX, topic_hash: i32,
    ) {
        let unit = Unit {
            prev_pos, magic, write_time_ms: write, delay_ms: delay, physical_offset, size, topic_hash,
        };
        let bytes = unit.encode();
        prop_assert_eq!(bytes.len(), UNIT_LEN);
        prop_assert_eq!(Unit::decode(&bytes, 1_000_000), Found::Unit(unit));
        // A torn one is none.
        prop_assert_eq!(Unit::decode(&bytes[..UNIT_LEN - 1], 1_000_000), Found::Nothing);
        let mut torn = bytes;
        torn[30..].fill(0);
        prop_assert_eq!(Unit::decode(&torn, 1_000_000), Found::Nothing);
    }

    #[test]
    fn slots_come_back(tick in 1..i64::MAX, first in 0..i64::MAX, last in 0..i64::MAX, num: i32, magic: i32) {
        let slot = Slot { tick, first_pos: first, last_pos: last, num, magic };
        prop_assert_eq!(Slot::decode(&slot.encode()), Some(slot));
    }

    #[test]
    fn checkpoints_come_back(longs: [i64; 7]) {
        let bytes: Vec<u8> = longs.iter().flat_map(|long| long.to_be_bytes()).collect();
        let checkpoint = TimerCheckpoint::decode(&bytes).unwrap();
        prop_assert_eq!(checkpoint.encode().to_vec(), bytes);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>, pos: i64) {
        let _ = Unit::decode(&bytes, pos);
        let _ = TimerCheckpoint::decode(&bytes);
    }

    /// The log cut off at any byte, the wheel as it was at any earlier time: what is left is a prefix.
    #[test]
    fn a_prefix_is_left_of_a_torn_log(
        aheads in proptest::collection::vec(0_i64..6, 1..60), cut in 0_u64..3_000,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).store;
        let messages: Vec<_> = (0..).zip(&aheads).map(|(n, &ahead)| message(n, ahead)).collect();
        for batch in messages.chunks(7) {
            store.take_in(NOW, batch).unwrap();
        }
        let end = store.log().end() as u64;
        drop(store);
        let cut = cut.min(end);
        let start = cut - cut % FILE_LEN;
        let path = dir.path().join(format!("timerlog/{start:020}"));
        if let Ok(file) = std::fs::OpenOptions::new().write(true).open(&path) {
            file.set_len(cut - start).unwrap();
            file.set_len(FILE_LEN).unwrap();
        }
        let store = open(dir.path()).store;
        let found = all(&store);
        let kept: usize = found.values().map(Vec::len).sum();
        let mut expected: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (n, &ahead) in (0..).zip(&aheads).take(kept) {
            expected.entry(ahead).or_default().push(n);
        }
        prop_assert_eq!(found, expected);
        prop_assert_eq!(store.pending(), kept as i64);
        // The last twelve bytes are a hash that only figures need, and zeros.
        let whole = cut / FILE_LEN * 17 + ((cut % FILE_LEN + 12) / UNIT_LEN as u64).min(17);
        prop_assert_eq!(kept as u64, whole.min(aheads.len() as u64));
    }
}

#[test]
fn a_file_of_a_wrong_length_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("timerwheel"), b"short").unwrap();
    let opened = TimerStore::open(&RealFs::shared(), &config(dir.path()));
    assert!(matches!(opened, Err(StoreError::Corrupt { .. })));
    std::fs::create_dir(dir.path().join("log")).unwrap();
    std::fs::write(dir.path().join("log/00000000000000000000"), [0; 10]).unwrap();
    std::fs::write(dir.path().join("log/00000000000000000900"), [0; 10]).unwrap();
    let log = TimerLog::open(&RealFs::shared(), &dir.path().join("log"), FILE_LEN);
    assert!(matches!(log, Err(StoreError::Corrupt { .. })));
}

#[test]
fn the_checkpoint_file_is_a_page() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config/timercheck");
    let (file, found) = TimerCheckpointFile::open(&RealFs::shared(), &path).unwrap();
    assert_eq!(found, None);
    let written = TimerCheckpoint {
        last_read_time_ms: NOW,
        ..TimerCheckpoint::default()
    };
    file.write(&written).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 4096);
    let (_, found) = TimerCheckpointFile::open(&RealFs::shared(), &path).unwrap();
    assert_eq!(found, Some(written));
}
