//! The pieces of Java that are part of RocketMQ's formats.

/// `String.hashCode()`, fed in pieces: over UTF-16 code units, `h = 31 * h + unit`, wrapping.
#[derive(Clone, Copy, Debug, Default)]
pub struct StringHash(u32);

/// What each of eight characters counts in a hash: powers of 31, the last character's is 1.
const POWERS: [u32; 8] = {
    let mut powers = [1_u32; 8];
    let mut at = 7;
    while at > 0 {
        powers[at - 1] = powers[at].wrapping_mul(31);
        at -= 1;
    }
    powers
};

impl StringHash {
    /// The hash of no text.
    pub fn new() -> Self {
        Self(0)
    }

    /// The hash of the text so far followed by `text`.
    pub fn then(self, text: &str) -> Self {
        let step = |hash: u32, unit: u32| hash.wrapping_mul(31).wrapping_add(unit);
        if text.is_ascii() {
            // Eight at a time: the products do not wait for each other.
            let (words, rest) = text.as_bytes().as_chunks::<8>();
            let hash = words.iter().fold(self.0, |hash, word| {
                let sum = word.iter().zip(POWERS).fold(0_u32, |sum, (&byte, power)| {
                    sum.wrapping_add(u32::from(byte).wrapping_mul(power))
                });
                hash.wrapping_mul(31_u32.wrapping_pow(8)).wrapping_add(sum)
            });
            Self(
                rest.iter()
                    .fold(hash, |hash, &byte| step(hash, u32::from(byte))),
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

/// The hashes under which the index files keep the keys of one topic's messages.
#[derive(Clone, Copy, Debug)]
pub struct IndexKeyHash(StringHash);

impl IndexKeyHash {
    /// For the messages of a topic.
    pub fn of(topic: &str) -> Self {
        Self(StringHash::new().then(topic).then("#"))
    }

    /// The hash of a key: of `topic#key`.
    pub fn key(self, key: &str) -> i32 {
        positive_hash(self.0.then(key).finish())
    }

    /// The hash of tags: of `topic#T#tags`.
    pub fn tags(self, tags: &str) -> i32 {
        positive_hash(self.0.then("T#").then(tags).finish())
    }
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
        let keys = IndexKeyHash::of("T");
        assert_eq!(keys.key("k"), positive_hash(string_hash("T#k")));
        assert_eq!(keys.tags("k"), positive_hash(string_hash("T#T#k")));
    }

    #[test]
    fn long_texts_hash_as_short_ones_do() {
        let text = "0123456789abcdefghijklmnopqrstuvwxyz";
        for len in 0..text.len() {
            let by_unit = text[..len].encode_utf16().fold(0_u32, |hash, unit| {
                hash.wrapping_mul(31).wrapping_add(unit.into())
            });
            assert_eq!(string_hash(&text[..len]), by_unit as i32, "{len}");
        }
    }
}
