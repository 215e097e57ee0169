//! Timed messages: takes them from the queue of rmq_sys_wheel_timer into the wheel, and brings them to
//! their topics when their slot has passed (RocketMQ: `TimerMessageStore`).
//!
//! Owns the timer's files. Nobody sends to it; it reads its queue, its slots and the commit log, and
//! appends to the log. One thing is done at a time, in batches: messages that are taken in and messages
//! that are due take turns. A restart opens the files again and goes on where they tell; what was
//! delivered and not counted yet is found in the commit log and not delivered twice.
//!
//! A slave takes in what its master has taken in, and delivers nothing: started as a master it goes on.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture,
    Supervised, WrapFuture,
};
use tokio::sync::oneshot;

use crate::{
    actors::{
        broker::context::StoreHandles,
        kernel::{ActorCell, ActorRef, PermitClass, Permits, Shutdown, lock},
        store::append::{AppendBatch, AppendReply, AppendRequest, Appended, PutStatus},
    },
    config::{Derived, broker::BrokerConfig},
    protocol::{
        body::files::TimerMetrics,
        java::string_hash,
        message::{
            names, properties,
            record::{CheckCrc, RecordView},
        },
    },
    store::{
        StoreError,
        consume_queue::Entry,
        fs::Fs,
        now_ms,
        tables::ConfigFile,
        timer::{
            Progress, Timed, TimerConfig, TimerStore,
            checkpoint::TimerCheckpoint,
            delivered::Delivered,
            unit::Unit,
            walk::SlotWalk,
            wheel::{SLOTS_TOTAL, Slot},
        },
    },
};

mod due;
mod marks;
mod start;

use due::{Due, NEVER_TAKEN_IN, Recalls, due, waiting};
pub use marks::TimerMarks;

/// How often the queue and the clock are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long the timer rests after an append or a file that failed.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Messages that are taken in with one look at the queue.
const TAKE_IN_MAX: usize = 1024;

/// Messages that are delivered with one append.
const BATCH_MAX: usize = 256;

/// Bytes after which a batch is appended though it is short.
const BATCH_BYTES: usize = 1024 * 1024;

/// The longest that one batch may wait for the disk before the watchdog counts the timer as stuck.
const BATCH_READ_MAX: Duration = Duration::from_secs(60);

/// Files are synced at least this often, though nothing was taken in.
const SYNC_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// How often files of the timer log are looked at that may go.
const CLEAN_EVERY: Duration = Duration::from_secs(30);

/// What of the configuration may change while the timer runs.
#[derive(Debug, Clone, Copy)]
pub struct TimerPolicy {
    /// Milliseconds between syncs (`timerFlushIntervalMs`).
    pub sync_every: Duration,
    /// `timerStopEnqueue`.
    pub stops_taking_in: bool,
    /// `timerStopDequeue`.
    pub stops_delivering: bool,
    /// Messages up to which a start counts anew how many wait (`timerMetricSmallThreshold`).
    pub recounts_up_to: usize,
}

impl TimerPolicy {
    /// As the configuration has it.
    pub fn of(config: &BrokerConfig) -> Self {
        let sync_every = config.store.timer_flush_interval_ms.max(10);
        Self {
            sync_every: Duration::from_millis(sync_every as u64),
            stops_taking_in: config.store.timer_stop_enqueue,
            stops_delivering: config.store.timer_stop_dequeue,
            recounts_up_to: usize::try_from(config.store.timer_metric_small_threshold).unwrap_or(0),
        }
    }
}

/// The handle for those who look at the timer.
#[derive(Clone)]
pub struct Timer {
    /// Published progress.
    pub marks: Arc<TimerMarks>,
    /// The actor.
    pub actor: ActorRef<TimerActor>,
}

