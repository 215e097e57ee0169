//! Which message of each key is the last, within a bounded memory (`CompactionLog.OffsetMap`).

use md5::{Digest, Md5};

use crate::hash::HashMap;

/// What one key costs, roughly: its digest and an offset in a table that is at least half full.
const KEY_COST: usize = 48;

/// Keys that fit whatever the configuration says, as in RocketMQ.
const KEYS_MIN: usize = 100;

/// The last queue offset of each key. Keys are told apart by their MD5.
#[derive(Debug)]
pub(super) struct OffsetMap {
    offsets: HashMap<[u8; 16], i64>,
    keys_max: usize,
}

impl OffsetMap {
    /// A map that takes up to so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            offsets: HashMap::default(),
            keys_max: (bytes_max / KEY_COST).max(KEYS_MIN),
        }
    }

    /// Notes that a key's last message so far is this one; `false` when it is a new key and there is no more
    /// room.
    pub(super) fn put(&mut self, key: &str, queue_offset: i64) -> bool {
        let digest = digest(key);
        if let Some(known) = self.offsets.get_mut(&digest) {
            *known = queue_offset;
            return true;
        }
        if self.offsets.len() >= self.keys_max {
            return false;
        }
        self.offsets.insert(digest, queue_offset);
        true
    }

    /// The last message of a key, if it was noted.
    pub(super) fn get(&self, key: &str) -> Option<i64> {
        self.offsets.get(&digest(key)).copied()
    }
}

fn digest(key: &str) -> [u8; 16] {
    Md5::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_key_counts_and_the_keys_are_bounded() {
        let mut map = OffsetMap::new(0);
        for at in 0..KEYS_MIN {
            assert!(map.put(&at.to_string(), at as i64));
        }
        assert!(!map.put("one more", 7));
        assert!(map.put("5", 1000));
        assert_eq!(map.get("5"), Some(1000));
        assert_eq!(map.get("one more"), None);
    }
}
