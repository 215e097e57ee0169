//! Writing: a serde serializer with fastjson2's forms.

use super::{JsonError, write_double, write_text};
use serde::ser::{self, Serialize};

/// How a value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// In one line, integer keys without quotes: what fastjson writes if not told otherwise.
    Compact,
    /// Like `Compact` with a line for each entry, indented with tabs: RocketMQ's files.
    Pretty,
    /// In one line and standard JSON: integer keys in quotes, and numbers in quotes that a
    /// JavaScript program would round (`BrowserCompatible`).
    Standard,
}

/// Numbers that Java keeps in a primitive array: in one line in every style.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PrimitiveArray(pub Vec<i64>);

/// The name by which the serializer knows [`PrimitiveArray`].
const PRIMITIVE_ARRAY: &str = "PrimitiveArray";
/// Whole numbers beyond this are not exact in JavaScript.
const SAFE_INT_MAX: u64 = (1 << 53) - 1;

/// Writes a value in a style.
pub fn to_vec_styled(value: &impl Serialize, style: Style) -> Result<Vec<u8>, JsonError> {
    let mut writer = Writer {
        out: Vec::with_capacity(256),
        style,
        depth: 0,
        inline: false,
    };
    value.serialize(&mut writer)?;
    Ok(writer.out)
}

/// Writes a value in one line as fastjson does.
pub fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, JsonError> {
    to_vec_styled(value, Style::Compact)
}

/// Writes a value as it stands in RocketMQ's files.
pub fn to_vec_pretty(value: &impl Serialize) -> Result<Vec<u8>, JsonError> {
    to_vec_styled(value, Style::Pretty)
}

/// Writes a value as standard JSON, for clients that ask for it.
pub fn to_vec_standard(value: &impl Serialize) -> Result<Vec<u8>, JsonError> {
    to_vec_styled(value, Style::Standard)
}

/// Writes a value in one line as fastjson does.
pub fn to_string(value: &impl Serialize) -> Result<String, JsonError> {
    String::from_utf8(to_vec(value)?).map_err(ser::Error::custom)
}

struct Writer {
    out: Vec<u8>,
    style: Style,
    depth: usize,
    /// Inside a [`PrimitiveArray`].
    inline: bool,
}

impl Writer {
    fn new_line(&mut self) {
        if self.style == Style::Pretty && !self.inline {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + self.depth, b'\t');
        }
    }

    fn open(&mut self, bracket: u8) -> Block<'_> {
        self.out.push(bracket);
        self.depth += 1;
        let close = if bracket == b'{' { b'}' } else { b']' };
        Block {
            writer: self,
            first: true,
            close,
            entry_start: 0,
        }
    }

    fn int(&mut self, number: impl itoa::Integer, quoted: bool) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number).as_bytes();
        if quoted {
            self.out.push(b'"');
        }
        self.out.extend_from_slice(digits);
        if quoted {
            self.out.push(b'"');
        }
    }
}

/// An object or a list that is being written.
struct Block<'a> {
    writer: &'a mut Writer,
    first: bool,
    close: u8,
    /// Where the current entry began, its comma included.
    entry_start: usize,
}

impl Block<'_> {
    fn next(&mut self) {
        self.entry_start = self.writer.out.len();
        if !self.first {
            self.writer.out.push(b',');
        }
        self.writer.new_line();
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), JsonError> {
        let start = self.writer.out.len();
        value.serialize(&mut *self.writer)?;
        // Properties without a value are left out, the keys that are already written with them.
        let is_null = self.writer.out.get(start..) == Some(b"null");
        if is_null && self.close == b'}' {
            self.writer.out.truncate(self.entry_start);
        } else {
            self.first = false;
        }
        Ok(())
    }

    fn close(self) -> Result<(), JsonError> {
        let writer = self.writer;
        writer.depth -= 1;
        if self.first && !writer.inline && writer.style == Style::Pretty {
            // An empty block has a blank line of the inner depth.
            writer.depth += 1;
            writer.new_line();
            writer.depth -= 1;
        }
        writer.new_line();
        writer.out.push(self.close);
        Ok(())
    }
}

impl<'a> ser::Serializer for &'a mut Writer {
    type Ok = ();
    type Error = JsonError;
    type SerializeSeq = Block<'a>;
    type SerializeTuple = Block<'a>;
    type SerializeTupleStruct = Block<'a>;
    type SerializeTupleVariant = ser::Impossible<(), JsonError>;
    type SerializeMap = Block<'a>;
    type SerializeStruct = Block<'a>;
    type SerializeStructVariant = ser::Impossible<(), JsonError>;

