//! Base64 with padding, as fastjson writes arrays of bytes (RFC 4648, section 4).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The text of some bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, at| {
            word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0))
        });
        for digit in 0..4 {
            let index = (word >> (18 - 6 * digit)) as usize & 63;
            let has_bits = digit <= chunk.len();
            let letter = ALPHABET.get(index).filter(|_| has_bits).unwrap_or(&b'=');
            out.push(char::from(*letter));
        }
    }
    out
}

/// The bytes of a text; none when it is no Base64. Padding may be missing.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let letters = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(letters.len() * 3 / 4);
    for chunk in letters.chunks(4) {
        let mut word = 0u32;
        for &letter in chunk {
            let value = ALPHABET.iter().position(|&known| known == letter)?;
            word = word << 6 | value as u32;
        }
        let bytes = match chunk.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        let word = (word << (6 * (4 - chunk.len()))).to_be_bytes();
        out.extend_from_slice(word.get(1..=bytes)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decode("A"), None);
        assert_eq!(decode("A?=="), None);
    }

    proptest! {
        #[test]
        fn round_trips(bytes: Vec<u8>, text in ".{0,20}") {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
            let _ = decode(&text);
        }
    }
}
