//! Answering pulls, and keeping those that have to wait.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Queue, messages::Read};
use crate::{
    actors::store::{
        cold_reader::{Asker, Brought, Cold, Turn, Warm, is_far},
        compaction::GetCompacted,
        dispatcher::Dispatched,
        far_reader::AnswerFar,
        pull::Pull,
    },
    store::{
        commit_log::CommitLogReader,
        consume_queue::{Entry, Extension, TopicQueue},
        error::StoreError,
        get_message::{self, CqUnit, EntryFilter, Extended, GetRequest, GetResult, GetStatus},
        queue_table::QueueKind,
    },
};

/// Pulls that one queue holds at most; a further one is answered at once.
pub const HELD_PULLS_MAX: usize = 10_000;

/// How long a pull that would not wait for a message waits for files that are being made whole.
const WAIT_FOR_FILES: Duration = Duration::from_secs(5);

pub(super) struct HeldPull {
    pull: Box<Pull>,
    until: Instant,
}

/// What came of looking for a pull's messages.
#[allow(clippy::large_enum_variant)] // it lives on the stack, from one call to the next
pub(super) enum Found {
    /// This is the answer.
    Answer(GetResult),
    /// This is not in memory.
    Cold(Cold),
}

impl Queue {
    /// Answers a pull, or keeps it until there is something to answer.
    pub(super) fn serve(&mut self, pull: Box<Pull>, turn: Option<Turn>) {
        let compactions = &self.parts.compactions;
        if let Some(reader) = compactions.reader_of(&self.slot, pull.request.offset) {
            reader.tell(GetCompacted(Asker::Pull(pull)));
            return;
        }
        let begun = Instant::now();
        // The first try may find a hole, and a small one is mended at once.
        for _ in 0..2 {
            if let Some(found) = self.get(&pull.request, pull.brought) {
                self.parts.stats.get_took(begun.elapsed());
                self.settle(pull, found, turn);
                return;
            }
        }
        self.hold_for_files(pull);
    }

    /// Gives what was found to whom it brings to an end, or keeps the pull.
    fn settle(&mut self, mut pull: Box<Pull>, found: Found, turn: Option<Turn>) {
        match found {
            Found::Answer(mut result) => {
                if let Some(min) = self.parts.compactions.min_offset(&self.slot) {
                    result.min_offset = min;
                }
                self.answer_or_hold(pull, result, turn);
            }
            Found::Cold(cold) => {
                pull.brought = cold.brings();
                self.warm(Asker::Pull(pull), cold);
            }
        }
    }

    /// Has the cold reader bring something; the asker comes back.
    fn warm(&self, asker: Asker, cold: Cold) {
        self.parts.cold_reader.tell(Warm { asker, cold });
    }

    /// Answers a read of the broker's own; one that cannot be served now is dropped.
    pub(super) fn read(&mut self, mut read: Read) {
        let compactions = &self.parts.compactions;
        if let Some(reader) = compactions.reader_of(&self.slot, read.request.offset) {
            let asker = Asker::Read(Arc::clone(&self.slot), Box::new(read));
            reader.tell(GetCompacted(asker));
            return;
        }
        let mut tries = (0..2).filter_map(|_| self.get(&read.request, read.brought));
        let Some(found) = tries.next() else { return };
        match found {
            Found::Answer(result) if self.found_far(&result) => {
                let asker = Asker::Read(Arc::clone(&self.slot), Box::new(read));
                self.answer_far(asker, result, None);
            }
            // The reader may have gone meanwhile.
            Found::Answer(result) => drop(read.reply.send(result)),
            Found::Cold(cold) => {
                read.brought = cold.brings();
                let asker = Asker::Read(Arc::clone(&self.slot), Box::new(read));
                self.warm(asker, cold);
            }
        }
    }

