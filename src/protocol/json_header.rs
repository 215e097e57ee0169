//! The JSON form of a frame header.
//!
//! ```text
//! {"code":105,"extFields":{"topic":"T"},"flag":0,"language":"JAVA","opaque":0,
//!  "serializeTypeCurrentRPC":"JSON","version":493}
//! ```
//!
//! Written with the keys in this order, without nulls, as the reference implementation does it.
//! Read in any order; unknown keys are skipped, `extFields` may hold bare numbers and booleans,
//! numbers may be quoted.
//!
//! Reading works in the frame itself: an escaped text is unescaped where it stands (it only
//! shrinks, the rest is filled with spaces), so no text is copied and none allocated.

use super::command_header::FieldValue;
use super::ext_fields::{Entry, Span};
use super::fastjson::write_text;
use super::frame::{EXT_FIELDS_MAX, FrameError, Head, RawHead};
use super::language::LanguageCode;
use bytes::{BufMut, BytesMut};

/// Values nested deeper than this are refused.
const DEPTH_MAX: usize = 32;

/// Reads a header in place. Afterwards the buffer is UTF-8 if it was before.
pub(super) fn decode(header: &mut [u8]) -> Result<RawHead, FrameError> {
    let mut scanner = Scanner {
        bytes: header,
        at: 0,
        error: "",
    };
    read_head(&mut scanner).map_err(|Failed| FrameError::BadHeader {
        what: scanner.error,
        at: scanner.at,
    })
}

fn read_head(scanner: &mut Scanner<'_>) -> Scan<RawHead> {
    let mut head = RawHead {
        language: LanguageCode::OTHER,
        ..RawHead::default()
    };
    scanner.object(|scanner, key| {
        match key.bytes(scanner.bytes) {
            b"code" => head.code = scanner.int()?,
            b"flag" => head.flag = scanner.int()?,
            b"opaque" => head.opaque = scanner.int()?,
            b"version" => head.version = scanner.int()?,
            b"language" => head.language = scanner.language()?,
            b"remark" => head.remark = scanner.text()?,
            b"extFields" => head.entries = scanner.ext_fields()?,
            _ => scanner.skip_value(0)?,
        }
        Ok(())
    })?;
    Ok(head)
}

struct Scanner<'a> {
    bytes: &'a mut [u8],
    at: usize,
    /// Why it failed.
    error: &'static str,
}

/// What is wrong is in the scanner: results this small stay in registers.
struct Failed;

type Scan<T> = Result<T, Failed>;

