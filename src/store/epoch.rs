//! The epoch: counts the lives of masters of one broker name, so that what an old master says is
//! told apart from what a new one says.
//!
//! A broker that starts as master takes the number after the largest that it knows; a slave keeps
//! the number of the master that it follows. The file is ours (MessagePack: format version, epoch);
//! a Java broker neither reads nor minds it.

use std::path::{Path, PathBuf};

use super::{envelope, error::StoreError, fs::Fs};

/// Version of the format; another one is ignored.
const FORMAT_VERSION: u32 = 1;

/// Longest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 64;

/// The epoch file of a store.
#[derive(Debug)]
pub struct EpochFile {
    fs: Fs,
    path: PathBuf,
    epoch: u64,
}

impl EpochFile {
    /// Loads the file; an absent or unreadable one is epoch 0.
    pub fn load(fs: &Fs, path: &Path) -> Self {
        let epoch = envelope::load(fs, path, FILE_LEN_MAX, |content| {
            let (version, epoch) = rmp_serde::from_slice::<(u32, u64)>(content).ok()?;
            (version == FORMAT_VERSION).then_some(epoch)
        });
        Self {
            fs: fs.clone(),
            path: path.to_path_buf(),
            epoch: epoch.unwrap_or(0),
        }
    }

    /// The largest epoch that is known here.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Keeps a larger epoch durably; a smaller one is passed over.
    ///
    /// # Errors
    /// [`StoreError::Io`] or [`StoreError::Full`]; the former file is then still whole.
    pub fn raise(&mut self, epoch: u64) -> Result<(), StoreError> {
        if epoch <= self.epoch {
            return Ok(());
        }
        let content = rmp_serde::to_vec(&(FORMAT_VERSION, epoch))
            .map_err(|error| StoreError::invalid(error.to_string()))?;
        envelope::save(&self.fs, &self.path, &content)?;
        self.epoch = epoch;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::RealFs;

    #[test]
    fn the_largest_epoch_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epoch");
        let mut file = EpochFile::load(&RealFs::shared(), &path);
        assert_eq!(file.epoch(), 0);
        file.raise(7).unwrap();
        file.raise(3).unwrap();
        assert_eq!(EpochFile::load(&RealFs::shared(), &path).epoch(), 7);
        std::fs::write(&path, b"\xc1").unwrap();
        assert_eq!(EpochFile::load(&RealFs::shared(), &path).epoch(), 0);
    }
}
