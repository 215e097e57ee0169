//! Units, and what of them is found again in files that were damaged.

use std::fs;

use proptest::prelude::*;

use super::{
    super::{ConsumeQueue, ENTRY_LEN, Entry},
    *,
};
use crate::store::fs::RealFs;

/// Three units with bit maps of [`MAP_LEN`] fit into it.
const FILE_SIZE: u64 = 400;
const MAP_LEN: usize = 100;

struct Place {
    dir: tempfile::TempDir,
    home: Arc<QueueHome>,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let extensions = ExtensionsHome::new(dir.path().join("consumequeue_ext"), FILE_SIZE);
        let home = QueueHome::with_extensions(
            RealFs::shared(),
            dir.path().join("consumequeue"),
            1000 * ENTRY_LEN as u64,
            Some(extensions),
        );
        Self { dir, home }
    }

    fn recover(&self) -> ConsumeQueue {
        ConsumeQueue::recover(self.home.clone(), "T".into(), 0).unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let dir = self.dir.path().join("consumequeue_ext/T/0");
        let files = self.home.fs.read_dir(&dir).unwrap();
        files.iter().map(|file| dir.join(&file.name)).collect()
    }
}

fn entry(n: i64) -> Entry {
    Entry {
        physical_offset: n * 100,
        size: 60,
        tags_code: n,
    }
}

fn unit(n: i64, bit_map_len: usize) -> Extension {
    Extension {
        tags_code: n,
        store_time: 1000 + n,
        bit_map: SmallVec::from_elem(n as u8, bit_map_len),
    }
}

fn append(queue: &mut ConsumeQueue, range: std::ops::Range<i64>, bit_map_len: usize) {
    for n in range {
        let appended = queue.append_extended(n, &[entry(n)], &[unit(n, bit_map_len)]);
        assert_eq!(appended.unwrap(), 1);
    }
}

/// The tags codes of all extensions that are found, with -1 for those that are not.
fn found(queue: &mut ConsumeQueue) -> Vec<i64> {
    let (mut entries, mut units) = (Vec::new(), Vec::new());
    let count = queue.max_offset() as usize;
    queue
        .get_into(0, count, &mut entries, Some(&mut units))
        .unwrap();
    for (entry, unit) in entries.iter().zip(&units) {
        assert!(!is_address(entry.tags_code) || unit.is_none());
        assert!(
            unit.as_ref()
                .is_none_or(|unit| unit.store_time == 1000 + unit.tags_code)
        );
    }
    units
        .iter()
        .map(|unit| unit.as_ref().map_or(-1, |unit| unit.tags_code))
        .collect()
}

#[test]
fn addresses_lie_below_all_tags_codes() {
    assert!(!is_address(i64::from(i32::MIN)) && !is_address(0));
    assert!(is_address(i64::MIN) && is_address(i64::from(i32::MIN) - 1));
    for position in [0, 34, 48 << 20] {
        assert_eq!(position_of(address_of(position)), Some(position));
    }
}

/// Laid out by hand, after `ConsumeQueueExt.CqExtUnit.write`.
#[test]
fn a_unit_is_rocketmqs() {
    let mut bytes = Vec::new();
    let unit = Extension {
        tags_code: 2_598_919,
        store_time: 0x0102_0304_0506,
        bit_map: SmallVec::from_slice(&[0, 8]),
    };
    unit.encode(&mut bytes);
    let wanted = [
        0, 22, 0, 0, 0, 0, 0, 0x27, 0xa8, 0x07, 0, 0, 1, 2, 3, 4, 5, 6, 0, 2, 0, 8,
    ];
    assert_eq!(bytes, wanted);
    assert_eq!(Extension::decode(&bytes), Some(unit));
    assert_eq!(Extension::decode(&bytes[..21]), None);
    assert_eq!(Extension::decode(&[0xff, 0xff]), None);
}

#[test]
fn a_bit_map_that_no_unit_holds_is_left_out() {
    let place = Place::new();
    let mut queue = place.recover();
    for (at, len) in [(0, FILE_SIZE as usize), (1, i16::MAX as usize)] {
        let long = unit(at, len);
        queue.append_extended(at, &[entry(at)], &[long]).unwrap();
    }
    assert_eq!(queue.get(0, 2).unwrap(), [entry(0), entry(1)]);
    assert_eq!(found(&mut queue), [-1, -1]);
}

