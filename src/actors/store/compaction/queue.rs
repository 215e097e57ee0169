//! One queue of a compaction topic: copies its messages, compacts them, and answers readers of them.
//!
//! Owns the queue's files below `compaction/`. The queue's own actor sends reads to it, the service sends
//! ticks. A restart opens the files again: a compaction that was under way is begun anew when its time comes,
//! and a reader who was being answered hears "outcome unknown".

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised,
    WrapFuture,
};
use bytes::Bytes;
use tokio::task::yield_now;

use super::{
    Compacted, GetCompacted,
    from_master::{Fetched, FromMaster},
};
use crate::{
    actors::{
        broker::stats::Stats,
        kernel::{ActorCell, Shutdown, lock},
        store::{cold_reader::Asker, queues::QueueShards},
    },
    config::Derived,
    protocol::{
        java,
        message::{
            keys::KeyProperties,
            record::{self, CheckCrc, RecordView},
        },
    },
    store::{
        compaction::{
            Check, Compaction, CompactionFiles, CompactionHome, Item, Outcome, get,
            position::Positions,
        },
        error::StoreError,
        get_message::{EntryFilter, GetLimits, GetRequest, GetResult, GetStatus},
        now_ms,
        queue_table::QueueSlot,
    },
};

/// Messages that are copied with one look at the queue.
const COPY_MESSAGES: usize = 1024;

/// Bytes of them.
const COPY_BYTES: usize = 1 << 20;

/// Bytes of records that a compaction reads between two looks at the mailbox.
const STEP_BYTES: usize = 2 << 20;

/// How often what was copied is made durable.
const SYNC_EVERY: Duration = Duration::from_secs(10);

/// After a failure the files are left alone for so long.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A slave whose master does not answer asks again after so long.
const REST_WITHOUT_MASTER: Duration = Duration::from_secs(3);

/// The longest that one turn may wait for the disk before the watchdog counts the actor as stuck.
const TURN_MAX: Duration = Duration::from_secs(120);

/// Something is to be done: messages arrived, a compaction is due, or files are to be synced.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Work;

/// The topic was deleted: the files go. Answered when they are gone.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Destroy;

/// What all queues of compaction topics share.
pub struct CompactionParts {
    /// Where their files live.
    pub home: Arc<CompactionHome>,
    /// How far each was compacted, with the file of that.
    pub positions: Mutex<Positions>,
    /// The ordinary queues.
    pub shards: QueueShards,
    /// Limits of one pull.
    pub limits: Derived<GetLimits>,
    /// Statistics.
    pub stats: Stats,
    /// Time between compactions of a queue (`compactionScheduleInternal`).
    pub every: Duration,
    /// Memory for the keys of one compaction, bytes (`maxOffsetMapSize`).
    pub map_bytes: usize,
    /// Whether all is there that was written: else every record of the newest files is looked at.
    pub has_all: bool,
    /// On a slave: where what its own log never had is asked for.
    pub master: Option<FromMaster>,
    /// One compaction at a time: its keys take memory.
    pub under_way: Arc<AtomicBool>,
}

/// The turn of one compaction; its end is the beginning of another's.
struct Turn(Arc<AtomicBool>);

