//! One remoting frame and its codec.
//!
//! ```text
//! 0        4                8                 8+H              4+len
//! +--------+----------------+-----------------+----------------+
//! | len    | type(1) H(3)   | header (H bytes)| body           |
//! +--------+----------------+-----------------+----------------+
//! ```
//!
//! | offset | width     | name   | meaning                                                   |
//! |--------|-----------|--------|-----------------------------------------------------------|
//! | 0      | 4         | len    | bytes after this field: 4 + H + length of the body         |
//! | 4      | 1         | type   | serialization of the header: 0 JSON, 1 binary              |
//! | 5      | 3         | H      | length of the header                                      |
//! | 8      | H         | header | [`super::json_header`] or [`super::binary_header`]         |
//! | 8 + H  | len-4-H   | body   | raw bytes; length 0 means no body                         |
//!
//! All integers are big-endian. The classes behind it are `RemotingCommand` and `NettyDecoder`.

use super::codes::{RequestCode, ResponseCode};
use super::command_header::{CommandHeader, CommandHeaderFields, FieldValue, HeaderError};
use super::ext_fields::{Entry, ExtFields, Span};
use super::language::{LanguageCode, version};
use super::{Str, binary_header, json_header};
use bytes::{BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// The largest value of `len` that a peer accepts (`com.rocketmq.remoting.frameMaxLength`).
pub const FRAME_LEN_MAX: usize = 16 * 1024 * 1024;
/// The length field and the field of serialization and header length.
pub const PREFIX_LEN: usize = 8;
/// The most `extFields` a header may have; the reference implementation has no limit.
pub const EXT_FIELDS_MAX: usize = 4096;
/// At most this much is reserved ahead for a frame that is still arriving.
const RESERVE_STEP: usize = 256 * 1024;

/// Bit of `flag` that marks a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Bit of `flag` that marks a request nobody may answer.
pub const FLAG_ONEWAY: i32 = 2;

/// Why bytes are not a frame. After one of these a connection can't be read any further.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The frame is larger than allowed.
    #[error("frame length {len} exceeds {max}")]
    TooLarge {
        /// What the length field says.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The length field leaves no room for the header's length.
    #[error("frame length {len} is negative or below 4")]
    BadLength {
        /// What the length field says.
        len: i32,
    },
    /// The header is longer than the frame.
    #[error("header length {header_len} exceeds the frame of {len} bytes")]
    BadHeaderLength {
        /// Length of the header.
        header_len: usize,
        /// Length of the frame.
        len: usize,
    },
    /// The serialization of the header is neither JSON nor binary.
    #[error("unknown serialize type {0}")]
    UnknownSerializeType(u8),
    /// The header is malformed.
    #[error("bad header at byte {at}: {what}")]
    BadHeader {
        /// What is wrong.
        what: &'static str,
        /// Where, counted from the start of the header.
        at: usize,
    },
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// How a header is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SerializeType {
    /// As a JSON object.
    #[default]
    Json = 0,
    /// In RocketMQ's own binary form, which cuts codes to 16 bits.
    RocketMq = 1,
}

impl SerializeType {
    /// The serialization with this number.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Json),
            1 => Some(Self::RocketMq),
            _ => None,
        }
    }

    /// The name in a JSON header and in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::RocketMq => "ROCKETMQ",
        }
    }
}

/// One request or response.
///
/// Texts and body share the memory the frame was read into.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RemotingCommand {
    /// What is asked ([`RequestCode`]) or how it ended ([`ResponseCode`]).
    pub code: i32,
    /// Language of the sender.
    pub language: LanguageCode,
    /// Version ordinal of the sender, see [`super::language::version`].
    pub version: i32,
    /// Number of the request; a response carries the number of its request.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Text for people, mostly of errors. An empty text is kept as none by the binary form.
    pub remark: Option<Str>,
    /// The fields of the typed header and whatever else the sender added.
    pub ext_fields: ExtFields,
    /// How the header was, or is to be, written.
    pub serialize_type: SerializeType,
    /// The body; empty means none.
    pub body: Bytes,
}

