//! Files of our own: how they are read and replaced, and how snapshots are wrapped, in MessagePack: an
//! array of format version, CRC-32 of the content, and the content's bytes, which are MessagePack again.
//!
//! What is damaged or of another version is not read: whoever owns the file does without.

use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    error::StoreError,
    fs::{Fs, replace_file},
};

/// Version, CRC-32 of the content, content.
#[derive(Serialize, Deserialize)]
struct Envelope(u32, u32, #[serde(with = "content_bytes")] Vec<u8>);

/// Writes the content as one MessagePack binary instead of an array of numbers.
mod content_bytes {
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        from.deserialize_bytes(Bytes)
    }
}

/// Encodes a file of format `version`.
///
/// # Errors
/// [`StoreError::Invalid`] when `content` cannot be serialized.
pub fn seal(version: u32, content: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let invalid = |e: rmp_serde::encode::Error| StoreError::invalid(e.to_string());
    let content = rmp_serde::to_vec(content).map_err(invalid)?;
    let envelope = Envelope(version, crc32fast::hash(&content), content);
    rmp_serde::to_vec(&envelope).map_err(invalid)
}

/// Decodes a file of format `version`; `None` for another version, a wrong CRC, or anything else that
/// is wrong.
pub fn open<T: DeserializeOwned>(version: u32, file: &[u8]) -> Option<T> {
    let Envelope(found, crc, content) = rmp_serde::from_slice(file).ok()?;
    if found != version || crc != crc32fast::hash(&content) {
        return None;
    }
    rmp_serde::from_slice(&content).ok()
}

/// Reads a file of at most `len_max` bytes; `None` when it is absent, and, told in the log, when it cannot be
/// read or is not what `decode` takes.
pub fn load<T>(
    fs: &Fs,
    path: &Path,
    len_max: u64,
    decode: impl FnOnce(&[u8]) -> Option<T>,
) -> Option<T> {
    if !fs.exists(path) {
        return None;
    }
    match fs.read_file(path, len_max) {
        Ok(content) => {
            let decoded = decode(&content);
            if decoded.is_none() {
                ignored(path, "reason=unreadable");
            }
            decoded
        }
        Err(error) => {
            ignored(path, &format!("error={error}"));
            None
        }
    }
}

/// Tells the log that a file is not used.
pub fn ignored(path: &Path, why: &str) {
    let name = path.file_name().unwrap_or_default().display();
    log::warn!("store/{name} ignored file={} {why}", path.display());
}

/// Replaces a file durably.
///
/// # Errors
/// [`StoreError::Io`] or [`StoreError::Full`]; the former file is then still whole.
pub fn save(fs: &Fs, path: &Path, content: &[u8]) -> Result<(), StoreError> {
    replace_file(fs, path, content).map_err(|e| StoreError::io("save", path, e))
}
