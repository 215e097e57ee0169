//! What the disk itself needs to make a record durable: the floor of a synchronous flush.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::report::{Report, Tally};

/// The file is as large as this, a hole at first, as the commit log's are.
const FILE_LEN: u64 = 1 << 30;

/// Appends records of `len` bytes to a file in `folder`, each synced before the next one, for so
/// long; the file is removed again.
///
/// # Errors
/// From the file system.
pub fn run(folder: &Path, len: usize, lasting: Duration) -> Result<Report, String> {
    let path = folder.join(format!("mqbench-disk-{}", std::process::id()));
    let text = |error: std::io::Error| format!("{}: {error}", path.display());
    let report = append(&path, len, lasting).map_err(text);
    std::fs::remove_file(&path).map_err(text)?;
    report
}

fn append(path: &Path, len: usize, lasting: Duration) -> std::io::Result<Report> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).open(path)?;
    file.set_len(FILE_LEN)?;
    file.sync_all()?;
    let record = vec![b'x'; len.max(1)];
    let mut tally = Tally::default();
    let mut position = 0;
    let begun = Instant::now();
    while begun.elapsed() < lasting && position + record.len() as u64 <= FILE_LEN {
        let before = Instant::now();
        file.write_all_at(&record, position)?;
        file.sync_data()?;
        position += record.len() as u64;
        tally.requests += 1;
        tally.messages += 1;
        tally.bytes += record.len() as u64;
        let took = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
        tally.latency.saturating_record(took);
    }
    Ok(Report::new("disk", &tally, begun.elapsed()))
}
