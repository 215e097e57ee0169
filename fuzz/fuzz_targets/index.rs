//! Index files that hold anything: recovered after a clean stop and after a crash, and queried.
#![no_main]

use callboard::store::fs::RealFs;
use callboard::store::index::{IndexService, IndexShape, LastExit};
use libfuzzer_sys::fuzz_target;

const SLOTS: u32 = 8;
const ENTRIES: u32 = 12;

fuzz_target!(|input: (Option<i64>, i32, &[u8])| {
    let (crashed, key_hash, bytes) = input;
    let shape = IndexShape::new(SLOTS, ENTRIES);
    let len = shape.file_len() as usize;
    if bytes.len() > 3 * len {
        return;
    }
    let dir = tempfile::tempdir().expect("folder");
    for (number, chunk) in bytes.chunks(len).enumerate() {
        let mut file = chunk.to_vec();
        file.resize(len, 0);
        std::fs::write(dir.path().join(format!("2026112300000000{number}")), file).expect("file");
    }
    let last_exit = match crashed {
        Some(safe_timestamp) => LastExit::Crashed { safe_timestamp },
        None => LastExit::Clean,
    };
    let Ok(index) = IndexService::recover(RealFs::shared(), dir.path(), shape, last_exit) else {
        return;
    };
    let _ = index.query(key_hash, 32, 0, i64::MAX);
    let _ = index.last_physical_offset();
});
