//! Reading: a lenient serde deserializer.
//!
//! Where a type wants a number and the text has one in quotes, it is a number, and so on: peers
//! are not strict. `null` is the empty value of whatever is wanted, as in Java, where it leaves
//! the field alone.

use super::JsonError;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use std::borrow::Cow;

/// Values nested deeper than this are refused.
pub const DEPTH_MAX: usize = 64;

/// Reads a value from UTF-8.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::Syntax {
        what: "not UTF-8",
        at: error.valid_up_to(),
    })?;
    from_str(text)
}

/// Reads a value.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, JsonError> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let value = T::deserialize(&mut reader)?;
    match reader.peek()? {
        None => Ok(value),
        Some(_) => reader.fail("something follows the value"),
    }
}

struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: usize,
}

/// A value that is neither an object nor a list.
enum Scalar<'de> {
    Text(Cow<'de, str>),
    /// A number, `true`, `false`, `null` or a bare word.
    Word(&'de str),
}

impl<'de> Scalar<'de> {
    fn as_str(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Word(word) => word,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::Word("null" | "undefined"))
    }

    fn int(&self) -> Option<i64> {
        let text = self.as_str().trim();
        if matches!(text, "" | "null" | "undefined" | "false") {
            return Some(0);
        }
        let digits = text.strip_suffix(['L', 'l']).unwrap_or(text);
        digits.parse().ok().or_else(|| {
            // A fraction is cut, as Java's casts do it.
            let number: f64 = digits.parse().ok()?;
            let whole = number.trunc() as i64;
            (whole as f64 == number.trunc()).then_some(whole)
        })
    }

    fn double(&self) -> Option<f64> {
        match self.as_str().trim() {
            "" | "null" => Some(0.0),
            text => text
                .trim_end_matches(['d', 'f', 'D', 'F', 'L', 'l'])
                .parse()
                .ok(),
        }
    }

    fn bool(&self) -> bool {
        let text = self.as_str();
        text.eq_ignore_ascii_case("true") || text == "1"
    }
}

