//! RocketMQ's wire protocol: bytes to values and back, without sockets, files or actors.

/// A UTF-8 string that shares the memory of the frame it came from.
pub type Str = bytestring::ByteString;
