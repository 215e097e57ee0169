//! Typed headers: the texts of a frame header as the fields of a struct, and back.
//!
//! The reference implementation has two decoders. A few headers on the hot path ("fast codec")
//! fail the request when a required field is absent; all others are read by reflection, which
//! logs a missing or unparsable field and leaves it null, so that the processor usually fails a
//! little later with a null dereference. Both end in `SYSTEM_ERROR`, so [`CommandHeader::decode`]
//! refuses a missing required field for either kind; [`CommandHeader::decode_lenient`] instead
//! gives it an empty or zero value, for the requests that work without.

use super::Str;
use super::ext_fields::{ExtFields, Field};

/// A value of a header field on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValue<'a> {
    /// A text.
    Str(&'a str),
    /// A whole number, written in decimal.
    Int(i64),
    /// Written as `true` or `false`.
    Bool(bool),
}

/// Why a header could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A required field is absent.
    #[error("the custom field <{field}> is null")]
    Missing {
        /// Name of the field on the wire.
        field: &'static str,
    },
    /// A field does not hold a number.
    #[error("the custom field <{field}> is not a number: {text}")]
    NotANumber {
        /// Name of the field on the wire.
        field: &'static str,
        /// What it holds, cut to 64 characters.
        text: String,
    },
}

impl HeaderError {
    /// A field that should hold a number and holds `text`.
    pub fn not_a_number(field: &'static str, text: &str) -> Self {
        Self::NotANumber {
            field,
            text: text.chars().take(64).collect(),
        }
    }
}

/// The encoding half of a typed header; usable as a trait object.
pub trait CommandHeaderFields {
    /// Calls `emit` with each field that has a value.
    fn for_each_field(&self, emit: &mut dyn FnMut(&'static str, FieldValue<'_>));
}

/// How to take a required field that is missing or unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// It is an error.
    Strict,
    /// It reads empty or zero.
    Lenient,
}

/// A typed header of a request or a response.
pub trait CommandHeader: CommandHeaderFields + Default {
    /// Reads the header as strictly as told.
    fn decode_as(fields: &ExtFields, strictness: Strictness) -> Result<Self, HeaderError>;

    /// Reads the header; a missing required field or a required number that is none is an error.
    fn decode(fields: &ExtFields) -> Result<Self, HeaderError> {
        Self::decode_as(fields, Strictness::Strict)
    }

    /// Reads what is there; a missing or unparsable required field gets an empty or zero value.
    fn decode_lenient(fields: &ExtFields) -> Self {
        Self::decode_as(fields, Strictness::Lenient).unwrap_or_default()
    }
}

/// A type that a header field can have.
pub trait HeaderField: Sized {
    /// Reads the text of a field; `None` when it can't be read.
    fn parse(field: &Field<'_>) -> Option<Self>;

    /// The value of an absent field; `None` when the field is required.
    fn absent() -> Option<Self> {
        None
    }

    /// The value that stands for a missing required field in a lenient read.
    fn blank() -> Self;

    /// The value to write; `None` leaves the field out.
    fn value(&self) -> Option<FieldValue<'_>>;
}

impl HeaderField for Str {
    fn parse(field: &Field<'_>) -> Option<Self> {
        Some(field.to_str())
    }

    fn blank() -> Self {
        Str::new()
    }

    fn value(&self) -> Option<FieldValue<'_>> {
        Some(FieldValue::Str(self))
    }
}

impl HeaderField for i32 {
    fn parse(field: &Field<'_>) -> Option<Self> {
        field.text.parse().ok()
    }

    fn blank() -> Self {
        0
    }

    fn value(&self) -> Option<FieldValue<'_>> {
        Some(FieldValue::Int(i64::from(*self)))
    }
}

impl HeaderField for i64 {
    fn parse(field: &Field<'_>) -> Option<Self> {
        field.text.parse().ok()
    }

    fn blank() -> Self {
        0
    }

    fn value(&self) -> Option<FieldValue<'_>> {
        Some(FieldValue::Int(*self))
    }
}

/// Any text but `true` (in whatever letters) is false, as `Boolean.parseBoolean` has it.
impl HeaderField for bool {
    fn parse(field: &Field<'_>) -> Option<Self> {
        Some(field.text.eq_ignore_ascii_case("true"))
    }

    fn blank() -> Self {
        false
    }

    fn value(&self) -> Option<FieldValue<'_>> {
        Some(FieldValue::Bool(*self))
    }
}

impl<T: HeaderField> HeaderField for Option<T> {
    fn parse(field: &Field<'_>) -> Option<Self> {
        T::parse(field).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn blank() -> Self {
        None
    }

    fn value(&self) -> Option<FieldValue<'_>> {
        self.as_ref().and_then(T::value)
    }
}