impl<'de> Reader<'de> {
    fn fail<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax { what, at: self.at })
    }

    fn rest(&self) -> &'de str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// The next byte that is neither white space nor in a comment.
    fn peek(&mut self) -> Result<Option<u8>, JsonError> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{feff}', '\u{c}']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('/') {
                return Ok(trimmed.bytes().next());
            }
            let len = if trimmed.starts_with("//") {
                Some(trimmed.find('\n').unwrap_or(trimmed.len()))
            } else if trimmed.starts_with("/*") {
                trimmed.find("*/").map(|len| len + 2)
            } else {
                None
            };
            match len {
                Some(len) => self.at += len,
                None => return self.fail("unexpected slash"),
            }
        }
    }

    fn take(&mut self, byte: u8) -> Result<bool, JsonError> {
        let found = self.peek()? == Some(byte);
        self.at += usize::from(found);
        Ok(found)
    }

    fn scalar(&mut self) -> Result<Scalar<'de>, JsonError> {
        match self.peek()? {
            Some(quote @ (b'"' | b'\'')) => {
                self.at += 1;
                self.quoted(quote).map(Scalar::Text)
            }
            Some(b'{' | b'[') => self.fail("unexpected object or list"),
            Some(_) => self.word().map(Scalar::Word),
            None => self.fail("the text ends early"),
        }
    }

    /// Numbers and words end at whatever structures the text.
    fn word(&mut self) -> Result<&'de str, JsonError> {
        let rest = self.rest();
        let ends = |c: char| c.is_whitespace() || ",:{}[]\"'/".contains(c);
        let len = rest.find(ends).unwrap_or(rest.len());
        if len == 0 {
            return self.fail("expected a value");
        }
        self.at += len;
        Ok(rest.get(..len).unwrap_or(""))
    }

    /// Reads to the closing quote; the opening one is taken.
    fn quoted(&mut self, quote: u8) -> Result<Cow<'de, str>, JsonError> {
        let quote = char::from(quote);
        let mut owned: Option<String> = None;
        loop {
            let rest = self.rest();
            let Some(len) = rest.find([quote, '\\']) else {
                return self.fail("a text has no end");
            };
            let part = rest.get(..len).unwrap_or("");
            self.at += len + 1;
            if rest.get(len..).is_some_and(|rest| rest.starts_with(quote)) {
                return Ok(match owned {
                    None => Cow::Borrowed(part),
                    Some(text) => Cow::Owned(text + part),
                });
            }
            let text = owned.get_or_insert_default();
            text.push_str(part);
            let character = self.escape()?;
            text.push(character);
        }
    }

    /// Reads an escape behind its backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let Some(kind) = self.rest().chars().next() else {
            return self.fail("a text has no end");
        };
        self.at += kind.len_utf8();
        Ok(match kind {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '0'..='7' => char::from(kind as u8 - b'0'),
            'x' => char::from_u32(self.hex(2)?).unwrap_or(char::REPLACEMENT_CHARACTER),
            'u' => {
                let unit = self.hex(4)?;
                let pair = (0xd800..0xdc00).contains(&unit) && self.rest().starts_with("\\u");
                if !pair {
                    return Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                let back = self.at;
                self.at += 2;
                let low = self.hex(4)?;
                if !(0xdc00..0xe000).contains(&low) {
                    self.at = back;
                    return Ok(char::REPLACEMENT_CHARACTER);
                }
                let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => other,
        })
    }

    fn hex(&mut self, len: usize) -> Result<u32, JsonError> {
        let digits = self
            .rest()
            .get(..len)
            .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(unit) = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) else {
            return self.fail("bad digits in an escape");
        };
        self.at += len;
        Ok(unit)
    }

    /// Takes the opening bracket. `None` when there is a scalar instead, which must be empty.
    fn open(&mut self, bracket: u8) -> Result<Option<()>, JsonError> {
        if self.take(bracket)? {
            self.depth += 1;
            if self.depth > DEPTH_MAX {
                return self.fail("nested too deep");
            }
            return Ok(Some(()));
        }
        let scalar = self.scalar()?;
        if scalar.is_null() || scalar.as_str().is_empty() {
            return Ok(None);
        }
        self.fail("expected an object or a list")
    }

    /// Between entries: whether the closing bracket comes. Superfluous commas are skipped.
    fn closes(&mut self, bracket: u8, first: &mut bool) -> Result<bool, JsonError> {
        let mut separated = std::mem::take(first);
        while self.take(b',')? {
            separated = true;
        }
        if self.take(bracket)? {
            self.depth -= 1;
            return Ok(true);
        }
        if !separated {
            return self.fail("expected a comma");
        }
        Ok(false)
    }

    fn skip(&mut self) -> Result<(), JsonError> {
        let (open, close) = match self.peek()? {
            Some(b'{') => (b'{', b'}'),
            Some(b'[') => (b'[', b']'),
            _ => return self.scalar().map(drop),
        };
        self.open(open)?;
        let mut first = true;
        while !self.closes(close, &mut first)? {
            self.skip()?;
            if open == b'{' {
                self.colon()?;
                self.skip()?;
            }
        }
        Ok(())
    }

    fn colon(&mut self) -> Result<(), JsonError> {
        if self.take(b':')? {
            Ok(())
        } else {
            self.fail("expected a colon")
        }
    }

    fn int(&mut self) -> Result<i64, JsonError> {
        let scalar = self.scalar()?;
        match scalar.int() {
            Some(number) => Ok(number),
            None => self.fail("expected a whole number"),
        }
    }
}

