//! Walking the records of the log with positioned reads.

use std::{collections::VecDeque, sync::Arc};

use super::{
    config::DispatchRules,
    segment::Segment,
    state::{Segments, find},
    writer::BLANK_LEN,
};
use crate::{
    protocol::{
        Str,
        message::record::{self, CheckCrc, Peek, RecordView},
    },
    store::{dispatch::ScannedRecord, error::StoreError},
};

/// Bytes read at a time: what the allocator keeps after a recovery is no more than this.
const READ_LEN: usize = 64 * 1024;

/// Longest record that is read into memory to be checked, in bytes. A longer one is not a record:
/// no configured `maxMessageSize` comes near it.
pub(super) const RECORD_LEN_MAX: usize = 256 << 20;

/// The smallest piece of a file that a disk writes whole, in bytes.
const SECTOR_LEN: u64 = 512;

/// What is found at one place of the log.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A valid record; the walk stands behind it now.
    Record { view: RecordView<'a> },
    /// The place that the walk was to go to, or the end of the last segment.
    End,
    /// Eight zeros: nothing was written here yet.
    Zeros,
    /// A blank in the last segment there is.
    LastBlank,
    /// Anything else; `record_like` when it starts as a record does.
    Invalid { what: String, record_like: bool },
}

/// An iterator over the records of a range, in log order; a record that enters several queues comes
/// once for each.
///
/// Yields an error and ends where something other than a record stands.
#[derive(Debug)]
pub struct Scan {
    segments: Arc<Segments>,
    at: i64,
    to: i64,
    check_crc: CheckCrc,
    /// Whether a record with a hole in its properties counts as torn.
    refuse_holes: bool,
    rules: Arc<DispatchRules>,
    buf: Vec<u8>,
    /// Physical offset of `buf[0]`.
    buf_start: i64,
    /// The topic of the last record: most follow one of the same topic.
    topic: Str,
    /// The last record's entries in further queues.
    further: VecDeque<ScannedRecord>,
    failed: bool,
}

impl Scan {
    pub(super) fn new(
        segments: Arc<Segments>,
        from: i64,
        to: i64,
        check_crc: bool,
        rules: Arc<DispatchRules>,
    ) -> Self {
        Self {
            segments,
            at: from,
            to,
            check_crc: match check_crc {
                true => CheckCrc::Body,
                false => CheckCrc::No,
            },
            refuse_holes: false,
            rules,
            buf: Vec::new(),
            buf_start: 0,
            topic: Str::new(),
            further: VecDeque::new(),
            failed: false,
        }
    }

    /// Lets records with a hole in their properties count as invalid, as recovery after a crash has
    /// to: the CRC covers the body only.
    pub(super) fn refusing_holes(mut self, refuse: bool) -> Self {
        self.refuse_holes = refuse;
        self
    }

    /// Physical offset of what comes next.
    pub fn position(&self) -> i64 {
        self.at
    }

    /// Looks at what stands at the current place, goes over blanks, and moves behind a record.
    pub(super) fn step(&mut self) -> Result<Step<'_>, StoreError> {
        let (segment, size) = loop {
            if self.at >= self.to {
                return Ok(Step::End);
            }
            let Some(segment) = find(&self.segments, self.at).cloned() else {
                return Ok(self.outside());
            };
            let left = (segment.end() - self.at) as u64;
            if left < BLANK_LEN as u64 {
                self.at = segment.end();
                continue;
            }
            let is_last = self
                .segments
                .last()
                .is_some_and(|s| Arc::ptr_eq(s, &segment));
            let head = self.fill(&segment, BLANK_LEN)?;
            match record::peek(head) {
                Peek::Record { size } if size as u64 > left || size > RECORD_LEN_MAX => {
                    let what = format!("a record of {size} bytes where {left} are left");
                    return Ok(Step::Invalid {
                        what,
                        record_like: true,
                    });
                }
                Peek::Record { size } => break (segment, size),
                Peek::Blank { .. } if is_last => return Ok(Step::LastBlank),
                Peek::Blank { .. } => self.at = segment.end(),
                _ if head.iter().all(|&b| b == 0) => return Ok(Step::Zeros),
                _ => {
                    let what = format!("{head:02x?} where a record should start");
                    return Ok(Step::Invalid {
                        what,
                        record_like: false,
                    });
                }
            }
        };
        let (offset, check_crc, refuse_holes) = (self.at, self.check_crc, self.refuse_holes);
        let end = segment.position(offset) + size as u64;
        let bytes = self.fill(&segment, size)?;
        // The walk has to move before the record is lent out, so it is looked at twice.
        let what = match RecordView::parse(bytes, check_crc) {
            Ok(view) if view.physical_offset != offset => {
                Some(format!("a record that belongs to {}", view.physical_offset))
            }
            Ok(view) if refuse_holes && has_hole(view.properties, end) => {
                Some("a record with a hole in its properties".to_owned())
            }
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if what.is_none() {
            self.at = offset + size as i64;
        }
        let from = (offset - self.buf_start) as usize;
        let bytes = self.buf.get(from..from + size).unwrap_or_default();
        let invalid = |what| Step::Invalid {
            what,
            record_like: true,
        };
        match (what, RecordView::parse(bytes, CheckCrc::No)) {
            (None, Ok(view)) => Ok(Step::Record { view }),
            (None, Err(error)) => Ok(invalid(error.to_string())),
            (Some(what), _) => Ok(invalid(what)),
        }
    }

