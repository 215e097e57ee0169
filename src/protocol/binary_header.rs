//! RocketMQ's binary form of a frame header (serialize type `ROCKETMQ`).
//!
//! | field               | width | meaning                                                   |
//! |---------------------|-------|-----------------------------------------------------------|
//! | code                | 2     | signed; larger codes are cut, see [`super::codes::restore_truncated_code`] |
//! | language            | 1     | number of the language                                    |
//! | version             | 2     | signed                                                    |
//! | opaque              | 4     |                                                           |
//! | flag                | 4     |                                                           |
//! | remark length, text | 4 + n | UTF-8; length 0 is no remark                              |
//! | map length          | 4     | total bytes of the entries                                |
//! | entries             |       | key length 2, key, value length 4, value, until used up   |
//!
//! Integers are big-endian. The reference implementation reads an empty text as null, so an entry
//! with an empty key is dropped here; one with an empty value is kept, as the JSON form has it.

use super::command_header::FieldValue;
use super::ext_fields::{Entry, Span};
use super::frame::{EXT_FIELDS_MAX, FrameError, Head, RawHead};
use super::language::LanguageCode;
use bytes::{BufMut, BytesMut};

/// Reads a header. Everything that is not text is overwritten with spaces, so that the whole
/// header can be validated as UTF-8 once and its texts can be slices of it.
pub(super) fn decode(header: &mut [u8]) -> Result<RawHead, FrameError> {
    let mut reader = Reader {
        bytes: header,
        at: 0,
    };
    let code = i32::from(i16::from_be_bytes(reader.take()?));
    let [language] = reader.take()?;
    let version = i32::from(i16::from_be_bytes(reader.take()?));
    let opaque = i32::from_be_bytes(reader.take()?);
    let flag = i32::from_be_bytes(reader.take()?);
    let remark_len = i32::from_be_bytes(reader.take()?);
    let remark = reader.text(remark_len)?;
    let map_len = i32::from_be_bytes(reader.take()?);
    let end = usize::try_from(map_len)
        .ok()
        .map(|len| reader.at.saturating_add(len));
    let Some(end) = end.filter(|end| *end <= reader.bytes.len()) else {
        return reader.fail("the map is longer than the header");
    };
    let mut entries = Vec::new();
    if end > reader.at {
        entries.reserve(16);
    }
    while reader.at < end {
        let key_len = i32::from(i16::from_be_bytes(reader.take()?));
        let key = reader.text(key_len)?;
        let value_len = i32::from_be_bytes(reader.take()?);
        let value = reader.span(value_len)?;
        if let Some(key) = key {
            if entries.len() >= EXT_FIELDS_MAX {
                return reader.fail("too many extFields");
            }
            entries.push(Entry { key, value });
        }
    }
    if reader.at != end {
        return reader.fail("an entry reaches beyond the map");
    }
    // Nothing is defined behind the map, and it need not be text.
    if let Some(rest) = reader.bytes.get_mut(end..) {
        rest.fill(b' ');
    }
    let language = LanguageCode(language);
    Ok(RawHead {
        code,
        language,
        version,
        opaque,
        flag,
        remark,
        entries,
    })
}

struct Reader<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, what: &'static str) -> Result<T, FrameError> {
        Err(FrameError::BadHeader { what, at: self.at })
    }

    /// Takes the bytes of a number and blanks them.
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let rest = self.bytes.get_mut(self.at..).unwrap_or(&mut []);
        let Some(place) = rest.first_chunk_mut::<N>() else {
            return self.fail("the header ends early");
        };
        let taken = std::mem::replace(place, [b' '; N]);
        self.at += N;
        Ok(taken)
    }

    /// Takes a text; length 0 is none.
    fn text(&mut self, len: i32) -> Result<Option<Span>, FrameError> {
        let span = self.span(len)?;
        Ok(Some(span).filter(|_| len != 0))
    }

    /// Takes a text of any length.
    fn span(&mut self, len: i32) -> Result<Span, FrameError> {
        let left = self.bytes.len() - self.at;
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= left) else {
            return self.fail("a text is longer than the header");
        };
        let start = self.at;
        self.at += len;
        Span::new(start, len).map_or_else(|| self.fail("the header is too long"), Ok)
    }
}

/// Writes a header.
pub(super) fn encode(head: &Head<'_>, out: &mut BytesMut) {
    // The form has 16 bits for these two; the reference implementation cuts as well.
    out.put_i16(head.code as i16);
    out.put_u8(head.language.0);
    out.put_i16(head.version as i16);
    out.put_i32(head.opaque);
    out.put_i32(head.flag);
    let remark = head.remark.unwrap_or("");
    out.put_u32(remark.len() as u32);
    out.put_slice(remark.as_bytes());
    let map_start = out.len();
    out.put_u32(0);
    head.for_each_field(&mut |key, value| match value {
        FieldValue::Str(text) => put_entry(out, key, text),
        FieldValue::Int(number) => put_entry(out, key, itoa::Buffer::new().format(number)),
        FieldValue::Bool(true) => put_entry(out, key, "true"),
        FieldValue::Bool(false) => put_entry(out, key, "false"),
    });
    let map_len = (out.len() - map_start - 4) as u32;
    if let Some(place) = out.get_mut(map_start..map_start + 4) {
        place.copy_from_slice(&map_len.to_be_bytes());
    }
}

/// Writes one entry. A key that does not fit its length field can't be sent and is left out.
fn put_entry(out: &mut BytesMut, key: &str, value: &str) {
    let Ok(key_len) = i16::try_from(key.len()) else {
        return;
    };
    out.put_i16(key_len);
    out.put_slice(key.as_bytes());
    out.put_u32(value.len() as u32);
    out.put_slice(value.as_bytes());
}
