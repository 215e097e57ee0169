//! The only module with `unsafe`: kernel calls about memory and locks that no safe wrapper offers.
//!
//! Everything else in the crate sees a mapping as [`Bytes`] or as a [`MappedMut`].

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    sync::atomic::{Ordering, compiler_fence},
};

use bytes::Bytes;

/// Pages that one `mincore` call looks at.
const PAGES_PER_MINCORE: usize = 256;

/// Maps `len` bytes of a file, from `offset` on, for reading, shared, so that later writes are seen.
///
/// A slice of the result must only be looked at where the file has that length for as long as the
/// slice lives, and where its bytes do not change any more: below the published end of a log, or
/// the published count of an index. The store never shortens a file that it mapped and never
/// rewrites published bytes, other than with the same bytes.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when the range reaches beyond the file, and what `mmap` says.
pub fn map_file(file: &File, offset: u64, len: u64) -> io::Result<Bytes> {
    if len == 0 {
        return Ok(Bytes::new());
    }
    let file_len = file.metadata()?.len();
    if offset.checked_add(len).is_none_or(|end| end > file_len) {
        let what = format!("cannot map {len} bytes at {offset} of a file of {file_len} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the mapping is read-only and lies within the file (checked above). The caller's duty,
    // stated above, is the one that Rust cannot check: the bytes that are looked at neither vanish
    // (no truncation: a segment keeps its length from creation to deletion, and a deleted file
    // stays whole while it is mapped) nor change (the writer only writes beyond the published end,
    // which is stored with Release after the bytes and loaded with Acquire before the slice).
    let map = unsafe {
        memmap2::MmapOptions::new()
            .offset(offset)
            .len(len)
            .map(file)?
    };
    Ok(Bytes::from_owner(map))
}

/// Whether all pages under `bytes` are in memory, so that reading them does not wait for a disk.
///
/// On an error of the kernel the answer is `true`: the caller then reads, which is always correct.
pub fn resident(bytes: &[u8]) -> bool {
    let Some((start, len)) = page_range(bytes) else {
        return true;
    };
    let page = page_size();
    let mut at = start;
    let mut states = [0_u8; PAGES_PER_MINCORE];
    while at < start + len {
        let step = (start + len - at).min(PAGES_PER_MINCORE * page);
        // SAFETY: `at` is page aligned and the range consists of pages that `bytes` lies in, which
        // are mapped while it is borrowed; `states` has one byte for each page of the range.
        let answer =
            unsafe { libc::mincore(at as *mut libc::c_void, step, states.as_mut_ptr().cast()) };
        if answer != 0 {
            return true;
        }
        if states[..step.div_ceil(page)].iter().any(|s| s & 1 == 0) {
            return false;
        }
        at += step;
    }
    true
}

/// Asks the kernel to read the pages under `bytes` into memory soon; a hint without an answer.
pub fn will_need(bytes: &[u8]) {
    let Some((start, len)) = page_range(bytes) else {
        return;
    };
    // SAFETY: the range is page aligned and mapped while `bytes` is borrowed, and this advice leaves
    // the contents as they are. An error leaves all as it was.
    unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_WILLNEED) };
}