macro_rules! ints {
    ($($method:ident)+) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
                visitor.visit_i64(self.int()?)
            }
        )+
    };
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = JsonError;

    ints! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        let scalar = self.scalar()?;
        match (scalar.as_str().parse(), scalar.int()) {
            (Ok(number), _) => visitor.visit_u64(number),
            (_, Some(number)) => visitor.visit_i64(number),
            _ => self.fail("expected a whole number"),
        }
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.peek()? {
            Some(b'{') => return self.deserialize_map(visitor),
            Some(b'[') => return self.deserialize_seq(visitor),
            _ => {}
        }
        let scalar = self.scalar()?;
        match scalar {
            Scalar::Text(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Scalar::Text(Cow::Owned(text)) => visitor.visit_string(text),
            Scalar::Word("true") => visitor.visit_bool(true),
            Scalar::Word("false") => visitor.visit_bool(false),
            Scalar::Word("null" | "undefined") => visitor.visit_unit(),
            Scalar::Word(word) if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                match (word.parse(), scalar.double()) {
                    (Ok(number), _) => visitor.visit_i64(number),
                    (_, Some(number)) => visitor.visit_f64(number),
                    _ => self.fail("bad number"),
                }
            }
            Scalar::Word(word) => visitor.visit_borrowed_str(word),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        visitor.visit_bool(self.scalar()?.bool())
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scalar()?.double() {
            Some(number) => visitor.visit_f64(number),
            None => self.fail("expected a number"),
        }
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        match self.scalar()? {
            scalar if scalar.is_null() => visitor.visit_borrowed_str(""),
            Scalar::Text(Cow::Borrowed(text)) | Scalar::Word(text) => {
                visitor.visit_borrowed_str(text)
            }
            Scalar::Text(Cow::Owned(text)) => visitor.visit_string(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.peek()?;
        let back = self.at;
        if self.rest().starts_with(['n', 'u']) && self.scalar()?.is_null() {
            return visitor.visit_none();
        }
        self.at = back;
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        let mut entries = Entries::open(self, b'[', b']')?;
        let value = visitor.visit_seq(&mut entries)?;
        entries.finish()?;
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        let mut entries = Entries::open(self, b'{', b'}')?;
        let value = visitor.visit_map(&mut entries)?;
        entries.finish()?;
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_enum(self)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if matches!(self.peek()?, Some(b'{' | b'[')) {
            // An object as key of something that has no such property.
            self.skip()?;
            return visitor.visit_borrowed_str("");
        }
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        self.deserialize_unit(visitor)
    }
}

/// The entries of an object or a list.
struct Entries<'r, 'de> {
    reader: &'r mut Reader<'de>,
    close: u8,
    first: bool,
    ended: bool,
}

impl<'r, 'de> Entries<'r, 'de> {
    fn open(reader: &'r mut Reader<'de>, open: u8, close: u8) -> Result<Self, JsonError> {
        let ended = reader.open(open)?.is_none();
        Ok(Self {
            reader,
            close,
            first: true,
            ended,
        })
    }

    fn has_next(&mut self) -> Result<bool, JsonError> {
        if !self.ended {
            self.ended = self.reader.closes(self.close, &mut self.first)?;
        }
        Ok(!self.ended)
    }

    /// A visitor that knows how many elements it wants leaves the rest.
    fn finish(mut self) -> Result<(), JsonError> {
        while self.has_next()? {
            self.reader.skip()?;
            if self.close == b'}' {
                self.reader.colon()?;
                self.reader.skip()?;
            }
        }
        Ok(())
    }
}

impl<'de> SeqAccess<'de> for &mut Entries<'_, 'de> {
    type Error = JsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, JsonError> {
        if !self.has_next()? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl<'de> MapAccess<'de> for &mut Entries<'_, 'de> {
    type Error = JsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, JsonError> {
        if !self.has_next()? {
            return Ok(None);
        }
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, JsonError> {
        self.reader.colon()?;
        seed.deserialize(&mut *self.reader)
    }
}

/// Enums are names; a variant with content does not occur.
impl<'de> EnumAccess<'de> for &mut Reader<'de> {
    type Error = JsonError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), JsonError> {
        let scalar = self.scalar()?;
        let name: de::value::StrDeserializer<'_, JsonError> = scalar.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Reader<'de> {
    type Error = JsonError;

    fn unit_variant(self) -> Result<(), JsonError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, JsonError> {
        self.fail("a variant with content")
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, JsonError> {
        self.fail("a variant with content")
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, JsonError> {
        self.fail("a variant with content")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Style, Value, to_vec_styled};
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Sample {
        name: String,
        queue_id: i32,
        on: bool,
        tps: f64,
        opt: Option<i64>,
        tags: Vec<String>,
        table: BTreeMap<i64, String>,
        keyed: BTreeMap<Key, i64>,
    }

    #[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Key {
        queue_id: i32,
    }

    #[test]
    fn everything_peers_write_is_read() {
        let text = r#" {name:'a\'\u00e4\ud83d\ude00\x41\/', "queueId":"7", "on":"TRUE", "tps":1,
            "opt":null, "tags":["x",], "table":{0:"a","1":"b",2:3}, /* c */ "extra":{"a":[{}]},
            "keyed":{{"queueId":1,"z":[]}:5,{"queueId":2}:"6"},, // end
            {"q":1}:2} "#;
        let expected = Sample {
            name: "a'ä😀A/".to_owned(),
            queue_id: 7,
            on: true,
            tps: 1.0,
            opt: None,
            tags: vec!["x".to_owned()],
            table: [(0, "a"), (1, "b"), (2, "3")]
                .map(|(k, v)| (k, v.to_owned()))
                .into(),
            keyed: [(Key { queue_id: 1 }, 5), (Key { queue_id: 2 }, 6)].into(),
        };
        assert_eq!(from_str::<Sample>(text), Ok(expected));
    }

    #[test]
    fn null_is_the_empty_value() {
        let text = r#"{"name":null,"queueId":null,"on":null,"tps":null,"tags":null,"table":"",
            "keyed":null}"#;
        assert_eq!(from_str::<Sample>(text), Ok(Sample::default()));
        assert_eq!(from_str::<Sample>("null"), Ok(Sample::default()));
    }

    #[test]
    fn malformed_texts_are_errors() {
        let deep = "[".repeat(DEPTH_MAX + 1);
        for text in [
            "",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1]",
            "[1 2]",
            "\"a",
            "\"\\",
            "\"\\u12",
            "{}x",
            "/",
            "/*",
            ":",
            &deep,
            "\"\\u+123\"",
            "{\"queueId\":x}",
            "{\"tags\":5}",
        ] {
            assert!(from_str::<Sample>(text).is_err(), "{text}");
        }
        assert!(from_str::<Value>(&deep).is_err());
        assert!(from_slice::<Value>(b"\"\xff\"").is_err());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-1e9..1e9).prop_map(|number: f64| Value::Float(number + 0.5_f64.copysign(number))),
            any::<String>().prop_map(Value::Text),
        ];
        scalar.prop_recursive(4, 32, 4, |inner| {
            let key = prop_oneof![
                any::<String>().prop_map(Value::Text),
                any::<i64>().prop_map(Value::Int),
                Just(Value::Object(vec![(
                    Value::Text("q".to_owned()),
                    Value::Int(1)
                )])),
            ];
            let present = inner
                .clone()
                .prop_filter("null is left out", |v| *v != Value::Null);
            prop_oneof![
                proptest::collection::vec(inner, 0..4).prop_map(Value::Array),
                proptest::collection::vec((key, present), 0..4).prop_map(Value::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_round_trip(value in any_value()) {
            for style in [Style::Compact, Style::Pretty] {
                let text = to_vec_styled(&value, style).unwrap();
                let read: Value = from_slice(&text).unwrap();
                // Whole doubles may come back as such, but not as other numbers.
                prop_assert_eq!(&read, &value);
            }
        }

        #[test]
        fn standard_style_is_standard(value in any_value()) {
            let text = to_vec_styled(&value, Style::Standard).unwrap();
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
        }

        #[test]
        fn any_text_is_read_without_panic(text: String, json in "[\\[\\]{}:,\"'\\\\a0 ]{0,20}") {
            let _ = from_str::<Value>(&text);
            let _ = from_str::<Value>(&json);
            let _ = from_str::<Sample>(&json);
        }
    }
}
