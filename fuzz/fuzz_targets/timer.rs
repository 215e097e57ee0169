//! The timer's files with anything in them: opened, all slots read, taken into and opened again.
#![no_main]

use std::os::unix::fs::FileExt;

use callboard::store::fs::RealFs;
use callboard::store::timer::unit::{Found, Unit};
use callboard::store::timer::wheel::{SLOT_LEN, Slot, WHEEL_FILE_LEN};
use callboard::store::timer::{Progress, Timed, TimerConfig, TimerStore};
use libfuzzer_sys::fuzz_target;

#[path = "../src/files.rs"]
mod files;

const FILE_LEN: usize = 300;
const NOW: i64 = 1_795_389_443_000;

fuzz_target!(|input: (&[u8], &[u8], Vec<[u8; SLOT_LEN]>)| {
    let (check, log, slots) = input;
    if log.len() > 4 * FILE_LEN || slots.len() > 32 {
        return;
    }
    for (at, bytes) in log.chunks(52).enumerate() {
        if let Found::Unit(unit) = Unit::decode(bytes, at as i64 * 52) {
            assert_eq!(unit.encode()[..44], bytes[..44]);
        }
    }
    let dir = tempfile::tempdir().expect("folder");
    let root = dir.path();
    std::fs::create_dir_all(root.join("config")).expect("folder");
    std::fs::write(root.join("config/timercheck"), check).expect("file");
    files::write_files(&root.join("timerlog"), FILE_LEN, log);
    let wheel = std::fs::File::create(root.join("timerwheel")).expect("file");
    wheel.set_len(WHEEL_FILE_LEN).expect("length");
    for slot in &slots {
        let tick = Slot::decode(slot).map_or(0, |slot| slot.tick);
        let at = tick.rem_euclid(WHEEL_FILE_LEN as i64 / SLOT_LEN as i64) as u64;
        wheel
            .write_all_at(slot, at * SLOT_LEN as u64)
            .expect("slot");
    }
    let config = TimerConfig {
        root: root.to_path_buf(),
        own_dir: root.join("callboard"),
        precision_ms: 1000,
        roll_window_slots: 172_800,
        log_file_len: FILE_LEN as u64,
    };
    let Ok(opened) = TimerStore::open(&RealFs::shared(), &config) else {
        return;
    };
    let mut store = opened.store;
    for slot in store.wheel().slots().expect("slots") {
        let mut walk = store.walk(&slot, None).expect("a walk");
        while let Some(units) = walk.next_piece(store.log()).expect("units") {
            assert!(
                units
                    .iter()
                    .all(|unit| unit.time_ms().div_euclid(1000) == slot.tick)
            );
        }
    }
    let _ = store
        .next_slot(store.checkpoint().last_read_time_ms, NOW)
        .expect("a slot");
    let message = Timed {
        out_ms: NOW + 5_000,
        physical_offset: 100,
        size: 10,
        topic_hash: 1,
        is_delete: false,
    };
    let end = store.log().end();
    store.take_in(NOW, &[message; 3]).expect("taken in");
    assert!(store.log().end() >= end + 3 * 52);
    let progress = Progress {
        read_time_ms: NOW,
        queue_offset: 3,
        master_queue_offset: 3,
        log_position: Some(0),
    };
    store.commit(&progress, NOW).expect("committed");
    drop(store);
    let again = TimerStore::open(&RealFs::shared(), &config).expect("what we wrote is opened");
    assert!(!again.lost_units && again.has_checkpoint);
    let slot = again
        .store
        .next_slot(NOW + 5_000, NOW + 6_000)
        .expect("a slot")
        .expect("ours");
    assert!(again.store.walk(&slot, None).expect("a walk").len() >= 3);
});