    fn serialize_bool(self, value: bool) -> Result<(), JsonError> {
        self.out
            .extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), JsonError> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i16(self, value: i16) -> Result<(), JsonError> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i32(self, value: i32) -> Result<(), JsonError> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i64(self, value: i64) -> Result<(), JsonError> {
        self.int(
            value,
            self.style == Style::Standard && value.unsigned_abs() > SAFE_INT_MAX,
        );
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), JsonError> {
        self.serialize_u64(u64::from(value))
    }

    fn serialize_u16(self, value: u16) -> Result<(), JsonError> {
        self.serialize_u64(u64::from(value))
    }

    fn serialize_u32(self, value: u32) -> Result<(), JsonError> {
        self.serialize_u64(u64::from(value))
    }

    fn serialize_u64(self, value: u64) -> Result<(), JsonError> {
        self.int(value, self.style == Style::Standard && value > SAFE_INT_MAX);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), JsonError> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), JsonError> {
        write_double(&mut self.out, value);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), JsonError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), JsonError> {
        write_text(&mut self.out, value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), JsonError> {
        value.serialize(self)
    }

    fn serialize_none(self) -> Result<(), JsonError> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), JsonError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), JsonError> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), JsonError> {
        self.open(b'{').close()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<(), JsonError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        self.inline = name == PRIMITIVE_ARRAY;
        let result = value.serialize(&mut *self);
        self.inline = false;
        result
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        let mut block = self.open(b'{');
        ser::SerializeMap::serialize_entry(&mut block, variant, value)?;
        block.close()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Block<'a>, JsonError> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple(self, _: usize) -> Result<Block<'a>, JsonError> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Block<'a>, JsonError> {
        Ok(self.open(b'['))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, JsonError> {
        Err(ser::Error::custom(format_args!(
            "a variant of {name} has no form in JSON"
        )))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Block<'a>, JsonError> {
        Ok(self.open(b'{'))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Block<'a>, JsonError> {
        Ok(self.open(b'{'))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, JsonError> {
        Err(ser::Error::custom(format_args!(
            "a variant of {name} has no form in JSON"
        )))
    }
}

impl ser::SerializeSeq for Block<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.next();
        self.value(value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

impl ser::SerializeTuple for Block<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

impl ser::SerializeTupleStruct for Block<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

impl ser::SerializeMap for Block<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), JsonError> {
        self.next();
        let start = self.writer.out.len();
        key.serialize(&mut *self.writer)?;
        let bare = self.writer.out.get(start).is_some_and(|byte| *byte != b'"');
        if bare && self.writer.style == Style::Standard {
            // A key has to be a text in standard JSON, whatever it is; fastjson does the same.
            let key = self.writer.out.split_off(start);
            write_text(&mut self.writer.out, &String::from_utf8_lossy(&key));
        }
        self.writer.out.push(b':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), JsonError> {
        self.value(value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

impl ser::SerializeStruct for Block<'_> {
    type Ok = ();
    type Error = JsonError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), JsonError> {
        ser::SerializeMap::serialize_entry(self, key, value)
    }

    fn end(self) -> Result<(), JsonError> {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Value, from_str};
    use super::*;

    fn styled(text: &str, style: Style) -> String {
        let value: Value = from_str(text).unwrap();
        String::from_utf8(to_vec_styled(&value, style).unwrap()).unwrap()
    }

    #[test]
    fn keys_follow_the_style() {
        let text = r#"{0:"a","b/":[1.0,null],{"q":1}:9223372036854775807,"n":null}"#;
        let compact = r#"{0:"a","b/":[1.0,null],{"q":1}:9223372036854775807}"#;
        assert_eq!(styled(text, Style::Compact), compact);
        let standard = r#"{"0":"a","b/":[1.0,null],"{\"q\":1}":"9223372036854775807"}"#;
        assert_eq!(styled(text, Style::Standard), standard);
    }

    #[test]
    fn pretty_form_is_that_of_the_files() {
        let text = r#"{"x":null,"a":{},"e":[],"t":{1:0,"l":["x"]}}"#;
        let pretty = "{\n\t\"a\":{\n\t\t\n\t},\n\t\"e\":[\n\t\t\n\t],\n\t\"t\":{\n\t\t1:0,\n\t\t\
            \"l\":[\n\t\t\t\"x\"\n\t\t]\n\t}\n}";
        assert_eq!(styled(text, Style::Pretty), pretty);
        let numbers = std::collections::BTreeMap::from([("n", PrimitiveArray(vec![1, 2]))]);
        assert_eq!(to_vec_pretty(&numbers).unwrap(), b"{\n\t\"n\":[1,2]\n}");
    }
}
