//! A layer that remembers every change, and can build what a power loss would leave of it.
//!
//! What was synced is kept. Of what was not, each 4 KiB page is, by choice, as it was at the last
//! sync or as any later write left it; the file's length likewise; and of the changes of names in a
//! directory that was not synced any number of the first ones is kept. That is what POSIX allows,
//! and more than most file systems do: synced bytes in a file whose name was not synced are lost.

use std::{
    collections::HashMap,
    io::{self, IoSlice},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    DirEntry, DiskSpace, File, FileRef, FileSystem, Fs, OpenMode, RealFs,
    crash::{Change, Disk, Inode},
};

#[derive(Debug, Default)]
struct Log {
    changes: Vec<Change>,
    names: HashMap<PathBuf, Inode>,
    inodes: usize,
}

/// A file system that records what is done to the files of one directory, which has to be empty at
/// first. Directories themselves count as durable. Writable mappings are not supported.
#[derive(Debug, Clone)]
pub struct RecordingFs {
    inner: Fs,
    root: PathBuf,
    log: Arc<Mutex<Log>>,
}

impl RecordingFs {
    /// Records what happens below `root` on the machine's file system.
    pub fn new(root: &Path) -> Self {
        Self {
            inner: RealFs::shared(),
            root: root.to_path_buf(),
            log: Arc::default(),
        }
    }

    /// The handle for the store.
    pub fn shared(&self) -> Fs {
        Arc::new(self.clone())
    }

    /// How many changes were recorded.
    pub fn changes(&self) -> usize {
        self.lock().changes.len()
    }

    /// Builds in `target`, an absent or empty directory, what a power loss after the first `count`
    /// changes leaves. `choose(n)` picks one of `n` possibilities (0 to n−1): 0 is always "nothing
    /// that was not synced", and n−1 "all of it".
    ///
    /// # Errors
    /// What writing the target says.
    pub fn crash_image(
        &self,
        count: usize,
        target: &Path,
        choose: &mut dyn FnMut(usize) -> usize,
    ) -> io::Result<()> {
        let mut disk = Disk::default();
        {
            let log = self.lock();
            log.changes.iter().take(count).for_each(|c| disk.apply(c));
        }
        std::fs::create_dir_all(target)?;
        let names = disk.names_after_crash(choose);
        for (path, inode) in names {
            let Some(content) = disk.files.get(&inode) else {
                continue;
            };
            let below = path.strip_prefix(&self.root).unwrap_or(&path);
            content.write_after_crash(&target.join(below), choose)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, change: Change) {
        self.lock().changes.push(change);
    }
}

impl FileSystem for RecordingFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<FileRef> {
        let inner = self.inner.open(path, mode)?;
        let mut log = self.lock();
        let inode = match log.names.get(path) {
            Some(inode) => *inode,
            None => {
                let inode = log.inodes;
                log.inodes += 1;
                log.names.insert(path.to_path_buf(), inode);
                let path = path.to_path_buf();
                log.changes.push(Change::Create { path, inode });
                inode
            }
        };
        drop(log);
        Ok(Arc::new(RecordingFile {
            inner,
            inode,
            fs: self.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)?;
        let mut log = self.lock();
        if let Some(inode) = log.names.remove(from) {
            log.names.insert(to.to_path_buf(), inode);
        }
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        log.changes.push(Change::Rename { from, to });
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)?;
        let mut log = self.lock();
        log.names.remove(path);
        let path = path.to_path_buf();
        log.changes.push(Change::Remove { path });
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir_all(path)?;
        let mut log = self.lock();
        log.names.retain(|name, _| !name.starts_with(path));
        let path = path.to_path_buf();
        log.changes.push(Change::RemoveDir { path });
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.read_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)?;
        let path = path.to_path_buf();
        self.record(Change::SyncDir { path });
        Ok(())
    }

    fn sync_all(&self, _path: &Path) -> io::Result<()> {
        self.record(Change::SyncAll);
        Ok(())
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner.exists(path)
    }

    fn disk_space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.inner.disk_space(path)
    }
}

#[derive(Debug)]
struct RecordingFile {
    inner: FileRef,
    inode: Inode,
    fs: RecordingFs,
}

