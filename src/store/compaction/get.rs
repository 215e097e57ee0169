//! Answering a reader of a compaction log (`CompactionLog.getMessage`).
//!
//! It differs from reading an ordinary queue in that queue offsets have gaps: a reader gets the first message at
//! or behind the offset that it asks for. RocketMQ does not look at filters here, so that clients get all
//! messages and compare tags themselves; we filter as everywhere.

use bytes::Bytes;

use super::{
    entry::{CompactionEntry, ENTRY_LEN},
    files::CompactionFiles,
    reader::Place,
};
use crate::store::{
    error::StoreError,
    get_message::{GetLimits, GetRequest, GetResult, GetStatus, batch_full, offsets_wanted},
};

/// Entries that are read at a time.
const ENTRIES_AT_A_TIME: usize = 256;

/// Records that lie next to each other in one file.
struct Run {
    place: Place,
    start: i64,
    end: i64,
}

/// Collects messages from `request.offset` on, which lies below `end`: below that queue offset all messages that
/// are kept are in these files. `readable` is the end of the ordinary queue.
///
/// # Errors
/// From the file system, or [`StoreError::Corrupt`].
pub fn collect(
    files: &mut CompactionFiles,
    request: &GetRequest,
    limits: &GetLimits,
    end: i64,
    readable: i64,
) -> Result<GetResult, StoreError> {
    let max = readable.max(files.next_offset());
    let min = files.first_offset().unwrap_or(end);
    // When the last messages have no key, or are of no interest, the reader goes on behind them.
    let mut result = GetResult::empty(GetStatus::NoMatchedMessage, end, min, max);
    let Some(mut at) = files.find(request.offset)? else {
        return Ok(result);
    };
    let mut left = offsets_wanted(request, limits, ENTRY_LEN);
    let log_end = files.log_end();
    let mut last_position = log_end;
    let mut run: Option<Run> = None;
    'files: while left > 0 && !files.is_end(at) {
        let entries = files.entries(at, left.min(ENTRIES_AT_A_TIME))?;
        for (number, entry) in entries.iter().enumerate() {
            let size = usize::try_from(entry.size).unwrap_or(0);
            let near = log_end - entry.position <= limits.memory_distance;
            if batch_full(&result, (1, size), near, request, limits) {
                break 'files;
            }
            let place = files.behind(at, number);
            last_position = entry.position;
            result.next_begin_offset = entry.queue_offset.saturating_add(i64::from(entry.batch));
            if !passes(files, request, place, entry)? {
                continue;
            }
            match &mut run {
                Some(open) if open.end == entry.position && open.place.file == place.file => {
                    open.end = entry.end();
                }
                _ => {
                    let next = Run {
                        place,
                        start: entry.position,
                        end: entry.end(),
                    };
                    take(&mut result, files, run.replace(next))?;
                }
            }
            result.bytes += size;
            result.messages += 1;
        }
        left = left.saturating_sub(entries.len().max(1));
        at = files.behind(at, entries.len());
        while !files.is_end(at) && files.is_empty_file(at) {
            at = files.behind(at, 0);
        }
    }
    take(&mut result, files, run)?;
    if files.is_end(at) && result.next_begin_offset < end && left > 0 {
        result.next_begin_offset = end;
    }
    if result.messages > 0 {
        result.status = GetStatus::Found;
    }
    result.suggest_slave = log_end - last_position > limits.memory_distance;
    Ok(result)
}

fn passes(
    files: &mut CompactionFiles,
    request: &GetRequest,
    place: Place,
    entry: &CompactionEntry,
) -> Result<bool, StoreError> {
    if !request.filter.matches(entry.tags_code) {
        return Ok(false);
    }
    if !request.filter.reads_records() {
        return Ok(true);
    }
    let record = record_of(files, place, entry)?;
    Ok(request.filter.matches_record(&record))
}

fn record_of(
    files: &mut CompactionFiles,
    place: Place,
    entry: &CompactionEntry,
) -> Result<Bytes, StoreError> {
    files.read(
        place,
        entry.position,
        usize::try_from(entry.size).unwrap_or(0),
    )
}

/// Adds a run as one slice.
fn take(
    result: &mut GetResult,
    files: &mut CompactionFiles,
    run: Option<Run>,
) -> Result<(), StoreError> {
    let Some(run) = run else { return Ok(()) };
    let len = usize::try_from(run.end - run.start).unwrap_or(0);
    result.parts.push(files.read(run.place, run.start, len)?);
    Ok(())
}