impl Turn {
    fn take(under_way: &Arc<AtomicBool>) -> Option<Self> {
        let taken = under_way.swap(true, Ordering::AcqRel);
        (!taken).then(|| Self(Arc::clone(under_way)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Published for the tree.
#[derive(Debug, Default)]
struct Gauge {
    records: AtomicU64,
    files: AtomicU64,
    compactions: AtomicU64,
    compacting: AtomicBool,
}

/// The actor; see the module.
pub struct CompactedQueue {
    cell: Arc<ActorCell>,
    parts: Arc<CompactionParts>,
    slot: Arc<QueueSlot>,
    published: Arc<Compacted>,
    gauge: Arc<Gauge>,
    /// `None` while they cannot be opened.
    files: Option<CompactionFiles>,
    /// Not before this are they tried again, or written to.
    rest_until: Instant,
    /// Messages are being read from the ordinary queue.
    reading: bool,
    job: Option<(Compaction, Turn)>,
    next_compaction: Instant,
    next_sync: Instant,
}

impl CompactedQueue {
    /// State for a first start and for every restart.
    pub fn recover(
        cell: Arc<ActorCell>,
        parts: Arc<CompactionParts>,
        slot: Arc<QueueSlot>,
        published: Arc<Compacted>,
        check: Check,
    ) -> Self {
        let now = Instant::now();
        let next_compaction = now + until_compaction(parts.every);
        let mut queue = Self {
            cell,
            parts,
            slot,
            published,
            gauge: Arc::default(),
            files: None,
            rest_until: now,
            reading: false,
            job: None,
            next_compaction,
            next_sync: now + SYNC_EVERY,
        };
        queue.open(check);
        queue
    }

    fn open(&mut self, check: Check) {
        let cell = Arc::clone(&self.cell);
        match cell.blocking(TURN_MAX, || self.try_open(check)) {
            Ok(files) => {
                self.published.set_end(files.next_offset());
                self.files = Some(files);
                self.publish_files();
            }
            Err(error) => self.failed(&error),
        }
        self.publish_due();
    }

    fn open_if_due(&mut self) {
        if self.files.is_none() && Instant::now() >= self.rest_until {
            self.open(Check::Ends);
        }
    }

    fn try_open(&self, check: Check) -> Result<CompactionFiles, StoreError> {
        let (home, key) = (&self.parts.home, &self.slot.key);
        let mut files = CompactionFiles::open(home, &key.topic, key.queue_id, check)?;
        let next = self.slot.next_offset();
        if files.next_offset() <= next {
            return Ok(files);
        }
        // The commit log lost what was copied from it, and gives the same offsets to other messages.
        let (path, had) = (self.cell.path(), files.next_offset());
        if next == 0 {
            drop(files);
            let to = home.set_aside(&key.topic, key.queue_id, now_ms())?;
            let to = to.display();
            log::error!("{path} begins anew: the queue has no messages, the old ones are in {to}");
            files = CompactionFiles::open(home, &key.topic, key.queue_id, Check::Ends)?;
        } else {
            log::warn!("{path} drops what the commit log does not have from={next} to={had}");
            files.truncate(next)?;
        }
        let mut positions = lock(&self.parts.positions);
        if positions.get(&key.topic, key.queue_id) >= next {
            positions.set(&key.topic, key.queue_id, next - 1)?;
        }
        Ok(files)
    }

    fn report(&self, error: &StoreError) {
        log::error!("{} cannot use its files: {error}", self.cell.path());
        self.cell.set_last_error(&error.to_string());
    }

    /// The files are not as they were thought to be: they are opened anew in a while.
    fn failed(&mut self, error: &StoreError) {
        self.report(error);
        self.files = None;
        self.next_compaction = Instant::now() + until_compaction(self.parts.every);
        self.job = None;
        self.gauge.compacting.store(false, Ordering::Relaxed);
        self.rest_until = Instant::now() + REST_AFTER_FAILURE;
    }

    fn publish_files(&self) {
        let Some(files) = &self.files else { return };
        if let Some(min) = files.first_offset() {
            self.published.min.store(min, Ordering::Release);
        }
        let count = files.file_count() as u64;
        self.gauge.files.store(count, Ordering::Relaxed);
        self.gauge.records.store(files.records(), Ordering::Relaxed);
    }

    fn work(&mut self, ctx: &mut Context<Self>) {
        self.open_if_due();
        let now = Instant::now();
        if now >= self.rest_until {
            self.copy(ctx);
        }
        if now >= self.next_sync {
            self.sync();
        }
        if now >= self.next_compaction && self.job.is_none() {
            self.begin_compaction(ctx);
        }
        self.publish_due();
    }

    fn publish_due(&self) {
        let next = match self.files {
            None => self.rest_until,
            Some(_) if self.job.is_some() => self.next_sync,
            Some(_) => self.next_compaction.min(self.next_sync),
        };
        let wait = next.saturating_duration_since(Instant::now());
        let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        let due = now_ms().saturating_add(wait);
        self.published.due_ms.store(due, Ordering::Relaxed);
    }

    /// Copies what arrived.
    fn copy(&mut self, ctx: &mut Context<Self>) {
        let end = self.published.end();
        if self.reading || self.files.is_none() || self.slot.readable_end() <= end {
            return;
        }
        self.reading = true;
        let request = GetRequest {
            offset: end,
            max_messages: COPY_MESSAGES,
            max_bytes: COPY_BYTES,
            filter: EntryFilter::All,
        };
        let (shards, slot) = (self.parts.shards.clone(), Arc::clone(&self.slot));
        let reading = async move { shards.read(slot, request).await };
        ctx.spawn(reading.into_actor(self).map(|found, queue, ctx| {
            queue.reading = false;
            // What cannot be read now is asked for again with the next tick.
            let Ok(found) = found else { return };
            if found.status == GetStatus::OffsetTooSmall && queue.parts.master.is_some() {
                queue.fetch(found.next_begin_offset, ctx);
            } else if queue.take(&found) {
                queue.copy(ctx);
            }
        }));
    }

    /// On a slave, whose log begins behind the compaction log's end: asks the master for what lies between.
    fn fetch(&mut self, upto: i64, ctx: &mut Context<Self>) {
        let Some(master) = self.parts.master.clone() else {
            return;
        };
        self.reading = true;
        let (slot, end) = (Arc::clone(&self.slot), self.published.end());
        let fetching = async move { master.fetch(&slot.key, end).await };
        ctx.spawn(fetching.into_actor(self).map(move |fetched, queue, ctx| {
            queue.reading = false;
            let next = match fetched {
                Fetched::Messages(records, next) => {
                    if !queue.append(&[records], upto) {
                        return;
                    }
                    next.min(upto)
                }
                Fetched::Nothing => upto,
                Fetched::NotNow => {
                    queue.rest_until = Instant::now() + REST_WITHOUT_MASTER;
                    return queue.publish_due();
                }
            };
            queue.published.set_end(next);
            queue.copy(ctx);
        }));
    }

    /// Takes in what was found; whether that was anything.
    fn take(&mut self, found: &GetResult) -> bool {
        let end = self.published.end();
        if !self.append(&found.parts, i64::MAX) {
            return false;
        }
        let has_moved = !matches!(found.status, GetStatus::OffsetFoundNull);
        if has_moved && found.next_begin_offset > end {
            self.published.set_end(found.next_begin_offset);
            return true;
        }
        false
    }

    /// Appends records that have a key, those below a queue offset; whether that could be done.
    fn append(&mut self, parts: &[Bytes], upto: i64) -> bool {
        let Some(files) = &mut self.files else {
            return false;
        };
        let records = parts.iter().flat_map(|part| record::slices(part));
        let views = records.filter_map(|bytes| {
            let view = RecordView::parse(bytes, CheckCrc::No).ok()?;
            (view.queue_offset < upto).then_some((bytes, view))
        });
        // One without a key is in no compaction log.
        let items = views.filter_map(|(record, view)| {
            let keys = KeyProperties::of(view.properties);
            keys.keys.filter(|keys| !java::is_blank(keys))?;
            Some(Item {
                record,
                queue_offset: view.queue_offset,
                tags_code: keys.tags_code(),
                store_time: view.store_timestamp,
            })
        });
        let cell = Arc::clone(&self.cell);
        if let Err(error) = cell.blocking(TURN_MAX, || files.append(items)) {
            // What was not written does not count: the files are as they were.
            self.report(&error);
            self.rest_until = Instant::now() + REST_AFTER_FAILURE;
            return false;
        }
        cell.fail_point("mid_copy");
        self.publish_files();
        true
    }

    fn sync(&mut self) {
        self.next_sync = Instant::now() + SYNC_EVERY;
        let Some(files) = &mut self.files else { return };
        let cell = Arc::clone(&self.cell);
        if let Err(error) = cell.blocking(TURN_MAX, || files.sync()) {
            self.report(&error);
        }
    }

    fn begin_compaction(&mut self, ctx: &mut Context<Self>) {
        let Some(files) = &self.files else { return };
        let Some(turn) = Turn::take(&self.parts.under_way) else {
            return; // another queue's: the next tick tries again
        };
        let key = &self.slot.key;
        let position = lock(&self.parts.positions).get(&key.topic, key.queue_id);
        match Compaction::begin(files, position, self.parts.map_bytes) {
            Ok(Some(job)) => {
                self.job = Some((job, turn));
                self.gauge.compacting.store(true, Ordering::Relaxed);
                self.step_later(ctx);
            }
            Ok(None) => self.next_compaction = Instant::now() + until_compaction(self.parts.every),
            Err(error) => self.failed(&error),
        }
    }

    /// Goes on with the compaction after the thread has looked at the others of it.
    fn step_later(&self, ctx: &mut Context<Self>) {
        ctx.spawn(
            yield_now()
                .into_actor(self)
                .map(|(), queue, ctx| queue.step(ctx)),
        );
    }

    fn step(&mut self, ctx: &mut Context<Self>) {
        let (Some(files), Some((job, _))) = (&mut self.files, &mut self.job) else {
            return;
        };
        let cell = Arc::clone(&self.cell);
        cell.fail_point("mid_compaction");
        match cell.blocking(TURN_MAX, || job.step(files, STEP_BYTES)) {
            Ok(None) => self.step_later(ctx),
            Ok(Some(outcome)) => self.end_compaction(outcome),
            Err(error) => self.failed(&error),
        }
    }

    fn end_compaction(&mut self, outcome: Outcome) {
        self.job = None;
        self.gauge.compacting.store(false, Ordering::Relaxed);
        self.gauge.compactions.fetch_add(1, Ordering::Relaxed);
        let key = &self.slot.key;
        let mut positions = lock(&self.parts.positions);
        let saved = positions.set(&key.topic, key.queue_id, outcome.position);
        drop(positions);
        let path = self.cell.path();
        if let Err(error) = saved {
            log::error!("{path} cannot write its position: {error}");
        }
        let (kept, dropped) = (outcome.kept, outcome.dropped);
        let upto = outcome.position;
        log::info!("{path} compacted kept={kept} dropped={dropped} upto={upto}");
        self.publish_files();
        self.next_compaction = Instant::now();
        if !outcome.cut_short {
            self.next_compaction += until_compaction(self.parts.every);
        }
        self.publish_due();
    }

    /// What a reader finds; `None` when the files cannot be read now.
    fn get(&mut self, request: &GetRequest) -> Option<GetResult> {
        let limits = self.parts.limits.load();
        let (end, readable) = (self.published.end(), self.slot.readable_end());
        let files = self.files.as_mut()?;
        let cell = Arc::clone(&self.cell);
        match cell.blocking(TURN_MAX, || {
            get::collect(files, request, &limits, end, readable)
        }) {
            Ok(result) => Some(result),
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    fn answer(&mut self, asker: Asker) {
        self.open_if_due();
        if self.files.is_some() && asker.offset() >= self.published.end() {
            // It was sent here when the end was not known yet, or before what the log lost was dropped.
            return asker.back_to(&self.parts.shards, None);
        }
        match asker {
            Asker::Pull(pull) => {
                let offset = pull.request.offset;
                let result = self.get(&pull.request).unwrap_or_else(|| {
                    let (min, max) = (self.slot.min_offset(), self.slot.readable_end());
                    GetResult::empty(GetStatus::OffsetFoundNull, offset, min, max)
                });
                pull.answer(result, &self.parts.stats);
            }
            Asker::Read(_, read) => {
                if let Some(result) = self.get(&read.request) {
                    // The reader may have gone meanwhile.
                    let _ = read.reply.send(result);
                }
            }
        }
    }
}

/// RocketMQ's time between two compactions of a queue (`CompactionStore.loadAndGetClog`), with a part of it up
/// to chance, so that not all of them come at the same time.
fn until_compaction(every: Duration) -> Duration {
    every + Duration::from_secs(1) + every.mul_f64(rand::random_range(0.0..1.0))
}

impl Actor for CompactedQueue {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (slot, gauge) = (Arc::clone(&self.slot), Arc::clone(&self.gauge));
        let published = Arc::clone(&self.published);
        self.cell.set_detail(move || {
            serde_json::json!({
                "copied_upto": published.end(),
                "max_offset": slot.readable_end(),
                "records": gauge.records.load(Ordering::Relaxed),
                "files": gauge.files.load(Ordering::Relaxed),
                "compactions": gauge.compactions.load(Ordering::Relaxed),
                "compacting": gauge.compacting.load(Ordering::Relaxed),
            })
        });
        self.work(ctx);
    }
}

impl Supervised for CompactedQueue {
    fn restarting(&mut self, _: &mut Self::Context) {
        let (parts, slot) = (Arc::clone(&self.parts), Arc::clone(&self.slot));
        let (cell, published) = (Arc::clone(&self.cell), Arc::clone(&self.published));
        // Gives the turn back, and closes the files.
        (self.job, self.files) = (None, None);
        *self = Self::recover(cell, parts, slot, published, Check::Ends);
    }
}

impl Handler<GetCompacted> for CompactedQueue {
    type Result = ();

    fn handle(&mut self, get: GetCompacted, _: &mut Self::Context) {
        self.cell.begin_work();
        self.answer(get.0);
    }
}

impl Handler<Work> for CompactedQueue {
    type Result = ();

    fn handle(&mut self, _: Work, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.work(ctx);
    }
}

impl Handler<Destroy> for CompactedQueue {
    type Result = ();

    fn handle(&mut self, _: Destroy, ctx: &mut Self::Context) {
        self.cell.begin_work();
        (self.job, self.files) = (None, None);
        let key = &self.slot.key;
        let removed = self.parts.home.remove_queue(&key.topic, key.queue_id);
        let mut positions = lock(&self.parts.positions);
        let forgotten = positions.forget(&key.topic, key.queue_id);
        if let Err(error) = removed.and(forgotten) {
            log::error!("{} cannot remove its files: {error}", self.cell.path());
        }
        ctx.stop();
    }
}

impl Handler<Shutdown> for CompactedQueue {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.sync();
        (self.job, self.files) = (None, None);
        ctx.stop();
    }
}

crate::crashable!(CompactedQueue);
