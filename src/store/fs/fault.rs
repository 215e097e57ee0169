//! A layer whose calls fail when told to, for tests.
//!
//! Every call of the file system and of its files is counted; a [`Fault`] names the call that fails.
//! A failing write first writes half of its bytes, as a full disk does.

use std::{
    io::{self, IoSlice},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{DirEntry, DiskSpace, File, FileRef, FileSystem, Fs, OpenMode};
use crate::store::mapped::MappedMut;

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Makes a directory.
    CreateDir,
    /// Opens or makes a file.
    Open,
    /// Renames a file.
    Rename,
    /// Removes a file or a directory.
    Remove,
    /// Lists a directory.
    ReadDir,
    /// Syncs a directory.
    SyncDir,
    /// Asks for a length, for the next data or for free space.
    Stat,
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Syncs a file.
    Sync,
    /// Changes a length.
    SetLen,
    /// Reserves space.
    Allocate,
    /// Zeroes a range.
    Zero,
    /// Maps a file.
    Map,
    /// Locks a file.
    Lock,
}

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Only calls of this kind count; all calls if `None`.
    pub kind: Option<Call>,
    /// How many of these calls succeed before.
    pub after: u64,
    /// How many of them fail then.
    pub times: u64,
    /// The system's error number, as `libc::EIO`.
    pub errno: i32,
}

/// The faults to come, shared by a [`FaultFs`] and all its files.
#[derive(Debug, Default)]
pub struct Faults {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    failed: u64,
    armed: Vec<Fault>,
}

impl Faults {
    /// Arms a fault beside those that are armed already.
    pub fn arm(&self, fault: Fault) {
        self.with(|state| state.armed.push(fault));
    }

    /// Lets everything succeed again.
    pub fn disarm(&self) {
        self.with(|state| state.armed.clear());
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.with(|state| state.calls)
    }

    /// How many of them failed.
    pub fn failed(&self) -> u64 {
        self.with(|state| state.failed)
    }

    fn with<R>(&self, run: impl FnOnce(&mut State) -> R) -> R {
        run(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn check(&self, call: Call) -> io::Result<()> {
        self.with(|state| {
            state.calls += 1;
            for fault in &mut state.armed {
                if fault.kind.is_some_and(|kind| kind != call) || fault.times == 0 {
                    continue;
                }
                if fault.after > 0 {
                    fault.after -= 1;
                    continue;
                }
                fault.times -= 1;
                state.failed += 1;
                return Err(io::Error::from_raw_os_error(fault.errno));
            }
            Ok(())
        })
    }
}

/// A file system that fails when its [`Faults`] say so.
#[derive(Debug)]
pub struct FaultFs {
    inner: Fs,
    faults: Arc<Faults>,
}

impl FaultFs {
    /// Wraps a file system.
    pub fn wrap(inner: Fs) -> (Fs, Arc<Faults>) {
        let faults = Arc::new(Faults::default());
        let fs = Arc::new(Self {
            inner,
            faults: faults.clone(),
        });
        (fs, faults)
    }
}

impl FileSystem for FaultFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.faults.check(Call::CreateDir)?;
        self.inner.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<FileRef> {
        self.faults.check(Call::Open)?;
        Ok(Arc::new(FaultFile {
            inner: self.inner.open(path, mode)?,
            faults: self.faults.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.check(Call::Rename)?;
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.faults.check(Call::Remove)?;
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.faults.check(Call::Remove)?;
        self.inner.remove_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.faults.check(Call::ReadDir)?;
        self.inner.read_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.faults.check(Call::SyncDir)?;
        self.inner.sync_dir(path)
    }

    fn sync_all(&self, path: &Path) -> io::Result<()> {
        self.faults.check(Call::Sync)?;
        self.inner.sync_all(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner.exists(path)
    }

    fn disk_space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.faults.check(Call::Stat)?;
        self.inner.disk_space(path)
    }
}

#[derive(Debug)]
struct FaultFile {
    inner: FileRef,
    faults: Arc<Faults>,
}

impl File for FaultFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.faults.check(Call::Read)?;
        self.inner.read_at(buf, offset)
    }

    fn read_in_memory_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.faults.check(Call::Read)?;
        self.inner.read_in_memory_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.write_vectored_at(&[IoSlice::new(buf)], offset)
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let Err(error) = self.faults.check(Call::Write) else {
            return self.inner.write_vectored_at(bufs, offset);
        };
        let whole = bufs.iter().map(|b| &**b).collect::<Vec<_>>().concat();
        let half = whole.get(..whole.len() / 2).unwrap_or_default();
        self.inner.write_at(half, offset)?;
        Err(error)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.check(Call::Sync)?;
        self.inner.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.faults.check(Call::Stat)?;
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.check(Call::SetLen)?;
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.faults.check(Call::Allocate)?;
        self.inner.allocate(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.faults.check(Call::Zero)?;
        self.inner.zero(offset, len)
    }

    fn map_range(&self, offset: u64, len: u64) -> io::Result<Bytes> {
        self.faults.check(Call::Map)?;
        self.inner.map_range(offset, len)
    }

    fn map_mut(&self, len: u64) -> io::Result<MappedMut> {
        self.faults.check(Call::Map)?;
        self.inner.map_mut(len)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        self.faults.check(Call::Stat)?;
        self.inner.next_data(offset)
    }

    fn try_lock_first_byte(&self) -> io::Result<bool> {
        self.faults.check(Call::Lock)?;
        self.inner.try_lock_first_byte()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::RealFs;

    #[test]
    fn the_named_calls_fail_and_writes_stop_half_way() {
        let dir = tempfile::tempdir().unwrap();
        let (fs, faults) = FaultFs::wrap(RealFs::shared());
        let file = fs.open(&dir.path().join("f"), OpenMode::Create).unwrap();
        faults.arm(Fault {
            kind: Some(Call::Write),
            after: 1,
            times: 2,
            errno: libc::ENOSPC,
        });
        file.write_at(b"abcd", 0).unwrap();
        let error = file.write_at(b"efgh", 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 6);
        assert!(file.write_at(b"efgh", 4).is_err());
        file.write_at(b"efgh", 4).unwrap();
        assert_eq!(faults.failed(), 2);
        assert_eq!(faults.calls(), 6);
        faults.disarm();
        file.sync_data().unwrap();
    }
}
