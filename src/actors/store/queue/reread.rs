//! Reading from the log what the files lack, and making files with a hole anew.
//!
//! The log is the truth: a queue whose hand-over was lost reads it from where its files are complete,
//! and one whose files have a hole destroys them and reads the whole log, as a start does. That goes
//! in turns, for others live on the thread; until the end of it pulls wait and hand-overs are left to
//! the log. The published ends of the queue stay meanwhile.

use std::time::{Duration, Instant};

use actix::{AsyncContext, Context};

use super::Queue;
use crate::{
    actors::kernel::lock,
    store::{
        consume_queue::{ConsumeQueueError, TopicQueue},
        dispatch::DispatchRecord,
        error::StoreError,
    },
};

/// Bytes of log that one turn reads.
const TURN_BYTES: i64 = 2 << 20;

/// The pause between two turns, in which others work.
const TURN_PAUSE: Duration = Duration::from_millis(1);

/// The pause after a turn that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// How far the log is read for what the files lack.
pub(super) struct Reread {
    /// Position of the log to go on at.
    at: i64,
    /// The files were destroyed; otherwise they are complete up to where the reading began.
    anew: bool,
    /// Records of the queue that were found.
    records: usize,
    /// No turn before this: the last one failed.
    not_before: Option<Instant>,
    /// A turn is on its way.
    scheduled: bool,
}

impl Reread {
    fn from(at: i64, anew: bool) -> Self {
        Self {
            at,
            anew,
            records: 0,
            not_before: None,
            scheduled: false,
        }
    }
}

impl Queue {
    /// Reads from the log what the files lack.
    pub(super) fn read_again(&mut self) {
        if self.reread.is_none() {
            self.reread = Some(Reread::from(self.slot.complete_upto(), false));
            self.reread_turn();
        }
    }

    /// Destroys the files, which have a hole, and makes them anew from the log.
    pub(super) fn build_anew(&mut self, why: &str) {
        log::warn!(
            "{} builds its files anew from the log: {why}",
            self.cell.path()
        );
        // Nobody may begin behind what the files hold from now on: neither a restart of this actor
        // nor, by the checkpoint, one of the process.
        self.slot.set_complete_upto(0);
        self.reread = None;
        let (homes, key) = (&self.parts.homes, &self.slot.key);
        let kind = self.slot.kind();
        if let Err(error) = homes.remove_other_kind(kind, &key.topic, key.queue_id) {
            // The next start removes them.
            self.report(&error);
        }
        if let Some(mut files) = self.files.take() {
            if let Err(error) = files.destroy() {
                // They are opened again, are found too short, and this is tried again.
                self.report(&error);
                return;
            }
            self.files = Some(files);
        }
        let deleted = lock(&self.parts.deleted).position(&self.slot.key.topic);
        self.reread = Some(Reread::from(deleted.unwrap_or(0), true));
        self.reread_turn();
    }

    /// Destroys the files, which are those of another kind of queue, and makes them anew: a slave has
    /// learned only now of which kind the topic is.
    pub(super) fn change_kind(&mut self) {
        let (kind, key) = (self.slot.kind(), &self.slot.key);
        self.files = None;
        let homes = &self.parts.homes;
        match TopicQueue::recover(homes, kind, key.topic.clone(), key.queue_id) {
            Ok(files) => self.files = Some(files),
            Err(error) => self.report(&error),
        }
        self.build_anew(&format!("it is a queue of kind {kind:?}"));
    }

    /// Whether the files that are open are those of another kind of queue.
    pub(super) fn is_of_other_kind(&self) -> bool {
        let kind = self.slot.kind();
        self.files
            .as_ref()
            .is_some_and(|files| files.kind() != kind)
    }

    /// Sees to it that the next turn comes.
    pub(super) fn go_on_reading(&mut self, ctx: &mut Context<Self>) {
        let Some(reread) = self.reread.as_mut().filter(|reread| !reread.scheduled) else {
            return;
        };
        reread.scheduled = true;
        let pause = reread.not_before.map_or(TURN_PAUSE, |at| {
            at.saturating_duration_since(Instant::now()).max(TURN_PAUSE)
        });
        ctx.run_later(pause, |queue, _| {
            if let Some(reread) = &mut queue.reread {
                reread.scheduled = false;
                queue.reread_turn();
            }
        });
    }

