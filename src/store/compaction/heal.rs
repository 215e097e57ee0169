//! Putting compacted files in the place of the old ones, and ending that after a kill.
//!
//! The steps, each of which a process may be killed behind: the new files are whole and durable, in a directory
//! of their own; the old files of records get names that end in `.delete`; the new ones take their places;
//! then the same with the files of entries; then the old ones are removed. RocketMQ takes the same steps. So a
//! start finds by the names how far that came:
//!
//! * `.delete` files and none in their places: nothing is lost, they get their names back;
//! * `.delete` files, and one in the place of another: the new ones stay, and what is left of them follows;
//! * a file of entries without records goes, one that is missing, or does not fit, is made from the records.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    COMPACTING, DELETE_SUFFIX, REPLICATING,
    files::{CompactionFiles, file_name, replaced_start_of, start_of},
};
use crate::store::{
    error::StoreError,
    fs::{Fs, OpenMode},
};

impl CompactionFiles {
    /// Puts the files that a compaction wrote in the place of the first `count`.
    ///
    /// # Errors
    /// From the file system. Then the files have to be opened anew: old or new ones are whole.
    pub(super) fn replace(&mut self, count: usize, mut new: Self) -> Result<(), StoreError> {
        new.close_last()?;
        new.forget_all_open();
        self.forget_all_open();
        let fs = Fs::clone(self.fs());
        let count = count.min(self.pairs.len());
        let old: Vec<i64> = self.pairs[..count].iter().map(|pair| pair.start).collect();
        let starts: Vec<i64> = new.pairs.iter().map(|pair| pair.start).collect();
        for (dir, from) in [(&self.log_dir, &new.log_dir), (&self.cq_dir, &new.cq_dir)] {
            for &start in &old {
                let path = dir.join(file_name(start));
                rename(&fs, &path, &delete_name(&path))?;
            }
            // A power loss shall not bring the old names back beside the new ones.
            (fs.sync_dir(dir)).map_err(|e| StoreError::io("sync", dir, e))?;
            for &start in &starts {
                let name = file_name(start);
                rename(&fs, &from.join(&name), &dir.join(&name))?;
            }
            (fs.sync_dir(dir)).map_err(|e| StoreError::io("sync", dir, e))?;
        }
        let mut going = old;
        if !new.pairs.is_empty() {
            // The first one is the last to go: with a new one in its place it tells that the old ones are
            // not to come back. Without new ones, what comes back is to be the newest.
            going.reverse();
        }
        self.pairs.splice(..count, new.pairs);
        for dir in [&self.log_dir, &self.cq_dir] {
            for &start in &going {
                let path = delete_name(&dir.join(file_name(start)));
                (fs.remove_file(&path)).map_err(|e| StoreError::io("remove", &path, e))?;
            }
        }
        self.remove_compacting()
    }

    /// Ends a replacement that a killed process had begun, or takes it back. What a compaction was writing
    /// goes.
    pub(super) fn heal_renames(&self) -> Result<(), StoreError> {
        let fs = self.fs();
        let (there, replaced) = names(fs, &self.log_dir)?;
        if !replaced.is_empty() {
            let forward = replaced.iter().any(|start| there.contains(start));
            log::warn!(
                "compaction {} a replacement of files directory={}",
                if forward { "ends" } else { "takes back" },
                self.log_dir.display()
            );
            if forward {
                // Before the old ones go: until then it is known that the new ones are to follow.
                for dir in [&self.log_dir, &self.cq_dir] {
                    let from = dir.join(COMPACTING);
                    for start in names(fs, &from)?.0 {
                        let name = file_name(start);
                        rename(fs, &from.join(&name), &dir.join(&name))?;
                    }
                    (fs.sync_dir(dir)).map_err(|e| StoreError::io("sync", dir, e))?;
                }
            }
            for &start in &replaced {
                let path = self.log_path(start);
                if forward {
                    let old = delete_name(&path);
                    (fs.remove_file(&old)).map_err(|e| StoreError::io("remove", &old, e))?;
                } else {
                    rename(fs, &delete_name(&path), &path)?;
                }
            }
        }
        for start in names(fs, &self.cq_dir)?.1 {
            let path = self.cq_path(start);
            // The records tell whether these are their entries.
            match fs.exists(&path) {
                false => rename(fs, &delete_name(&path), &path)?,
                true => {
                    let old = delete_name(&path);
                    (fs.remove_file(&old)).map_err(|e| StoreError::io("remove", &old, e))?;
                }
            }
        }
        self.remove_compacting()
    }

    /// Sees to it that each file of records has one of entries, and each of these records; returns where the
    /// files begin, in order.
    pub(super) fn heal_names(&self) -> Result<Vec<i64>, StoreError> {
        let fs = self.fs();
        let logs = names(fs, &self.log_dir)?.0;
        let cqs = names(fs, &self.cq_dir)?.0;
        for &start in cqs.difference(&logs) {
            let path = self.cq_path(start);
            log::warn!(
                "compaction removes entries without records file={}",
                path.display()
            );
            (fs.remove_file(&path)).map_err(|e| StoreError::io("remove", &path, e))?;
        }
        for &start in logs.difference(&cqs) {
            let (dir, path) = (&self.cq_dir, self.cq_path(start));
            (fs.create_dir_all(dir)).map_err(|e| StoreError::io("create", dir, e))?;
            let made = fs.open(&path, OpenMode::Create);
            let made = made.and_then(|file| file.set_len(self.home.cq_len));
            made.map_err(|e| StoreError::io("create", &path, e))?;
        }
        Ok(logs.into_iter().collect())
    }

    /// Removes what a compaction that did not end was writing, and what a Java slave was copying.
    pub(super) fn remove_compacting(&self) -> Result<(), StoreError> {
        for dir in [&self.log_dir, &self.cq_dir] {
            for name in [COMPACTING, REPLICATING] {
                let path = dir.join(name);
                if self.fs().exists(&path) {
                    (self.fs().remove_dir_all(&path))
                        .map_err(|e| StoreError::io("remove", &path, e))?;
                    // Its end shall not come after the beginning of another of that name.
                    (self.fs().sync_dir(dir)).map_err(|e| StoreError::io("sync", dir, e))?;
                }
            }
        }
        Ok(())
    }
}

/// Where the files of a directory begin: those in use, and those whose place others take.
fn names(fs: &Fs, dir: &Path) -> Result<(BTreeSet<i64>, BTreeSet<i64>), StoreError> {
    let listing = fs
        .read_dir(dir)
        .map_err(|e| StoreError::io("list", dir, e))?;
    let files = || listing.iter().filter(|entry| !entry.is_dir);
    let there = files().filter_map(|entry| start_of(&entry.name)).collect();
    let replaced = files().filter_map(|entry| replaced_start_of(&entry.name));
    Ok((there, replaced.collect()))
}

fn delete_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(DELETE_SUFFIX);
    name.into()
}

fn rename(fs: &Fs, from: &Path, to: &Path) -> Result<(), StoreError> {
    fs.rename(from, to)
        .map_err(|e| StoreError::io("rename", from, e))
}