impl Scanner<'_> {
    #[cold]
    fn fail<T>(&mut self, what: &'static str) -> Scan<T> {
        self.error = what;
        Err(Failed)
    }

    /// The next byte that is no blank. Clients write none, so their way is short.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte > b' ' => Some(byte),
            _ => self.peek_behind_blanks(),
        }
    }

    #[cold]
    fn peek_behind_blanks(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn span(&mut self, start: usize, len: usize) -> Scan<Span> {
        match Span::new(start, len) {
            Some(span) => Ok(span),
            None => self.fail("the header is too long"),
        }
    }

    /// Reads `{"key":value,...}` and calls `each` at every value.
    fn object(&mut self, mut each: impl FnMut(&mut Self, Span) -> Scan<()>) -> Scan<()> {
        if !self.take(b'{') {
            return self.fail("expected an object");
        }
        while !self.take(b'}') {
            let key = self.string()?;
            if !self.take(b':') {
                return self.fail("expected a colon");
            }
            each(self, key)?;
            if !self.take(b',') && self.peek() != Some(b'}') {
                return self.fail("expected a comma or the end of the object");
            }
        }
        Ok(())
    }

    /// Reads a quoted text and unescapes it in place.
    fn string(&mut self) -> Scan<Span> {
        if !self.take(b'"') {
            return self.fail("expected a text in quotes");
        }
        let start = self.at;
        let rest = self.bytes.get(start..).unwrap_or(&[]);
        let Some((len, stop)) = find_quote_or_backslash(rest) else {
            return self.fail("a text has no end");
        };
        self.at = start + len;
        if stop == b'"' {
            self.at += 1;
            return self.span(start, len);
        }
        self.escaped_string(start)
    }

    /// The rest of a text from its first backslash on.
    #[inline(never)]
    fn escaped_string(&mut self, start: usize) -> Scan<Span> {
        let end = self.unescape()?;
        // What the escapes took more than their characters: blanks keep the header UTF-8.
        if let Some(gap) = self.bytes.get_mut(end..self.at) {
            gap.fill(b' ');
        }
        self.at += 1;
        self.span(start, end - start)
    }

    /// From the first backslash on, moves the text together. Leaves `at` on the closing quote and
    /// returns the new end of the text.
    fn unescape(&mut self) -> Scan<usize> {
        let mut end = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or(&[]);
            let Some((len, stop)) = find_quote_or_backslash(rest) else {
                return self.fail("a text has no end");
            };
            self.bytes.copy_within(self.at..self.at + len, end);
            self.at += len;
            end += len;
            if stop == b'"' {
                return Ok(end);
            }
            // The separators of properties, `\u0001` and `\u0002`, make up most escapes.
            if let Some([b'\\', b'u', b'0', b'0', b'0', low @ b'0'..=b'9']) =
                self.bytes.get(self.at..self.at + 6)
            {
                let byte = low - b'0';
                if let Some(place) = self.bytes.get_mut(end) {
                    *place = byte;
                }
                self.at += 6;
                end += 1;
                continue;
            }
            let decoded = self.escape()?;
            let mut utf8 = [0; 4];
            let utf8 = decoded.encode_utf8(&mut utf8).as_bytes();
            // Every escape is at least as long as its character in UTF-8.
            match self.bytes.get_mut(end..end + utf8.len()) {
                Some(place) => place.copy_from_slice(utf8),
                None => return self.fail("a text has no end"),
            }
            end += utf8.len();
        }
    }

    /// Reads the escape at the backslash.
    fn escape(&mut self) -> Scan<char> {
        let kind = self.bytes.get(self.at + 1).copied();
        self.at += 2;
        Ok(match kind {
            Some(plain @ (b'"' | b'\\' | b'/' | b'\'')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'v') => '\u{b}',
            Some(b'u') => return self.unicode_escape(),
            _ => return self.fail("unknown escape"),
        })
    }

    fn unicode_escape(&mut self) -> Scan<char> {
        let unit = self.hex4()?;
        if !(0xd800..0xdc00).contains(&unit) {
            return Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        // The first half of a surrogate pair; alone it is no character.
        if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let back = self.at;
        self.at += 2;
        let low = self.hex4()?;
        if !(0xdc00..0xe000).contains(&low) {
            self.at = back;
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Scan<u32> {
        let Some(digits) = self.bytes.get(self.at..self.at + 4) else {
            return self.fail("a text has no end");
        };
        let mut unit = 0;
        for &digit in digits {
            match char::from(digit).to_digit(16) {
                Some(value) => unit = unit * 16 + value,
                None => return self.fail("bad digits in an escape"),
            }
        }
        self.at += 4;
        Ok(unit)
    }

    /// Reads a bare word: a number, `true`, `false` or `null`.
    fn word(&mut self) -> Scan<Span> {
        let _ = self.peek();
        let start = self.at;
        while let Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.') =
            self.bytes.get(self.at)
        {
            self.at += 1;
        }
        if self.at == start {
            return self.fail("expected a value");
        }
        self.span(start, self.at - start)
    }

    /// Reads a text or a bare word; `null` is none.
    fn text(&mut self) -> Scan<Option<Span>> {
        if self.peek() == Some(b'"') {
            return self.string().map(Some);
        }
        let word = self.word()?;
        Ok(Some(word).filter(|word| word.bytes(self.bytes) != b"null"))
    }

    fn int(&mut self) -> Scan<i32> {
        let Some(text) = self.text()? else {
            return Ok(0);
        };
        let digits = std::str::from_utf8(text.bytes(self.bytes)).unwrap_or("");
        digits
            .parse()
            .or_else(|_| self.fail("not a number of 32 bits"))
    }

    /// A language by its name or by its number.
    fn language(&mut self) -> Scan<LanguageCode> {
        let Some(text) = self.text()? else {
            return Ok(LanguageCode::OTHER);
        };
        let name = std::str::from_utf8(text.bytes(self.bytes)).unwrap_or("");
        Ok(name
            .parse()
            .map_or_else(|_| LanguageCode::from_name(name), LanguageCode))
    }

    fn ext_fields(&mut self) -> Scan<Vec<Entry>> {
        let mut entries = Vec::new();
        if self.peek() == Some(b'n') {
            self.word()?;
            return Ok(entries);
        }
        self.object(|scanner, key| {
            if matches!(scanner.peek(), Some(b'{' | b'[')) {
                return scanner.skip_value(0);
            }
            let Some(value) = scanner.text()? else {
                return Ok(());
            };
            match entries.len() {
                0 => entries.reserve(16),
                EXT_FIELDS_MAX.. => return scanner.fail("too many extFields"),
                _ => {}
            }
            entries.push(Entry { key, value });
            Ok(())
        })?;
        Ok(entries)
    }

    fn skip_value(&mut self, depth: usize) -> Scan<()> {
        if depth > DEPTH_MAX {
            return self.fail("nested too deep");
        }
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.object(|scanner, _| scanner.skip_value(depth + 1)),
            Some(b'[') => {
                self.at += 1;
                while !self.take(b']') {
                    self.skip_value(depth + 1)?;
                    if !self.take(b',') && self.peek() != Some(b']') {
                        return self.fail("expected a comma or the end of the array");
                    }
                }
                Ok(())
            }
            _ => self.word().map(drop),
        }
    }
}

/// The place of the first `"` or `\`, and which of them it is, eight bytes at a time.
#[inline]
fn find_quote_or_backslash(bytes: &[u8]) -> Option<(usize, u8)> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // A high bit for every zero byte; wrong ones appear only behind a right one.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let hits = zeros(word ^ (ONES * b'"' as u64)) | zeros(word ^ (ONES * b'\\' as u64));
        if hits != 0 {
            // The bit is the highest of its byte.
            let bit = hits.trailing_zeros() & !7;
            return Some((at + bit as usize / 8, (word >> bit) as u8));
        }
        at += 8;
    }
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some((at + found, *rest.get(found)?))
}

