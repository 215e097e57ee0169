//! The file system behind a trait, so that every error is a value and every write can be cut in a test.
//!
//! The store never touches `std::fs` by itself: it gets an [`Fs`] from its constructor.

use std::{
    fmt::Debug,
    io::{self, IoSlice},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;

use super::mapped::MappedMut;

mod crash;
pub mod fault;
mod real;
pub mod recording;

pub use real::RealFs;

/// A shared file system.
pub type Fs = Arc<dyn FileSystem>;

/// A shared open file.
pub type FileRef = Arc<dyn File>;

/// What [`OpenMode::Direct`] wants all to be aligned to, in bytes: no disk has larger sectors.
pub const DIRECT_ALIGN: usize = 4096;

/// How [`FileSystem::open`] opens a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// Reading only; the file has to exist.
    Read,
    /// As `Read`, past the kernel's page cache where the file system can do that: what is read into has
    /// to be aligned to [`DIRECT_ALIGN`], as have offset and length.
    Direct,
    /// Reading and writing; the file has to exist.
    Write,
    /// Reading and writing; made when it is absent.
    Create,
}

/// One entry of a directory listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Name without the directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length in bytes (0 for directories).
    pub len: u64,
    /// Last modification.
    pub modified: SystemTime,
}

/// Size and free space, in bytes, of the disk that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that are used, and those that an unprivileged process may still write.
    pub total: u64,
    /// Bytes that an unprivileged process may still write.
    pub free: u64,
}

/// Directories, names and opening.
pub trait FileSystem: Send + Sync + Debug {
    /// Makes a directory and its parents; no error when it exists.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<FileRef>;
    /// Renames a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all that is below it; no error when it is absent.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Lists a directory, sorted by name; an absent directory is empty.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes the names in a directory durable (fsync of the directory).
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes everything durable that was written to the file system that holds `path` (syncfs).
    fn sync_all(&self, path: &Path) -> io::Result<()> {
        let what = format!("cannot sync all of {}", path.display());
        Err(io::Error::new(io::ErrorKind::Unsupported, what))
    }
    /// Whether a path exists.
    fn exists(&self, path: &Path) -> bool;
    /// Size and free space of the disk that holds `path`.
    fn disk_space(&self, path: &Path) -> io::Result<DiskSpace>;

    /// Reads a whole file of at most `max_len` bytes; a longer one is an error.
    fn read_file(&self, path: &Path, max_len: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let len = file.len()?;
        if len > max_len {
            let what = format!(
                "{} is {len} bytes long, more than {max_len}",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut content = vec![0; len as usize];
        let read = file.read_at(&mut content, 0)?;
        content.truncate(read);
        Ok(content)
    }
}

/// Replaces a file by one with `content`: written beside it, synced and renamed, so that at any time
/// one of the two is there whole.
///
/// # Errors
/// Those of the file system.
pub fn replace_file(fs: &Fs, path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let file = fs.open(&beside, OpenMode::Create)?;
    file.set_len(0)?;
    file.write_at(content, 0)?;
    file.sync_data()?;
    fs.rename(&beside, path)?;
    match path.parent() {
        Some(dir) => fs.sync_dir(dir),
        None => Ok(()),
    }
}

/// Reads `len` bytes for the sake of the page cache, through `buf`: `read` gets a piece of it, and how much was
/// read before. Ends where nothing can be read.
pub fn read_through<E>(
    buf: &mut [u8],
    len: usize,
    mut read: impl FnMut(&mut [u8], usize) -> Result<usize, E>,
) {
    let mut done = 0;
    while done < len {
        let wanted = buf.len().min(len - done);
        match read(&mut buf[..wanted], done) {
            Err(_) | Ok(0) => return,
            Ok(count) => done += count,
        }
    }
}

/// Positioned reads and writes of one open file. All offsets and lengths are in bytes.
pub trait File: Send + Sync + Debug {
    /// Reads until `buf` is full or the file ends; returns how much was read.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads as [`read_at`](Self::read_at) does, but never waits for a disk.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when a part is not in memory, [`io::ErrorKind::Unsupported`] where the
    /// file system cannot tell.
    fn read_in_memory_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bufs`, one after the other.
    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Makes written data durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Length of the file.
    fn len(&self) -> io::Result<u64>;
    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Truncates or extends (sparsely).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Reserves disk space for a range without changing what it reads as, nor the file's length.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Makes a range read as zeros without changing the file's length. Where the file system can
    /// punch holes this needs no space, so it also works on a full disk.
    fn zero(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Maps the first `len` bytes for reading; the pages follow later writes to the file.
    fn map(&self, len: u64) -> io::Result<Bytes> {
        self.map_range(0, len)
    }
    /// Maps a range, which has to lie within the file, for reading; the pages follow later writes.
    fn map_range(&self, offset: u64, len: u64) -> io::Result<Bytes>;
    /// Maps the first `len` bytes for reading and writing, see [`MappedMut`]. A file system without
    /// mappings of its own answers [`io::ErrorKind::Unsupported`].
    fn map_mut(&self, len: u64) -> io::Result<MappedMut> {
        let what = format!("no writable mapping of {len} bytes");
        Err(io::Error::new(io::ErrorKind::Unsupported, what))
    }
    /// Where the first byte at or after `offset` is that was ever written; `None` when only holes
    /// follow. A file system without sparse files may answer `offset`.
    fn next_data(&self, offset: u64) -> io::Result<Option<u64>>;
    /// Takes an exclusive lock on byte 0 for this process (fcntl, as Java's FileChannel.lock does);
    /// `false` when another process holds it.
    fn try_lock_first_byte(&self) -> io::Result<bool>;
}
