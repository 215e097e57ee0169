//! JSON as RocketMQ's peers write and read it.
//!
//! RocketMQ 5.4 serializes with fastjson2, older peers with fastjson. What both write is almost
//! JSON: integer keys of maps stand without quotes, and an object that is the key of a map is
//! written as an object.
//!
//! ```text
//! {"offsetTable":{{"brokerName":"b","queueId":1,"topic":"T"}:5},"brokerAddrs":{0:"1.1.1.1:10911"}}
//! ```
//!
//! [`to_vec`] and its kin write so: compact, null properties left out, properties in the order of
//! the struct (the bodies declare them in alphabetic order, as fastjson has it). [`from_slice`]
//! reads that and whatever else clients have been seen to send: keys and texts in single quotes,
//! bare words as keys, numbers and booleans in quotes, trailing commas, comments.

mod de;
mod ser;
mod value;

pub use de::{DEPTH_MAX, from_slice, from_str};
pub use ser::{
    PrimitiveArray, Style, to_string, to_vec, to_vec_pretty, to_vec_standard, to_vec_styled,
};
pub use value::Value;

use bytes::BufMut;

/// Why a text could not be read, or a value not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is malformed.
    #[error("bad json at byte {at}: {what}")]
    Syntax {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// The text does not fit the type it was read into, or the value has no JSON.
    #[error("{0}")]
    Data(String),
}

impl serde::de::Error for JsonError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Data(message.to_string())
    }
}

impl serde::ser::Error for JsonError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Data(message.to_string())
    }
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Writes a text in quotes; control characters, quotes and backslashes are escaped.
pub fn write_text(out: &mut impl BufMut, text: &str) {
    let bytes = text.as_bytes();
    out.put_u8(b'"');
    // Without early exit, so that it runs over many bytes at a time: most texts have none of these.
    let plain = !bytes
        .iter()
        .fold(false, |found, &byte| found | is_escaped(byte));
    if plain {
        out.put_slice(bytes);
        out.put_u8(b'"');
        return;
    }
    let mut done = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !is_escaped(byte) {
            continue;
        }
        out.put_slice(bytes.get(done..at).unwrap_or(&[]));
        done = at + 1;
        let short = match byte {
            b'"' | b'\\' => byte,
            0x8 => b'b',
            0xc => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            _ => {
                let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0') as u8;
                out.put_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 0xf)]);
                continue;
            }
        };
        out.put_slice(&[b'\\', short]);
    }
    out.put_slice(bytes.get(done..).unwrap_or(&[]));
    out.put_u8(b'"');
}

/// A number as Java's `Double.toString` writes it; what is no number is `null`.
pub fn write_double(out: &mut Vec<u8>, number: f64) {
    if !number.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    let size = number.abs();
    let text = if size == 0.0 || (1e-3..1e7).contains(&size) {
        format!("{number:?}")
    } else {
        // Rust writes 1e10 and 1.5e-7 where Java has 1.0E10 and 1.5E-7.
        let text = format!("{number:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
            Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
            None => text,
        }
    };
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_fastjson2_does_it() {
        let mut out = Vec::new();
        write_text(
            &mut out,
            "a/\"\\\n\t\r\u{8}\u{c}\u{0}\u{b}\u{1f}\u{7f}\u{2028}ä😀",
        );
        let expected = "\"a/\\\"\\\\\\n\\t\\r\\b\\f\\u0000\\u000b\\u001f\u{7f}\u{2028}ä😀\"";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn doubles_look_as_in_java() {
        for (number, text) in [
            (0.0, "0.0"),
            (0.6, "0.6"),
            (100.0, "100.0"),
            (0.001, "0.001"),
            (1_234_567.0, "1234567.0"),
            (1e7, "1.0E7"),
            (1e-7, "1.0E-7"),
            (123_456_789.125, "1.23456789125E8"),
            (-1e10, "-1.0E10"),
            (f64::NAN, "null"),
        ] {
            let mut out = Vec::new();
            write_double(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
