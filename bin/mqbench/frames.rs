//! Frames made once and patched per message, and the little that is read of answers.
//!
//! A load generator that spends more than the server measures itself. So requests are encoded
//! once with texts of fixed width (opaque of ten digits, unique key and time in hex and decimal of
//! fixed width) whose places are remembered; sending is copying and patching. Answers are not
//! decoded: code and opaque are found in the header bytes, of either serialization.

use bytes::BytesMut;
use callboard::protocol::{RemotingCommand, SerializeType};
use memchr::memmem;

/// Opaques start here, so that they always have ten digits.
pub const OPAQUE_BASE: i32 = 1_000_000_000;
/// Stands in a template where the unique key's counter goes: 16 hex digits.
pub const COUNTER_MARK: &str = "CA11B0A4DC0DE000";
/// Stands where a time in ms goes: 13 digits.
pub const TIME_MARK: i64 = 1_111_111_111_111;
/// Stands where an offset goes: 19 digits, the way to read zero-padded numbers is the same
/// everywhere.
pub const OFFSET_MARK: i64 = 1_222_222_222_222_222_222;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// An encoded request with the places that change.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    opaque: Place,
    counters: Vec<usize>,
    times: Vec<usize>,
    offsets: Vec<usize>,
    body: usize,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Text(usize),
    Binary(usize),
}

impl Template {
    /// Encodes a request and finds the marks in it.
    pub fn new(mut request: RemotingCommand) -> Self {
        request.opaque = OPAQUE_BASE;
        let body_len = request.body.len();
        let serialize = request.serialize_type;
        let mut out = BytesMut::new();
        request.encode(&mut out);
        let bytes = out.to_vec();
        let opaque = match serialize {
            // length, type and header length, then code 2, language 1, version 2.
            SerializeType::RocketMq => Place::Binary(8 + 5),
            SerializeType::Json => {
                let key = b"\"opaque\":";
                let at = memmem::find(&bytes, key).expect("a JSON header has an opaque");
                Place::Text(at + key.len())
            }
        };
        let all = |mark: &str| memmem::find_iter(&bytes, mark.as_bytes()).collect::<Vec<_>>();
        Template {
            opaque,
            counters: all(COUNTER_MARK),
            times: all(&TIME_MARK.to_string()),
            offsets: all(&OFFSET_MARK.to_string()),
            body: bytes.len() - body_len,
            bytes,
        }
    }

    /// Appends the frame with these values in place; every counter mark gets the next counter.
    pub fn append(&self, out: &mut Vec<u8>, opaque: i32, counter: &mut u64, now_ms: i64) {
        let begin = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[begin..];
        self.patch_opaque(frame, opaque);
        for at in &self.counters {
            *counter += 1;
            put_hex(&mut frame[*at..*at + 16], *counter);
        }
        for at in &self.times {
            put_decimal(&mut frame[*at..*at + 13], now_ms as u64);
        }
    }

    /// Appends a pull frame with opaque and offset in place.
    pub fn append_pull(&self, out: &mut Vec<u8>, opaque: i32, offset: i64) {
        let begin = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[begin..];
        self.patch_opaque(frame, opaque);
        for at in &self.offsets {
            put_decimal(&mut frame[*at..*at + 19], offset as u64);
        }
    }

    /// Where the body begins within the frame.
    pub fn body_at(&self) -> usize {
        self.body
    }

    fn patch_opaque(&self, frame: &mut [u8], opaque: i32) {
        match self.opaque {
            Place::Text(at) => put_decimal(&mut frame[at..at + 10], opaque as u64),
            Place::Binary(at) => frame[at..at + 4].copy_from_slice(&opaque.to_be_bytes()),
        }
    }
}

fn put_decimal(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn put_hex(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = HEX[(value & 15) as usize];
        value >>= 4;
    }
}

