//! One queue of the revive topic: brings popped messages that nobody acknowledged in time to their
//! group's retry topic (`PopReviveService`).
//!
//! Owns the ledger of its queue and the committed offset of the group CID_RMQ_SYS_REVIVE_GROUP in it.
//! Nobody sends to it. A restart reads the queue again from the committed offset: messages that came
//! back since it was last committed come back once more, and none is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Supervised, WrapFuture,
};
use bytes::BytesMut;

use super::{append::append_all, pop::PopParts};
use crate::{
    actors::{
        broker::{inner::InnerMessage, refusal::Refusal},
        kernel::{ActorCell, ActorRef, Shutdown, Tree, lock, spawn},
        store::append::{AppendRequest, PutStatus},
    },
    protocol::message::{
        multi_dispatch, names, properties,
        record::{self, CheckCrc, RecordView},
    },
    store::{
        get_message::{EntryFilter, GetRequest, GetStatus, PULL_BYTES_MAX},
        now_ms,
        revive_ledger::{Ledger, Point, ReviveRecord},
    },
};

/// The group whose offsets say how far the revive queues are settled (`PopAckConstants`).
pub const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";

/// Records that are read at a time.
const READ_BATCH: usize = 32;

/// Reads of one round.
const READS_MAX: usize = 256;

/// Messages that one append brings back, roughly: a check point is never cut.
const BRING_BATCH: usize = 64;

/// Appends of one round.
const BRINGS_MAX: usize = 256;

/// Queues of a pop retry topic (`PopAckConstants.retryQueueNum`).
const RETRY_QUEUES: i32 = 1;

/// What an actor is made of.
#[derive(Clone)]
pub struct ReviveParts {
    /// What pops share.
    pub pops: Arc<PopParts>,
    /// The queue of the revive topic.
    pub queue_id: i32,
    /// How often the queue is looked at (`reviveInterval`).
    pub every: Duration,
    /// Whether messages are brought back: a slave leaves that to its master.
    pub delivers: bool,
}

/// Published for the tree.
#[derive(Debug, Default)]
struct Gauge {
    next: AtomicI64,
    committed: AtomicI64,
    waiting: AtomicI64,
    revived: AtomicU64,
}

/// The actor; see the module.
pub struct Revive {
    cell: Arc<ActorCell>,
    parts: ReviveParts,
    gauge: Arc<Gauge>,
    /// None while a round is under way.
    ledger: Option<Ledger>,
}

/// Starts one actor for each revive queue, at `broker/delivery/revive/<n>`.
pub fn start(
    tree: &Tree,
    arbiter: &actix::ArbiterHandle,
    pops: &Arc<PopParts>,
    every: Duration,
    delivers: bool,
) -> Vec<ActorRef<Revive>> {
    let queues = 0..pops.revive_queues;
    let actors = queues.map(|queue_id| {
        let parts = ReviveParts {
            pops: Arc::clone(pops),
            queue_id,
            every,
            delivers,
        };
        let (parent, name) = ("broker/delivery/revive", queue_id.to_string());
        let policy = tree.restart_policy();
        spawn(
            tree,
            parent,
            &name,
            "revive",
            arbiter,
            policy,
            move |cell| Revive::recover(cell, parts),
        )
    });
    actors.collect()
}

impl Revive {
    /// State for a first start and for every restart: what the committed offset says.
    pub fn recover(cell: Arc<ActorCell>, parts: ReviveParts) -> Self {
        let log = &parts.pops.log;
        let committed = parts
            .pops
            .offsets
            .query(REVIVE_GROUP, &log.topic, parts.queue_id);
        let committed = committed.unwrap_or(-1);
        let gauge = Arc::new(Gauge::default());
        gauge.committed.store(committed, Relaxed);
        let shown = Arc::clone(&gauge);
        cell.set_detail(move || {
            serde_json::json!({
                "next_offset": shown.next.load(Relaxed),
                "committed_offset": shown.committed.load(Relaxed),
                "check_points": shown.waiting.load(Relaxed),
                "messages_revived": shown.revived.load(Relaxed),
            })
        });
        let ledger = Ledger::new(&parts.pops.broker_name, committed + 1);
        Self {
            cell,
            parts,
            gauge,
            ledger: Some(ledger),
        }
    }

