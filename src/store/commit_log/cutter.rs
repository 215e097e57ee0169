//! Cutting the raw bytes of a master's log into records.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{config::DispatchRules, reader::CommitLogReader, scan::RECORD_LEN_MAX};
use crate::{
    protocol::{
        Str,
        message::record::{self, BLANK_LEN, CheckCrc, Peek, RecordView},
    },
    store::{dispatch::ScannedRecord, error::StoreError},
};

/// Follows a log whose bytes come in pieces that know nothing of records.
///
/// It begins where a record may begin and keeps the bytes of a record that is not whole yet, at
/// most one. Records are checked as in a scan: the CRC of their bodies, and that they belong to the
/// place where they stand.
#[derive(Debug)]
pub struct RecordCutter {
    segment_len: i64,
    rules: Arc<DispatchRules>,
    /// Behind the last byte that was fed.
    at: i64,
    /// Behind the last whole record, or the segment that a blank ended.
    whole: i64,
    /// Inside a blank: up to where its segment goes.
    skip_to: i64,
    /// The first bytes of the record that begins at `whole`.
    partial: BytesMut,
    topic: Str,
}

impl CommitLogReader {
    /// A cutter that begins at `at`, where a record, a blank or a segment has to begin.
    pub fn cutter(&self, at: i64) -> RecordCutter {
        RecordCutter {
            segment_len: self.segment_len() as i64,
            rules: self.dispatch_rules().clone(),
            at,
            whole: at,
            skip_to: at,
            partial: BytesMut::new(),
            topic: Str::new(),
        }
    }
}

impl RecordCutter {
    /// Behind the last byte that was fed.
    pub fn position(&self) -> i64 {
        self.at
    }

    /// Behind the last whole record: everything below can be scanned.
    pub fn whole(&self) -> i64 {
        self.whole
    }

    /// Takes the next bytes and puts the records that are whole with them into `found`.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] where something other than a record stands; the cutter is of no use
    /// afterwards.
    pub fn feed(&mut self, bytes: &[u8], found: &mut Vec<ScannedRecord>) -> Result<(), StoreError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.skip_to > self.whole {
                let left = usize::try_from(self.skip_to - self.at).unwrap_or(usize::MAX);
                self.advance(&mut rest, left);
                if self.at == self.skip_to {
                    self.whole = self.skip_to;
                }
                continue;
            }
            if self.segment_left() < BLANK_LEN as i64 {
                self.skip_to = self.whole + self.segment_left();
                continue;
            }
            // The common case: nothing is left over, and the whole record is at hand.
            if self.partial.is_empty()
                && let Peek::Record { size } = record::peek(rest)
                && let Some(bytes) = rest.get(..size)
            {
                self.record(bytes, found)?;
                self.advance(&mut rest, size);
                self.whole = self.at;
                continue;
            }
            self.gather(&mut rest, found)?;
        }
        Ok(())
    }

    /// Adds to the record that is not whole yet what it lacks and `rest` has.
    fn gather(
        &mut self,
        rest: &mut &[u8],
        found: &mut Vec<ScannedRecord>,
    ) -> Result<(), StoreError> {
        let wanted = match record::peek(&self.partial) {
            Peek::Record { size } => size,
            _ => BLANK_LEN,
        };
        let lacking = wanted.saturating_sub(self.partial.len());
        let taken = self.advance(rest, lacking);
        self.partial.extend_from_slice(taken);
        if self.partial.len() < wanted {
            return Ok(());
        }
        match record::peek(&self.partial) {
            Peek::Record { size } if size as i64 > self.segment_left() || size > RECORD_LEN_MAX => {
                let left = self.segment_left();
                return Err(self.invalid(format!("a record of {size} bytes, {left} are left")));
            }
            Peek::Record { size } if size > wanted => return Ok(()),
            Peek::Record { .. } => {
                let bytes = std::mem::take(&mut self.partial);
                self.record(&bytes, found)?;
                self.whole = self.at;
            }
            Peek::Blank { .. } => {
                self.skip_to = self.whole + self.segment_left();
                // A segment may end with the blank's own bytes.
                if self.skip_to == self.at {
                    self.whole = self.skip_to;
                }
            }
            _ => return Err(self.invalid(format!("{:02x?}", &self.partial[..]))),
        }
        self.partial.clear();
        Ok(())
    }

    /// Takes at most `len` bytes off the front.
    fn advance<'a>(&mut self, rest: &mut &'a [u8], len: usize) -> &'a [u8] {
        let (taken, later) = rest.split_at(len.min(rest.len()));
        *rest = later;
        self.at += taken.len() as i64;
        taken
    }

    /// Bytes from the last boundary to the end of its segment.
    fn segment_left(&self) -> i64 {
        self.segment_len - self.whole.rem_euclid(self.segment_len)
    }

    fn record(&mut self, bytes: &[u8], found: &mut Vec<ScannedRecord>) -> Result<(), StoreError> {
        if bytes.len() as i64 > self.segment_left() {
            return Err(self.invalid(format!("a record of {} bytes", bytes.len())));
        }
        let view =
            RecordView::parse(bytes, CheckCrc::Body).map_err(|e| self.invalid(e.to_string()))?;
        if view.physical_offset != self.whole {
            let what = format!("a record that belongs to {}", view.physical_offset);
            return Err(self.invalid(what));
        }
        if self.topic != view.topic {
            self.topic = Str::from(view.topic);
        }
        let scanned = ScannedRecord::of(&view, self.topic.clone(), &self.rules);
        let further = scanned.further(&view, &self.rules);
        found.push(scanned);
        found.extend(further);
        Ok(())
    }

    fn invalid(&self, what: String) -> StoreError {
        StoreError::invalid(format!(
            "{what} where a record should start, at {}",
            self.whole
        ))
    }
}