/// The value of a field that was not found, or not readable, at its exact name.
///
/// A required field is looked for once more without regard to case (old Go clients write `Topic`
/// and `QueueId`) before it is reported.
pub fn settle<T: HeaderField>(
    fields: &ExtFields,
    name: &'static str,
    default: Option<T>,
    strictness: Strictness,
) -> Result<T, HeaderError> {
    if let Some(value) = default.or_else(T::absent) {
        return Ok(value);
    }
    let found = fields.find_ignoring_case(name);
    if let Some(value) = found.as_ref().and_then(T::parse) {
        return Ok(value);
    }
    match (strictness, found) {
        (Strictness::Lenient, _) => Ok(T::blank()),
        (Strictness::Strict, Some(field)) => Err(HeaderError::not_a_number(name, field.text)),
        (Strictness::Strict, None) => Err(HeaderError::Missing { field: name }),
    }
}

/// Declares a typed header: each field with its type, its name on the wire and, if it has one,
/// its default.
///
/// A field of type `Option<T>` may be absent; a field with a default takes it when absent; any
/// other field is required.
#[macro_export]
macro_rules! command_header {
    (
        $(#[$doc:meta])*
        pub struct $name:ident {
            $( $(#[$field_doc:meta])* $field:ident: $type:ty $(= $default:expr)? => $wire:literal, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $type, )*
        }

        impl $crate::protocol::command_header::CommandHeaderFields for $name {
            #[allow(unused_variables, reason = "a header may have no fields")]
            fn for_each_field(
                &self,
                emit: &mut dyn FnMut(&'static str, $crate::protocol::command_header::FieldValue<'_>),
            ) {
                $(
                    let value = $crate::protocol::command_header::HeaderField::value(&self.$field);
                    if let Some(value) = value {
                        emit($wire, value);
                    }
                )*
            }
        }

        #[allow(unused_variables, unused_mut, reason = "a header may have no fields")]
        impl $crate::protocol::command_header::CommandHeader for $name {
            fn decode_as(
                fields: &$crate::protocol::ExtFields,
                strictness: $crate::protocol::command_header::Strictness,
            ) -> Result<Self, $crate::protocol::HeaderError> {
                use $crate::protocol::command_header::{HeaderField, settle};
                $( let mut $field: Option<$type> = None; )*
                for field in fields.fields() {
                    match field.key {
                        $( $wire => $field = <$type as HeaderField>::parse(&field), )*
                        _ => {}
                    }
                }
                Ok(Self {
                    $( $field: match $field {
                        Some(value) => value,
                        None => {
                            let default: Option<$type> = None $( .or(Some($default)) )?;
                            settle(fields, $wire, default, strictness)?
                        }
                    }, )*
                })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    command_header! {
        /// A header with each kind of field.
        pub struct Sample {
            /// Required.
            topic: Str => "topic",
            /// Required number.
            queue_id: i32 => "queueId",
            /// Optional.
            offset: Option<i64> => "offset",
            /// With a default.
            committed: bool = true => "committed",
        }
    }

    fn fields(pairs: &[(&str, &str)]) -> ExtFields {
        pairs.iter().copied().collect()
    }

    #[test]
    fn required_fields_are_required() {
        let missing = Sample::decode(&fields(&[("topic", "T")]));
        assert_eq!(missing, Err(HeaderError::Missing { field: "queueId" }));
        let bad = Sample::decode(&fields(&[("topic", "T"), ("queueId", "x")]));
        assert_eq!(bad, Err(HeaderError::not_a_number("queueId", "x")));
        let lenient = Sample::decode_lenient(&fields(&[("queueId", "x"), ("offset", "y")]));
        assert_eq!(
            lenient,
            Sample {
                committed: true,
                ..Sample::default()
            }
        );
    }

    #[test]
    fn optional_fields_default_and_case_is_forgiven() {
        let read = Sample::decode(&fields(&[
            ("Topic", "T"),
            ("QueueId", "3"),
            ("offset", "-"),
        ]));
        let expected = Sample {
            topic: "T".into(),
            queue_id: 3,
            offset: None,
            committed: true,
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn fields_are_written_by_their_wire_names() {
        let header = Sample {
            topic: "T".into(),
            queue_id: 3,
            offset: None,
            committed: false,
        };
        let mut written = ExtFields::new();
        header.for_each_field(&mut |key, value| written.push_value(key, value));
        let expected = fields(&[("topic", "T"), ("queueId", "3"), ("committed", "false")]);
        assert_eq!(written, expected);
        assert_eq!(Sample::decode(&written), Ok(header));
    }
}
