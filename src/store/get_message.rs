//! Serving a pull: from queue entries to slices of the commit log.
//!
//! The rules are RocketMQ's (`DefaultMessageStore.getMessage` and `isTheBatchFull`); what differs is
//! that message bytes are never copied: neighbours in the log are answered as one slice of its mapping.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    commit_log::{CommitLogReader, Range},
    consume_queue::{BatchUnit, ENTRY_LEN, Entry, Extension, is_address},
};
use crate::{
    filter::{SqlFilter, bloom::GroupBits},
    protocol::{
        Str,
        message::{properties, record},
    },
};

/// The most bytes that one pull answers, whatever the request asks (RocketMQ: `MAX_PULL_MSG_SIZE`).
pub const PULL_BYTES_MAX: usize = 128 * 1024 * 1024;

/// The most entries a filtered pull scans, in bytes of queue entries (`maxFilterMessageSize`).
pub const FILTER_SCAN_BYTES_DEFAULT: usize = 16_000;

/// What one pull found; the names and their order in the protocol are RocketMQ's `GetMessageStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetStatus {
    /// At least one message.
    Found,
    /// Entries were there, none matched the filter.
    NoMatchedMessage,
    /// The log no longer holds the messages of these entries.
    MessageWasRemoving,
    /// There is no such queue on this broker.
    NoMatchedLogicQueue,
    /// The queue never held a message.
    NoMessageInQueue,
    /// The entries at this offset could not be read.
    OffsetFoundNull,
    /// The offset is the next one to be written.
    OffsetOverflowOne,
    /// The offset lies beyond the end.
    OffsetOverflowBadly,
    /// The offset lies before the first kept message.
    OffsetTooSmall,
    /// The broker moved the reader (a reset of offsets).
    OffsetReset,
}

impl GetStatus {
    /// The remark of the answer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NoMatchedMessage => "NO_MATCHED_MESSAGE",
            Self::MessageWasRemoving => "MESSAGE_WAS_REMOVING",
            Self::NoMatchedLogicQueue => "NO_MATCHED_LOGIC_QUEUE",
            Self::NoMessageInQueue => "NO_MESSAGE_IN_QUEUE",
            Self::OffsetFoundNull => "OFFSET_FOUND_NULL",
            Self::OffsetOverflowOne => "OFFSET_OVERFLOW_ONE",
            Self::OffsetOverflowBadly => "OFFSET_OVERFLOW_BADLY",
            Self::OffsetTooSmall => "OFFSET_TOO_SMALL",
            Self::OffsetReset => "OFFSET_RESET",
        }
    }
}

/// Which messages a reader wants: by their queue entries, or by the records themselves.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum EntryFilter {
    /// Every message.
    #[default]
    All,
    /// Messages whose tag hashes to one of these (`(int) tagsCode`; readers compare the text).
    Tags(SmallVec<[i32; 4]>),
    /// Messages whose properties an expression is true for (`ExpressionMessageFilter`), and where that
    /// shows in their bit maps, if it does.
    Sql(Arc<SqlFilter>, Option<Arc<GroupBits>>),
    /// As `Sql`, on a retry topic: each message by the group's expression for the topic that it was
    /// sent to; one of a topic without an expression passes (`ExpressionForRetryMessageFilter`).
    SqlOfOrigin(Arc<[(Str, Arc<SqlFilter>)]>),
}

impl EntryFilter {
    /// Whether an entry with this tags code passes, as far as it tells. The address of an extension that
    /// was lost, or is not kept any longer, passes: clients compare tags themselves.
    pub fn matches(&self, tags_code: i64) -> bool {
        match self {
            Self::All | Self::Sql(..) | Self::SqlOfOrigin(_) => true,
            Self::Tags(codes) => is_address(tags_code) || codes.contains(&(tags_code as i32)),
        }
    }

    /// Whether what a queue tells of a record passes (`ExpressionMessageFilter.isMatchedByConsumeQueue`).
    pub fn matches_unit(&self, unit: &impl CqUnit) -> bool {
        self.matches_extended(unit.entry().tags_code, unit.extension())
    }

