//! Our timer reads what the real RocketMQ 5.4.0 wrote, slot by slot and unit by unit, and from the same
//! messages writes the same bytes.

mod support;

use std::path::Path;

use callboard::{
    protocol::java::string_hash,
    store::{
        fs::RealFs,
        timer::{Timed, TimerConfig, TimerStore, unit::UNIT_LEN},
    },
};
use serde_json::Value;

/// The size that the golden stores were made with.
const FILE_LEN: u64 = 65536;

fn int(value: &Value, name: &str) -> i64 {
    let number = value.get(name).and_then(Value::as_i64);
    number.unwrap_or_else(|| panic!("no number {name} in {value}"))
}

/// Runs a check with each golden store that has a timer with something in it, unpacked.
fn with_each_store(check: impl Fn(&Value, &Path)) {
    let Some(folder) = support::golden_stores() else {
        return;
    };
    let stores = support::golden_index(&folder);
    let mut seen = 0;
    for golden in &stores {
        if golden["timerLog"].as_array().is_none_or(Vec::is_empty) {
            continue;
        }
        let place = tempfile::tempdir().expect("a folder");
        let file = golden["file"].as_str().expect("a name");
        let root = support::unpack(&folder, file, place.path());
        check(golden, &root);
        seen += 1;
    }
    assert_eq!(seen, 2, "c-clean and d-special-kill9");
}

fn open(root: &Path) -> TimerStore {
    let config = TimerConfig {
        root: root.to_path_buf(),
        own_dir: root.join("callboard"),
        precision_ms: 1000,
        roll_window_slots: 172_800,
        log_file_len: FILE_LEN,
    };
    let opened = TimerStore::open(&RealFs::shared(), &config).expect("a timer");
    assert!(!opened.lost_units);
    opened.store
}

/// The messages of the timer's topic, in the order of its queue.
fn messages(golden: &Value) -> Vec<Timed> {
    let all = golden["messages"].as_array().expect("messages").iter();
    let timed = all.filter(|message| message["topic"] == "rmq_sys_wheel_timer");
    let read = |message: &Value| {
        let property = |name: &str| message["properties"][name].as_str();
        Timed {
            out_ms: property("TIMER_OUT_MS")
                .expect("a time")
                .parse()
                .expect("a number"),
            physical_offset: int(message, "phys"),
            size: int(message, "size") as i32,
            topic_hash: string_hash(property("REAL_TOPIC").expect("a topic")),
            is_delete: property("TIMER_DEL_UNIQKEY").is_some(),
        }
    };
    timed.map(read).collect()
}

#[test]
fn every_unit_slot_and_mark_of_progress_is_read() {
    with_each_store(|golden, root| {
        let store = open(root);
        let check = &golden["timercheck"];
        let read = store.checkpoint();
        assert_eq!(read.last_read_time_ms, int(check, "lastReadTimeMs"));
        assert_eq!(
            read.last_timer_log_flush_pos,
            int(check, "lastTimerLogFlushPos")
        );
        assert_eq!(
            read.last_timer_queue_offset,
            int(check, "lastTimerQueueOffset")
        );
        assert_eq!(
            read.master_timer_queue_offset,
            int(check, "masterTimerQueueOffset")
        );
        assert_eq!(read.data_version.counter, int(check, "counter"));
        let units = golden["timerLog"].as_array().expect("units");
        assert_eq!(store.log().end(), (units.len() * UNIT_LEN) as i64);
        for expected in units {
            let unit = store
                .log()
                .unit(int(expected, "pos"))
                .expect("read")
                .expect("a unit");
            assert_eq!(unit.prev_pos, int(expected, "prevPos"));
            assert_eq!(i64::from(unit.magic), int(expected, "magic"));
            assert_eq!(unit.write_time_ms, int(expected, "currWriteTime"));
            assert_eq!(i64::from(unit.delay_ms), int(expected, "delay"));
            assert_eq!(unit.physical_offset, int(expected, "offsetPy"));
            assert_eq!(i64::from(unit.size), int(expected, "sizePy"));
            assert_eq!(i64::from(unit.topic_hash), int(expected, "topicHash"));
        }
        let slots = store.wheel().slots().expect("slots");
        let expected = golden["timerWheelNonZeroSlots"].as_array().expect("slots");
        assert_eq!(slots.len(), expected.len());
        for (slot, expected) in slots.iter().zip(expected) {
            assert_eq!(slot.tick, int(expected, "time"));
            assert_eq!(slot.first_pos, int(expected, "firstPos"));
            assert_eq!(slot.last_pos, int(expected, "lastPos"));
            assert_eq!(i64::from(slot.num), int(expected, "num"));
            assert_eq!(i64::from(slot.magic), int(expected, "magic"));
            let walk = store.walk(slot, None).expect("a walk");
            assert!(!walk.is_empty());
        }
    });
}

#[test]
fn the_same_messages_become_the_same_bytes() {
    with_each_store(|golden, root| {
        let place = tempfile::tempdir().expect("a folder");
        let mut ours = open(place.path());
        let units = golden["timerLog"].as_array().expect("units");
        let messages = messages(golden);
        assert_eq!(units.len(), messages.len());
        for (message, unit) in messages.iter().zip(units) {
            ours.take_in(int(unit, "currWriteTime"), &[*message])
                .expect("taken in");
        }
        for name in ["timerlog/00000000000000000000", "timerwheel"] {
            let read = |root: &Path| std::fs::read(root.join(name)).expect(name);
            assert!(read(place.path()) == read(root), "{name} differs");
        }
    });
}
