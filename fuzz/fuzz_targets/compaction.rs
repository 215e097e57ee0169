//! The files of a compaction topic's queue with anything in them: opened, read, appended to, compacted and opened
//! again. What is read has ascending offsets, and what was appended is there.
#![no_main]

use callboard::store::compaction::{
    Check, Compaction, CompactionFiles, CompactionHome, Item, entry::CompactionEntry, get,
};
use callboard::store::fs::RealFs;
use callboard::store::get_message::{EntryFilter, GetLimits, GetRequest};
use libfuzzer_sys::fuzz_target;

const CQ_LEN: usize = 46 * 5;
const LOG_LEN: usize = CQ_LEN * 5;
const LIMITS: GetLimits = GetLimits {
    memory_count: 32,
    memory_bytes: 1 << 20,
    disk_count: 32,
    disk_bytes: 1 << 20,
    filter_scan_bytes: 1 << 16,
    memory_distance: i64::MAX,
};

fn read(files: &mut CompactionFiles) {
    let end = files.next_offset();
    let mut offset = 0;
    while offset < end {
        let request = GetRequest {
            offset,
            max_messages: 8,
            max_bytes: 1 << 16,
            filter: EntryFilter::All,
        };
        let Ok(found) = get::collect(files, &request, &LIMITS, end, end) else {
            return;
        };
        assert!(found.next_begin_offset > offset);
        offset = found.next_begin_offset;
    }
}

fuzz_target!(|input: (Vec<(Vec<u8>, Vec<u8>, bool)>, bool)| {
    let (pairs, check_all) = input;
    if pairs.len() > 4
        || pairs
            .iter()
            .any(|(log, cq, _)| log.len() > LOG_LEN || cq.len() > CQ_LEN)
    {
        return;
    }
    for (_, cq, _) in &pairs {
        for entry in CompactionEntry::decode_all(cq) {
            assert_eq!(CompactionEntry::decode(&entry.encode()), entry);
        }
    }
    let dir = tempfile::tempdir().expect("folder");
    let root = dir.path();
    let (logs, cqs) = (
        root.join("compaction/compactionLog/T/0"),
        root.join("compaction/compactionCq/T/0"),
    );
    for dir in [&logs, &cqs] {
        std::fs::create_dir_all(dir).expect("folder");
    }
    for (at, (log, cq, replaced)) in pairs.into_iter().enumerate() {
        let name = format!(
            "{:020}{}",
            at * LOG_LEN,
            if replaced { ".delete" } else { "" }
        );
        for (dir, mut bytes, len) in [(&logs, log, LOG_LEN), (&cqs, cq, CQ_LEN)] {
            bytes.resize(len, 0);
            std::fs::write(dir.join(&name), bytes).expect("file");
        }
    }
    let home = CompactionHome::new(RealFs::shared(), root, &root.join("own"), 0, CQ_LEN as u64);
    let check = if check_all { Check::All } else { Check::Ends };
    let Ok(mut files) = CompactionFiles::open(&home, "T", 0, check) else {
        return;
    };
    read(&mut files);
    let next = files.next_offset();
    if next < i64::MAX - 10 {
        let record = [7; 100];
        let items = (0..3).map(|n| Item {
            record: &record,
            queue_offset: next + n,
            tags_code: 0,
            store_time: 0,
        });
        files.append(items).expect("appended");
        assert_eq!(files.next_offset(), next + 3);
        read(&mut files);
    }
    if let Ok(Some(mut job)) = Compaction::begin(&files, -1, 0) {
        while let Ok(None) = job.step(&mut files, 1) {}
    }
    drop(files);
    if let Ok(mut files) = CompactionFiles::open(&home, "T", 0, Check::Ends) {
        read(&mut files);
    }
});
