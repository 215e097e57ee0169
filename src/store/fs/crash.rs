//! The model behind [`RecordingFs`](super::recording::RecordingFs): what is durable, and which states
//! a power loss may leave.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
};

use super::{FileSystem, OpenMode, RealFs};

/// Bytes that are kept or lost together.
const PAGE_LEN: u64 = 4096;

/// A file over its whole life, whatever it is called.
pub(super) type Inode = usize;

/// One change.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Create {
        path: PathBuf,
        inode: Inode,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    RemoveDir {
        path: PathBuf,
    },
    SyncDir {
        path: PathBuf,
    },
    Write {
        inode: Inode,
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLen {
        inode: Inode,
        len: u64,
    },
    Zero {
        inode: Inode,
        offset: u64,
        len: u64,
    },
    Sync {
        inode: Inode,
    },
    SyncAll,
}

type Page = Box<[u8; PAGE_LEN as usize]>;

/// One file: the versions of each page and of the length, oldest first. The first version is the
/// synced one.
#[derive(Debug)]
pub(super) struct Content {
    pages: BTreeMap<u64, Vec<Page>>,
    lens: Vec<u64>,
}

impl Default for Content {
    fn default() -> Self {
        Self {
            pages: BTreeMap::new(),
            lens: vec![0],
        }
    }
}

impl Content {
    fn len(&self) -> u64 {
        self.lens.last().copied().unwrap_or(0)
    }

    /// Adds a version to each page of a range; `fill` changes a part of a page, given where in the
    /// range that part begins.
    fn change(&mut self, offset: u64, len: u64, mut fill: impl FnMut(&mut [u8], u64)) {
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let number = at / PAGE_LEN;
            let page_start = number * PAGE_LEN;
            let upto = end.min(page_start + PAGE_LEN);
            let blank = || vec![Page::new([0; PAGE_LEN as usize])];
            let versions = self.pages.entry(number).or_insert_with(blank);
            if let Some(mut page) = versions.last().cloned() {
                let (from, to) = ((at - page_start) as usize, (upto - page_start) as usize);
                fill(&mut page[from..to], at - offset);
                versions.push(page);
            }
            at = upto;
        }
    }

    fn set_len(&mut self, len: u64) {
        let old = self.len();
        if len < old {
            self.change(len, old - len, |part, _| part.fill(0));
        }
        self.lens.push(len);
    }

    fn sync(&mut self) {
        let newest = self.len();
        self.lens = vec![newest];
        for versions in self.pages.values_mut() {
            versions.drain(..versions.len() - 1);
        }
    }

    /// Writes what a power loss leaves of the file.
    pub(super) fn write_after_crash(
        &self,
        path: &Path,
        choose: &mut dyn FnMut(usize) -> usize,
    ) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let file = RealFs.open(path, OpenMode::Create)?;
        let len = self.lens[choose(self.lens.len())];
        file.set_len(len)?;
        for (number, versions) in &self.pages {
            let page = &versions[choose(versions.len())];
            let start = number * PAGE_LEN;
            let upto = len.min(start + PAGE_LEN);
            if start < upto && page.iter().any(|&b| b != 0) {
                file.write_at(&page[..(upto - start) as usize], start)?;
            }
        }
        Ok(())
    }
}

/// What the machine has and what of it is durable.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) files: HashMap<Inode, Content>,
    /// Names that are durable.
    names: BTreeMap<PathBuf, Inode>,
    /// Changes of names that are not, by directory.
    pending: BTreeMap<PathBuf, Vec<Change>>,
}

impl Disk {
    /// Takes over one change.
    pub(super) fn apply(&mut self, change: &Change) {
        let later = |pending: &mut BTreeMap<PathBuf, Vec<Change>>, path: &Path| {
            let dir = path.parent().unwrap_or(path).to_path_buf();
            pending.entry(dir).or_default().push(change.clone());
        };
        match change {
            Change::Create { path, inode } => {
                self.files.insert(*inode, Content::default());
                later(&mut self.pending, path);
            }
            Change::Rename { to: path, .. } | Change::Remove { path } => {
                later(&mut self.pending, path);
            }
            Change::RemoveDir { path } => {
                self.pending.retain(|dir, _| !dir.starts_with(path));
                later(&mut self.pending, path);
            }
            Change::SyncDir { path } => {
                for change in self.pending.remove(path).unwrap_or_default() {
                    rename_in(&mut self.names, &change);
                }
            }
            Change::Write {
                inode,
                offset,
                bytes,
            } => {
                let content = self.files.entry(*inode).or_default();
                content.change(*offset, bytes.len() as u64, |part, at| {
                    part.copy_from_slice(&bytes[at as usize..at as usize + part.len()]);
                });
                let end = offset + bytes.len() as u64;
                if end > content.len() {
                    content.lens.push(end);
                }
            }
            Change::SetLen { inode, len } => self.files.entry(*inode).or_default().set_len(*len),
            Change::Zero { inode, offset, len } => {
                let content = self.files.entry(*inode).or_default();
                let end = (offset + len).min(content.len());
                content.change(*offset, end.saturating_sub(*offset), |part, _| part.fill(0));
            }
            Change::SyncAll => {
                self.files.values_mut().for_each(Content::sync);
                for change in std::mem::take(&mut self.pending).values().flatten() {
                    rename_in(&mut self.names, change);
                }
            }
            Change::Sync { inode } => self.files.entry(*inode).or_default().sync(),
        }
    }

    /// Which names a power loss leaves.
    pub(super) fn names_after_crash(
        &self,
        choose: &mut dyn FnMut(usize) -> usize,
    ) -> BTreeMap<PathBuf, Inode> {
        let mut names = self.names.clone();
        for changes in self.pending.values() {
            let kept = choose(changes.len() + 1);
            for change in changes.iter().take(kept) {
                rename_in(&mut names, change);
            }
        }
        names
    }
}

/// Applies a change of names.
fn rename_in(names: &mut BTreeMap<PathBuf, Inode>, change: &Change) {
    match change {
        Change::Create { path, inode } => {
            names.insert(path.clone(), *inode);
        }
        Change::Rename { from, to } => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Change::Remove { path } => {
            names.remove(path);
        }
        Change::RemoveDir { path } => names.retain(|name, _| !name.starts_with(path)),
        _ => {}
    }
}