/// One whole frame inside a read buffer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Response (or request) code.
    pub code: i32,
    /// The request it answers.
    pub opaque: i32,
    /// Header bytes, for [`header_number`].
    pub header: &'a [u8],
    /// Serialization of the header.
    pub binary: bool,
    /// The body.
    pub body: &'a [u8],
    /// Bytes of the whole frame.
    pub len: usize,
}

/// The frame at the start of `input`; None while it is not whole. A frame that makes no sense is
/// an error: the load generator stops.
pub fn parse(input: &[u8]) -> Result<Option<Answer<'_>>, String> {
    let Some((head, rest)) = input.split_first_chunk::<8>() else {
        return Ok(None);
    };
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let len = word(0) as usize;
    let header_len = (word(4) & 0x00FF_FFFF) as usize;
    if len > 64 * 1024 * 1024 || len < 4 + header_len {
        return Err(format!(
            "frame of {len} bytes with a header of {header_len}"
        ));
    }
    let Some(content) = rest.get(..len - 4) else {
        return Ok(None);
    };
    let (header, body) = content.split_at(header_len);
    let binary = head[4] != 0;
    let (code, opaque) = if binary {
        let field: &[u8; 9] = header.first_chunk().ok_or("short binary header")?;
        let code = i32::from(i16::from_be_bytes([field[0], field[1]]));
        (
            code,
            i32::from_be_bytes([field[5], field[6], field[7], field[8]]),
        )
    } else {
        let code = json_number(header, b"\"code\":").ok_or("header without code")?;
        let opaque = json_number(header, b"\"opaque\":").ok_or("header without opaque")?;
        (code as i32, opaque as i32)
    };
    Ok(Some(Answer {
        code,
        opaque,
        header,
        binary,
        body,
        len: len + 4,
    }))
}

fn json_number(header: &[u8], key: &[u8]) -> Option<i64> {
    let at = memmem::find(header, key)? + key.len();
    leading_number(header.get(at..)?)
}

fn leading_number(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, text),
    };
    let len = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let digits = digits.get(..len).filter(|digits| !digits.is_empty())?;
    let value = digits.iter().try_fold(0_i64, |value, digit| {
        value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))
    })?;
    Some(if negative { -value } else { value })
}

/// The number in a text field of an answer's header, e.g. `nextBeginOffset`.
pub fn header_number(answer: &Answer<'_>, name: &str) -> Option<i64> {
    let at = memmem::find(answer.header, name.as_bytes())? + name.len();
    // Binary: four bytes of length follow; JSON: `":"`.
    let skip = if answer.binary { 4 } else { 3 };
    leading_number(answer.header.get(at + skip..)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use callboard::protocol::RequestCode;

    fn request(serialize: SerializeType) -> RemotingCommand {
        let mut request = RemotingCommand::request_without_header(RequestCode::SendMessageV2);
        request.serialize_type = serialize;
        request.ext_fields.insert("g", &TIME_MARK.to_string());
        request
            .ext_fields
            .insert("i", &format!("UNIQ_KEY\u{1}{COUNTER_MARK}\u{2}"));
        request.with_body(b"body".to_vec())
    }

    #[test]
    fn patched_frames_are_read_back() {
        for serialize in [SerializeType::Json, SerializeType::RocketMq] {
            let template = Template::new(request(serialize));
            let mut out = Vec::new();
            let mut counter = 0;
            template.append(&mut out, 1_000_000_042, &mut counter, 1_763_900_000_123);
            let answer = parse(&out).unwrap().unwrap();
            assert_eq!((answer.code, answer.opaque), (310, 1_000_000_042));
            assert_eq!(answer.body, b"body");
            assert_eq!(answer.len, out.len());
            assert_eq!(header_number(&answer, "g"), Some(1_763_900_000_123));
            assert!(memmem::find(&out, b"0000000000000001").is_some());
            assert!(parse(&out[..out.len() - 1]).unwrap().is_none());
        }
    }
}