    /// As [`matches_unit`](Self::matches_unit), of an entry's parts.
    pub fn matches_extended(&self, tags_code: i64, extension: Option<&Extension>) -> bool {
        let may_match = match (self, extension) {
            (Self::Sql(_, Some(bits)), Some(extension)) => {
                bits.may_match(extension.store_time, &extension.bit_map)
            }
            _ => true,
        };
        may_match && self.matches(tags_code)
    }

    /// Whether records have to be looked at, too.
    pub fn reads_records(&self) -> bool {
        matches!(self, Self::Sql(..) | Self::SqlOfOrigin(_))
    }

    /// Whether a record passes whose entry does. Bytes that are no record have no properties.
    pub fn matches_record(&self, record: &[u8]) -> bool {
        let properties = || record::peek_properties(record).unwrap_or_default();
        match self {
            Self::All | Self::Tags(_) => true,
            Self::Sql(filter, _) => filter.matches(properties()),
            Self::SqlOfOrigin(filters) => {
                let properties = properties();
                let origin = properties::get(properties, properties::RETRY_TOPIC);
                let mut filters = filters.iter();
                filters
                    .find(|(topic, _)| Some(&**topic) == origin)
                    .is_none_or(|(_, filter)| filter.matches(properties))
            }
        }
    }
}

/// The limits of one pull, from `MessageStoreConfig`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetLimits {
    /// Messages, bytes near the end of the log (`maxTransfer…OnMessageInMemory`).
    pub memory_count: usize,
    /// See `memory_count`.
    pub memory_bytes: usize,
    /// Messages, bytes far from it (`maxTransfer…OnMessageInDisk`).
    pub disk_count: usize,
    /// See `disk_count`.
    pub disk_bytes: usize,
    /// Bytes of entries that a filtered pull scans.
    pub filter_scan_bytes: usize,
    /// Distance to the end of the log, in bytes, up to which data counts as in memory
    /// (`accessMessageInMemoryMaxRatio` percent of the machine's memory).
    pub memory_distance: i64,
}

/// What one reader asks of one queue.
#[derive(Debug, Clone)]
pub struct GetRequest {
    /// First queue offset wanted.
    pub offset: i64,
    /// Most messages wanted.
    pub max_messages: usize,
    /// Most bytes wanted.
    pub max_bytes: usize,
    /// Filter on entries.
    pub filter: EntryFilter,
}

/// What one pull answers.
#[derive(Debug)]
pub struct GetResult {
    /// Outcome.
    pub status: GetStatus,
    /// Where the reader should go on.
    pub next_begin_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
    /// Offset behind the last readable message of the queue.
    pub max_offset: i64,
    /// Slices of the log, in order.
    pub parts: SmallVec<[Bytes; 8]>,
    /// Where in the log the slices lie.
    pub ranges: SmallVec<[Range; 8]>,
    /// Sum of the slices' lengths.
    pub bytes: usize,
    /// How many messages the slices hold.
    pub messages: usize,
    /// Matching messages that the log no longer holds.
    pub removed: usize,
    /// The read fell so far behind that a slave should serve it.
    pub suggest_slave: bool,
}

impl GetResult {
    /// An answer without messages.
    pub fn empty(
        status: GetStatus,
        next_begin_offset: i64,
        min_offset: i64,
        max_offset: i64,
    ) -> Self {
        Self {
            status,
            next_begin_offset,
            min_offset,
            max_offset,
            parts: SmallVec::new(),
            ranges: SmallVec::new(),
            bytes: 0,
            messages: 0,
            removed: 0,
            suggest_slave: false,
        }
    }
}

/// How many entries have to be read for a request: all it may scan.
pub fn entries_wanted(request: &GetRequest, limits: &GetLimits) -> usize {
    offsets_wanted(request, limits, ENTRY_LEN)
}

