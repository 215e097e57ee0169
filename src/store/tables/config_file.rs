//! One table and its file.
//!
//! A file is replaced as a whole: the new one is written beside it and synced, the old one becomes
//! `NAME.bak`, the new one takes its name. So at any moment `NAME` or `NAME.bak` is whole. RocketMQ,
//! which writes into `NAME` itself, leaves and expects the same two files.

use std::{
    ffi::OsString,
    marker::PhantomData,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use super::unknown::Unknown;
use crate::{
    protocol::fastjson::{JsonError, Style, Value, from_slice, to_vec_styled},
    store::{
        error::StoreError,
        fs::{Fs, OpenMode},
    },
};

/// Longest file that is read, in bytes.
pub const FILE_LEN_MAX: u64 = 512 << 20;

/// The file of a table of type `T`.
#[derive(Debug)]
pub struct ConfigFile<T> {
    fs: Fs,
    path: PathBuf,
    style: Style,
    unknown: Unknown,
    /// Whether the file is whole, and so may become the backup.
    is_whole: bool,
    /// Length and checksum of what the file holds.
    content: Option<(usize, u32)>,
    table: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> ConfigFile<T> {
    /// Reads a table; a file that is missing, empty or broken is replaced by its backup.
    ///
    /// # Errors
    /// From the file system; [`StoreError::Corrupt`] when there are only broken files. (RocketMQ
    /// starts with an empty table then.)
    pub fn load(
        fs: Fs,
        path: impl Into<PathBuf>,
        style: Style,
    ) -> Result<(Self, Option<T>), StoreError> {
        let mut file = Self {
            fs,
            path: path.into(),
            style,
            unknown: Unknown::default(),
            is_whole: false,
            content: None,
            table: PhantomData,
        };
        let mut broken = None;
        for path in [file.path.clone(), file.sibling(".bak")] {
            let Some(bytes) = file.read(&path)? else {
                continue;
            };
            match file.decode(&bytes) {
                Ok(table) => {
                    if path == file.path {
                        file.is_whole = true;
                        file.content = Some((bytes.len(), crc32fast::hash(&bytes)));
                    } else {
                        log::warn!("table read from its backup, path={}", path.display());
                    }
                    return Ok((file, Some(table)));
                }
                Err(error) => {
                    log::warn!(
                        "table cannot be read, path={} error={error}",
                        path.display()
                    );
                    let at = match &error {
                        JsonError::Syntax { at, .. } => *at as u64,
                        JsonError::Data(_) => 0,
                    };
                    broken.get_or_insert(StoreError::corrupt(&path, at, error.to_string()));
                }
            }
        }
        broken.map_or(Ok((file, None)), Err)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes that [`save`](Self::save) writes for a table. Together with
    /// [`save_encoded`](Self::save_encoded) this lets another thread do the writing.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the table has no JSON.
    pub fn encode(&self, table: &T) -> Result<Vec<u8>, StoreError> {
        self.try_encode(table)
            .map_err(|e| StoreError::invalid(format!("{}: {e}", self.path.display())))
    }

    /// Writes a table; `false` when the file holds it already.
    ///
    /// # Errors
    /// From the file system; the file and its backup are then as they were, or one of them is.
    pub fn save(&mut self, table: &T) -> Result<bool, StoreError> {
        let bytes = self.encode(table)?;
        self.save_encoded(&bytes)
    }

    /// Writes what [`encode`](Self::encode) made; `false` when the file holds it already.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_encoded(&mut self, bytes: &[u8]) -> Result<bool, StoreError> {
        let content = Some((bytes.len(), crc32fast::hash(bytes)));
        if self.is_whole && self.content == content {
            return Ok(false);
        }
        let new = self.sibling(".tmp");
        if let Some(dir) = self.path.parent() {
            (self.fs.create_dir_all(dir)).map_err(|e| StoreError::io("create", dir, e))?;
        }
        let written = self.fs.open(&new, OpenMode::Create).and_then(|file| {
            file.set_len(0)?;
            file.write_at(bytes, 0)?;
            file.sync_data()
        });
        if let Err(e) = written {
            let _ = self.fs.remove_file(&new);
            return Err(StoreError::io("write", &new, e));
        }
        if self.is_whole && self.fs.exists(&self.path) {
            let backup = self.sibling(".bak");
            (self.fs.rename(&self.path, &backup))
                .map_err(|e| StoreError::io("rename", &self.path, e))?;
        }
        self.is_whole = false;
        (self.fs.rename(&new, &self.path)).map_err(|e| StoreError::io("rename", &new, e))?;
        self.is_whole = true;
        self.content = None;
        if let Some(dir) = self.path.parent() {
            (self.fs.sync_dir(dir)).map_err(|e| StoreError::io("sync", dir, e))?;
        }
        self.content = content;
        Ok(true)
    }

    /// The content of a file; `None` when it is missing or empty.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.fs.exists(path) {
            return Ok(None);
        }
        let bytes =
            (self.fs.read_file(path, FILE_LEN_MAX)).map_err(|e| StoreError::io("read", path, e))?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<T, JsonError> {
        let table: T = from_slice(bytes)?;
        let again = to_vec_styled(&table, self.style)?;
        // The order of keys aside, nothing was lost: no need to look for it.
        if count_bytes(bytes) == count_bytes(&again) {
            self.unknown = Unknown::default();
        } else {
            self.unknown = Unknown::find(&from_slice(bytes)?, &from_slice(&again)?)?;
        }
        Ok(table)
    }

    fn try_encode(&self, table: &T) -> Result<Vec<u8>, JsonError> {
        let bytes = to_vec_styled(table, self.style)?;
        if self.unknown.is_empty() {
            return Ok(bytes);
        }
        let mut value: Value = from_slice(&bytes)?;
        self.unknown.put_back(&mut value)?;
        to_vec_styled(&value, self.style)
    }

    fn sibling(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(suffix);
        name.into()
    }
}

fn count_bytes(bytes: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    counts
}
