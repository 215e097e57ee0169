//! RocketMQ's wire protocol: bytes to values and back, without sockets, files or actors.
//!
//! A connection carries frames ([`frame`]): a length, a header in one of two serializations and a
//! body. The header holds a code ([`codes`]) and named texts ([`ext_fields`]), which
//! the typed headers of [`header`] read and write ([`command_header`]).

pub mod binary_header;
pub mod body;
pub mod codes;
pub mod command_header;
pub mod ext_fields;
pub mod fastjson;
pub mod frame;
pub mod ha;
pub mod header;
pub mod java;
pub mod json_header;
pub mod language;
pub mod message;
pub mod static_topic;
pub mod trace;

/// A UTF-8 string that shares the memory of the frame it came from.
///
/// A slice keeps the whole read buffer of its connection alive: whatever outlives the request is
/// to be copied first, see [`detached`].
pub type Str = bytestring::ByteString;

/// A copy of the text in memory of its own, for keys that outlive the frame they came in.
pub fn detached(text: &str) -> Str {
    Str::from(text.to_owned())
}

pub use codes::{RequestCode, ResponseCode};
pub use command_header::{CommandHeader, CommandHeaderFields, FieldValue, HeaderError};
pub use ext_fields::ExtFields;
pub use frame::{FrameCodec, FrameError, RemotingCommand, SerializeType, encode_response_head};
pub use language::LanguageCode;