    /// Reads what is new and brings back what is due, unless that is under way.
    fn look(&mut self, ctx: &mut Context<Self>) {
        let Some(mut ledger) = self.ledger.take() else {
            return;
        };
        self.cell.fail_point("before_round");
        let (parts, gauge) = (self.parts.clone(), Arc::clone(&self.gauge));
        let round = async move {
            let read_all = read(&parts, &mut ledger).await;
            if read_all {
                ledger.drained(now_ms(), parts.pops.log.is_on_time());
            }
            bring_back(&parts, &mut ledger, &gauge).await;
            ledger
        };
        ctx.spawn(round.into_actor(self).map(|ledger, actor, _| {
            actor.gauge.next.store(ledger.next_offset(), Relaxed);
            actor.gauge.waiting.store(ledger.len() as i64, Relaxed);
            actor.ledger = Some(ledger);
        }));
    }
}

/// Reads records into the ledger; true at the end of the queue.
async fn read(parts: &ReviveParts, ledger: &mut Ledger) -> bool {
    let log = &parts.pops.log;
    let Some(slot) = log.store.table.get(&log.topic, parts.queue_id) else {
        return true;
    };
    for _ in 0..READS_MAX {
        if ledger.is_full() || ledger.next_offset() >= slot.readable_end() {
            return !ledger.is_full();
        }
        let request = GetRequest {
            offset: ledger.next_offset(),
            max_messages: READ_BATCH,
            max_bytes: PULL_BYTES_MAX,
            filter: EntryFilter::All,
        };
        let found = log.store.shards.read(Arc::clone(&slot), request).await;
        let Ok(found) = found else { return false };
        match found.status {
            GetStatus::Found => {}
            GetStatus::OffsetOverflowOne | GetStatus::NoMessageInQueue => return true,
            GetStatus::OffsetFoundNull => return false,
            _ => {
                log::warn!(
                    "revive passes over records that are gone queue={} from={} to={}",
                    parts.queue_id,
                    ledger.next_offset(),
                    found.next_begin_offset
                );
                ledger.skip_to(found.next_begin_offset);
                continue;
            }
        }
        let now = now_ms();
        for part in &found.parts {
            take_records(ledger, part, now);
        }
        ledger.skip_to(found.next_begin_offset);
    }
    false
}

fn take_records(ledger: &mut Ledger, slice: &[u8], now: i64) {
    for record in record::slices(slice) {
        let Ok(view) = RecordView::parse(record, CheckCrc::No) else {
            continue;
        };
        let due = properties::get_int(view.properties, properties::TIMER_DELIVER_MS);
        let record = ReviveRecord {
            offset: view.queue_offset,
            tags: view.property(properties::TAGS).unwrap_or_default(),
            body: view.body,
            due: due.unwrap_or(0),
        };
        ledger.take(&record, now);
    }
}

/// Settles what is due, and commits how far the queue is settled.
async fn bring_back(parts: &ReviveParts, ledger: &mut Ledger, gauge: &Gauge) {
    for _ in 0..BRINGS_MAX {
        let mut requests = Vec::new();
        let mut settled = Vec::new();
        for point in ledger.due() {
            if requests.len() >= BRING_BATCH {
                break;
            }
            match retries_of(parts, point).await {
                Some(retries) => {
                    settled.push(retries.len());
                    requests.extend(retries);
                }
                None => break,
            }
        }
        if settled.is_empty() {
            break;
        }
        let count = requests.len() as u64;
        let log = &parts.pops.log;
        let gone = &[PutStatus::TopicDeleted];
        if let Err(refusal) = append_all(&log.store, &log.permits, requests, gone).await {
            // Some may be stored: they come back twice rather than never.
            log::warn!("revive cannot bring messages back: {refusal}");
            break;
        }
        for (point, &messages) in ledger.due().zip(&settled) {
            let (queue, pop_time) = (point.body.queue_id, point.body.pop_time);
            let in_flight = &parts.pops.in_flight;
            in_flight.settled(&point.topic, &point.group, queue, pop_time, messages);
        }
        ledger.settle(settled.len());
        gauge.revived.fetch_add(count, Relaxed);
        commit(parts, ledger, gauge);
    }
    commit(parts, ledger, gauge);
}

fn commit(parts: &ReviveParts, ledger: &Ledger, gauge: &Gauge) {
    let upto = ledger.committable();
    if upto > gauge.committed.load(Relaxed) {
        let offsets = &parts.pops.offsets;
        offsets.commit(REVIVE_GROUP, &parts.pops.log.topic, parts.queue_id, upto);
        gauge.committed.store(upto, Relaxed);
    }
}