    /// The walk left the segments: at the end of the last one, or where one is missing.
    fn outside(&self) -> Step<'static> {
        match self.segments.last() {
            Some(last) if self.at < last.end() => Step::Invalid {
                what: format!("no segment holds offset {}", self.at),
                record_like: false,
            },
            _ => Step::End,
        }
    }

    /// The next `len` bytes, which lie within `segment`.
    fn fill(&mut self, segment: &Segment, len: usize) -> Result<&[u8], StoreError> {
        let buffered = self.buf_start + self.buf.len() as i64;
        if self.at < self.buf_start || self.at + len as i64 > buffered {
            let position = segment.position(self.at);
            let left = usize::try_from(segment.end() - self.at).unwrap_or(usize::MAX);
            self.buf.resize(len.max(READ_LEN).min(left), 0);
            self.buf_start = self.at;
            let read = segment.file()?.read_at(&mut self.buf, position);
            let read = read.map_err(|e| StoreError::io("read", segment.path(), e))?;
            self.buf.truncate(read);
        }
        let from = (self.at - self.buf_start) as usize;
        self.buf.get(from..from + len).ok_or_else(|| {
            let what = "the file is shorter than its segment";
            StoreError::corrupt(segment.path(), segment.position(self.at), what)
        })
    }

    /// The error for something at the current place.
    pub(super) fn corrupt(&self, what: String) -> StoreError {
        match find(&self.segments, self.at) {
            Some(segment) => StoreError::corrupt(segment.path(), segment.position(self.at), what),
            None => StoreError::invalid(what),
        }
    }

    fn next_record(&mut self) -> Result<Option<ScannedRecord>, StoreError> {
        if let Some(entry) = self.further.pop_front() {
            return Ok(Some(entry));
        }
        let rules = self.rules.clone();
        let last_topic = self.topic.clone();
        let what = match self.step()? {
            Step::Record { view } => {
                let topic = if last_topic == view.topic {
                    last_topic
                } else {
                    Str::from(view.topic)
                };
                let scanned = ScannedRecord::of(&view, topic, &rules);
                self.further = scanned.further(&view, &rules).into();
                self.topic = scanned.key.topic.clone();
                return Ok(Some(scanned));
            }
            Step::End | Step::LastBlank => return Ok(None),
            Step::Zeros => "zeros where a record should start".to_owned(),
            Step::Invalid { what, .. } => what,
        };
        Err(self.corrupt(what))
    }
}

impl Iterator for Scan {
    type Item = Result<ScannedRecord, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_record();
        self.failed = next.is_err();
        next.transpose()
    }
}

/// Whether properties, which end at position `end` of their file, look as if the disk, or a write
/// that was cut short, had left out a part: zeros at the end, or in a whole sector. They are text
/// and hold neither.
fn has_hole(properties: &[u8], end: u64) -> bool {
    if properties.last() == Some(&0) {
        return true;
    }
    let start = end - properties.len() as u64;
    let to_sector = (start.next_multiple_of(SECTOR_LEN) - start) as usize;
    let from_sector = properties.get(to_sector..).unwrap_or_default();
    let mut sectors = from_sector.chunks(SECTOR_LEN as usize);
    sectors.any(|sector| sector.iter().all(|&b| b == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_sector_of_properties_is_a_hole() {
        let mut text = vec![b'x'; 2000];
        assert!(!has_hole(&text, 10_000));
        assert!(!has_hole(&[], 10_000));
        text[100..611].fill(0);
        assert!(!has_hole(&text, 10_000), "no whole sector of the file");
        text[100..900].fill(0);
        assert!(has_hole(&text, 10_000));
        assert!(has_hole(b"text\0", 10_000));
    }
}
