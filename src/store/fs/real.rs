//! The file system of the machine.

use std::{
    fs,
    io::{self, IoSlice, IoSliceMut},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use rustix::{
    fs::{FallocateFlags, OFlags, SeekFrom},
    io::ReadWriteFlags,
};

use super::{DirEntry, DiskSpace, File, FileRef, FileSystem, Fs, OpenMode};
use crate::store::mapped::{self, MappedMut};

/// How many slices one `pwritev` takes (Linux's IOV_MAX).
const SLICES_PER_WRITE: usize = 1024;

/// Zeros written per call where the file system cannot punch holes.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The file system of the machine; stateless.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

impl RealFs {
    /// A shared handle, as the store's constructors take it.
    pub fn shared() -> Fs {
        Arc::new(Self)
    }
}

impl FileSystem for RealFs {
    fn sync_all(&self, path: &Path) -> io::Result<()> {
        let dir = fs::File::open(path)?;
        rustix::fs::syncfs(&dir)?;
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<FileRef> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        let file = match mode {
            OpenMode::Read => options.open(path),
            OpenMode::Direct => {
                let direct = OFlags::DIRECT.bits().cast_signed();
                match options.clone().custom_flags(direct).open(path) {
                    // A file system in memory, for one, knows no other way.
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => options.open(path),
                    other => other,
                }
            }
            OpenMode::Write => options.write(true).open(path),
            OpenMode::Create => options.write(true).create(true).truncate(false).open(path),
        };
        Ok(Arc::new(RealFile { file: file? }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut listing = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue; // not one of ours: all names of the store are UTF-8
            };
            let data = match fs::metadata(entry.path()) {
                // removed by another thread since it was listed
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other?,
            };
            listing.push(DirEntry {
                name,
                is_dir: data.is_dir(),
                len: if data.is_dir() { 0 } else { data.len() },
                modified: data.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            });
        }
        listing.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn disk_space(&self, path: &Path) -> io::Result<DiskSpace> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(DiskSpace {
            // What is used plus what may still be written, as df's percentage and RocketMQ's
            // `UtilAll.getDiskPartitionSpaceUsedPercent` have it: blocks kept for root, or above a
            // quota, are not ours to fill.
            total: (stat.f_blocks.saturating_sub(stat.f_bfree))
                .saturating_add(stat.f_bavail)
                .saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }
}

/// An open file of the machine.
#[derive(Debug)]
struct RealFile {
    file: fs::File,
}

/// Reads until `buf` is full or the file ends; returns how much was read.
fn read_full(
    buf: &mut [u8],
    offset: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match read(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        read_full(buf, offset, |rest, at| self.file.read_at(rest, at))
    }

    fn read_in_memory_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        read_full(buf, offset, |rest, at| {
            let mut rest = [IoSliceMut::new(rest)];
            // EAGAIN and EOPNOTSUPP are of the two kinds that are promised.
            Ok(rustix::io::preadv2(
                &self.file,
                &mut rest,
                at,
                ReadWriteFlags::NOWAIT,
            )?)
        })
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        let mut rest = bufs;
        // Within the slice at the front of `rest`; slices are skipped without touching the caller's.
        let mut done_of_first = 0;
        while let Some(first) = rest.first() {
            let mut written = if done_of_first == 0 {
                let upto = rest.len().min(SLICES_PER_WRITE);
                match rustix::io::pwritev(&self.file, &rest[..upto], offset) {
                    Ok(n) => n,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(error) => return Err(error.into()),
                }
            } else {
                let tail = &first[done_of_first..];
                self.file.write_all_at(tail, offset)?;
                tail.len()
            };
            if written == 0 && rest.iter().any(|s| !s.is_empty()) {
                return Err(io::ErrorKind::WriteZero.into());
            }
            offset += written as u64;
            while let Some(first) = rest.first() {
                let left = first.len() - done_of_first;
                if written < left {
                    done_of_first += written;
                    break;
                }
                written -= left;
                done_of_first = 0;
                rest = &rest[1..];
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(
            &self.file,
            FallocateFlags::KEEP_SIZE,
            offset,
            len,
        )?)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, offset, len) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            other => return Ok(other?),
        }
        let end = (offset + len).min(self.len()?);
        let mut at = offset;
        while at < end {
            let step = (end - at).min(ZEROS.len() as u64);
            self.write_at(&ZEROS[..step as usize], at)?;
            at += step;
        }
        Ok(())
    }

    fn map_range(&self, offset: u64, len: u64) -> io::Result<Bytes> {
        mapped::map_file(&self.file, offset, len)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        // Moves the file's cursor, which nothing here uses.
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(at) => Ok(Some(at)),
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => {
                Ok((offset < self.len()?).then_some(offset))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn map_mut(&self, len: u64) -> io::Result<MappedMut> {
        MappedMut::map(&self.file, len)
    }

    fn try_lock_first_byte(&self) -> io::Result<bool> {
        mapped::try_lock_first_byte(&self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vectored_write_of_many_slices_arrives_whole() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::shared();
        let path = dir.path().join("f");
        let file = fs.open(&path, OpenMode::Create).unwrap();
        let pieces: Vec<Vec<u8>> = (0..3000_usize).map(|i| vec![i as u8; i % 7]).collect();
        let slices: Vec<_> = pieces.iter().map(|p| IoSlice::new(p)).collect();
        file.write_vectored_at(&slices, 5).unwrap();
        let expected: Vec<u8> = [vec![0; 5], pieces.concat()].concat();
        assert_eq!(fs.read_file(&path, 1 << 20).unwrap(), expected);
        file.write_vectored_at(&[], 0).unwrap();
        file.write_vectored_at(&[IoSlice::new(&[])], 0).unwrap();
        assert_eq!(file.len().unwrap(), expected.len() as u64);
    }

    #[test]
    fn zeroing_keeps_the_length_and_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::shared();
        let path = dir.path().join("f");
        let file = fs.open(&path, OpenMode::Create).unwrap();
        file.write_at(&[7; 10_000], 0).unwrap();
        file.zero(3, 9_000).unwrap();
        file.allocate(0, 100_000).unwrap();
        let content = fs.read_file(&path, 1 << 20).unwrap();
        assert_eq!(content.len(), 10_000);
        for (i, byte) in content.iter().enumerate() {
            assert_eq!(*byte, if (3..9_003).contains(&i) { 0 } else { 7 });
        }
        assert!(fs.read_file(&path, 9_999).is_err());
        file.zero(0, 10_000).unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_at(b"x", 1 << 29).unwrap();
        let data = file.next_data(0).unwrap().unwrap();
        assert!(data <= 1 << 29);
        assert!(file.next_data(1 << 30).unwrap().is_none());
        let map = file.map_range((1 << 29) - 5, 6).unwrap();
        assert_eq!(map[..], [0, 0, 0, 0, 0, b'x']);
    }

    #[test]
    fn directories_are_listed_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::shared();
        let root = dir.path().join("a/b");
        assert!(fs.read_dir(&root).unwrap().is_empty());
        fs.remove_dir_all(&root).unwrap();
        fs.create_dir_all(&root.join("sub")).unwrap();
        for name in ["2", "10", "1"] {
            let file = fs.open(&root.join(name), OpenMode::Create).unwrap();
            file.set_len(3).unwrap();
        }
        fs.sync_dir(&root).unwrap();
        fs.rename(&root.join("2"), &root.join("0")).unwrap();
        let names: Vec<_> = fs.read_dir(&root).unwrap();
        let names: Vec<_> = names.iter().map(|e| (e.name.as_str(), e.len)).collect();
        assert_eq!(names, [("0", 3), ("1", 3), ("10", 3), ("sub", 0)]);
        assert!(fs.exists(&root.join("sub")));
        let space = fs.disk_space(&root).unwrap();
        assert!(space.total >= space.free);
        fs.remove_file(&root.join("0")).unwrap();
        fs.remove_dir_all(&root).unwrap();
        assert!(!fs.exists(&root));
    }

    #[test]
    fn the_lock_excludes_a_second_opening() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::shared();
        let path = dir.path().join("lock");
        let first = fs.open(&path, OpenMode::Create).unwrap();
        let second = fs.open(&path, OpenMode::Create).unwrap();
        assert!(first.try_lock_first_byte().unwrap());
        assert!(!second.try_lock_first_byte().unwrap());
        drop(first);
        assert!(second.try_lock_first_byte().unwrap());
    }
}