/// The messages of a check point that come back, as appends to the retry topic. None when that
/// cannot be told or done now; no messages when their topic or group is gone.
async fn retries_of(parts: &ReviveParts, point: &Point) -> Option<Vec<AppendRequest>> {
    let pops = &parts.pops;
    let Some(normal) = names::normal_topic(&point.topic, &point.group) else {
        return Some(Vec::new());
    };
    if !pops.topics.contains(normal) || pops.groups.find(&point.group).await.is_none() {
        log::info!("revive drops a pop topic={normal} group={}", point.group);
        return Some(Vec::new());
    }
    let mut retries = Vec::new();
    for offset in point.open() {
        let slot = pops.log.store.table.get(&point.topic, point.body.queue_id);
        let Some(slot) = slot else { break };
        let request = GetRequest {
            offset,
            max_messages: 1,
            max_bytes: PULL_BYTES_MAX,
            filter: EntryFilter::All,
        };
        let found = pops.log.store.shards.read(slot, request).await.ok()?;
        if found.status == GetStatus::OffsetFoundNull {
            return None;
        }
        let record = found.parts.first().map(|part| &part[..]);
        let view = record.and_then(|record| RecordView::parse(record, CheckCrc::No).ok());
        // One that the log no longer holds has been kept for as long as was wanted.
        let is_it = |view: &RecordView<'_>| multi_dispatch::offset_in(&point.topic, view) == offset;
        let Some(view) = view.filter(is_it) else {
            continue;
        };
        if is_of_a_later_topic(parts, point, &view) {
            continue;
        }
        let topic = retry_topic(parts, point).await?;
        match retry(parts, point, &view, &topic) {
            Ok(request) => retries.push(request),
            Err(refusal) => log::error!("revive drops a message that cannot be stored: {refusal}"),
        }
    }
    Some(retries)
}

/// Whether a topic was deleted and made again since the pop, so that another message lies there.
fn is_of_a_later_topic(parts: &ReviveParts, point: &Point, view: &RecordView<'_>) -> bool {
    let was_deleted = || {
        let deleted = lock(&parts.pops.log.store.deleted);
        deleted.position(&point.topic).is_some()
    };
    view.store_timestamp > point.body.pop_time && was_deleted()
}

/// The topic that the messages of a check point come back in, made now if there is none.
async fn retry_topic(parts: &ReviveParts, point: &Point) -> Option<String> {
    let pops = &parts.pops;
    let topic = if names::is_retry_topic(&point.topic) {
        point.topic.clone()
    } else {
        pops.policy.load().retry_topic(&point.topic, &point.group)
    };
    if pops.topics.contains(&topic) {
        return Some(topic);
    }
    if let Err(error) = pops
        .topics
        .create_retry(&topic, RETRY_QUEUES, false, 0)
        .await
    {
        log::warn!("revive cannot make topic={topic}: {error}");
        return None;
    }
    if pops.offsets.query(&point.group, &topic, 0).is_none() {
        pops.offsets.commit(&point.group, &topic, 0, 0);
    }
    Some(topic)
}

/// A message as it comes back: one time older, and knowing when it was first popped (`reviveRetry`).
fn retry(
    parts: &ReviveParts,
    point: &Point,
    view: &RecordView<'_>,
    topic: &str,
) -> Result<AppendRequest, Refusal> {
    let store = &parts.pops.log.store;
    let mut edited = properties::Editor::new(view.properties);
    let is_first = edited.get(properties::FIRST_POP_TIME).is_none() || view.reconsume_times == 0;
    if is_first {
        edited.set(properties::FIRST_POP_TIME, point.body.pop_time.to_string());
    }
    edited.set(properties::ORIGIN_GROUP, &*point.group);
    let text = edited.to_vec();
    let message = InnerMessage {
        born_host: store.store_host,
        reconsume_times: view.reconsume_times.saturating_add(1),
        ..InnerMessage::of_record(view, topic, 0, &text)
    };
    let mut buf = BytesMut::with_capacity(view.size + 256);
    message.into_request(store, 0, &mut buf)
}

impl Actor for Revive {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if self.parts.delivers {
            ctx.run_interval(self.parts.every, |actor, ctx| actor.look(ctx));
        }
    }
}

impl Supervised for Revive {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

impl Handler<Shutdown> for Revive {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}

crate::crashable!(Revive);