impl RemotingCommand {
    /// A request with a typed header. The sender sets `opaque`.
    pub fn request(code: RequestCode, header: &impl CommandHeader) -> Self {
        Self::request_without_header(code).with_header(header)
    }

    /// A request without header fields. The sender sets `opaque`.
    pub fn request_without_header(code: RequestCode) -> Self {
        Self {
            code: code.code(),
            language: LanguageCode::RUST,
            version: version::CURRENT,
            ..Self::default()
        }
    }

    /// A response to `request`: its opaque and its serialization, no header fields.
    pub fn response(request: &RemotingCommand, code: ResponseCode) -> Self {
        Self {
            code: code.code(),
            language: LanguageCode::RUST,
            version: version::CURRENT,
            opaque: request.opaque,
            flag: FLAG_RESPONSE,
            serialize_type: request.serialize_type,
            ..Self::default()
        }
    }

    /// Sets the remark.
    pub fn with_remark(mut self, remark: impl Into<Str>) -> Self {
        self.remark = Some(remark.into());
        self
    }

    /// Adds the fields of a typed header.
    pub fn with_header(mut self, header: &impl CommandHeader) -> Self {
        header.for_each_field(&mut |key, value| self.ext_fields.push_value(key, value));
        self
    }

    /// Sets the body.
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Whether this answers a request.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether this request must not be answered.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// Marks this request as one that must not be answered.
    pub fn mark_oneway(mut self) -> Self {
        self.flag |= FLAG_ONEWAY;
        self
    }

    /// The request code by name, if it is known. Codes cut by a binary header are restored.
    pub fn request_code(&self) -> Option<RequestCode> {
        let code = match self.serialize_type {
            SerializeType::Json => self.code,
            SerializeType::RocketMq => super::codes::restore_truncated_code(self.code),
        };
        RequestCode::from_code(code)
    }

    /// The response code by name, if it is known.
    pub fn response_code(&self) -> Option<ResponseCode> {
        ResponseCode::from_code(self.code)
    }

    /// Reads the typed header; a missing required field is an error.
    pub fn decode_header<H: CommandHeader>(&self) -> Result<H, HeaderError> {
        H::decode(&self.ext_fields)
    }

    /// Writes the whole frame.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(self.body.len() + 256);
        self.encode_head(self.body.len(), out);
        out.extend_from_slice(&self.body);
    }

    /// Writes prefix and header; `body_len` bytes of body have to follow.
    pub fn encode_head(&self, body_len: usize, out: &mut BytesMut) {
        let head = Head {
            code: self.code,
            language: self.language,
            version: self.version,
            opaque: self.opaque,
            flag: self.flag,
            remark: self.remark.as_deref(),
            header: None,
            ext_fields: Some(&self.ext_fields).filter(|fields| !fields.is_empty()),
            extra: &[],
        };
        head.encode(self.serialize_type, body_len, out);
    }

    /// Reads one whole frame, length field included.
    pub fn decode(mut frame: BytesMut) -> Result<Self, FrameError> {
        FrameCodec {
            max_frame_len: frame.len(),
        }
        .decode(&mut frame)?
        .ok_or(FrameError::BadHeader {
            what: "the frame is not whole",
            at: 0,
        })
    }
}

/// Writes prefix and header of an answer without building [`ExtFields`]; `body_len` bytes of body
/// have to follow. `extra` are fields beside those of the typed header.
#[allow(
    clippy::too_many_arguments,
    reason = "the fields of a header, used on the hot path"
)]
pub fn encode_response_head(
    out: &mut BytesMut,
    serialize: SerializeType,
    code: i32,
    opaque: i32,
    remark: Option<&str>,
    header: Option<&dyn CommandHeaderFields>,
    extra: &[(&str, &str)],
    body_len: usize,
) {
    let head = Head {
        code,
        language: LanguageCode::RUST,
        version: version::CURRENT,
        opaque,
        flag: FLAG_RESPONSE,
        remark,
        header,
        ext_fields: None,
        extra,
    };
    head.encode(serialize, body_len, out);
}

