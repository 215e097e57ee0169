//! What stands behind the place where a recovery ended the log, and keeping it aside.

use std::path::PathBuf;

use memchr::memmem;

use super::{scan::RECORD_LEN_MAX, segment::Segment};
use crate::{
    protocol::message::record::{self, CheckCrc, Peek, RecordView},
    store::{
        error::StoreError,
        fs::{Fs, OpenMode},
    },
};

/// Bytes looked at and copied at a time, few for the same reason as in a scan.
const STEP: usize = 64 * 1024;

/// Bytes from a record's start that are needed to know a candidate: up to its physical offset.
const CANDIDATE_LEN: usize = 36;

/// What both magic numbers of records begin with.
const MAGIC_START: [u8; 3] = [0xDA, 0xA3, 0x20];

/// What stands behind a place in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Residue {
    /// Whether anything but zeros is there.
    pub(super) nonzero: bool,
    /// Store time (ms) of the first valid record that stands somewhere behind the place, not at it.
    pub(super) later_record_time: Option<i64>,
}

/// Looks at everything from `position` to the end of a segment; holes cost nothing.
pub(super) fn inspect(segment: &Segment, position: u64) -> Result<Residue, StoreError> {
    let mut residue = Residue {
        nonzero: false,
        later_record_time: None,
    };
    for_each_piece(segment, position, CANDIDATE_LEN, |at, piece| {
        residue.nonzero |= piece.iter().any(|&b| b != 0);
        for found in memmem::find_iter(piece, &MAGIC_START) {
            let Some(in_piece) = found.checked_sub(4) else {
                continue;
            };
            let candidate = at + in_piece as u64;
            let later = candidate > position || position == 0;
            let head = piece.get(in_piece..in_piece + CANDIDATE_LEN);
            if let Some(head) = head.filter(|_| later)
                && let Some(time) = valid_record(segment, candidate, head)?
            {
                residue.later_record_time = Some(time);
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    Ok(residue)
}

/// Store time of the record at a place, if there is a valid one.
fn valid_record(segment: &Segment, position: u64, head: &[u8]) -> Result<Option<i64>, StoreError> {
    let Peek::Record { size } = record::peek(head) else {
        return Ok(None);
    };
    let physical_offset = segment.start() + position as i64;
    let named = record::peek_physical_offset(head);
    let fits = size as u64 <= segment.len() - position && size <= RECORD_LEN_MAX;
    if !fits || named != Some(physical_offset) {
        return Ok(None);
    }
    let mut bytes = vec![0; size];
    let read = segment
        .file()?
        .read_at(&mut bytes, position)
        .map_err(|e| StoreError::io("read", segment.path(), e))?;
    bytes.truncate(read);
    let view = RecordView::parse(&bytes, CheckCrc::Body);
    Ok(view.ok().map(|view| view.store_timestamp))
}

/// Calls `look` with pieces of the segment's written bytes from `position` on, each overlapping the
/// next by `overlap` bytes, until it answers `false`.
fn for_each_piece(
    segment: &Segment,
    position: u64,
    overlap: usize,
    mut look: impl FnMut(u64, &[u8]) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let io = |op| move |e| StoreError::io(op, segment.path(), e);
    let file = segment.file()?;
    let mut buf = vec![0; STEP + overlap];
    let mut at = position;
    while let Some(data) = file.next_data(at).map_err(io("seek in"))? {
        at = data.max(at);
        if at >= segment.len() {
            break;
        }
        let len = usize::try_from(segment.len() - at).map_or(buf.len(), |left| left.min(buf.len()));
        let piece = buf.get_mut(..len).unwrap_or_default();
        let read = file.read_at(piece, at).map_err(io("read"))?;
        let piece = piece.get(..read).unwrap_or_default();
        if piece.is_empty() || !look(at, piece)? {
            break;
        }
        at += STEP as u64;
    }
    Ok(())
}

/// Copies the rest of a segment, from `position` on, to a file of the same name beside the log, and
/// makes it durable. Returns the copy's path.
pub(super) fn quarantine_rest(
    fs: &Fs,
    segment: &Segment,
    position: u64,
) -> Result<PathBuf, StoreError> {
    let target = unused_name(fs, segment, &format!(".from-{position}"))?;
    let io = |op| {
        let target = target.clone();
        move |e| StoreError::io(op, &target, e)
    };
    let copy = fs.open(&target, OpenMode::Create).map_err(io("create"))?;
    copy.set_len(segment.len() - position)
        .map_err(io("extend"))?;
    for_each_piece(segment, position, 0, |at, piece| {
        if piece.iter().any(|&b| b != 0) {
            copy.write_at(piece, at - position).map_err(io("write"))?;
        }
        Ok(true)
    })?;
    copy.sync_data().map_err(io("sync"))?;
    sync_parent(fs, &target)?;
    Ok(target)
}

/// Moves a whole segment to the directory beside the log. Returns its new path.
pub(super) fn quarantine_segment(fs: &Fs, segment: &Segment) -> Result<PathBuf, StoreError> {
    let target = unused_name(fs, segment, "")?;
    fs.rename(segment.path(), &target)
        .map_err(|e| StoreError::io("move", segment.path(), e))?;
    sync_parent(fs, &target)?;
    if let Some(dir) = segment.path().parent() {
        fs.sync_dir(dir)
            .map_err(|e| StoreError::io("sync", dir, e))?;
    }
    Ok(target)
}

/// A free name in `<log directory>-quarantine`: beside the log, because Java's broker refuses a log
/// directory with unknown names in it.
fn unused_name(fs: &Fs, segment: &Segment, suffix: &str) -> Result<PathBuf, StoreError> {
    let path = segment.path();
    let log_dir = path.parent().unwrap_or(path);
    let mut dir = log_dir.to_path_buf().into_os_string();
    dir.push("-quarantine");
    let dir = PathBuf::from(dir);
    fs.create_dir_all(&dir)
        .map_err(|e| StoreError::io("create", &dir, e))?;
    sync_parent(fs, &dir)?;
    let name = super::segment::file_name(segment.start());
    let first = dir.join(format!("{name}{suffix}"));
    let mut target = first;
    for number in 1_u32.. {
        if !fs.exists(&target) {
            break;
        }
        target = dir.join(format!("{name}{suffix}.{number}"));
    }
    Ok(target)
}

fn sync_parent(fs: &Fs, path: &std::path::Path) -> Result<(), StoreError> {
    let Some(dir) = path.parent() else {
        return Ok(());
    };
    fs.sync_dir(dir).map_err(|e| StoreError::io("sync", dir, e))
}
