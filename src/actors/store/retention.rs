//! Deletes the oldest files by age and by disk pressure, and makes the next segment ahead of time.
//!
//! Owns nothing but the decision. The rules are RocketMQ's (`CleanCommitLogService`). A restart
//! loses nothing; manual rounds that were asked for are forgotten.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};

use super::{
    index::{CutIndex, IndexActor},
    queues::QueueShards,
    shard::CutQueues,
    watermarks::Watermarks,
};
use crate::{
    actors::kernel::{ActorCell, ActorRef, Shutdown},
    config::Derived,
    store::{commit_log::Preparer, fs::Fs},
};

/// Rounds that a manual deletion (code 329) goes on for (RocketMQ: `MAX_MANUAL_DELETE_FILE_TIMES`).
const MANUAL_ROUNDS: u32 = 20;

/// How often the next segment is looked after.
const PREPARE_EVERY: Duration = Duration::from_millis(500);

/// Segments that may keep their file open while nothing of them is mapped.
const OPEN_SEGMENTS_MAX: usize = 16;

/// The longest that a round may take before the watchdog counts it as stuck.
const ROUND_MAX: Duration = Duration::from_secs(120);

/// What is deleted when; read anew before each round.
#[derive(Debug, Clone)]
pub struct RetentionPolicy {
    /// Time between rounds (`cleanResourceInterval`).
    pub interval: Duration,
    /// Hours of the day, local time, in which old files go (`deleteWhen`).
    pub hours: Vec<u8>,
    /// Age from which a file may go (`fileReservedTime`).
    pub reserved: Duration,
    /// Used part of the disk, in percent, from which old files go at any hour (`diskMaxUsedSpaceRatio`).
    pub disk_max_percent: u32,
    /// Used part from which files go whatever their age (`diskSpaceCleanForciblyRatio`).
    pub disk_force_percent: u32,
    /// Used part from which nothing more is stored (`diskSpaceWarningLevelRatio`).
    pub disk_full_percent: u32,
    /// Files that one round deletes at most (`deleteFileBatchMax`).
    pub batch_max: usize,
    /// Whether disk pressure may delete young files at all (`cleanFileForciblyEnable`).
    pub force_enabled: bool,
}

/// Why a round deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// Only files that are old enough.
    Aged,
    /// The oldest files, whatever their age.
    Pressure,
}

/// Deletes old files now, in the next rounds, at any hour (code 329).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct DeleteNow;

/// Drops what the queues and the index still know of deleted segments (code 306).
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CleanQueues;

/// What retention is made of.
#[derive(Clone)]
pub struct RetentionParts {
    /// Positions of the log.
    pub watermarks: Watermarks,
    /// Makes the next segment.
    pub preparer: Arc<Preparer>,
    /// All queues.
    pub shards: QueueShards,
    /// The index.
    pub index: Option<ActorRef<IndexActor>>,
    /// The file system.
    pub fs: Fs,
    /// The directory whose disk is watched.
    pub log_dir: PathBuf,
    /// What is deleted when.
    pub policy: Derived<RetentionPolicy>,
}

/// The actor; see the module.
pub struct Retention {
    cell: Arc<ActorCell>,
    parts: RetentionParts,
    manual_rounds: u32,
}

impl Retention {
    /// State for a first start and for every restart.
    pub fn recover(cell: Arc<ActorCell>, parts: RetentionParts) -> Self {
        Self {
            cell,
            parts,
            manual_rounds: 0,
        }
    }

    fn round(&mut self) {
        let policy = self.parts.policy.load();
        let used = self.used_percent();
        self.parts
            .watermarks
            .set_disk_full(used > f64::from(policy.disk_full_percent));
        let cell = Arc::clone(&self.cell);
        let deleted = cell.blocking(ROUND_MAX, || self.delete(&policy, used));
        if deleted > 0 {
            self.cut();
        }
        self.parts.watermarks.log().release_cold(OPEN_SEGMENTS_MAX);
    }