/// What is written into a header, wherever its fields come from.
pub(super) struct Head<'a> {
    pub(super) code: i32,
    pub(super) language: LanguageCode,
    pub(super) version: i32,
    pub(super) opaque: i32,
    pub(super) flag: i32,
    pub(super) remark: Option<&'a str>,
    pub(super) header: Option<&'a dyn CommandHeaderFields>,
    pub(super) ext_fields: Option<&'a ExtFields>,
    pub(super) extra: &'a [(&'a str, &'a str)],
}

impl Head<'_> {
    /// Whether the header has a map of fields, be it empty.
    pub(super) fn has_fields(&self) -> bool {
        self.header.is_some() || self.ext_fields.is_some() || !self.extra.is_empty()
    }

    /// Calls `emit` with every field.
    pub(super) fn for_each_field(&self, emit: &mut dyn FnMut(&str, FieldValue<'_>)) {
        if let Some(header) = self.header {
            header.for_each_field(&mut |key, value| emit(key, value));
        }
        for (key, value) in self.ext_fields.into_iter().flat_map(ExtFields::iter) {
            emit(key, FieldValue::Str(value));
        }
        for (key, value) in self.extra {
            emit(key, FieldValue::Str(value));
        }
    }

    fn encode(&self, serialize: SerializeType, body_len: usize, out: &mut BytesMut) {
        let start = out.len();
        out.reserve(256);
        out.put_bytes(0, PREFIX_LEN);
        match serialize {
            SerializeType::Json => json_header::encode(self, out),
            SerializeType::RocketMq => binary_header::encode(self, out),
        }
        let header_len = out.len() - start - PREFIX_LEN;
        assert!(
            header_len < 1 << 24,
            "a header of {header_len} bytes does not fit its field"
        );
        let len = 4 + header_len + body_len;
        assert!(
            len <= i32::MAX as usize,
            "a frame of {len} bytes does not fit its length field"
        );
        if let Some(prefix) = out.get_mut(start..start + PREFIX_LEN) {
            let mut prefix = prefix;
            prefix.put_u32(len as u32);
            prefix.put_u32((serialize as u32) << 24 | header_len as u32);
        }
    }
}

/// What a header of either serialization says; texts are spans of the header.
#[derive(Debug, Default)]
pub(super) struct RawHead {
    pub(super) code: i32,
    pub(super) language: LanguageCode,
    pub(super) version: i32,
    pub(super) opaque: i32,
    pub(super) flag: i32,
    pub(super) remark: Option<Span>,
    pub(super) entries: Vec<Entry>,
}

/// Cuts a stream into frames and writes frames into it.
#[derive(Clone, Debug)]
pub struct FrameCodec {
    /// The largest value of the length field that is accepted.
    pub max_frame_len: usize,
}

impl Default for FrameCodec {
    fn default() -> Self {
        Self {
            max_frame_len: FRAME_LEN_MAX,
        }
    }
}

impl FrameCodec {
    fn read(mut frame: BytesMut) -> Result<RemotingCommand, FrameError> {
        let len = frame.len() - 4;
        let mut word = [0; 4];
        word.copy_from_slice(frame.get(4..PREFIX_LEN).unwrap_or(&[0; 4]));
        let [kind, ..] = word;
        let header_len = (u32::from_be_bytes(word) & 0x00ff_ffff) as usize;
        if header_len > len - 4 {
            return Err(FrameError::BadHeaderLength { header_len, len });
        }
        let serialize_type =
            SerializeType::from_code(kind).ok_or(FrameError::UnknownSerializeType(kind))?;
        let body = frame.split_off(PREFIX_LEN + header_len).freeze();
        let mut header = frame.split_off(PREFIX_LEN);
        let raw = match serialize_type {
            SerializeType::Json => json_header::decode(&mut header)?,
            SerializeType::RocketMq => binary_header::decode(&mut header)?,
        };
        // One validation for all texts; both decoders leave nothing but texts in the header.
        let header = Str::try_from(header.freeze()).map_err(|_| FrameError::BadHeader {
            what: "not UTF-8",
            at: 0,
        })?;
        Ok(RemotingCommand {
            code: raw.code,
            language: raw.language,
            version: raw.version,
            opaque: raw.opaque,
            flag: raw.flag,
            remark: raw.remark.map(|span| span.slice(&header)),
            ext_fields: ExtFields::from_frame(header, raw.entries),
            serialize_type,
            body,
        })
    }
}

