//! A table's file below `config/`, by RocketMQ's rules (`ConfigManager`, `MixAll.string2File`): the
//! current file becomes `.bak`, then the new one is written. A file that is missing, empty or
//! malformed is passed over for the `.bak`.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    protocol::fastjson::{self, JsonError},
    store::fs::{Fs, OpenMode},
};

/// A larger file is not read.
pub const TABLE_FILE_LEN_MAX: u64 = 1 << 30;

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The operating system refused.
    #[error("cannot {op} {}: {source}", file.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// The file concerned.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Neither the file nor its `.bak` holds what it should.
    #[error("{} cannot be read: {source}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: JsonError,
    },
    /// The table has no JSON.
    #[error("{} cannot be written: {source}", file.display())]
    Unwritable {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: JsonError,
    },
}

/// Where one table is kept.
#[derive(Debug, Clone)]
pub struct TableFile {
    fs: Fs,
    path: PathBuf,
}

impl TableFile {
    /// The file `name` in the folder `config` of a store.
    pub fn new(fs: Fs, store_root: &Path, name: &str) -> Self {
        Self {
            fs,
            path: store_root.join("config").join(name),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn bak(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".bak");
        path.into()
    }

    /// Reads the table; `None` where there is none.
    ///
    /// # Errors
    /// When there is a file, but neither it nor its `.bak` can be read.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Option<T>, TableError> {
        let first = self.load_one(&self.path);
        if let Ok(Some(table)) = first {
            return Ok(Some(table));
        }
        let second = self.load_one(&self.bak())?;
        if second.is_some() {
            log::warn!("{} is unusable, its .bak is taken", self.path.display());
            return Ok(second);
        }
        first
    }

    fn load_one<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, TableError> {
        if !self.fs.exists(path) {
            return Ok(None);
        }
        let read = self.fs.read_file(path, TABLE_FILE_LEN_MAX);
        let content = read.map_err(io_error("read", path))?;
        if content.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        fastjson::from_slice(&content)
            .map(Some)
            .map_err(|source| TableError::Malformed {
                file: path.to_owned(),
                source,
            })
    }

    /// Writes the table: it is on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written; then the last one is in the file or in its `.bak`.
    pub fn save<T: Serialize>(&self, table: &T) -> Result<(), TableError> {
        let text = fastjson::to_vec_pretty(table).map_err(|source| TableError::Unwritable {
            file: self.path.clone(),
            source,
        })?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        self.fs
            .create_dir_all(dir)
            .map_err(io_error("create", dir))?;
        if self.fs.exists(&self.path) {
            let renamed = self.fs.rename(&self.path, &self.bak());
            renamed.map_err(io_error("rename", &self.path))?;
        }
        let written = || {
            let file = self.fs.open(&self.path, OpenMode::Create)?;
            file.set_len(0)?;
            file.write_at(&text, 0)?;
            file.sync_data()
        };
        written().map_err(io_error("write", &self.path))?;
        self.fs.sync_dir(dir).map_err(io_error("sync", dir))
    }
}

fn io_error(op: &'static str, file: &Path) -> impl FnOnce(io::Error) -> TableError {
    let file = file.to_owned();
    move |source| TableError::Io { op, file, source }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;
    use crate::store::fs::RealFs;

    type Table = BTreeMap<String, i32>;

    fn file(dir: &Path) -> TableFile {
        TableFile::new(Arc::new(RealFs), dir, "t.json")
    }

    #[test]
    fn the_last_table_but_one_is_kept_beside() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path());
        assert_eq!(file.load::<Table>().unwrap(), None);
        for value in [1, 2, 3] {
            file.save(&Table::from([("a".into(), value)])).unwrap();
        }
        assert_eq!(file.load::<Table>().unwrap().unwrap()["a"], 3);
        let text = std::fs::read_to_string(file.path()).unwrap();
        assert_eq!(text, "{\n\t\"a\":3\n}");
        for broken in ["", "{\"a\":"] {
            std::fs::write(file.path(), broken).unwrap();
            assert_eq!(file.load::<Table>().unwrap().unwrap()["a"], 2);
        }
        std::fs::remove_file(file.bak()).unwrap();
        assert!(matches!(
            file.load::<Table>(),
            Err(TableError::Malformed { .. })
        ));
    }
}
