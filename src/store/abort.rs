//! The `abort` file: there while a broker runs, so its presence at a start means a crash.

use std::path::{Path, PathBuf};

use super::{
    error::StoreError,
    fs::{Fs, OpenMode},
};

/// Longest text that is read: a process id and a boot.
const TEXT_LEN_MAX: u64 = 256;

/// The `abort` file of one store. It holds the process id as decimal text, as Java's broker writes (and
/// never reads), and on a second line the boot of the machine since which the store is known to be whole.
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

    /// The boot that the last run noted; `None` also for a file of Java's broker.
    pub fn boot(&self) -> Option<String> {
        let bytes = self.fs.read_file(&self.path, TEXT_LEN_MAX).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        text.lines().nth(1).map(str::to_owned)
    }

    /// Makes the file durably, before anything in the store is changed.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Full`].
    pub fn create(&self, pid: u32, boot: Option<&str>) -> Result<(), StoreError> {
        let create = || {
            let file = self.fs.open(&self.path, OpenMode::Create)?;
            let mut text = pid.to_string();
            if let Some(boot) = boot {
                text = text + "\n" + boot;
            }
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
        abort.create(123_456, Some("a-boot")).unwrap();
        assert_eq!(abort.boot().as_deref(), Some("a-boot"));
        abort.create(99, None).unwrap();
        assert_eq!(fs.read_file(&path, 100).unwrap(), b"99");
        assert_eq!(abort.boot(), None);
        assert!(abort.exists());
        abort.remove().unwrap();
        abort.remove().unwrap();
        assert!(!abort.exists());
    }
}
