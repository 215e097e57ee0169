//! The `abort` file: there while a broker runs, so its presence at a start means a crash.

use std::path::{Path, PathBuf};

use super::{
    error::StoreError,
    fs::{Fs, OpenMode},
};

/// The `abort` file of one store. It holds the process id as decimal text, as Java's broker writes.
#[derive(Debug, Clone)]
pub struct AbortFile {
    fs: Fs,
    path: PathBuf,
}

impl AbortFile {
    /// Names the file; touches nothing.
    pub fn new(fs: &Fs, path: &Path) -> Self {
        Self {
            fs: fs.clone(),
            path: path.to_path_buf(),
        }
    }

    /// Whether the last run ended without a clean stop (or still goes on).
    pub fn exists(&self) -> bool {
        self.fs.exists(&self.path)
    }

    /// Makes the file durably, before anything in the store is changed.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Full`].
    pub fn create(&self, pid: u32) -> Result<(), StoreError> {
        let create = || {
            let file = self.fs.open(&self.path, OpenMode::Create)?;
            let text = pid.to_string();
            file.write_at(text.as_bytes(), 0)?;
            file.set_len(text.len() as u64)?;
            file.sync_data()?;
            self.sync_parent()
        };
        create().map_err(|e| StoreError::io("create", &self.path, e))
    }

    /// Removes the file: the last act of a clean stop, when all else is durable.
    ///
    /// # Errors
    /// [`StoreError::Io`]; no error when the file is absent.
    pub fn remove(&self) -> Result<(), StoreError> {
        if !self.exists() {
            return Ok(());
        }
        self.fs
            .remove_file(&self.path)
            .and_then(|()| self.sync_parent())
            .map_err(|e| StoreError::io("remove", &self.path, e))
    }

    fn sync_parent(&self) -> std::io::Result<()> {
        match self.path.parent() {
            Some(dir) => self.fs.sync_dir(dir),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::RealFs;

    #[test]
    fn the_file_lives_from_start_to_clean_stop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abort");
        let fs = RealFs::shared();
        let abort = AbortFile::new(&fs, &path);
        assert!(!abort.exists());
        abort.create(123_456).unwrap();
        abort.create(99).unwrap();
        assert_eq!(fs.read_file(&path, 100).unwrap(), b"99");
        assert!(abort.exists());
        abort.remove().unwrap();
        abort.remove().unwrap();
        assert!(!abort.exists());
    }
}
