//! The handle of a timed message, by which its sender may call it back (`RecallMessageHandle`).
//!
//! URL-safe Base64, with padding, of `v1 TOPIC BROKER TIME KEY` with single spaces: the real topic, the
//! name of the broker, a time (ms) in the message's slot, and its unique key.

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// The only version.
const VERSION: &str = "v1";

/// As `Base64.getUrlEncoder`.
const BASE64: GeneralPurpose = base64::engine::general_purpose::URL_SAFE;

/// Longest handle that is read, in bytes: names and keys are far shorter.
const HANDLE_LEN_MAX: usize = 4096;

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
        BASE64.encode(parts.join(" "))
    }

    /// Reads the text.
    ///
    /// # Errors
    /// [`InvalidHandle`] for anything else, with RocketMQ's words.
    pub fn decode(handle: &str) -> Result<Self, InvalidHandle> {
        if handle.is_empty() || handle.len() > HANDLE_LEN_MAX {
            return Err(InvalidHandle);
        }
        let bytes = decode_base64(handle).ok_or(InvalidHandle)?;
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

/// As `Base64.getUrlDecoder`: padding may be missing, but not be wrong.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let config = match text.ends_with('=') {
        true => lenient,
        false => lenient.with_decode_padding_mode(DecodePaddingMode::RequireNone),
    };
    GeneralPurpose::new(&URL_SAFE, config).decode(text).ok()
}

/// How a mark names the message that it recalls with `appendTopicForTimerDeleteKey`, `TOPIC+KEY`: two topics
/// may have messages of one unique key. Otherwise it is the key alone (`TimerMessageStore.buildDeleteKey`).
pub fn delete_key_with_topic(topic: &str, unique_key: &str) -> String {
    format!("{topic}+{unique_key}")
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
            let text = BASE64.encode(&bytes);
            prop_assert_eq!(decode_base64(&text), Some(bytes.clone()));
            prop_assert_eq!(decode_base64(text.trim_end_matches('=')), Some(bytes));
        }

        #[test]
        fn any_text_is_read_without_panic(text: String) {
            let _ = RecallHandle::decode(&text);
        }
    }
}