    /// Reads the next piece of the log; at the end of it the files are whole.
    fn reread_turn(&mut self) {
        if self.is_of_other_kind() {
            return self.change_kind();
        }
        let Some(reread) = &self.reread else { return };
        let until = self.parts.watermarks.visible();
        let from = reread.at.max(self.parts.log().min_offset());
        let to = until.min(from.saturating_add(TURN_BYTES));
        let (records, reached, error) = self.parts.rescan.records_of(&self.slot, from, to);
        let taken = match (self.take(&records), error) {
            (Err(Lack::Hole(what)), _) => return self.build_anew(&what),
            (Err(Lack::Store(error)), _) | (Ok(()), Some(error)) => Err(error),
            (Ok(()), None) => Ok(()),
        };
        let Some(reread) = &mut self.reread else {
            return;
        };
        match taken {
            Ok(()) => {
                reread.at = reached;
                reread.records += records.len();
                reread.not_before = None;
            }
            Err(error) => {
                // Entries that were taken already are dropped the next time.
                reread.not_before = Some(Instant::now() + RETRY_PAUSE);
                log::error!("{} reads again later: {error}", self.cell.path());
                self.cell.set_last_error(&error.to_string());
                return;
            }
        }
        if reached >= until {
            self.finish_reread(until);
        }
    }

    /// Appends records that were read from the log.
    fn take(&mut self, records: &[DispatchRecord]) -> Result<(), Lack> {
        let anew = self.reread.as_ref().is_some_and(|reread| reread.anew);
        let path = self.cell.path().to_owned();
        let Some(files) = self.open_files() else {
            return Err(Lack::Store(StoreError::invalid("its files are unusable")));
        };
        for record in records {
            if !anew && skips_offsets(files, record.queue_offset) {
                let what = format!("they are gone before {}", record.queue_offset);
                return Err(Lack::Hole(what));
            }
            match append(files, record) {
                Ok(()) => {}
                Err(Lack::Hole(gap)) if anew => {
                    // Whether retention went on meanwhile or they never were there: messages
                    // behind the gap are worth more than those before it.
                    log::error!("{path} begins behind messages that the log lacks: {gap}");
                    files.destroy().map_err(Lack::Store)?;
                    append(files, record)?;
                }
                Err(lack) => return Err(lack),
            }
        }
        if files.needs_flush() {
            files.flush().map_err(Lack::Store)?;
        }
        Ok(())
    }

    /// The files hold what the log has: checks that this is all, and serves who waited.
    fn finish_reread(&mut self, until: i64) {
        let promised = self.slot.readable_end();
        let log_min = self.parts.log().min_offset();
        let Some(reread) = self.reread.take() else {
            return;
        };
        let Some(files) = self.files.as_mut() else {
            return;
        };
        let found = files.max_offset();
        if found < promised && !reread.anew {
            return self.build_anew(&format!("they end at {found} instead of {promised}"));
        }
        let mut outcome = Ok(());
        if files.last_physical_offset() < 0 && files.max_offset() < promised {
            // The log let go of all of its messages.
            outcome = files.begin_at(promised);
        }
        outcome = outcome.and_then(|()| files.correct_min_offset(log_min));
        let (min, max) = (files.min_offset(), files.max_offset());
        if let Err(error) = outcome {
            self.report(&error);
        }
        log::info!(
            "{} read the log again: to={until} records={} anew={} min_offset={min} max_offset={max}",
            self.cell.path(),
            reread.records,
            reread.anew
        );
        self.slot.set_min_offset(min);
        self.publish();
        self.flush(until);
        self.serve_held();
        self.parts.arrivals.tell(&self.slot.key, []);
    }
}

/// Why records that were read could not all be taken.
enum Lack {
    /// Entries before them are missing, too.
    Hole(String),
    /// The files cannot be written.
    Store(StoreError),
}

/// Whether a queue without entries would begin behind the offset that it is to go on with. Only the
/// whole log can tell that the messages between are gone.
pub(super) fn skips_offsets(files: &TopicQueue, first_offset: i64) -> bool {
    files.last_physical_offset() < 0 && first_offset > files.max_offset()
}

fn append(files: &mut TopicQueue, record: &DispatchRecord) -> Result<(), Lack> {
    match files.append(record) {
        Ok(()) => Ok(()),
        Err(gap @ ConsumeQueueError::Gap { .. }) => Err(Lack::Hole(gap.to_string())),
        Err(ConsumeQueueError::Store(error)) => Err(Lack::Store(error)),
    }
}
