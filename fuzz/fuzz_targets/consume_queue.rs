//! A consume queue whose files, and those of its extensions, hold anything: recovered, truncated, read and
//! appended to.
#![no_main]

use callboard::store::consume_queue::{
    ConsumeQueue, ENTRY_LEN, Entry, Extension, ExtensionsHome, QueueHome,
};
use callboard::store::fs::RealFs;
use libfuzzer_sys::fuzz_target;

#[path = "../src/files.rs"]
mod files;

const FILE_LEN: usize = 10 * ENTRY_LEN;

fuzz_target!(|input: (&[u8], i64, &[u8])| {
    let (bytes, log_end, extensions) = input;
    if bytes.len() > 4 * FILE_LEN || extensions.len() > 4 * FILE_LEN {
        return;
    }
    let dir = tempfile::tempdir().expect("folder");
    let (root, beside) = (dir.path().join("queues"), dir.path().join("extensions"));
    files::write_files(&root.join("Topic/0"), FILE_LEN, bytes);
    files::write_files(&beside.join("Topic/0"), FILE_LEN, extensions);
    let extensions = ExtensionsHome::new(beside, FILE_LEN as u64);
    let fs = RealFs::shared();
    let home = QueueHome::with_extensions(fs, root, FILE_LEN as u64, Some(extensions));
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
    let next = Entry {
        physical_offset: queue.last_physical_offset().max(0),
        size: 1,
        tags_code: 7,
    };
    let extension = [Extension::default()];
    if queue
        .append_extended(queue.max_offset(), &[next], &extension)
        .is_ok()
    {
        queue.sync().expect("written");
    }
});