/// The part of `pieces`, which begin at `start`, that lies in `from..to`.
pub fn pieces_between(pieces: &[Bytes], start: i64, from: i64, to: i64) -> Vec<Bytes> {
    let mut at = start;
    let mut part = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let end = at + piece.len() as i64;
        let (low, high) = (from.max(at), to.min(end));
        if low < high {
            part.push(piece.slice((low - at) as usize..(high - at) as usize));
        }
        at = end;
    }
    part
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Place, SEGMENT_LEN, unit};
    use super::*;

    /// A log of several segments, as bytes.
    fn log(bodies: impl IntoIterator<Item = usize>) -> (Place, CommitLogReader, Vec<u8>) {
        let place = Place::new();
        let (mut writer, _) = place.open_clean();
        let mut units: Vec<_> = (0..).zip(bodies).map(|(i, len)| unit(len, i)).collect();
        writer.append(&mut units, 9).unwrap();
        let reader = writer.reader();
        let mut bytes = vec![0; reader.end() as usize];
        let mut at = 0;
        while at < bytes.len() {
            at += reader.read_at(at as i64, &mut bytes[at..]).unwrap();
        }
        (place, reader, bytes)
    }

    fn scanned(reader: &CommitLogReader, to: i64) -> Vec<ScannedRecord> {
        reader.scan(0, to).map(Result::unwrap).collect()
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let (_place, reader, bytes) = log([10, 20]);
        let refused =
            |bytes: &[u8], at: i64| reader.cutter(at).feed(bytes, &mut Vec::new()).unwrap_err();
        refused(&[0; 8], 0);
        // A record of another place, and one whose body changed.
        refused(&bytes, SEGMENT_LEN as i64);
        let mut changed = bytes.clone();
        changed[90] ^= 1;
        refused(&changed, 0);
        let mut long = bytes;
        long[1] = 0x10;
        refused(&long, 0);
    }

    #[test]
    fn pieces_are_cut_at_an_offset() {
        let pieces = [Bytes::from_static(b"abc"), Bytes::from_static(b"defg")];
        let part = |from, to| pieces_between(&pieces, 10, from, to).concat();
        assert_eq!(part(10, 10), b"");
        assert_eq!(part(10, 12), b"ab");
        assert_eq!(part(11, 15), b"bcde");
        assert_eq!(part(13, 99), b"defg");
        assert_eq!(part(99, 10), b"");
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_what_a_scan_gives(
            bodies in prop::collection::vec(0..3000_usize, 1..40),
            piece in 1..2000_usize,
        ) {
            let (_place, reader, bytes) = log(bodies);
            let mut cutter = reader.cutter(0);
            let mut found = Vec::new();
            for piece in bytes.chunks(piece) {
                cutter.feed(piece, &mut found).unwrap();
                prop_assert!(cutter.whole() <= cutter.position());
            }
            prop_assert_eq!(cutter.whole(), reader.end());
            prop_assert_eq!(found, scanned(&reader, reader.end()));
        }

        #[test]
        fn any_bytes_are_cut_without_panic(bytes: Vec<u8>, at in 0..10_000_i64) {
            let (_place, reader, _) = log([1]);
            let _ = reader.cutter(at).feed(&bytes, &mut Vec::new());
        }
    }
}