impl Decoder for FrameCodec {
    type Item = RemotingCommand;
    type Error = FrameError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<RemotingCommand>, FrameError> {
        let Some(word) = src.first_chunk::<4>() else {
            return Ok(None);
        };
        let signed = i32::from_be_bytes(*word);
        let len = usize::try_from(signed).map_err(|_| FrameError::BadLength { len: signed })?;
        if len < 4 {
            return Err(FrameError::BadLength { len: signed });
        }
        if len > self.max_frame_len {
            return Err(FrameError::TooLarge {
                len,
                max: self.max_frame_len,
            });
        }
        let missing = (4 + len).saturating_sub(src.len());
        if missing > 0 {
            // A length is only a claim: memory follows the bytes that really come.
            src.reserve(missing.min(RESERVE_STEP));
            return Ok(None);
        }
        Self::read(src.split_to(4 + len)).map(Some)
    }
}

impl Encoder<RemotingCommand> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, command: RemotingCommand, out: &mut BytesMut) -> Result<(), FrameError> {
        command.encode(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(serialize: u8, header: &[u8], body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_u32((4 + header.len() + body.len()) as u32);
        out.put_u32(u32::from(serialize) << 24 | header.len() as u32);
        out.put_slice(header);
        out.put_slice(body);
        out
    }

    fn sample() -> RemotingCommand {
        let mut command = RemotingCommand::request_without_header(RequestCode::SendMessage);
        command.opaque = 7;
        command.ext_fields.push("k", "v\u{1}ä\"\\\n");
        command.with_remark("r").with_body(&b"body"[..])
    }

    #[test]
    fn binary_sample_of_the_reference() {
        let mut command = RemotingCommand {
            code: 10,
            opaque: 7,
            serialize_type: SerializeType::RocketMq,
            ..RemotingCommand::default()
        }
        .with_remark("r");
        command.ext_fields.push("k", "v");
        let mut out = BytesMut::new();
        command.encode(&mut out);
        let expected: &[u8] = b"\0\0\0\x22\x01\0\0\x1e\0\x0a\0\0\0\0\0\0\x07\0\0\0\0\
            \0\0\0\x01r\0\0\0\x08\0\x01k\0\0\0\x01v";
        assert_eq!(out, expected);
        assert_eq!(RemotingCommand::decode(out).unwrap(), command);
    }

    #[test]
    fn json_sample_of_the_reference() {
        let text = br#"{"code":0,"flag":1,"language":"JAVA","opaque":1,"serializeTypeCurrentRPC":"JSON","version":0}"#;
        let command = RemotingCommand::decode(frame(0, text, b"")).unwrap();
        assert!(command.is_response());
        let mut out = BytesMut::new();
        command.encode(&mut out);
        assert_eq!(&out[8..], text);
    }

    #[test]
    fn both_forms_round_trip_and_stay_whole_in_pieces() {
        for serialize_type in [SerializeType::Json, SerializeType::RocketMq] {
            let command = RemotingCommand {
                serialize_type,
                ..sample()
            };
            let mut bytes = BytesMut::new();
            command.encode(&mut bytes);
            command.encode(&mut bytes);
            let mut codec = FrameCodec::default();
            let mut arrived = BytesMut::new();
            let mut seen = Vec::new();
            for byte in bytes {
                arrived.put_u8(byte);
                seen.extend(codec.decode(&mut arrived).unwrap());
            }
            assert_eq!(seen, [command.clone(), command]);
        }
    }

    #[test]
    fn header_is_read_leniently() {
        let text = br#" { "version" : "317", "x": [1, {"y": null}], "language":"KLINGON",
            "extFields": {"n": 5, "b": true, "z": null, "s": "\u00e4\ud83d\ude00\/\u0001", "n": "6"},
            "code":-1000,"flag":0,"opaque":2147483647,"remark":null}  "#;
        let command = RemotingCommand::decode(frame(0, text, b"x")).unwrap();
        assert_eq!(command.language, LanguageCode::OTHER);
        assert_eq!(
            (command.code, command.version, command.opaque),
            (-1000, 317, i32::MAX)
        );
        assert_eq!(command.remark, None);
        assert_eq!(command.ext_fields.get("n"), Some("6"));
        assert_eq!(command.ext_fields.get("b"), Some("true"));
        assert_eq!(command.ext_fields.get("z"), None);
        assert_eq!(command.ext_fields.get("s"), Some("ä😀/\u{1}"));
        assert_eq!(command.ext_fields.get_str("s").unwrap(), "ä😀/\u{1}");
    }

