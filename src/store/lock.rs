//! The `lock` file: at most one broker, ours or Java's, works on a store.

use std::path::Path;

use super::{
    error::StoreError,
    fs::{FileRef, Fs, OpenMode},
};

/// What the file holds, as Java's `DefaultMessageStore` writes it.
const LOCK_TEXT: &[u8] = b"lock";

/// A held lock; dropping it lets the next broker in.
#[derive(Debug)]
pub struct StoreLock {
    _file: FileRef,
}

impl StoreLock {
    /// Takes the lock on byte 0 of the file, which is made when absent.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when someone holds it, else [`StoreError::Io`] or
    /// [`StoreError::Full`].
    pub fn acquire(fs: &Fs, path: &Path) -> Result<Self, StoreError> {
        let open = || {
            if let Some(dir) = path.parent() {
                fs.create_dir_all(dir)?;
            }
            let file = fs.open(path, OpenMode::Create)?;
            let locked = file.try_lock_first_byte()?;
            if locked {
                file.write_at(LOCK_TEXT, 0)?;
                file.sync_data()?;
            }
            Ok((file, locked))
        };
        let (file, locked) = open().map_err(|e| StoreError::io("lock", path, e))?;
        if !locked {
            let file = path.to_path_buf();
            return Err(StoreError::Locked { file });
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::RealFs;

    #[test]
    fn a_second_broker_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store/lock");
        let fs = RealFs::shared();
        let held = StoreLock::acquire(&fs, &path).unwrap();
        assert_eq!(fs.read_file(&path, 10).unwrap(), b"lock");
        let refused = StoreLock::acquire(&fs, &path);
        assert!(matches!(refused, Err(StoreError::Locked { .. })));
        drop(held);
        StoreLock::acquire(&fs, &path).unwrap();
    }
}
