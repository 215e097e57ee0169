//! The handle of a timed message, by which its sender may call it back (`RecallMessageHandle`).
//!
//! URL-safe Base64, with padding, of `v1 TOPIC BROKER TIME KEY` with single spaces: the real topic, the
//! name of the broker, a time (ms) in the message's slot, and its unique key.

/// The only version.
const VERSION: &str = "v1";

/// Longest handle that is read, in bytes: names and keys are far shorter.
const HANDLE_LEN_MAX: usize = 4096;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A handle; see the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecallHandle {
    /// Topic that the message is for.
    pub topic: String,
    /// Name of the broker that keeps it.
    pub broker_name: String,
    /// A time (ms) in its slot, as text.
    pub timestamp: String,
    /// Its unique key.
    pub unique_key: String,
}

/// A handle that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("recall handle is invalid")]
pub struct InvalidHandle;

impl RecallHandle {
    /// The text that senders get.
    pub fn encode(&self) -> String {
        let parts = [
            VERSION,
            &self.topic,
            &self.broker_name,
            &self.timestamp,
            &self.unique_key,
        ];
        encode_base64(parts.join(" ").as_bytes())
    }

    /// Reads the text.
    ///
    /// # Errors
    /// [`InvalidHandle`] for anything else, with RocketMQ's words.
    pub fn decode(handle: &str) -> Result<Self, InvalidHandle> {
        if handle.is_empty() || handle.len() > HANDLE_LEN_MAX {
            return Err(InvalidHandle);
        }
        let bytes = decode_base64(handle.as_bytes()).ok_or(InvalidHandle)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut parts = text.split(' ');
        if parts.next() != Some(VERSION) {
            return Err(InvalidHandle);
        }
        let mut part = || parts.next().map(str::to_owned).ok_or(InvalidHandle);
        let handle = Self {
            topic: part()?,
            broker_name: part()?,
            timestamp: part()?,
            unique_key: part()?,
        };
        // Java's split drops empty parts at the end.
        if handle.unique_key.is_empty() {
            return Err(InvalidHandle);
        }
        Ok(handle)
    }
}

fn encode_base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0_u32, |word, (at, &byte)| {
            word | u32::from(byte) << (16 - 8 * at)
        });
        for at in 0..4 {
            let digit = ALPHABET[(word >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

/// As `Base64.getUrlDecoder`: padding may be missing, but not be wrong.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    let digits = text.get(..text.len() - padding)?;
    let is_whole = padding == 0 || (padding <= 2 && text.len().is_multiple_of(4));
    if !is_whole || digits.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut word = 0_u32;
        for (at, &digit) in chunk.iter().enumerate() {
            let value = ALPHABET.iter().position(|&known| known == digit)? as u32;
            word |= value << (18 - 6 * at);
        }
        let bytes = word.to_be_bytes();
        out.extend(bytes.iter().skip(1).take(chunk.len() - 1));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// From the store of a real broker (golden/store, d-special-kill9).
    #[test]
    fn the_handle_is_that_of_the_reference() {
        let text = "djEgR29sZFRpbWVyIGJyb2tlci1hIDE3OTUzOTEzNTYwMDEgRkQwMDAwMDAwMDAwMDAwMDAwMDAwMDAw\
                    MDAwMDAwMDI1Mzg0MzA5NDZFMDk3MTI2QTA3QjAwMTg=";
        let handle = RecallHandle::decode(text).unwrap();
        assert_eq!(handle.topic, "GoldTimer");
        assert_eq!(handle.broker_name, "broker-a");
        assert_eq!(handle.timestamp, "1795391356001");
        assert_eq!(
            handle.unique_key,
            "FD000000000000000000000000000002538430946E097126A07B0018"
        );
        assert_eq!(handle.encode(), text);
        assert_eq!(RecallHandle::decode(text.trim_end_matches('=')), Ok(handle));
        for wrong in ["", "=", "djE", "djEgYSBiIGMg", "djIgYSBiIGMgZA==", "d j1"] {
            assert_eq!(RecallHandle::decode(wrong), Err(InvalidHandle), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            let text = encode_base64(&bytes);
            prop_assert_eq!(decode_base64(text.as_bytes()), Some(bytes));
        }

        #[test]
        fn any_text_is_read_without_panic(text: String) {
            let _ = RecallHandle::decode(&text);
        }
    }
}