#[test]
fn files_follow_each_other_and_old_ones_go() {
    let place = Place::new();
    let mut queue = place.recover();
    append(&mut queue, 0..10, MAP_LEN);
    queue.sync().unwrap();
    assert_eq!(place.files().len(), 4);
    assert_eq!(found(&mut queue), Vec::from_iter(0..10));
    let mark = fs::read(&place.files()[0]).unwrap();
    assert_eq!(&mark[360..362], [0xff, 0xff]);
    queue.delete_expired(650).unwrap();
    assert_eq!(place.files().len(), 2);
    let mut queue = place.recover();
    queue.correct_min_offset(650).unwrap();
    append(&mut queue, 10..13, MAP_LEN);
    let entries = queue.get(7, 100).unwrap();
    assert_eq!(entries, (7..13).map(entry).collect::<Vec<_>>());
    queue.destroy().unwrap();
    assert_eq!(place.files(), Vec::<PathBuf>::new());
}

/// A new message's unit in the place of a lost one would tell of another message.
#[test]
fn what_was_lost_is_not_taken_for_another() {
    for lost in ["files", "end", "all"] {
        let place = Place::new();
        let mut queue = place.recover();
        append(&mut queue, 0..8, MAP_LEN);
        queue.sync().unwrap();
        let files = place.files();
        let kept = match lost {
            "files" => {
                for file in &files[1..] {
                    fs::remove_file(file).unwrap();
                }
                0
            }
            "end" => {
                let len = fs::metadata(&files[2]).unwrap().len();
                fs::write(&files[2], vec![0; len as usize]).unwrap();
                6
            }
            _ => {
                fs::remove_dir_all(place.dir.path().join("consumequeue_ext")).unwrap();
                0
            }
        };
        let mut queue = place.recover();
        append(&mut queue, 8..12, MAP_LEN);
        queue.sync().unwrap();
        let mut wanted = Vec::from_iter(0..kept);
        wanted.resize(8, -1);
        wanted.extend(8..12);
        assert_eq!(found(&mut queue), wanted, "lost: {lost}");
        assert_eq!(found(&mut place.recover()), wanted, "lost: {lost}, again");
    }
}

#[test]
fn entries_without_extensions_may_follow() {
    let place = Place::new();
    let mut queue = place.recover();
    append(&mut queue, 0..5, 14);
    queue.append(5, &[entry(5)]).unwrap();
    queue.flush().unwrap();
    let mut queue = place.recover();
    append(&mut queue, 6..8, 14);
    let entries = queue.get(0, 100).unwrap();
    assert_eq!(entries, (0..8).map(entry).collect::<Vec<_>>());
}

#[test]
fn files_of_another_size_are_not_used() {
    let place = Place::new();
    let mut queue = place.recover();
    append(&mut queue, 0..2, 14);
    queue.sync().unwrap();
    let file = place.files().remove(0);
    fs::write(&file, [0; 100]).unwrap();
    let mut queue = place.recover();
    append(&mut queue, 2..3, 14);
    queue.sync().unwrap();
    assert_eq!(queue.get(2, 1).unwrap(), [entry(2)]);
    assert_eq!(fs::read(&file).unwrap(), [0; 100]);
}

proptest! {
    #[test]
    fn units_are_read_as_they_were_written(
        tags_code: i64,
        store_time: i64,
        bit_map in prop::collection::vec(any::<u8>(), 0..300),
        rest in prop::collection::vec(any::<u8>(), 0..30),
    ) {
        let unit = Extension { tags_code, store_time, bit_map: bit_map.into() };
        let mut bytes = Vec::new();
        unit.encode(&mut bytes);
        prop_assert_eq!(bytes.len(), unit.encoded_len());
        bytes.extend(rest);
        prop_assert_eq!(Extension::decode(&bytes), Some(unit));
    }

    #[test]
    fn any_bytes_are_no_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = Extension::decode(&bytes);
    }
}