impl File for RecordingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn read_in_memory_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_in_memory_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(buf, offset)?;
        self.fs.record(Change::Write {
            inode: self.inode,
            offset,
            bytes: buf.to_vec(),
        });
        Ok(())
    }

    fn write_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let whole = bufs.iter().map(|b| &**b).collect::<Vec<_>>().concat();
        self.write_at(&whole, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        // The machine's disk has nothing to do with it: what is durable is decided by the record.
        let inode = self.inode;
        self.fs.record(Change::Sync { inode });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)?;
        let inode = self.inode;
        self.fs.record(Change::SetLen { inode, len });
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn zero(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.zero(offset, len)?;
        let inode = self.inode;
        self.fs.record(Change::Zero { inode, offset, len });
        Ok(())
    }

    fn map_range(&self, offset: u64, len: u64) -> io::Result<Bytes> {
        self.inner.map_range(offset, len)
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<u64>> {
        self.inner.next_data(offset)
    }

    fn try_lock_first_byte(&self) -> io::Result<bool> {
        self.inner.try_lock_first_byte()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(fs: &RecordingFs, count: usize, keep_all: bool) -> Vec<(String, Vec<u8>)> {
        let target = tempfile::tempdir().unwrap();
        let mut choose = |n: usize| if keep_all { n - 1 } else { 0 };
        fs.crash_image(count, target.path(), &mut choose).unwrap();
        let names = RealFs.read_dir(target.path()).unwrap();
        let read = |name: &str| {
            RealFs
                .read_file(&target.path().join(name), 1 << 20)
                .unwrap()
        };
        names
            .iter()
            .map(|e| (e.name.clone(), read(&e.name)))
            .collect()
    }

    #[test]
    fn only_what_was_synced_survives_the_worst_crash() {
        let dir = tempfile::tempdir().unwrap();
        let recording = RecordingFs::new(dir.path());
        let fs = recording.shared();
        let path = dir.path().join("a");
        let file = fs.open(&path, OpenMode::Create).unwrap();
        file.set_len(6000).unwrap();
        file.write_at(b"first", 0).unwrap();
        file.sync_data().unwrap();
        let unnamed = recording.changes();
        fs.sync_dir(dir.path()).unwrap();
        let named = recording.changes();
        file.write_at(b"again", 0).unwrap();
        file.write_at(b"more", 5000).unwrap();
        fs.rename(&path, &dir.path().join("b")).unwrap();
        let all = recording.changes();

        assert_eq!(image(&recording, unnamed, false), []);
        let safe = image(&recording, named, false);
        assert_eq!(safe[0].0, "a");
        assert_eq!(safe[0].1.len(), 6000);
        assert_eq!(safe[0].1[..5], *b"first");
        assert_eq!(image(&recording, all, false), safe);
        let best = image(&recording, all, true);
        assert_eq!(best[0].0, "b");
        assert_eq!(best[0].1[..5], *b"again");
        assert_eq!(best[0].1[5000..5004], *b"more");
        fs.sync_all(dir.path()).unwrap();
        assert_eq!(image(&recording, recording.changes(), false), best);
    }

    #[test]
    fn each_page_may_be_of_another_age() {
        let dir = tempfile::tempdir().unwrap();
        let recording = RecordingFs::new(dir.path());
        let fs = recording.shared();
        let file = fs.open(&dir.path().join("a"), OpenMode::Create).unwrap();
        fs.sync_dir(dir.path()).unwrap();
        file.write_at(&[1; 8192], 0).unwrap();
        file.sync_data().unwrap();
        file.write_at(&[2; 8192], 0).unwrap();
        file.zero(0, 8192).unwrap();
        let mut picks = [0, 1, 2].into_iter();
        let target = tempfile::tempdir().unwrap();
        let mut choose = |n: usize| picks.next().unwrap().min(n - 1);
        let count = recording.changes();
        recording
            .crash_image(count, target.path(), &mut choose)
            .unwrap();
        let content = RealFs.read_file(&target.path().join("a"), 1 << 20).unwrap();
        assert_eq!(content[..4096], [2; 4096]);
        assert_eq!(content[4096..], [0; 4096]);
    }
}
