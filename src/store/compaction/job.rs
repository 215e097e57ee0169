//! One compaction: which messages remain, and the files with them.
//!
//! Of the files but the newest, first those are read that no compaction has looked at: the last message of each
//! key is noted. Then all of them are read, and what remains is written: the last message of a key, unless its
//! body is empty, which deletes the key. It is done in steps, so that its owner can serve readers in between.

use super::{
    files::{BYTES_AT_A_TIME, CompactionFiles, ENTRIES_AT_A_TIME},
    offset_map::OffsetMap,
    reader::{Place, runs},
    writer::Item,
};
use crate::{
    protocol::{
        java,
        message::{
            keys::KeyProperties,
            record::{CheckCrc, RecordView},
        },
    },
    store::error::StoreError,
};

/// What a compaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Up to here the keys of all messages were looked at: the queue's new position.
    pub position: i64,
    /// Messages that remain in the files that were compacted.
    pub kept: u64,
    /// Messages that were dropped.
    pub dropped: u64,
    /// The memory was too small for all keys: another compaction has something to do at once.
    pub cut_short: bool,
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Files that no compaction has looked at, for the keys.
    Keys,
    /// All files, for the messages.
    Messages,
}

/// A compaction under way; see the module. It is dropped with all that it wrote when its owner restarts.
pub struct Compaction {
    /// How many files are compacted.
    count: usize,
    /// The queue's position before.
    position: i64,
    map: OffsetMap,
    /// The last message whose key was noted.
    mapped: i64,
    phase: Phase,
    at: Place,
    /// What remains; taken at the end.
    out: Option<CompactionFiles>,
    outcome: Outcome,
}

impl Compaction {
    /// Begins one, with so many bytes for the keys; `None` when there is nothing to do.
    ///
    /// # Errors
    /// From the file system.
    pub fn begin(
        files: &CompactionFiles,
        position: i64,
        map_bytes: usize,
    ) -> Result<Option<Self>, StoreError> {
        let count = files.pairs.len().saturating_sub(1);
        let unseen = |at: &usize| {
            let pair = &files.pairs[*at];
            pair.entries > 0 && pair.last > position
        };
        let Some(first) = (0..count).find(unseen) else {
            return Ok(None);
        };
        Ok(Some(Self {
            count,
            position,
            map: OffsetMap::new(map_bytes),
            mapped: position,
            phase: Phase::Keys,
            at: Place {
                file: first,
                entry: 0,
            },
            out: Some(files.for_compaction(count)?),
            outcome: Outcome {
                position,
                kept: 0,
                dropped: 0,
                cut_short: false,
            },
        }))
    }

    /// Goes on for about so many bytes of records; yields what it came to at the end. The files are then
    /// replaced.
    ///
    /// # Errors
    /// From the file system. The compaction is to be dropped then, and the files to be opened anew.
    pub fn step(
        &mut self,
        files: &mut CompactionFiles,
        bytes: usize,
    ) -> Result<Option<Outcome>, StoreError> {
        let mut read = 0;
        while read < bytes {
            if self.at.file >= self.count {
                match self.phase {
                    Phase::Keys => self.turn_to_messages(),
                    Phase::Messages => return self.finish(files).map(Some),
                }
                continue;
            }
            if files.pairs[self.at.file].entries == 0 {
                self.at = files.behind(self.at, 0);
                continue;
            }
            let entries = files.entries(self.at, ENTRIES_AT_A_TIME)?;
            let Some(run) = runs(&entries, BYTES_AT_A_TIME).next() else {
                self.at = files.behind(self.at, 0);
                continue;
            };
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let len = usize::try_from(last.end() - first.position).unwrap_or(0);
            let chunk = files.read(self.at, first.position, len)?;
            read += len;
            self.at = files.behind(self.at, run.len());
            let mut kept = Vec::with_capacity(run.len());
            for entry in run {
                let from = usize::try_from(entry.position - first.position).unwrap_or(0);
                let record = chunk.get(from..from + entry.size as usize);
                let record = record.unwrap_or_default();
                // One that cannot be read has no key, and would not be read by anybody.
                let Ok(view) = RecordView::parse(record, CheckCrc::No) else {
                    continue;
                };
                match self.phase {
                    Phase::Keys => self.note(&view),
                    Phase::Messages if self.remains(&view) => kept.push(Item {
                        record,
                        queue_offset: entry.queue_offset,
                        tags_code: entry.tags_code,
                        store_time: entry.store_time,
                    }),
                    Phase::Messages => self.outcome.dropped += 1,
                }
            }
            self.outcome.kept += kept.len() as u64;
            if let Some(out) = &mut self.out {
                out.append(kept)?;
            }
        }
        Ok(None)
    }

    fn turn_to_messages(&mut self) {
        self.phase = Phase::Messages;
        self.at = Place { file: 0, entry: 0 };
        self.outcome.position = self.mapped;
    }

    fn note(&mut self, view: &RecordView<'_>) {
        if view.queue_offset <= self.position || self.outcome.cut_short {
            return;
        }
        if let Some(key) = key_of(view)
            && !self.map.put(key, view.queue_offset)
        {
            // What comes from here on remains, and is looked at by the next compaction.
            self.outcome.cut_short = true;
            return;
        }
        self.mapped = view.queue_offset;
    }

    /// Whether a message remains (`CompactionLog.shouldRetainMsg`).
    fn remains(&self, view: &RecordView<'_>) -> bool {
        if view.queue_offset > self.mapped {
            return true;
        }
        let is_last = |key| {
            self.map
                .get(key)
                .is_none_or(|last| view.queue_offset >= last)
        };
        key_of(view).is_some_and(is_last) && !view.body.is_empty()
    }

    fn finish(&mut self, files: &mut CompactionFiles) -> Result<Outcome, StoreError> {
        if let Some(out) = self.out.take() {
            files.replace(self.count, out)?;
        }
        Ok(self.outcome)
    }
}

/// All of KEYS is one key.
fn key_of<'a>(view: &RecordView<'a>) -> Option<&'a str> {
    let key = KeyProperties::of(view.properties).keys?;
    (!java::is_blank(key)).then_some(key)
}