    /// Used part of the log's disk in percent; 0 when the system does not tell.
    fn used_percent(&self) -> f64 {
        match self.parts.fs.disk_space(&self.parts.log_dir) {
            Ok(space) if space.total > 0 => {
                let used = space.total.saturating_sub(space.free);
                used as f64 * 100.0 / space.total as f64
            }
            _ => 0.0,
        }
    }

    fn delete(&mut self, policy: &RetentionPolicy, used: f64) -> usize {
        let manual = self.manual_rounds > 0;
        self.manual_rounds = self.manual_rounds.saturating_sub(1);
        let pressed = used > f64::from(policy.disk_max_percent);
        if !manual && !pressed && !is_hour(&policy.hours) {
            return 0;
        }
        let forced = policy.force_enabled && used > f64::from(policy.disk_force_percent);
        let reason = if forced {
            Reason::Pressure
        } else {
            Reason::Aged
        };
        let mut deleted = 0;
        while deleted < policy.batch_max && self.delete_oldest(policy, reason) {
            deleted += 1;
        }
        if deleted > 0 {
            log::info!(
                "{} deleted segments={deleted} reason={reason:?}",
                self.cell.path()
            );
        }
        deleted
    }

    /// Deletes the oldest segment if the reason covers it.
    fn delete_oldest(&self, policy: &RetentionPolicy, reason: Reason) -> bool {
        let log = self.parts.watermarks.log();
        let oldest = match log.segments() {
            Ok(segments) if segments.len() > 1 => segments.into_iter().next(),
            Ok(_) => None,
            Err(error) => {
                log::warn!("{} cannot list segments: {error}", self.cell.path());
                None
            }
        };
        let Some(oldest) = oldest else { return false };
        let age = SystemTime::now()
            .duration_since(oldest.modified)
            .unwrap_or_default();
        if reason == Reason::Aged && age < policy.reserved {
            return false;
        }
        match log.delete_oldest_segment() {
            Ok(Some(_)) => true,
            Ok(None) => false,
            Err(error) => {
                log::warn!("{} cannot delete a segment: {error}", self.cell.path());
                false
            }
        }
    }

    fn cut(&self) {
        let log_min = self.parts.watermarks.log().min_offset();
        for shard in self.parts.shards.all() {
            shard.tell(CutQueues { log_min });
        }
        if let Some(index) = &self.parts.index {
            index.tell(CutIndex { log_min });
        }
    }

    fn prepare(&self) {
        if let Err(error) = self
            .cell
            .blocking(ROUND_MAX, || self.parts.preparer.prepare())
        {
            // The writer tries for itself and tells the senders.
            log::debug!("{} cannot prepare a segment: {error}", self.cell.path());
        }
    }

    fn next_round(&self, ctx: &mut Context<Self>) {
        let interval = self.parts.policy.load().interval;
        ctx.run_later(interval, |actor, ctx| {
            actor.round();
            actor.next_round(ctx);
        });
    }
}

/// Whether it is one of these hours now, by the local clock.
pub fn is_hour(hours: &[u8]) -> bool {
    let hour = jiff::Zoned::now().hour();
    u8::try_from(hour).is_ok_and(|hour| hours.contains(&hour))
}

impl Actor for Retention {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.next_round(ctx);
        ctx.run_interval(PREPARE_EVERY, |actor, _| actor.prepare());
    }
}

impl Supervised for Retention {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

impl Handler<DeleteNow> for Retention {
    type Result = ();

    fn handle(&mut self, _: DeleteNow, _: &mut Self::Context) {
        self.cell.begin_work();
        self.manual_rounds = MANUAL_ROUNDS;
        self.round();
    }
}

impl Handler<CleanQueues> for Retention {
    type Result = ();

    fn handle(&mut self, _: CleanQueues, _: &mut Self::Context) {
        self.cell.begin_work();
        self.cut();
    }
}

impl Handler<Shutdown> for Retention {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}

crate::crashable!(Retention);
