//! One file of the commit log.
//!
//! A segment opens its file on first use and maps it in windows, so that what is mapped (and with
//! it page tables and resident memory) follows what is being read and not what is stored.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::store::{
    error::StoreError,
    fs::{FileRef, Fs, OpenMode},
};

/// Bytes from the start of one mapped window to the start of the next.
const WINDOW_STEP: u64 = 16 << 20;

/// Bytes that a window reaches into its successor, so that a record of the default maximal size is
/// always within one window.
const WINDOW_OVERLAP: u64 = 5 << 20;

/// Digits of a segment's file name.
const NAME_LEN: usize = 20;

/// One file of the commit log.
#[derive(Debug)]
pub(super) struct Segment {
    start: i64,
    len: u64,
    path: PathBuf,
    read_only: bool,
    fs: Fs,
    open: ArcSwapOption<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    file: FileRef,
    windows: Box<[Window]>,
}

#[derive(Debug, Default)]
struct Window {
    map: ArcSwapOption<Bytes>,
    used: AtomicBool,
}

impl Segment {
    /// A segment whose file exists; it is not opened yet.
    pub(super) fn new(fs: &Fs, path: PathBuf, start: i64, len: u64, read_only: bool) -> Arc<Self> {
        Arc::new(Self {
            start,
            len,
            path,
            read_only,
            fs: fs.clone(),
            open: ArcSwapOption::empty(),
        })
    }

    /// Makes the file of a new segment, full length and sparse, and makes file and name durable.
    pub(super) fn create(
        fs: &Fs,
        dir: &Path,
        start: i64,
        len: u64,
    ) -> Result<Arc<Self>, StoreError> {
        let path = dir.join(file_name(start));
        let make = || {
            if !fs.exists(dir) {
                fs.create_dir_all(dir)?;
                dir.parent().map_or(Ok(()), |parent| fs.sync_dir(parent))?;
            }
            let file = fs.open(&path, OpenMode::Create)?;
            if file.len()? != 0 {
                // Left over from a try that failed half way; nobody has it mapped.
                file.set_len(0)?;
            }
            file.set_len(len)?;
            file.sync_data()?;
            fs.sync_dir(dir)
        };
        make().map_err(|e| StoreError::io("create", &path, e))?;
        Ok(Self::new(fs, path, start, len, false))
    }

    /// Physical offset of the first byte.
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    /// Physical offset of the byte after the last.
    pub(super) fn end(&self) -> i64 {
        self.start + self.len as i64
    }

    /// Length of the file, in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file lies in a directory that is only read.
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Position in the file of a physical offset, which has to lie in this segment or at its end.
    pub(super) fn position(&self, offset: i64) -> u64 {
        debug_assert!((self.start..=self.end()).contains(&offset));
        (offset - self.start) as u64
    }

    /// The open file.
    pub(super) fn file(&self) -> Result<FileRef, StoreError> {
        self.with_open(|open| Ok(open.file.clone()))
    }

    /// A zero-copy slice of the mapped file.
    pub(super) fn slice(&self, position: u64, len: usize) -> Result<Bytes, StoreError> {
        let end = position + len as u64;
        debug_assert!(end <= self.len, "{end} is beyond {}", self.len);
        self.with_open(|open| {
            let index = position / WINDOW_STEP;
            let window_start = index * WINDOW_STEP;
            let window_end = self.len.min(window_start + WINDOW_STEP + WINDOW_OVERLAP);
            let window = usize::try_from(index)
                .ok()
                .and_then(|i| open.windows.get(i));
            let Some(window) = window.filter(|_| end <= window_end) else {
                // Longer than any window reaches: a mapping of its own.
                return self.map(&open.file, position, len as u64);
            };
            window.used.store(true, Ordering::Relaxed);
            let from = (position - window_start) as usize;
            if let Some(map) = &*window.map.load() {
                return Ok(map.slice(from..from + len));
            }
            let map = self.map(&open.file, window_start, window_end - window_start)?;
            let slice = map.slice(from..from + len);
            window.map.store(Some(Arc::new(map)));
            Ok(slice)
        })
    }

    /// Unmaps the windows that were not used since the last call. Slices that were handed out stay
    /// valid: the last one to go unmaps.
    pub(super) fn unmap_unused(&self) {
        if let Some(open) = &*self.open.load() {
            for window in &open.windows {
                if !window.used.swap(false, Ordering::Relaxed) {
                    window.map.store(None);
                }
            }
        }
    }