/// Takes an exclusive lock on byte 0 of an open file; `false` when someone else holds one.
///
/// An "open file description" lock: it excludes and is excluded by the process-wide fcntl locks
/// that Java's `FileChannel.lock` takes, but unlike those it also excludes a second opening of the
/// file in this very process, and does not vanish when another descriptor of the file is closed.
///
/// # Errors
/// What `fcntl` says, other than that the lock is taken.
pub fn try_lock_first_byte(file: &File) -> io::Result<bool> {
    // SAFETY: all-zero is a valid `flock` structure: it consists of integers.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = 0;
    lock.l_len = 1;
    // SAFETY: the descriptor is open while `file` is borrowed, and `lock` outlives the call.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) };
    if answer == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// A file mapped for reading and writing, for formats that change a few bytes here and there.
///
/// All access goes by copy and is checked against the length. Writing to a page for which the disk
/// has no space left is a signal that ends the process, so the owner allocates first
/// ([`allocate`](crate::store::fs::File::allocate)). Written bytes are made durable with
/// [`sync_data`](crate::store::fs::File::sync_data) of the file.
#[derive(Debug)]
pub struct MappedMut {
    map: memmap2::MmapMut,
}

impl MappedMut {
    /// Maps the first `len` bytes of a file that is open for reading and writing.
    ///
    /// The file must not be shortened while it is mapped, and only the returned value may write it.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when the file is shorter than `len`, and what `mmap` says.
    pub fn map(file: &File, len: u64) -> io::Result<Self> {
        let file_len = file.metadata()?.len();
        if len == 0 || file_len < len {
            let what = format!("cannot map {len} bytes of a file of {file_len} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: the mapping lies within the file (checked above). The caller's duty, stated
        // above, is the one that Rust cannot check: the file keeps its length (the store never
        // shortens files) and nobody else writes the bytes (the store's lock file keeps other
        // processes out, and an index file has one writer, which owns this value). References
        // into the mapping live only inside the methods below.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map_mut(file)? };
        Ok(Self { map })
    }

    /// Length of the mapping in bytes.
    pub fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Whether the mapping has no bytes.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Copies `N` bytes out of the mapping; `None` beyond its end.
    pub fn get<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let at = usize::try_from(at).ok()?;
        let bytes = self.map.get(at..at.checked_add(N)?)?;
        bytes.try_into().ok()
    }

    /// Copies `bytes` into the mapping; `None`, and nothing is changed, beyond its end.
    pub fn put(&mut self, at: u64, bytes: &[u8]) -> Option<()> {
        let at = usize::try_from(at).ok()?;
        let target = self.map.get_mut(at..at.checked_add(bytes.len())?)?;
        target.copy_from_slice(bytes);
        // A process that is killed leaves what it wrote in the order in which it wrote it.
        compiler_fence(Ordering::Release);
        Some(())
    }
}

/// The start address and length of the pages that `bytes` lies in.
fn page_range(bytes: &[u8]) -> Option<(usize, usize)> {
    if bytes.is_empty() {
        return None;
    }
    let start = bytes.as_ptr() as usize;
    let page = page_size();
    let aligned = start - start % page;
    Some((aligned, start + bytes.len() - aligned))
}

fn page_size() -> usize {
    rustix::param::page_size()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    fn file_of(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn a_mapping_follows_writes_and_outlives_the_file() {
        let file = file_of(10_000);
        let map = map_file(&file, 0, 10_000).unwrap();
        file.write_all_at(b"hello", 5_000).unwrap();
        drop(file);
        assert_eq!(&map[5_000..5_005], b"hello");
        assert_eq!(map.len(), 10_000);
    }

    #[test]
    fn a_mapping_beyond_the_file_is_refused() {
        assert!(map_file(&file_of(10), 5, 6).is_err());
        assert_eq!(map_file(&file_of(10), 10, 0).unwrap().len(), 0);
    }

    #[test]
    fn a_writable_mapping_checks_its_bounds() {
        let file = file_of(10_000);
        let mut map = MappedMut::map(&file, 10_000).unwrap();
        assert_eq!((map.len(), map.is_empty()), (10_000, false));
        map.put(9_996, b"last").unwrap();
        assert!(map.put(9_997, b"last").is_none());
        assert!(map.put(u64::MAX, b"last").is_none());
        assert_eq!(map.get(9_996), Some(*b"last"));
        assert_eq!(map.get::<5>(9_996), None);
        assert_eq!(map.get::<5>(u64::MAX - 2), None);
        let mut read = [0; 4];
        file.read_exact_at(&mut read, 9_996).unwrap();
        assert_eq!(&read, b"last");
        assert!(MappedMut::map(&file, 10_001).is_err());
        assert!(MappedMut::map(&file, 0).is_err());
    }

    #[test]
    fn what_was_just_read_is_resident() {
        let map = map_file(&file_of(3_000_000), 0, 3_000_000).unwrap();
        will_need(&map);
        assert!(map.iter().all(|&b| b == 0));
        assert!(resident(&map[100..2_999_999]));
        assert!(resident(&[]));
    }
}