/// What the timer is made of.
#[derive(Clone)]
pub struct TimerParts {
    /// The store.
    pub store: StoreHandles,
    /// The broker's own share of the budget.
    pub permits: Permits,
    /// The file system.
    pub fs: Fs,
    /// Where the files are.
    pub config: TimerConfig,
    /// What may change.
    pub policy: Derived<TimerPolicy>,
    /// timermetrics; only the actor writes it.
    pub file: Arc<Mutex<ConfigFile<TimerMetrics>>>,
    /// Published progress.
    pub marks: Arc<TimerMarks>,
    /// Whether messages are delivered: a slave leaves that to its master.
    pub delivers: bool,
}

/// The actor; see the module.
pub struct TimerActor {
    cell: Arc<ActorCell>,
    parts: TimerParts,
    /// Nothing until the files are open, and after a failure.
    running: Option<Running>,
    /// Something is under way: files are being opened, a queue read, or messages appended.
    busy: bool,
    /// Whether due messages are next, where both wait.
    turn_of_due: bool,
    syncing: bool,
    last_sync: Instant,
    /// Who waits for the end, while something is under way.
    stopping: Option<oneshot::Sender<()>>,
}

/// The open files, and how far the timer is.
struct Running {
    store: TimerStore,
    /// Slots before this time are delivered.
    read_time_ms: i64,
    /// The present, in whole ticks: slots before it are due.
    write_time_ms: i64,
    /// The next message of the queue.
    queue_offset: i64,
    /// What a master had done when this life began, and at a slave what its master has done: what it took
    /// in for slots that it has delivered needs nothing any more.
    known_master: TimerCheckpoint,
    /// What was done before this life began and is not counted.
    leftovers: Leftovers,
    /// The slot that is being delivered.
    reading: Option<Reading>,
}

/// What an earlier life did and did not count, before it was killed or crashed.
struct Leftovers {
    /// Messages of the queue that are in the timer log already, by their place in the commit log.
    taken: HashSet<i64>,
    /// Deliveries.
    delivered: Delivered,
    /// There are none in slots from this time on…
    until_ms: i64,
    /// …and for messages of the queue from this one on.
    until_offset: i64,
}

impl Leftovers {
    fn forget_behind(&mut self, read_time_ms: i64, queue_offset: i64) {
        if read_time_ms >= self.until_ms && queue_offset >= self.until_offset {
            self.taken = HashSet::new();
            self.delivered = Delivered::default();
            (self.until_ms, self.until_offset) = (i64::MAX, i64::MAX);
        }
    }
}

struct Reading {
    slot: Slot,
    walk: SlotWalk,
    piece: VecDeque<Unit>,
    recalls: Recalls,
    /// Its deliveries lie at or behind this position of the commit log.
    log_position: i64,
}

/// Messages that are being appended, and what to count when they are.
#[derive(Default)]
struct Batch {
    requests: Vec<AppendRequest>,
    bytes: usize,
    counts: BTreeMap<String, i64>,
    delivered: u64,
    /// Messages of the queue that this batch ends; 0 for a batch of a slot.
    taken_in: i64,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.requests.len() >= BATCH_MAX || self.bytes >= BATCH_BYTES
    }

    fn count(&mut self, topic: String, change: i64) {
        *self.counts.entry(topic).or_default() += change;
    }

    fn append(&mut self, request: AppendRequest) {
        self.bytes += request.bytes.len();
        self.requests.push(request);
        self.delivered += 1;
    }
}