    /// Closes the file if nothing of it is mapped; it is opened again on the next use.
    pub(super) fn close_if_unmapped(&self) {
        let unmapped = match &*self.open.load() {
            Some(open) => open.windows.iter().all(|w| w.map.load().is_none()),
            None => false,
        };
        if unmapped {
            self.open.store(None);
        }
    }

    /// Deletes the file, durably. What is mapped stays readable.
    pub(super) fn remove(&self) -> Result<(), StoreError> {
        let removed = self.fs.remove_file(&self.path);
        let removed = removed.and_then(|()| match self.path.parent() {
            Some(dir) => self.fs.sync_dir(dir),
            None => Ok(()),
        });
        removed.map_err(|e| StoreError::io("remove", &self.path, e))
    }

    /// Whether the file is open right now.
    pub(super) fn is_open(&self) -> bool {
        self.open.load().is_some()
    }

    fn map(&self, file: &FileRef, start: u64, len: u64) -> Result<Bytes, StoreError> {
        file.map_range(start, len)
            .map_err(|e| StoreError::io("map", &self.path, e))
    }

    fn with_open<R>(
        &self,
        run: impl FnOnce(&OpenSegment) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        if let Some(open) = &*self.open.load() {
            return run(open);
        }
        let mode = if self.read_only {
            OpenMode::Read
        } else {
            OpenMode::Write
        };
        let file = self
            .fs
            .open(&self.path, mode)
            .map_err(|e| StoreError::io("open", &self.path, e))?;
        let windows = self.len.div_ceil(WINDOW_STEP);
        let open = Arc::new(OpenSegment {
            file,
            windows: (0..windows).map(|_| Window::default()).collect(),
        });
        // Two threads may both get here: either handle serves as well as the other.
        self.open.store(Some(open.clone()));
        run(&open)
    }
}

/// The file name of the segment that starts at a physical offset: 20 digits.
pub(super) fn file_name(start: i64) -> String {
    format!("{start:0NAME_LEN$}")
}

/// The physical offset that a file name stands for; `None` when it is not a segment's name.
pub(super) fn parse_file_name(name: &str) -> Option<i64> {
    if name.len() != NAME_LEN || !name.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fs::RealFs;

    #[test]
    fn names_are_twenty_digits() {
        assert_eq!(file_name(1 << 30), "00000000001073741824");
        assert_eq!(parse_file_name("00000000001073741824"), Some(1 << 30));
        for bad in ["1", "0000000000107374182x", "99999999999999999999", ""] {
            assert_eq!(parse_file_name(bad), None);
        }
    }

    #[test]
    fn slices_cross_windows_and_survive_unmapping() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::shared();
        let len = 2 * WINDOW_STEP + 1000;
        let segment = Segment::create(&fs, dir.path(), 0, len).unwrap();
        let file = segment.file().unwrap();
        let places = [0, WINDOW_STEP - 3, 2 * WINDOW_STEP - 2, len - 8];
        for at in places {
            file.write_at(&at.to_be_bytes(), at).unwrap();
        }
        let slices = places.map(|at| segment.slice(at, 8).unwrap());
        let huge = segment
            .slice(5, (WINDOW_STEP + WINDOW_OVERLAP) as usize)
            .unwrap();
        segment.unmap_unused();
        segment.close_if_unmapped();
        assert!(segment.is_open(), "all windows were used since the start");
        segment.unmap_unused();
        segment.close_if_unmapped();
        assert!(!segment.is_open());
        for (at, slice) in places.iter().zip(&slices) {
            assert_eq!(slice[..], at.to_be_bytes());
            assert_eq!(segment.slice(*at, 8).unwrap(), slice);
        }
        let from = (WINDOW_STEP - 3 - 5) as usize;
        assert_eq!(huge[from..from + 8], (WINDOW_STEP - 3).to_be_bytes());
    }

    #[test]
    fn a_leftover_of_a_failed_creation_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let fs = RealFs::shared();
        std::fs::write(dir.path().join(file_name(4096)), [1; 100]).unwrap();
        let segment = Segment::create(&fs, dir.path(), 4096, 4096).unwrap();
        assert_eq!(segment.end(), 8192);
        assert!(segment.slice(0, 4096).unwrap().iter().all(|&b| b == 0));
        assert_eq!(segment.file().unwrap().len().unwrap(), 4096);
    }
}