/// How many of a queue's offsets a request may scan, in a queue whose units have so many bytes.
pub fn offsets_wanted(request: &GetRequest, limits: &GetLimits, unit_len: usize) -> usize {
    match request.filter {
        EntryFilter::All => request.max_messages.max(1),
        _ => (limits.filter_scan_bytes / unit_len)
            .max(request.max_messages)
            .max(1),
    }
}

/// What a queue tells of one record, whichever kind of queue it is (RocketMQ's `CqUnit`).
pub trait CqUnit {
    /// Where the record lies.
    fn entry(&self) -> Entry;

    /// How many messages it holds.
    fn messages(&self) -> usize;

    /// Queue offset behind them, where `before` is that behind the record before.
    fn end_offset(&self, before: i64) -> i64;

    /// What is kept beside it, if anything is.
    fn extension(&self) -> Option<&Extension> {
        None
    }
}

/// An entry with its extension.
#[derive(Debug, Clone, Copy)]
pub struct Extended<'a> {
    entry: &'a Entry,
    extension: Option<&'a Extension>,
}

impl<'a> Extended<'a> {
    /// Entries with their extensions: one for each of them, or none at all.
    pub fn all(
        entries: &'a [Entry],
        extensions: &'a [Option<Extension>],
    ) -> impl Iterator<Item = Self> + Clone {
        entries.iter().enumerate().map(|(at, entry)| Self {
            entry,
            extension: extensions.get(at).and_then(Option::as_ref),
        })
    }
}

impl CqUnit for Extended<'_> {
    fn entry(&self) -> Entry {
        *self.entry
    }

    fn messages(&self) -> usize {
        1
    }

    fn end_offset(&self, before: i64) -> i64 {
        before + 1
    }

    fn extension(&self) -> Option<&Extension> {
        self.extension
    }
}

impl CqUnit for BatchUnit {
    fn entry(&self) -> Entry {
        self.entry
    }

    fn messages(&self) -> usize {
        usize::try_from(self.messages).unwrap_or(0)
    }

    fn end_offset(&self, _before: i64) -> i64 {
        BatchUnit::end_offset(self)
    }
}

/// Answers without looking at entries where the offset alone decides.
pub fn check_offset(offset: i64, min_offset: i64, max_offset: i64) -> Option<GetResult> {
    let (status, next) = if max_offset == 0 {
        (GetStatus::NoMessageInQueue, 0)
    } else if offset < min_offset {
        (GetStatus::OffsetTooSmall, min_offset)
    } else if offset == max_offset {
        (GetStatus::OffsetOverflowOne, offset)
    } else if offset > max_offset {
        (GetStatus::OffsetOverflowBadly, max_offset)
    } else {
        return None;
    };
    Some(GetResult::empty(status, next, min_offset, max_offset))
}

/// Collects the messages of `units`, the first of which holds that at `request.offset`.
///
/// `min_offset ≤ request.offset < max_offset` holds (see [`check_offset`]).
pub fn collect(
    request: &GetRequest,
    limits: &GetLimits,
    log: &CommitLogReader,
    units: impl IntoIterator<Item = impl CqUnit>,
    min_offset: i64,
    max_offset: i64,
) -> GetResult {
    let mut result = GetResult::empty(
        GetStatus::NoMatchedMessage,
        request.offset,
        min_offset,
        max_offset,
    );
    let log_end = log.end();
    let mut run: Option<Run> = None;
    let mut last_physical = log_end;
    let mut seen_any = false;
    for unit in units {
        if result.next_begin_offset >= max_offset {
            break;
        }
        seen_any = true;
        let (entry, messages) = (unit.entry(), unit.messages());
        let size = entry.size.max(0) as usize;
        let near = log_end - entry.physical_offset <= limits.memory_distance;
        if batch_full(&result, (messages, size), near, request, limits) {
            break;
        }
        last_physical = entry.physical_offset;
        result.next_begin_offset = unit.end_offset(result.next_begin_offset);
        if !request.filter.matches_unit(&unit) {
            continue;
        }
        if request.filter.reads_records() {
            let Some(record) = log.slice(entry.physical_offset, size) else {
                result.removed += 1;
                continue;
            };
            if !request.filter.matches_record(&record) {
                continue;
            }
        }
        match run {
            Some(ref mut open) if open.end() == entry.physical_offset => {
                open.len += size;
                open.messages += messages;
            }
            _ => {
                take_run(&mut result, log, run.take());
                run = Some(Run {
                    start: entry.physical_offset,
                    len: size,
                    messages,
                });
            }
        }
        result.bytes += size;
        result.messages += messages;
    }
    take_run(&mut result, log, run);
    if result.messages > 0 {
        result.status = GetStatus::Found;
    } else if result.removed > 0 {
        result.status = GetStatus::MessageWasRemoving;
    } else if !seen_any {
        result.status = GetStatus::OffsetFoundNull;
    }
    result.suggest_slave = log_end - last_physical > limits.memory_distance;
    result
}

