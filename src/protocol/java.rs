//! The pieces of Java that are part of RocketMQ's formats.

/// `String.hashCode()`, fed in pieces: over UTF-16 code units, `h = 31 * h + unit`, wrapping.
#[derive(Clone, Copy, Debug, Default)]
pub struct StringHash(u32);

impl StringHash {
    /// The hash of no text.
    pub fn new() -> Self {
        Self(0)
    }

    /// The hash of the text so far followed by `text`.
    pub fn then(self, text: &str) -> Self {
        let step = |hash: u32, unit: u32| hash.wrapping_mul(31).wrapping_add(unit);
        if text.is_ascii() {
            Self(
                text.bytes()
                    .fold(self.0, |hash, byte| step(hash, u32::from(byte))),
            )
        } else {
            Self(
                text.encode_utf16()
                    .fold(self.0, |hash, unit| step(hash, u32::from(unit))),
            )
        }
    }

    /// The hash as Java's `int`.
    pub fn finish(self) -> i32 {
        self.0 as i32
    }
}

/// `String.hashCode()` of a text.
pub fn string_hash(text: &str) -> i32 {
    StringHash::new().then(text).finish()
}

/// `Math.abs` for a hash that becomes an index: the smallest number, which has no opposite, is 0
/// as in `IndexFile.indexKeyHashMethod`.
pub fn positive_hash(hash: i32) -> i32 {
    hash.checked_abs().unwrap_or(0)
}

/// The hash under which the index files keep a key of a message: of `topic#key`.
pub fn index_key_hash(topic: &str, key: &str) -> i32 {
    positive_hash(StringHash::new().then(topic).then("#").then(key).finish())
}

/// The hash under which the index files keep the tags of a message: of `topic#T#tags`.
pub fn index_tags_hash(topic: &str, tags: &str) -> i32 {
    positive_hash(
        StringHash::new()
            .then(topic)
            .then("#T#")
            .then(tags)
            .finish(),
    )
}

/// The tags code in a consume queue entry: the hash of the whole `TAGS` text, 0 without tags.
pub fn tags_code(tags: &str) -> i64 {
    i64::from(string_hash(tags))
}

/// Whether a text is blank as Java sees it: empty or nothing but white space.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        assert_eq!(string_hash(""), 0);
        assert_eq!(string_hash("TagA"), 2_598_919);
        assert_eq!(tags_code("TagB"), 2_598_920);
        assert_eq!(string_hash("polygenelubricants"), i32::MIN);
        assert_eq!(positive_hash(string_hash("polygenelubricants")), 0);
        // "ä" is one unit, "😀" the two units d83d de00.
        assert_eq!(string_hash("ä"), 0xe4);
        assert_eq!(string_hash("😀"), 0xd83d * 31 + 0xde00);
        assert_eq!(index_key_hash("T", "k"), positive_hash(string_hash("T#k")));
        assert_eq!(
            index_tags_hash("T", "k"),
            positive_hash(string_hash("T#T#k"))
        );
    }
}
