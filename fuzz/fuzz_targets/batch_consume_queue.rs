//! A queue of batches whose files hold anything: recovered, truncated, read and appended to.
#![no_main]

use callboard::protocol::message::inner_batch;
use callboard::store::consume_queue::{
    BATCH_UNIT_LEN, BatchConsumeQueue, BatchUnit, Boundary, Entry, QueueHome, QueueTail, Unit,
};
use callboard::store::fs::RealFs;
use libfuzzer_sys::fuzz_target;

#[path = "../src/files.rs"]
mod files;

const FILE_LEN: usize = 10 * BATCH_UNIT_LEN;

fuzz_target!(|input: (&[u8], i64, i64)| {
    let (bytes, log_end, offset) = input;
    let _ = inner_batch::count(bytes);
    assert!(inner_batch::messages_of(log_end as i32, bytes) > 0);
    if bytes.len() > 4 * FILE_LEN {
        return;
    }
    let dir = tempfile::tempdir().expect("folder");
    files::write_files(&dir.path().join("Topic/0"), FILE_LEN, bytes);
    let home = QueueHome::of_batches(RealFs::shared(), dir.path(), FILE_LEN as u64);
    let tail = QueueTail {
        max_offset: offset,
        last_physical: log_end,
    };
    let Ok(mut queue) = BatchConsumeQueue::resume(home, "Topic".into(), 0, tail) else {
        return;
    };
    if queue.truncate_above(log_end).is_err() || queue.correct_min_offset(0).is_err() {
        return;
    }
    assert!(queue.min_offset() <= queue.max_offset());
    let _ = queue.get(offset, 1000);
    let _ = queue.offset_by_time(log_end, Boundary::Upper);
    let next = BatchUnit {
        entry: Entry {
            physical_offset: queue.last_physical_offset().max(0),
            size: 91,
            tags_code: 0,
        },
        store_time: 5,
        base_offset: queue.max_offset(),
        messages: 3,
    };
    if next.is_sane() && queue.append(&next).is_ok_and(|is_new| is_new) {
        assert_eq!(queue.get(next.base_offset + 2, 1).expect("it"), [next]);
    }
});