/// What of the log holds the properties of these entries' records, neighbours joined: it has to be in
/// memory before [`collect`] looks at records.
pub fn property_ranges(
    log: &CommitLogReader,
    entries: impl IntoIterator<Item = Entry>,
) -> SmallVec<[Range; 8]> {
    /// A record up to this length is one range; of a longer one only its head and its end are.
    const WHOLE: i64 = 64 * 1024;
    /// The longest that topic and properties are together.
    const END: i64 = 2 * (i16::MAX as i64 + 2);
    /// Reading over a gap of this length costs no more than a second range.
    const GAP: i64 = 16 * 1024;
    let mut joined = SmallVec::new();
    let mut open: Option<(i64, i64)> = None;
    let mut add = |open: Option<(i64, i64)>| {
        joined.extend(open.map(|(offset, to)| Range {
            offset,
            len: (to - offset) as usize,
        }));
    };
    for entry in entries {
        let from = entry.physical_offset;
        let to = from + i64::from(entry.size.max(0));
        let ranges = if to - from <= WHOLE {
            [(from, to); 2]
        } else {
            [(from, from + record::RECORD_LEN_MIN as i64), (to - END, to)]
        };
        for (from, to) in ranges {
            match &mut open {
                Some((start, end))
                    if (*end..=*end + GAP).contains(&from)
                        && log.segment_start(*start) == log.segment_start(from) =>
                {
                    *end = to;
                }
                Some((start, end)) if (*start, *end) == (from, to) || *end >= to => {}
                _ => {
                    add(open.replace((from, to)));
                }
            }
        }
    }
    add(open);
    joined
}

/// Whether the next record, of so many messages and bytes, no longer fits (`isTheBatchFull`): the first one
/// always does.
pub(super) fn batch_full(
    result: &GetResult,
    (messages, size): (usize, usize),
    near: bool,
    request: &GetRequest,
    limits: &GetLimits,
) -> bool {
    if result.messages == 0 || result.bytes == 0 {
        return false;
    }
    let bytes_max = request.max_bytes.clamp(100, PULL_BYTES_MAX);
    if result.messages + messages > request.max_messages || result.bytes + size > bytes_max {
        return true;
    }
    let (count, bytes) = if near {
        (limits.memory_count, limits.memory_bytes)
    } else {
        (limits.disk_count, limits.disk_bytes)
    };
    result.bytes + size > bytes || result.messages >= count
}

/// Records that lie next to each other in the log.
struct Run {
    start: i64,
    len: usize,
    messages: usize,
}

impl Run {
    fn end(&self) -> i64 {
        self.start + self.len as i64
    }
}