/// Writes a header.
pub(super) fn encode(head: &Head<'_>, out: &mut BytesMut) {
    let mut digits = itoa::Buffer::new();
    out.put_slice(b"{\"code\":");
    out.put_slice(digits.format(head.code).as_bytes());
    if head.has_fields() {
        out.put_slice(b",\"extFields\":{");
        let mut first = true;
        head.for_each_field(&mut |key, value| {
            if !std::mem::take(&mut first) {
                out.put_u8(b',');
            }
            write_text(out, key);
            out.put_u8(b':');
            match value {
                FieldValue::Str(text) => write_text(out, text),
                FieldValue::Int(number) => {
                    out.put_u8(b'"');
                    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
                    out.put_u8(b'"');
                }
                FieldValue::Bool(true) => out.put_slice(b"\"true\""),
                FieldValue::Bool(false) => out.put_slice(b"\"false\""),
            }
        });
        out.put_u8(b'}');
    }
    out.put_slice(b",\"flag\":");
    out.put_slice(digits.format(head.flag).as_bytes());
    out.put_slice(b",\"language\":\"");
    out.put_slice(head.language.name().as_bytes());
    out.put_slice(b"\",\"opaque\":");
    out.put_slice(digits.format(head.opaque).as_bytes());
    if let Some(remark) = head.remark {
        out.put_slice(b",\"remark\":");
        write_text(out, remark);
    }
    out.put_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.put_slice(digits.format(head.version).as_bytes());
    out.put_u8(b'}');
}
