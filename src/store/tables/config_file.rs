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
    /// Reads a table; a file that is missing, empty, unreadable or broken is replaced by its backup.
    ///
    /// # Errors
    /// That of the file itself, when it cannot be read and there is no backup in its place: from the
    /// file system, or [`StoreError::Corrupt`]. (RocketMQ starts with an empty table then, and its
    /// next write loses what the file holds.)
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
            match file.load_from(&path) {
                Ok(None) => {}
                Ok(Some(table)) => {
                    if path != file.path {
                        log::warn!("table read from its backup, path={}", path.display());
                    }
                    return Ok((file, Some(table)));
                }
                Err(error) => {
                    log::warn!("table cannot be read, error={error}");
                    broken.get_or_insert(error);
                }
            }
        }
        broken.map_or(Ok((file, None)), Err)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes that [`save`](Self::save) writes for a table.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the table has no JSON.
    pub fn encode(&self, table: &T) -> Result<Vec<u8>, StoreError> {
        Ok(self.encode_with_unknown(table)?.0)
    }

    /// As [`encode`](Self::encode), with what is left of the unknown properties: those of an entry
    /// that was removed must not come back with a new one of its name.
    fn encode_with_unknown(&self, table: &T) -> Result<(Vec<u8>, Unknown), StoreError> {
        self.try_encode(table)
            .map_err(|e| StoreError::invalid(format!("{}: {e}", self.path.display())))
    }

    /// Writes a table; `false` when the file holds it already.
    ///
    /// # Errors
    /// From the file system; the file and its backup are then as they were, or one of them is.
    pub fn save(&mut self, table: &T) -> Result<bool, StoreError> {
        let (bytes, unknown) = self.encode_with_unknown(table)?;
        self.unknown = unknown;
        let content = Some((bytes.len(), crc32fast::hash(&bytes)));
        if self.is_whole && self.content == content {
            return Ok(false);
        }
        let new = self.sibling(".tmp");
        let dir = self.dir();
        (self.fs.create_dir_all(&dir)).map_err(|e| StoreError::io("create", &dir, e))?;
        let written = self.fs.open(&new, OpenMode::Create).and_then(|file| {
            file.set_len(0)?;
            file.write_at(&bytes, 0)?;
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
        (self.fs.sync_dir(&dir)).map_err(|e| StoreError::io("sync", &dir, e))?;
        self.content = content;
        Ok(true)
    }

    /// The table in `path`, which is the file or its backup; `None` when that is missing or empty.
    fn load_from(&mut self, path: &Path) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.read(path)? else {
            return Ok(None);
        };
        let table = self.decode(&bytes).map_err(|error| {
            let at = match &error {
                JsonError::Syntax { at, .. } => *at as u64,
                JsonError::Data(_) => 0,
            };
            StoreError::corrupt(path, at, error.to_string())
        })?;
        if path == self.path {
            self.is_whole = true;
            self.content = Some((bytes.len(), crc32fast::hash(&bytes)));
        }
        Ok(Some(table))
    }

    /// The content of a file; `None` when it is missing or blank.
    fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.fs.exists(path) {
            return Ok(None);
        }
        let bytes =
            (self.fs.read_file(path, FILE_LEN_MAX)).map_err(|e| StoreError::io("read", path, e))?;
        let is_blank = bytes.iter().all(u8::is_ascii_whitespace);
        Ok((!is_blank).then_some(bytes))
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

    fn try_encode(&self, table: &T) -> Result<(Vec<u8>, Unknown), JsonError> {
        let bytes = to_vec_styled(table, self.style)?;
        if self.unknown.is_empty() {
            return Ok((bytes, Unknown::default()));
        }
        let mut value: Value = from_slice(&bytes)?;
        let unknown = self.unknown.put_back(&mut value)?;
        Ok((to_vec_styled(&value, self.style)?, unknown))
    }

    /// The directory with the file, by a name that can be opened.
    fn dir(&self) -> PathBuf {
        let dir = self.path.parent().filter(|dir| !dir.as_os_str().is_empty());
        dir.unwrap_or(Path::new(".")).to_owned()
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
