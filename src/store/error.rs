//! What can go wrong between bytes and files.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// An error of the store, told apart by what its receiver has to do.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file holds something that its format forbids; nothing from there on is served.
    #[error("{} is damaged at offset {offset}: {what}", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What was found there.
        what: String,
    },
    /// The last record was not written to its end; recovery cuts it off.
    #[error("{} ends in a torn record at offset {offset}", file.display())]
    TornTail {
        /// The file with the torn record.
        file: PathBuf,
        /// Where in the file the record starts, in bytes.
        offset: u64,
    },
    /// The disk, or the quota, is full. Writing works again once there is space.
    #[error("no space left for {}", file.display())]
    Full {
        /// The file that could not be written.
        file: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {op} {}: {source}", file.display())]
    Io {
        /// What was tried: a verb such as `open` or `sync`.
        op: &'static str,
        /// The file or directory concerned.
        file: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process works on this store.
    #[error("{} is locked by another process", file.display())]
    Locked {
        /// The lock file.
        file: PathBuf,
    },
    /// An fsync failed twice, so what is on disk is not known: no writing until the next start.
    #[error("the store refuses writes after a failed sync, until it is restarted")]
    Poisoned,
    /// A caller handed in something that cannot be stored; nothing was written.
    #[error("cannot be stored: {what}")]
    Invalid {
        /// What is wrong with it.
        what: String,
    },
}

impl StoreError {
    /// Wraps a system error; a full disk or quota becomes [`StoreError::Full`].
    pub fn io(op: &'static str, file: &Path, source: io::Error) -> Self {
        let file = file.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { file },
            _ => Self::Io { op, file, source },
        }
    }

    /// A damaged place in a file.
    pub fn corrupt(file: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt {
            file: file.to_path_buf(),
            offset,
            what: what.into(),
        }
    }

    /// A value that cannot be stored.
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    /// Whether the same call may succeed later without a restart.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_errors() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        assert!(StoreError::io("write", Path::new("x"), full).is_full());
        let quota = io::Error::from_raw_os_error(libc::EDQUOT);
        assert!(StoreError::io("write", Path::new("x"), quota).is_full());
        let eio = io::Error::from_raw_os_error(libc::EIO);
        let eio = StoreError::io("sync", Path::new("x"), eio);
        assert!(!eio.is_full());
        assert!(eio.to_string().starts_with("cannot sync x: "));
    }
}
