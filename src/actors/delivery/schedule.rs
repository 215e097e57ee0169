//! The delay levels: brings messages from SCHEDULE_TOPIC_XXXX to their topics when they are due.
//!
//! Owns the delivered offset of each level and its file, delayOffset.json. Nobody sends to it; it
//! reads the levels' queues and appends to the log. A restart begins again at the published offsets;
//! the file is written every ten seconds, so that a killed broker may deliver a message twice and
//! never loses one (RocketMQ: `ScheduleMessageService`).

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised,
    WrapFuture,
};
use bytes::BytesMut;

use crate::{
    actors::{
        broker::{context::StoreHandles, inner::InnerMessage},
        delivery::append::append_all,
        kernel::{ActorCell, ActorRef, Permits, Shutdown, lock},
        store::append::{AppendRequest, PutStatus},
    },
    protocol::{
        body::{DataVersion, offset::DelayOffsetTable},
        message::{
            names, properties,
            record::{CheckCrc, RecordView},
        },
    },
    store::{
        consume_queue::{Entry, is_address},
        now_ms,
        tables::ConfigFile,
    },
};

/// How often a level is looked at (`DELAY_FOR_A_WHILE`).
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a level rests after an append that failed (`DELAY_FOR_A_PERIOD` is 10 s).
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The offset of a level that never had a message.
const UNUSED: i64 = -1;

/// Messages of one level that are delivered with one append.
const BATCH_MAX: usize = 64;

/// Published: the offset up to which each level is delivered.
#[derive(Debug)]
pub struct DelayOffsets {
    levels: Vec<AtomicI64>,
    version: Mutex<DataVersion>,
    advances: AtomicU64,
    /// The version counts one for so many advances (`delayOffsetUpdateVersionStep`).
    version_step: u64,
}

impl DelayOffsets {
    /// Offsets from the file's table; levels it does not know never delivered anything.
    pub fn new(levels: i32, table: &DelayOffsetTable, version_step: u64) -> Self {
        let offset = |level| table.offset_table.get(&level).copied().unwrap_or(UNUSED);
        Self {
            levels: (1..=levels)
                .map(|level| AtomicI64::new(offset(level)))
                .collect(),
            version: Mutex::new(table.data_version),
            advances: AtomicU64::new(0),
            version_step: version_step.max(1),
        }
    }

    fn of(&self, level: i32) -> Option<&AtomicI64> {
        self.levels.get(usize::try_from(level - 1).ok()?)
    }

    /// The next offset to deliver of a level.
    pub fn get(&self, level: i32) -> i64 {
        self.of(level)
            .map_or(0, |offset| offset.load(Ordering::Acquire))
            .max(0)
    }

    fn set(&self, level: i32, offset: i64) {
        if let Some(of) = self.of(level) {
            if of.swap(offset, Ordering::AcqRel) == offset {
                return;
            }
            let advances = self.advances.fetch_add(1, Ordering::Relaxed) + 1;
            if advances.is_multiple_of(self.version_step) {
                lock(&self.version).next(now_ms(), 0);
            }
        }
    }

    /// Takes a master's offsets.
    pub fn mirror(&self, table: &DelayOffsetTable) {
        for (&level, &offset) in &table.offset_table {
            if let Some(of) = self.of(level) {
                of.store(offset, Ordering::Release);
            }
        }
        *lock(&self.version) = table.data_version;
    }

    /// Levels with their offsets; those that never had a message are left out.
    pub fn table(&self) -> DelayOffsetTable {
        let levels = (1..).zip(&self.levels);
        let offsets = levels.map(|(level, offset)| (level, offset.load(Ordering::Acquire)));
        DelayOffsetTable {
            data_version: *lock(&self.version),
            offset_table: offsets.filter(|&(_, offset)| offset != UNUSED).collect(),
        }
    }
}

/// The handle for those who look at the levels.
#[derive(Clone)]
pub struct Schedule {
    /// Published offsets.
    pub offsets: Arc<DelayOffsets>,
    /// The actor.
    pub actor: ActorRef<Scheduler>,
}

/// What the scheduler is made of.
#[derive(Clone)]
pub struct SchedulerParts {
    /// The store.
    pub store: StoreHandles,
    /// The broker's own share of the budget.
    pub permits: Permits,
    /// delayOffset.json; only the actor writes it.
    pub file: Arc<Mutex<ConfigFile<DelayOffsetTable>>>,
    /// Published offsets.
    pub offsets: Arc<DelayOffsets>,
    /// How often the file is written (`flushDelayOffsetInterval`).
    pub persist_every: Duration,
    /// Whether messages are delivered: a slave leaves that to its master.
    pub delivers: bool,
}

/// The actor; see the module.
pub struct Scheduler {
    cell: Arc<ActorCell>,
    parts: SchedulerParts,
    /// Levels that are being read or delivered right now, or rest.
    busy: Vec<bool>,
}

/// What a look at a level's queue found.
struct Due {
    requests: Vec<AppendRequest>,
    /// The offset behind the last entry that is due.
    next: i64,
}

impl Scheduler {
    /// State for a first start and for every restart.
    pub fn recover(cell: Arc<ActorCell>, parts: SchedulerParts) -> Self {
        let busy = vec![false; parts.offsets.levels.len()];
        Self { cell, parts, busy }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        for level in 1..=self.busy.len() as i32 {
            let slot = self.parts.store.table.get(names::SCHEDULE_TOPIC, level - 1);
            let Some(slot) = slot else { continue };
            let has_more = slot.readable_end() > self.parts.offsets.get(level);
            if has_more && !self.is_busy(level) {
                self.deliver_level(level, ctx);
            }
        }
    }

    fn is_busy(&self, level: i32) -> bool {
        self.busy.get(level as usize - 1).copied().unwrap_or(true)
    }

