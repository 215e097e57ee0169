//! Takes files out of the page cache, so that what is read from them next comes from the disk.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise};

/// Evicts every file below `folder`. What is mapped by a running process stays.
pub fn run(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            run(&path)?;
            continue;
        }
        let file = File::open(&path)?;
        // Only clean pages can go.
        file.sync_data()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}