/// Adds a run as one slice; a run that the log no longer holds is taken out of the counts.
fn take_run(result: &mut GetResult, log: &CommitLogReader, run: Option<Run>) {
    let Some(run) = run else { return };
    match log.slice(run.start, run.len) {
        Some(slice) => {
            result.parts.push(slice);
            let (offset, len) = (run.start, run.len);
            result.ranges.push(Range { offset, len });
        }
        None => {
            result.bytes -= run.len;
            result.messages -= run.messages;
            result.removed += run.messages;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        protocol::message::record::{NewRecord, encode_record},
        store::commit_log::{
            CommitLogWriter, RecoverFrom,
            testing::{Place, new_record, unit},
        },
    };

    fn record(properties: &[u8]) -> bytes::BytesMut {
        let record = NewRecord {
            properties,
            ..new_record(b"body")
        };
        let mut out = bytes::BytesMut::new();
        encode_record(&record, &mut out).unwrap();
        out
    }

    #[test]
    fn property_ranges_cover_all_properties_and_join_neighbours() {
        let place = Place::new();
        let mut config = place.config();
        config.segment_len = 1 << 20;
        let from = RecoverFrom::default();
        let (mut writer, _) = CommitLogWriter::recover(&place.fs, config, &from).unwrap();
        let lens = [100, 300_000, 50, 50, 400_000, 60, 500_000, 10];
        let mut units: Vec<_> = (0..).zip(lens).map(|(at, len)| unit(len, at)).collect();
        writer.append(&mut units, 1).unwrap();
        let log = writer.reader();
        let mut entries = Vec::new();
        let mut offset = 0;
        while entries.len() < lens.len() {
            let Some(record) = log.record_at(offset) else {
                offset = log.segment_start(offset) + (1 << 20);
                continue;
            };
            entries.push(Entry {
                physical_offset: offset,
                size: record.len() as i32,
                tags_code: 0,
            });
            offset += record.len() as i64;
        }
        let slices: Vec<_> = property_ranges(&log, entries.iter().copied())
            .into_iter()
            .map(|range| log.slice(range.offset, range.len).expect("in the log"))
            .collect();
        let covered = |part: &[u8]| {
            let part = part.as_ptr_range();
            slices.iter().any(|slice| {
                let slice = slice.as_ptr_range();
                slice.start <= part.start && part.end <= slice.end
            })
        };
        for entry in &entries {
            let record = log.record_at(entry.physical_offset).unwrap();
            assert!(covered(record::peek_properties(&record).unwrap()));
            assert!(covered(&record[..record::RECORD_LEN_MIN]));
        }
        // Of the three large records the middles are left out, and the segments are two.
        assert_eq!(slices.len(), 5);
        let bytes: usize = slices.iter().map(bytes::Bytes::len).sum();
        assert!(bytes < 300_000, "{bytes}");
        assert!(property_ranges(&log, []).is_empty());
    }

    #[test]
    fn tags_match_by_their_lower_half_and_addresses_always() {
        let filter = EntryFilter::Tags(SmallVec::from_slice(&[7]));
        assert!(filter.matches(7) && filter.matches(7 + (1 << 32)) && !filter.matches(8));
        assert!(filter.matches(i64::MIN) && filter.matches(i64::MIN + 36));
        assert!(!filter.matches(i64::from(i32::MIN)));
        assert!(filter.matches_record(b"") && !filter.reads_records());
    }

    #[test]
    fn records_match_by_their_properties() {
        let sql = |text| Arc::new(SqlFilter::parse(text).unwrap());
        let filter = EntryFilter::Sql(sql("a = 1"), None);
        assert!(filter.reads_records() && filter.matches(-5));
        assert!(filter.matches_record(&record(b"a\x011\x02")));
        assert!(!filter.matches_record(&record(b"a\x012\x02")));
        assert!(!filter.matches_record(b"no record"));
        let known = [("T1".into(), sql("a = 1")), ("T2".into(), sql("a = 2"))];
        let filter = EntryFilter::SqlOfOrigin(known.into());
        for (properties, wanted) in [
            (&b"a\x011\x02RETRY_TOPIC\x01T1\x02"[..], true),
            (b"a\x011\x02RETRY_TOPIC\x01T2\x02", false),
            (b"a\x011\x02RETRY_TOPIC\x01T3\x02", true),
            (b"a\x012\x02", true),
        ] {
            assert_eq!(filter.matches_record(&record(properties)), wanted);
        }
    }
}