impl TimerActor {
    /// State for a first start and for every restart.
    pub fn recover(cell: Arc<ActorCell>, parts: TimerParts) -> Self {
        Self {
            cell,
            parts,
            running: None,
            busy: false,
            turn_of_due: false,
            syncing: false,
            last_sync: Instant::now(),
            stopping: None,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.busy || self.stopping.is_some() {
            return;
        }
        let Some(running) = &mut self.running else {
            return self.open(ctx);
        };
        running.write_time_ms = running.write_time_ms.max(running.store.floor(now_ms()));
        if !self.parts.delivers {
            self.follow_master();
        }
        let policy = self.parts.policy.load_full();
        let takes_in = !policy.stops_taking_in && self.has_new();
        let delivers = self.parts.delivers && !policy.stops_delivering;
        let is_due = match delivers.then(|| self.find_due()) {
            None => false,
            Some(Ok(is_due)) => is_due,
            Some(Err(error)) => return self.failed(&error.to_string(), ctx),
        };
        match (takes_in, is_due) {
            (true, false) => self.read_queue(ctx),
            (true, true) if !self.turn_of_due => self.read_queue(ctx),
            (_, true) => self.deliver(ctx),
            (false, false) => {}
        }
    }

    /// Opens the files and finds out where to go on.
    fn open(&mut self, ctx: &mut Context<Self>) {
        self.busy = true;
        let parts = self.parts.clone();
        let opening = async move {
            start::writer_passed(&parts).await;
        };
        ctx.spawn(opening.into_actor(self).map(|(), actor, ctx| {
            let opened = actor.cell.blocking(start::OPEN_MAX, || {
                TimerStore::open(&actor.parts.fs, &actor.parts.config)
            });
            let opened = match opened {
                Ok(opened) => opened,
                Err(error) => return actor.failed(&error.to_string(), ctx),
            };
            let parts = actor.parts.clone();
            let wanted = start::wanted_offset(&parts, &opened);
            let asking = async move { start::queue_start(&parts, wanted).await };
            ctx.spawn(asking.into_actor(actor).map(|queue, actor, ctx| {
                let Some(queue) = queue else {
                    return actor.failed("the timer's queue cannot be read", ctx);
                };
                let running = actor.cell.blocking(start::OPEN_MAX, || {
                    start::running(&actor.parts, opened, &queue)
                });
                match running {
                    Ok(running) => actor.opened(running, ctx),
                    Err(error) => actor.failed(&error.to_string(), ctx),
                }
            }));
        }));
    }

    fn opened(&mut self, running: Running, ctx: &mut Context<Self>) {
        let store = &running.store;
        log::info!(
            "{} opened: {} wait, read_time={} queue_offset={} log_end={}",
            self.cell.path(),
            store.pending(),
            running.read_time_ms,
            running.queue_offset,
            store.log().end()
        );
        self.parts
            .marks
            .set_wheel(store.wheel(), store.precision_ms());
        self.running = Some(running);
        self.commit();
        self.next(ctx);
    }

    /// Ends what was under way; there may be more.
    fn next(&mut self, ctx: &mut Context<Self>) {
        self.busy = false;
        if self.stopping.is_some() {
            return self.stop(ctx);
        }
        ctx.notify(Look);
    }

    /// The orderly end: all is synced, so that a Java broker finds everything.
    fn stop(&mut self, ctx: &mut Context<Self>) {
        if let Some(mut running) = self.running.take() {
            let synced = running.store.take_unsynced().sync();
            let saved = synced.and_then(|()| {
                let metrics = self.parts.marks.metrics();
                lock(&self.parts.file).save(&metrics).map(drop)
            });
            if let Err(error) = saved {
                log::warn!("{} cannot sync: {error}", self.cell.path());
            }
        }
        if let Some(waits) = self.stopping.take() {
            let _ = waits.send(());
        }
        ctx.stop();
    }

    /// Nothing is known any more of what was under way: after a rest the files are opened again.
    fn failed(&mut self, error: &str, ctx: &mut Context<Self>) {
        log::warn!("{} begins anew: {error}", self.cell.path());
        self.cell.set_last_error(error);
        self.running = None;
        self.busy = true;
        ctx.run_later(REST_AFTER_FAILURE, |actor, ctx| actor.next(ctx));
    }

    /// Whether the queue has messages that may be taken in.
    fn has_new(&self) -> bool {
        let Some(running) = &self.running else {
            return false;
        };
        let Some(slot) = self.parts.store.table.get(names::TIMER_TOPIC, 0) else {
            return false;
        };
        // After an absence of a week the slots are needed for what waits in them.
        let behind_ms = running.write_time_ms - running.read_time_ms;
        if self.parts.delivers && behind_ms > SLOTS_TOTAL * running.store.precision_ms() {
            return false;
        }
        running.queue_offset < self.limit(slot.readable_end())
    }

    /// A slave takes in what its master has taken in, and no more: that may have been delivered at once.
    fn limit(&self, queue_end: i64) -> i64 {
        if self.parts.delivers {
            return queue_end;
        }
        let master = self.parts.marks.master();
        queue_end.min(master.map_or(0, |master| master.master_timer_queue_offset))
    }

    fn read_queue(&mut self, ctx: &mut Context<Self>) {
        let Some(running) = &self.running else { return };
        let Some(slot) = self.parts.store.table.get(names::TIMER_TOPIC, 0) else {
            return;
        };
        self.busy = true;
        self.turn_of_due = true;
        let (from, limit) = (running.queue_offset, self.limit(slot.readable_end()));
        let count = usize::try_from(limit - from).unwrap_or(0).min(TAKE_IN_MAX);
        let shards = self.parts.store.shards.clone();
        let asked = async move {
            let found = shards.inspect(slot, move |view| {
                // What retention took from the front is gone.
                let from = from.max(view.range().0);
                view.entries(from, count).map(|entries| (from, entries))
            });
            match found.await {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        };
        ctx.spawn(asked.into_actor(self).map(|found, actor, ctx| match found {
            Ok((from, entries)) => actor.take_in(from, &entries, ctx),
            Err(error) => actor.failed(&error, ctx),
        }));
    }

    /// Puts messages into the wheel; those that are late already are delivered at once.
    fn take_in(&mut self, from: i64, entries: &[Entry], ctx: &mut Context<Self>) {
        let (parts, cell) = (self.parts.clone(), Arc::clone(&self.cell));
        let Some(running) = &mut self.running else {
            return;
        };
        running.queue_offset = from;
        let mut batch = Batch::default();
        let mut timed = Vec::new();
        cell.blocking(BATCH_READ_MAX, || {
            for entry in entries {
                if batch.is_full() {
                    break;
                }
                running.take_in(&parts, entry, &mut timed, &mut batch);
                batch.taken_in += 1;
            }
        });
        if batch.taken_in == 0 {
            return self.next(ctx);
        }
        parts.marks.taken_in.add(timed.len() as u64);
        if let Err(error) = running.store.take_in(running.write_time_ms, &timed) {
            return self.failed(&error.to_string(), ctx);
        }
        cell.fail_point("after_take_in");
        self.append(batch, ctx);
    }

    /// Whether a slot is due; moves over those without messages.
    fn find_due(&mut self) -> Result<bool, StoreError> {
        let Some(running) = &mut self.running else {
            return Ok(false);
        };
        if running.reading.is_some() {
            return Ok(true);
        }
        if running.read_time_ms >= running.write_time_ms {
            return Ok(false);
        }
        let found = running
            .store
            .next_slot(running.read_time_ms, running.write_time_ms)?;
        let Some(slot) = found else {
            running.read_time_ms = running.write_time_ms;
            self.commit();
            return Ok(false);
        };
        let mut walk = running.store.walk(&slot)?;
        let marks = walk.take_deletes();
        running.read_time_ms = running.store.time_of(&slot);
        running.reading = Some(Reading {
            slot,
            walk,
            piece: VecDeque::new(),
            recalls: Recalls::read(&self.parts.store, &marks),
            log_position: self.parts.store.watermarks.appended(),
        });
        Ok(true)
    }

    /// Appends the next messages of the slot that is due.
    fn deliver(&mut self, ctx: &mut Context<Self>) {
        let parts = self.parts.clone();
        let Some(running) = &mut self.running else {
            return;
        };
        self.busy = true;
        self.turn_of_due = false;
        let mut batch = Batch::default();
        let filled = self.cell.blocking(BATCH_READ_MAX, || {
            while !batch.is_full() {
                if !running.deliver_next(&parts, &mut batch)? {
                    break;
                }
            }
            Ok::<_, StoreError>(())
        });
        match filled {
            Ok(()) => self.append(batch, ctx),
            Err(error) => self.failed(&error.to_string(), ctx),
        }
    }

    /// Appends a batch and counts it when it is stored.
    fn append(&mut self, mut batch: Batch, ctx: &mut Context<Self>) {
        let requests = std::mem::take(&mut batch.requests);
        if requests.is_empty() {
            self.appended(batch);
            return self.next(ctx);
        }
        let parts = self.parts.clone();
        let bytes = batch.bytes;
        let appending = async move { append_all(&parts, requests, bytes).await };
        ctx.spawn(appending.into_actor(self).map(|stored, actor, ctx| {
            if let Err(error) = stored {
                return actor.failed(&error, ctx);
            }
            actor.cell.fail_point("after_append");
            actor.appended(batch);
            actor.next(ctx);
        }));
    }

    fn appended(&mut self, batch: Batch) {
        self.parts.marks.count(batch.counts);
        self.parts.marks.delivered.add(batch.delivered);
        if let Some(running) = &mut self.running {
            running.queue_offset += batch.taken_in;
        }
        self.commit();
    }

    /// Writes down how far the timer is.
    fn commit(&mut self) {
        let parts = &self.parts;
        let Some(running) = &mut self.running else {
            return;
        };
        running
            .leftovers
            .forget_behind(running.read_time_ms, running.queue_offset);
        let master_queue_offset = match parts.delivers {
            true => running.queue_offset,
            false => running.known_master.master_timer_queue_offset,
        };
        let end = parts.store.watermarks.appended();
        let reading = running.reading.as_ref();
        let log_position = reading.map_or(end, |reading| reading.log_position);
        let progress = Progress {
            read_time_ms: running.read_time_ms,
            queue_offset: running.queue_offset,
            master_queue_offset,
            log_position: parts.delivers.then_some(log_position),
        };
        if let Err(error) = running.store.commit(&progress, now_ms()) {
            // What is on disk tells of less than was done: the next commit, or the search at the next
            // start, makes up for it.
            log::warn!("{} cannot write timercheck: {error}", self.cell.path());
            self.cell.set_last_error(&error.to_string());
        }
        parts.marks.set_checkpoint(*running.store.checkpoint());
        parts
            .marks
            .publish(running.store.pending(), running.queue_offset);
    }

    /// A slave's slots are delivered when its master says so.
    fn follow_master(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(master) = self.parts.marks.master() else {
            return;
        };
        if master == running.known_master {
            return;
        }
        running.known_master = master;
        running.store.follow_version(&master);
        while let Ok(Some(slot)) = running
            .store
            .next_slot(running.read_time_ms, master.last_read_time_ms)
        {
            running.store.slot_done(&slot);
            running.read_time_ms = running.store.time_of(&slot) + running.store.precision_ms();
        }
        running.read_time_ms = master.last_read_time_ms;
        self.commit();
    }

    /// Syncs the files, on a thread that may wait, and writes timermetrics.
    fn sync(&mut self, ctx: &mut Context<Self>) {
        let Some(running) = self.running.as_mut().filter(|_| !self.syncing) else {
            return;
        };
        let unsynced = running.store.take_unsynced();
        if unsynced.is_log_clean() && self.last_sync.elapsed() < SYNC_AT_LEAST_EVERY {
            return;
        }
        self.syncing = true;
        self.last_sync = Instant::now();
        let (file, marks) = (Arc::clone(&self.parts.file), Arc::clone(&self.parts.marks));
        let syncing = tokio::task::spawn_blocking(move || {
            unsynced.sync()?;
            lock(&file).save(&marks.metrics()).map(drop)
        });
        ctx.spawn(syncing.into_actor(self).map(|synced, actor, _| {
            actor.syncing = false;
            if let Ok(Err(error)) = synced {
                log::warn!("{} cannot sync: {error}", actor.cell.path());
                actor.cell.set_last_error(&error.to_string());
            }
        }));
    }

    fn clean(&mut self) {
        let min_offset = self.parts.store.watermarks.log().min_offset();
        let Some(running) = &mut self.running else {
            return;
        };
        match running.store.delete_expired(min_offset) {
            Ok(0) => {}
            Ok(files) => log::info!("{} removed {files} files of the log", self.cell.path()),
            Err(error) => log::warn!("{} cannot remove a file: {error}", self.cell.path()),
        }
    }
}

impl Running {
    /// Looks at one message of the queue.
    fn take_in(
        &mut self,
        parts: &TimerParts,
        entry: &Entry,
        timed: &mut Vec<Timed>,
        batch: &mut Batch,
    ) {
        let queue_offset = self.queue_offset + batch.taken_in;
        if self.leftovers.taken.contains(&entry.physical_offset) {
            return;
        }
        let Some(record) = waiting(&parts.store, entry.physical_offset, entry.size) else {
            parts.marks.missed.fetch_add(1, Relaxed);
            return log::warn!("a timed message is unreadable: {entry:?}");
        };
        let Ok(view) = RecordView::parse(&record, CheckCrc::No) else {
            return;
        };
        let out_ms = properties::get_int(view.properties, properties::TIMER_OUT_MS);
        let (Some(out_ms), Some(topic)) = (out_ms, view.property(properties::REAL_TOPIC)) else {
            return log::warn!("a message in the timer's topic has no time or topic: {entry:?}");
        };
        let master = &self.known_master;
        if queue_offset < master.master_timer_queue_offset && out_ms < master.last_read_time_ms {
            return;
        }
        let is_delete = view.property(properties::TIMER_DEL_UNIQKEY).is_some();
        if out_ms >= self.write_time_ms || !parts.delivers {
            if parts.delivers {
                batch.count(topic.to_owned(), if is_delete { -1 } else { 1 });
            }
            return timed.push(Timed {
                out_ms,
                physical_offset: entry.physical_offset,
                size: entry.size,
                topic_hash: string_hash(topic),
                is_delete,
            });
        }
        if is_delete {
            // Its message went out while the mark was on its way.
            return;
        }
        if let Due::Append { request, print, .. } =
            due(&parts.store, &view, NEVER_TAKEN_IN, false, now_ms())
        {
            if self.leftovers.delivered.take(print) {
                parts.marks.skipped.fetch_add(1, Relaxed);
            } else {
                batch.append(request);
            }
        }
    }

    /// Adds the next message of the slot to a batch; `false` when the slot has no more, and is done.
    fn deliver_next(&mut self, parts: &TimerParts, batch: &mut Batch) -> Result<bool, StoreError> {
        let Some(reading) = &mut self.reading else {
            return Ok(false);
        };
        let unit = loop {
            if let Some(unit) = reading.piece.pop_front() {
                break unit;
            }
            match reading.walk.next_piece(self.store.log())? {
                Some(piece) => reading.piece = piece.into(),
                None => {
                    // What was added before is appended before the slot counts as done.
                    if batch.requests.is_empty() {
                        self.slot_done(batch);
                    }
                    return Ok(false);
                }
            }
        };
        let Some(record) = waiting(&parts.store, unit.physical_offset, unit.size) else {
            parts.marks.missed.fetch_add(1, Relaxed);
            log::warn!("a timed message is gone: {unit:?}");
            return Ok(true);
        };
        let Ok(view) = RecordView::parse(&record, CheckCrc::No) else {
            return Ok(true);
        };
        if !unit.rolls() && reading.recalls.covers(&view) {
            return Ok(true);
        }
        let now = now_ms();
        match due(&parts.store, &view, unit.write_time_ms, unit.rolls(), now) {
            Due::Append {
                request,
                print,
                topic,
            } => {
                // The mark of a recall that rolls is counted as it was when it was taken in.
                batch.count(topic, if unit.is_delete() { 1 } else { -1 });
                if self.leftovers.delivered.take(print) {
                    parts.marks.skipped.fetch_add(1, Relaxed);
                } else {
                    batch.append(request);
                }
            }
            Due::Deleted { topic } => batch.count(topic, -1),
            Due::Unusable => log::warn!("a timed message cannot be delivered: {unit:?}"),
        }
        Ok(true)
    }

    fn slot_done(&mut self, batch: &mut Batch) {
        let Some(reading) = self.reading.take() else {
            return;
        };
        for topic in reading.recalls.unmet() {
            batch.count(topic, 1);
        }
        self.store.slot_done(&reading.slot);
        self.read_time_ms = self.store.time_of(&reading.slot) + self.store.precision_ms();
    }
}

/// Appends requests; whether each of them is stored, or never will be.
async fn append_all(
    parts: &TimerParts,
    requests: Vec<AppendRequest>,
    bytes: usize,
) -> Result<(), String> {
    let permit = parts
        .permits
        .try_acquire(PermitClass::Internal, requests.len(), bytes);
    if permit.is_none() {
        return Err("the broker's own budget is spent".to_owned());
    }
    let (answer, answered) = oneshot::channel();
    parts.store.writer.tell(AppendBatch {
        requests,
        wait_store_ok: true,
        permit,
        reply: Box::new(AllStored(answer)),
    });
    let unknown = || Err("the outcome of an append is unknown".to_owned());
    answered.await.unwrap_or_else(|_| unknown())
}

/// Tells whether all of a batch was stored.
#[derive(Debug)]
struct AllStored(oneshot::Sender<Result<(), String>>);

impl AppendReply for AllStored {
    fn answer(self: Box<Self>, outcome: &Appended) {
        // What can never be stored is given up, as by RocketMQ (`PUT_NO_RETRY`).
        let is_done = |request: &AppendRequest| {
            request.status.is_stored()
                || matches!(
                    request.status,
                    PutStatus::TopicDeleted | PutStatus::MessageIllegal
                )
        };
        let stored = match outcome.requests.iter().all(is_done) {
            true => Ok(()),
            false => Err(outcome.error.clone().unwrap_or_default()),
        };
        let _ = self.0.send(stored);
    }
}

/// Looks at queue and clock.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
struct Look;

impl Actor for TimerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_EVERY, |actor, ctx| actor.look(ctx));
        ctx.run_interval(CLEAN_EVERY, |actor, _| actor.clean());
        schedule_sync(self, ctx);
        let marks = Arc::clone(&self.parts.marks);
        self.cell.set_detail(move || marks.detail());
        self.look(ctx);
    }
}

/// The next sync, in the interval that is configured then.
fn schedule_sync(actor: &mut TimerActor, ctx: &mut Context<TimerActor>) {
    let after = actor.parts.policy.load_full().sync_every;
    ctx.run_later(after, |actor, ctx| {
        actor.sync(ctx);
        schedule_sync(actor, ctx);
    });
}

impl Supervised for TimerActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

impl Handler<Look> for TimerActor {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}

impl Handler<Shutdown> for TimerActor {
    type Result = ResponseFuture<()>;

    /// What is under way ends first: what was appended shall be counted.
    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) -> Self::Result {
        self.cell.begin_work();
        let (answer, ended) = oneshot::channel();
        self.stopping = Some(answer);
        if !self.busy || self.running.is_none() {
            self.stop(ctx);
        }
        Box::pin(async move {
            let _ = ended.await;
        })
    }
}

crate::crashable!(TimerActor);
