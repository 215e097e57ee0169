//! A consume queue whose files hold anything: recovered, truncated, read and appended to.
#![no_main]

use callboard::store::consume_queue::{ConsumeQueue, ENTRY_LEN, QueueHome};
use callboard::store::fs::RealFs;
use libfuzzer_sys::fuzz_target;

const FILE_LEN: usize = 10 * ENTRY_LEN;

fuzz_target!(|input: (&[u8], i64)| {
    let (bytes, log_end) = input;
    if bytes.len() > 4 * FILE_LEN {
        return;
    }
    let dir = tempfile::tempdir().expect("folder");
    let queue_dir = dir.path().join("Topic/0");
    std::fs::create_dir_all(&queue_dir).expect("folder");
    for (number, chunk) in bytes.chunks(FILE_LEN).enumerate() {
        let mut file = chunk.to_vec();
        file.resize(FILE_LEN, 0);
        let name = format!("{:020}", number * FILE_LEN);
        std::fs::write(queue_dir.join(name), file).expect("file");
    }
    let home = QueueHome::new(RealFs::shared(), dir.path(), FILE_LEN as u64);
    let Ok(mut queue) = ConsumeQueue::recover(home, "Topic".into(), 0) else {
        return;
    };
    if queue.truncate_above(log_end).is_err() || queue.correct_min_offset(0).is_err() {
        return;
    }
    assert!(queue.min_offset() <= queue.max_offset());
    let count = usize::try_from(queue.max_offset() - queue.min_offset()).expect("a count");
    assert!(count <= 4 * FILE_LEN / ENTRY_LEN);
    let entries = queue
        .get(queue.min_offset(), count + 10)
        .unwrap_or_default();
    assert!(entries.len() <= count);
    assert!(
        entries
            .iter()
            .all(|entry| entry.physical_end() <= log_end.max(0) || entry.is_blank())
    );
});