    fn set_busy(&mut self, level: i32, busy: bool) {
        if let Some(of) = self.busy.get_mut(level as usize - 1) {
            *of = busy;
        }
    }

    /// Reads what is due of a level, appends it, and goes on while there is more.
    fn deliver_level(&mut self, level: i32, ctx: &mut Context<Self>) {
        let Some(slot) = self.parts.store.table.get(names::SCHEDULE_TOPIC, level - 1) else {
            return;
        };
        self.set_busy(level, true);
        let parts = self.parts.clone();
        let look = async move {
            let from = parts.offsets.get(level);
            let found = parts.store.shards.inspect(slot, move |view| {
                let (min, max) = view.range();
                // At a start the offset is clamped into what the queue has (`correctDelayOffset`).
                let from = from.clamp(min, max);
                view.entries(from, BATCH_MAX).map(|entries| (from, entries))
            });
            let (from, entries) = match found.await {
                Ok(Ok(found)) => found,
                _ => return Outcome::Failed,
            };
            let due = due(&parts.store, level, from, &entries);
            deliver(&parts, level, from, due).await
        };
        ctx.spawn(
            look.into_actor(self)
                .map(move |outcome, actor, ctx| match outcome {
                    Outcome::More => {
                        actor.set_busy(level, false);
                        ctx.notify(Look);
                    }
                    Outcome::Nothing => actor.set_busy(level, false),
                    Outcome::Failed => {
                        ctx.run_later(REST_AFTER_FAILURE, move |actor, _| {
                            actor.set_busy(level, false)
                        });
                    }
                }),
        );
    }

    fn persist(&self) {
        if let Err(error) = lock(&self.parts.file).save(&self.parts.offsets.table()) {
            log::warn!("{} cannot write its offsets: {error}", self.cell.path());
            self.cell.set_last_error(&error.to_string());
        }
    }
}

enum Outcome {
    More,
    Nothing,
    Failed,
}

/// The entries at the front whose time has come, as appends to their topics.
fn due(store: &StoreHandles, level: i32, from: i64, entries: &[Entry]) -> Due {
    let now = now_ms();
    let delay_ms = store
        .watermarks
        .log()
        .delay_levels()
        .delay_ms(level)
        .unwrap_or(0);
    let mut due = Due {
        requests: Vec::new(),
        next: from,
    };
    for entry in entries {
        let deliver_at = if is_address(entry.tags_code) {
            // The extension that held it was lost.
            let log = store.watermarks.log();
            let stored = log.store_timestamp_at(entry.physical_offset);
            stored.map_or(0, |stored| stored.saturating_add(delay_ms))
        } else {
            entry.tags_code
        };
        // A time further ahead than the level's delay is of another configuration: deliver now.
        if deliver_at > now && deliver_at <= now + delay_ms {
            break;
        }
        due.next += 1;
        match restored(store, entry) {
            Some(Restored::Due(request)) => due.requests.push(request),
            Some(Restored::Deleted) => {}
            None => {
                log::warn!("a delayed message is unreadable: level={level} {entry:?}");
            }
        }
    }
    due
}

/// What becomes of a delayed message.
enum Restored {
    Due(AppendRequest),
    /// Its topic was deleted after it was sent: a new one of that name is not where it was sent to.
    Deleted,
}

/// A delayed message as it is stored in the topic and queue that it was sent to. Its properties stay
/// as they are: DELAY, REAL_TOPIC and REAL_QID are delivered, too.
fn restored(store: &StoreHandles, entry: &Entry) -> Option<Restored> {
    let size = usize::try_from(entry.size).ok()?;
    let record = store.watermarks.log().slice(entry.physical_offset, size)?;
    let view = RecordView::parse(&record, CheckCrc::No).ok()?;
    let topic = view.property(properties::REAL_TOPIC)?;
    if topic == names::TRANS_HALF_TOPIC {
        return None;
    }
    if lock(&store.deleted).covers(topic, entry.physical_offset) {
        return Some(Restored::Deleted);
    }
    let queue_id = view.property(properties::REAL_QID)?.parse().ok()?;
    let message = InnerMessage {
        prepared_transaction_offset: view.prepared_transaction_offset,
        ..InnerMessage::of_record(&view, topic, queue_id, view.properties)
    };
    let mut buf = BytesMut::with_capacity(size);
    message
        .into_request(store, 0, &mut buf)
        .ok()
        .map(Restored::Due)
}

/// Appends what is due and moves the level's offset behind it.
async fn deliver(parts: &SchedulerParts, level: i32, from: i64, due: Due) -> Outcome {
    if due.next == from {
        parts.offsets.set(level, from);
        return Outcome::Nothing;
    }
    // A deleted topic's messages are gone, as they would be without a delay. Where not all was stored,
    // what was comes again with the others.
    let gone = &[PutStatus::TopicDeleted];
    let stored = append_all(&parts.store, &parts.permits, due.requests, gone).await;
    if stored.is_err() {
        return Outcome::Failed;
    }
    parts.offsets.set(level, due.next);
    Outcome::More
}

/// Looks at all levels.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
struct Look;

impl Actor for Scheduler {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.parts.delivers {
            ctx.run_interval(LOOK_EVERY, |actor, ctx| actor.look(ctx));
        }
        ctx.run_interval(self.parts.persist_every, |actor, _| actor.persist());
        let offsets = Arc::clone(&self.parts.offsets);
        self.cell
            .set_detail(move || serde_json::json!(offsets.table().offset_table));
    }
}

impl Supervised for Scheduler {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

impl Handler<Look> for Scheduler {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<Shutdown> for Scheduler {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.persist();
        ctx.stop();
    }
}

crate::crashable!(Scheduler);
