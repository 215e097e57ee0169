//! What a message is found by: its unique key, its keys and its tags.

use smallvec::{SmallVec, smallvec};

use super::{properties, tags_code};
use crate::protocol::java::IndexKeyHash;

/// The properties that decide how a message is indexed and filtered. A value that is not UTF-8 is
/// as good as absent.
#[derive(Debug, Default, Clone, Copy)]
pub struct KeyProperties<'a> {
    /// UNIQ_KEY.
    pub unique_key: Option<&'a str>,
    /// KEYS.
    pub keys: Option<&'a str>,
    /// TAGS.
    pub tags: Option<&'a str>,
}

impl<'a> KeyProperties<'a> {
    /// Picks them out of a property text.
    pub fn of(text: &'a [u8]) -> Self {
        let mut found = Self::default();
        for (name, value) in properties::entries(text) {
            found.note(name, value);
        }
        found
    }

    /// Keeps a property if it is one of these, and tells whether it is. A later one of the same name
    /// wins, as in Java's map.
    pub fn note(&mut self, name: &[u8], value: &'a [u8]) -> bool {
        let place = if name == properties::UNIQ_KEY.as_bytes() {
            &mut self.unique_key
        } else if name == properties::KEYS.as_bytes() {
            &mut self.keys
        } else if name == properties::TAGS.as_bytes() {
            &mut self.tags
        } else {
            return false;
        };
        *place = std::str::from_utf8(value).ok();
        true
    }

    /// Hashes for the key index: of the unique key, of each key, of the tags
    /// (`IndexService.buildIndex`).
    pub fn index_keys(&self, topic: IndexKeyHash) -> SmallVec<[i32; 4]> {
        let mut hashes: SmallVec<[i32; 4]> = smallvec![];
        if let Some(key) = self.unique_key {
            hashes.push(topic.key(key));
        }
        let keys = self.keys.unwrap_or_default();
        for key in keys
            .split(properties::KEY_SEPARATOR)
            .filter(|key| !key.is_empty())
        {
            hashes.push(topic.key(key));
        }
        if let Some(tags) = self.tags {
            hashes.push(topic.tags(tags));
        }
        hashes
    }

    /// The tags code of an ordinary queue entry.
    pub fn tags_code(&self) -> i64 {
        self.tags.map_or(0, tags_code)
    }
}