    fn answer_or_hold(&mut self, pull: Box<Pull>, result: GetResult, turn: Option<Turn>) {
        if let Some(until) = pull.wait_until
            && pull.may_wait(&result)
            && until > Instant::now()
            && self.held.len() < HELD_PULLS_MAX
        {
            self.hold(pull, until);
        } else if self.found_far(&result) {
            self.answer_far(Asker::Pull(pull), result, turn);
        } else {
            pull.answer(result, &self.parts.stats);
        }
    }

    fn answer_far(&self, asker: Asker, result: GetResult, turn: Option<Turn>) {
        let far = AnswerFar {
            asker,
            result,
            is_in_memory: false,
            turn,
        };
        self.far_reader.tell(far);
    }

    /// Keeps a pull while entries are missing: its offset may lie behind those that are there, and
    /// an answer would send its reader back.
    fn hold_for_files(&mut self, pull: Box<Pull>) {
        let patience = Instant::now() + WAIT_FOR_FILES;
        let until = pull.wait_until.unwrap_or(patience);
        if self.reread.is_none() || until <= Instant::now() || self.held.len() >= HELD_PULLS_MAX {
            self.answer_not_now(pull);
            return;
        }
        self.hold(pull, until);
    }

    fn hold(&mut self, mut pull: Box<Pull>, until: Instant) {
        pull.responder.park();
        self.held.push(HeldPull { pull, until });
        self.publish_held();
        self.gauge.holds_until(until);
    }

    /// Has the reader ask for the same offset again.
    fn answer_not_now(&self, pull: Box<Pull>) {
        let (offset, slot) = (pull.request.offset, &self.slot);
        let (min, max) = (slot.min_offset(), slot.readable_end());
        let not_now = GetResult::empty(GetStatus::OffsetFoundNull, offset, min, max);
        pull.answer(not_now, &self.parts.stats);
    }

    /// Whether some of what was found is far back.
    fn found_far(&self, result: &GetResult) -> bool {
        let log = self.parts.log();
        result.ranges.iter().any(|range| is_far(log, range.offset))
    }

    /// What a pull finds; `None` while the files are unusable or lack entries.
    fn get(&mut self, request: &GetRequest, brought: Brought) -> Option<Found> {
        let mut entries = std::mem::take(&mut self.entries);
        let mut extensions = std::mem::take(&mut self.extensions);
        entries.clear();
        extensions.clear();
        let found = self.find(request, brought, &mut entries, &mut extensions);
        (self.entries, self.extensions) = (entries, extensions);
        found
    }

    fn find(
        &mut self,
        request: &GetRequest,
        brought: Brought,
        entries: &mut Vec<Entry>,
        extensions: &mut Vec<Option<Extension>>,
    ) -> Option<Found> {
        if self.slot.kind() == QueueKind::Batch {
            return self.find_batches(request, brought);
        }
        let parts = Arc::clone(&self.parts);
        let limits = parts.limits.load();
        let TopicQueue::Simple(files) = self.whole_files()? else {
            return None;
        };
        let (min, max) = (files.min_offset(), files.max_offset());
        if let Some(answer) = get_message::check_offset(request.offset, min, max) {
            return Some(Found::Answer(answer));
        }
        let wanted = get_message::entries_wanted(request, &limits);
        let looks_at_bits = matches!(request.filter, EntryFilter::Sql(_, Some(_)));
        let wanted_extensions = looks_at_bits.then_some(&mut *extensions);
        let from = request.offset;
        let read = match brought {
            // This thread has others to serve.
            Brought::Nothing => files.get_in_memory_into(from, wanted, entries, wanted_extensions),
            Brought::Entries | Brought::Properties => files
                .get_into(from, wanted, entries, wanted_extensions)
                .map(|()| None),
        };
        let hole = match read {
            Ok(Some(cold)) => return Some(Found::Cold(Cold::Entries(cold))),
            Ok(None) => first_hole(entries)
                .map(|at| format!("no entry at queue offset {}", request.offset + at as i64)),
            Err(error) if is_hole(&error) => Some(error.to_string()),
            Err(error) => {
                self.report(&error);
                None
            }
        };
        if let Some(hole) = hole {
            self.build_anew(&hole);
            return None;
        }
        let units = Extended::all(entries, extensions);
        Some(self.collect(request, brought, units, (min, max)))
    }

