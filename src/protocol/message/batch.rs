//! Several messages of one topic in one request body (code 320).
//!
//! | width   | name       | meaning                                      |
//! |---------|------------|----------------------------------------------|
//! | 4       | size       | of this entry; readers don't rely on it       |
//! | 4       | magic      | 0                                            |
//! | 4       | body CRC   | 0                                            |
//! | 4       | flag       | the user's                                   |
//! | 4 + n   | body       |                                              |
//! | 2 + n   | properties | each message has its own, with its own `UNIQ_KEY` |
//!
//! Topic, queue and sys flag are those of the request's header. The class behind it is
//! `MessageDecoder.encodeMessages`.

use bytes::{BufMut, BytesMut};

/// Most messages that are taken from one batch.
pub const BATCH_LEN_MAX: usize = 1 << 16;

/// A message without body and properties.
pub const MESSAGE_LEN_MIN: usize = 22;

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMessage<'a> {
    /// The user's flag.
    pub flag: i32,
    /// Body.
    pub body: &'a [u8],
    /// Text of the properties.
    pub properties: &'a [u8],
}

/// Why a body is no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A length is negative or leads out of the body.
    #[error("batch is cut off in its message {index}")]
    CutOff {
        /// Index of the message.
        index: usize,
    },
    /// More messages than [`BATCH_LEN_MAX`].
    #[error("batch has more than {BATCH_LEN_MAX} messages")]
    TooMany,
    /// The properties do not fit their length field.
    #[error("properties of {0} bytes are too long")]
    PropertiesTooLong(usize),
    /// The message does not fit its length field.
    #[error("message of {0} bytes is too long")]
    MessageTooLong(usize),
}

/// The messages of a batch.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
    index: usize,
}

/// Reads the messages of a batch one by one; ends after the first error.
pub fn messages(body: &[u8]) -> Messages<'_> {
    Messages {
        rest: body,
        index: 0,
    }
}

/// Reads all messages of a batch or none.
pub fn decode(body: &[u8]) -> Result<Vec<BatchMessage<'_>>, BatchError> {
    messages(body).collect()
}

impl<'a> Messages<'a> {
    fn read(&mut self) -> Option<BatchMessage<'a>> {
        let (_size_magic_crc, rest) = self.rest.split_first_chunk::<12>()?;
        let (flag, rest) = rest.split_first_chunk::<4>()?;
        let (body_len, rest) = rest.split_first_chunk::<4>()?;
        let body_len = usize::try_from(i32::from_be_bytes(*body_len)).ok()?;
        let (body, rest) = rest.split_at_checked(body_len)?;
        let (properties_len, rest) = rest.split_first_chunk::<2>()?;
        let properties_len = usize::try_from(i16::from_be_bytes(*properties_len)).ok()?;
        let (properties, rest) = rest.split_at_checked(properties_len)?;
        self.rest = rest;
        Some(BatchMessage {
            flag: i32::from_be_bytes(*flag),
            body,
            properties,
        })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<BatchMessage<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let index = self.index;
        self.index += 1;
        let message = match self.read() {
            _ if index >= BATCH_LEN_MAX => Err(BatchError::TooMany),
            Some(message) => Ok(message),
            None => Err(BatchError::CutOff { index }),
        };
        if message.is_err() {
            self.rest = &[];
        }
        Some(message)
    }
}

/// Adds a message to a batch. Nothing is written when it fails.
pub fn encode_message(message: &BatchMessage<'_>, out: &mut BytesMut) -> Result<(), BatchError> {
    let properties_len = i16::try_from(message.properties.len())
        .map_err(|_| BatchError::PropertiesTooLong(message.properties.len()))?;
    let size = MESSAGE_LEN_MIN + message.body.len() + message.properties.len();
    let size_field = i32::try_from(size).map_err(|_| BatchError::MessageTooLong(size))?;
    out.reserve(size);
    out.put_i32(size_field);
    out.put_i32(0);
    out.put_i32(0);
    out.put_i32(message.flag);
    out.put_u32(message.body.len() as u32);
    out.put_slice(message.body);
    out.put_i16(properties_len);
    out.put_slice(message.properties);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn batch_that_ends_early_is_an_error() {
        let mut out = BytesMut::new();
        let message = BatchMessage {
            flag: 1,
            body: b"body",
            properties: b"a\x01b\x02",
        };
        encode_message(&message, &mut out).unwrap();
        let whole = out.len();
        encode_message(&message, &mut out).unwrap();
        assert_eq!(decode(&out), Ok(vec![message; 2]));
        assert_eq!(decode(&out[..whole]), Ok(vec![message]));
        for len in 1..whole {
            assert_eq!(decode(&out[..len]), Err(BatchError::CutOff { index: 0 }));
            assert_eq!(
                decode(&out[..whole + len]),
                Err(BatchError::CutOff { index: 1 })
            );
        }
        let long = BatchMessage {
            properties: &[0; 32768],
            ..message
        };
        assert_eq!(
            encode_message(&long, &mut out),
            Err(BatchError::PropertiesTooLong(32768))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }

        #[test]
        fn batches_round_trip(parts: Vec<(i32, Vec<u8>, Vec<u8>)>) {
            let mut out = BytesMut::new();
            for (flag, body, properties) in &parts {
                encode_message(&BatchMessage { flag: *flag, body, properties }, &mut out).unwrap();
            }
            let read = decode(&out).unwrap();
            prop_assert!(read.iter().map(|m| (m.flag, m.body.to_vec(), m.properties.to_vec())).eq(parts));
        }
    }
}