    #[test]
    fn wrong_lengths_and_headers_are_errors() {
        let mut codec = FrameCodec {
            max_frame_len: 1000,
        };
        let mut read = |bytes: &[u8]| codec.decode(&mut BytesMut::from(bytes));
        assert!(matches!(
            read(&[0xff; 8]),
            Err(FrameError::BadLength { len: -1 })
        ));
        assert!(matches!(
            read(&[0, 0, 0, 3, 0]),
            Err(FrameError::BadLength { len: 3 })
        ));
        assert!(matches!(
            read(&[0, 0, 4, 0]),
            Err(FrameError::TooLarge { len: 1024, .. })
        ));
        assert!(matches!(read(&[0, 0, 0]), Ok(None)));
        let long = [0, 0, 0, 5, 0, 0, 0, 2, b'{'];
        assert!(matches!(
            read(&long),
            Err(FrameError::BadHeaderLength {
                header_len: 2,
                len: 5
            })
        ));
        assert!(matches!(
            read(&frame(2, b"", b"")),
            Err(FrameError::UnknownSerializeType(2))
        ));
        for bad in [
            "",
            "[]",
            "{",
            "{\"",
            "{\"a",
            "{\"code\":x}",
            "{\"remark\":\"\\",
            "{\"a\":\"\\u1",
        ] {
            let result = read(&frame(0, bad.as_bytes(), b""));
            assert!(
                matches!(result, Err(FrameError::BadHeader { .. })),
                "{bad}: {result:?}"
            );
        }
        let not_utf8 = read(&frame(0, b"{\"remark\":\"\xff\"}", b""));
        assert!(matches!(not_utf8, Err(FrameError::BadHeader { .. })));
        let deep = [b"{\"a\":".as_slice(), &[b'['; 500]].concat();
        assert!(matches!(
            read(&frame(0, &deep, b"")),
            Err(FrameError::BadHeader { .. })
        ));
    }

    #[test]
    fn response_head_equals_the_built_response() {
        crate::command_header! {
            /// Two fields.
            pub struct Two { /** One. */ a: i64 => "a", /** None. */ b: Option<Str> => "b", }
        }
        let header = Two { a: 5, b: None };
        for serialize_type in [SerializeType::Json, SerializeType::RocketMq] {
            let request = RemotingCommand {
                opaque: 9,
                serialize_type,
                ..Default::default()
            };
            let mut built = RemotingCommand::response(&request, ResponseCode::Success)
                .with_header(&header)
                .with_remark("ok");
            built.ext_fields.push("TRACE_ON", "true");
            let (mut slow, mut fast) = (BytesMut::new(), BytesMut::new());
            built.encode_head(3, &mut slow);
            let extra = [("TRACE_ON", "true")];
            let remark = Some("ok");
            encode_response_head(
                &mut fast,
                serialize_type,
                0,
                9,
                remark,
                Some(&header),
                &extra,
                3,
            );
            assert_eq!(slow, fast);
        }
    }
}
