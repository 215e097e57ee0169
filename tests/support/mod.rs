//! What several of the store's tests need: the golden stores of the real broker, and records.

#![allow(dead_code, reason = "each test program uses a part")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use bytes::BytesMut;
use callboard::{
    protocol::message::record::{NewRecord, encode_record},
    store::commit_log::Pending,
};
use serde_json::Value;

/// The folder with the golden bytes: `CALLBOARD_SHARED`, else `../shared`. `None`, told loudly, when
/// there is none.
pub fn golden_stores() -> Option<PathBuf> {
    let named = std::env::var_os("CALLBOARD_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folder = named.unwrap_or(beside).join("golden/store");
    if folder.join("index.json").is_file() {
        return Some(folder);
    }
    println!("CONFORMANCE NOT RUN: golden stores not found");
    eprintln!("CONFORMANCE NOT RUN: golden stores not found");
    None
}

/// What the golden stores contain, one object each.
pub fn golden_index(folder: &Path) -> Vec<Value> {
    let text = std::fs::read(folder.join("index.json")).expect("index.json is readable");
    serde_json::from_slice(&text).expect("index.json is JSON")
}

/// Unpacks one golden store; returns the store's root.
pub fn unpack(folder: &Path, archive: &str, into: &Path) -> PathBuf {
    let done = Command::new("tar")
        .arg("-xzf")
        .arg(folder.join(archive))
        .arg("-C")
        .arg(into)
        .status();
    assert!(done.is_ok_and(|s| s.success()), "cannot unpack {archive}");
    into.join("store")
}

/// A pseudo-random sequence from a printed seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The seed in `CALLBOARD_SEED`, else the given one; it is printed.
    pub fn seeded(default: u64) -> Self {
        let named = std::env::var("CALLBOARD_SEED").ok();
        let seed = named.and_then(|s| s.parse().ok()).unwrap_or(default);
        println!("seed: CALLBOARD_SEED={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// A record of one queue with a random body, and properties with a unique key.
pub fn record(random: &mut Random, body_len: usize, queue_offset: i64) -> Pending {
    let body: Vec<u8> = (0..body_len).map(|_| random.next() as u8 | 1).collect();
    let properties = format!("UNIQ_KEY\u{1}id-{queue_offset}\u{2}KEYS\u{1}k{queue_offset}\u{2}");
    let new = NewRecord {
        topic: "Topic",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: "127.0.0.1:4000".parse().expect("an address"),
        store_host: "127.0.0.1:10911".parse().expect("an address"),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body,
        properties: properties.as_bytes(),
    };
    let mut bytes = BytesMut::new();
    encode_record(&new, &mut bytes).expect("a record");
    Pending::new(bytes, queue_offset)
}