    /// What the log has of these units, or which pieces of it the filter needs first.
    pub(super) fn collect(
        &self,
        request: &GetRequest,
        brought: Brought,
        units: impl Iterator<Item = impl CqUnit> + Clone,
        (min, max): (i64, i64),
    ) -> Found {
        let (log, limits) = (self.parts.log(), self.parts.limits.load());
        let mut first = units.clone().map(|unit| unit.entry().physical_offset);
        if request.filter.reads_records()
            && brought != Brought::Properties
            && first.next().is_some_and(|first| is_far(log, first))
        {
            let wanted = units.clone();
            let wanted = wanted.filter(|unit| request.filter.matches_unit(unit));
            let ranges = get_message::property_ranges(log, wanted.map(|unit| unit.entry()));
            if !log.all_resident(&ranges) {
                return Found::Cold(Cold::Properties(ranges));
            }
        }
        let found = get_message::collect(request, &limits, log, units, min, max);
        Found::Answer(found)
    }

    /// Serves the pulls that the new entries are for. The others need not look at these again.
    pub(super) fn wake(&mut self, items: &[Dispatched]) {
        let mut at = 0;
        while at < self.held.len() {
            let log = self.parts.log();
            if passes_any(&mut self.held[at].pull.request, items, log) {
                let held = self.held.swap_remove(at);
                self.publish_held();
                self.serve(held.pull, None);
                if at >= self.held.len() {
                    return;
                }
            } else {
                at += 1;
            }
        }
    }

    /// Answers the pulls whose time is over with what there is by now.
    pub(super) fn expire(&mut self, now: Instant) {
        let mut at = 0;
        while at < self.held.len() {
            if self.held[at].until <= now {
                let mut held = self.held.swap_remove(at);
                self.publish_held();
                held.pull.wait_until = None;
                match self.get(&held.pull.request, held.pull.brought) {
                    Some(found) => self.settle(held.pull, found, None),
                    None => self.answer_not_now(held.pull),
                }
            } else {
                at += 1;
            }
        }
        self.gauge
            .set_due(self.held.iter().map(|held| held.until).min());
    }

    /// Serves all pulls that wait.
    pub(super) fn serve_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.publish_held();
        for waiting in held {
            self.serve(waiting.pull, None);
        }
    }

    /// Answers the pulls that wait with "there is no such queue".
    pub(super) fn dismiss_held(&mut self) {
        for held in self.held.drain(..) {
            let offset = held.pull.request.offset;
            let gone = GetResult::empty(GetStatus::NoMatchedLogicQueue, offset, 0, 0);
            held.pull.answer(gone, &self.parts.stats);
        }
    }

    pub(super) fn publish_held(&self) {
        self.gauge.held.store(self.held.len(), Ordering::Relaxed);
    }
}

/// Whether a new entry is one that a waiting request wants; it moves over those that it does not.
fn passes_any(request: &mut GetRequest, items: &[Dispatched], log: &CommitLogReader) -> bool {
    for item in items {
        let entry = &item.record;
        let passes = request.filter.matches(entry.tags_code)
            && (!request.filter.reads_records()
                || log
                    .slice(entry.physical_offset, entry.size.max(0) as usize)
                    .is_none_or(|record| request.filter.matches_record(&record)));
        if passes {
            return true;
        }
        let behind = entry.queue_offset + item.slot.offsets_of(entry);
        if (entry.queue_offset..behind).contains(&request.offset) {
            request.offset = behind;
        }
    }
    false
}

/// Whether an error of reading entries says that they are not there, rather than that the disk
/// would not tell.
pub(super) fn is_hole(error: &StoreError) -> bool {
    match error {
        StoreError::Corrupt { .. } => true,
        StoreError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// Where among neighbouring entries one is missing.
fn first_hole(entries: &[Entry]) -> Option<usize> {
    entries
        .iter()
        .position(|entry| !entry.is_sane() || entry.is_blank())
}
