//! Hands visible records to the queues and to the index, in the order of the log.
//!
//! Owns the hand-over position. The commit log writer sends it what it published, the flush actor
//! (and later the replicators) tell it that the visible end moved. A restart loses the message that
//! was being handled; the next one does not start where the position stands, and then that part of
//! the log is read again. Receivers drop what they have already.

use std::{collections::VecDeque, sync::Arc};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};
use tokio::sync::oneshot;

use super::{
    checkpoint::HandOverMarks,
    index::{IndexActor, IndexedRecord, PutKeys},
    queue::AllGone,
    queues::QueueShards,
    rescan::Rescan,
    shard::{self, HandOver},
    watermarks::Watermarks,
};
use crate::{
    actors::kernel::{ActorCell, ActorRef, Shutdown},
    store::{
        dispatch::DispatchRecord,
        queue_table::{QueueSlot, QueueTable},
        tails::Anchor,
    },
};

/// Bytes of log that one turn reads again after a gap, before others get their turn.
const CATCH_UP_BYTES: i64 = 8 * 1024 * 1024;

/// A record with its queue.
#[derive(Debug, Clone)]
pub struct Dispatched {
    /// The queue that it belongs to.
    pub slot: Arc<QueueSlot>,
    /// What queue and index need of it.
    pub record: DispatchRecord,
}

/// Records that the writer has just published, in log order.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Dispatch {
    /// The log's end before these records (blank fillers lie inside the range).
    pub start: i64,
    /// Behind the last record.
    pub end: i64,
    /// The records that enter a queue or the index.
    pub records: Vec<Dispatched>,
}

/// A topic was deleted: what was written of it before is handed over first, then its queues go.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct TopicRemoved {
    /// Its queues.
    pub slots: Vec<Arc<QueueSlot>>,
    /// Told the log's end as of the deletion, once the queues are gone.
    pub done: oneshot::Sender<i64>,
}

/// The visible end moved, or somebody may have missed a hand-over: look again.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct VisibleMoved;

/// The writer opened the log again: it may hold whole records that nobody was told of.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct LogReopened;

/// Where hand-overs go.
#[derive(Clone)]
pub struct DispatcherParts {
    /// Log and visible end; the hand-over position is published here.
    pub watermarks: Watermarks,
    /// All queues.
    pub table: Arc<QueueTable>,
    /// The queue actors' shards.
    pub shards: QueueShards,
    /// The index, unless `messageIndexEnable=false`.
    pub index: Option<ActorRef<IndexActor>>,
    /// Published: where hand-overs ended.
    pub marks: HandOverMarks,
    /// Reads records again after a gap.
    pub rescan: Rescan,
}

/// The actor; see the module.
pub struct Dispatcher {
    cell: Arc<ActorCell>,
    parts: DispatcherParts,
    waiting: VecDeque<Dispatch>,
    /// The log goes on behind the position, without hand-overs that wait: it is read again up to
    /// here, as far as it is visible.
    read_again_upto: i64,
    /// How far each shard was told that the log is handed over.
    told: Vec<i64>,
}

impl Dispatcher {
    /// State for a first start and for every restart: nothing but the published position.
    pub fn recover(cell: Arc<ActorCell>, parts: DispatcherParts) -> Self {
        let told = vec![-1; parts.shards.len()];
        let read_again_upto = parts.watermarks.whole();
        Self {
            cell,
            parts,
            waiting: VecDeque::new(),
            read_again_upto,
            told,
        }
    }

    fn position(&self) -> i64 {
        self.parts.watermarks.dispatched()
    }

    /// Hands over all that is visible; asks for another turn where the log has to be read again.
    fn advance(&mut self, ctx: &mut Context<Self>) {
        let visible = self.parts.watermarks.visible();
        while let Some(next) = self.waiting.front() {
            let position = self.position();
            if next.end <= position {
                self.waiting.pop_front();
                continue;
            }
            // On a slave that was empty the log begins somewhere: nothing is missing before it.
            let log_min = self.parts.watermarks.log().min_offset();
            if next.start > position.max(log_min) {
                // A hand-over was lost: the log has it, as far as it is visible yet. Short of the
                // next batch there is nothing more to do until the visible end moves.
                let start = next.start;
                self.read_again(start.min(visible), ctx);
                if self.position() < start {
                    return;
                }
                continue;
            }
            if next.end > visible {
                break;
            }
            let Some(next) = self.waiting.pop_front() else {
                break;
            };
            self.hand_over(next.records, next.end);
        }
        if self.waiting.is_empty() && self.position() < self.read_again_upto {
            self.read_again(visible, ctx);
        }
    }

    /// Reads records again from the position on, in turns of [`CATCH_UP_BYTES`].
    fn read_again(&mut self, until: i64, ctx: &mut Context<Self>) {
        let position = self
            .position()
            .max(self.parts.watermarks.log().min_offset());
        if position >= until {
            return;
        }
        let end = until.min(position + CATCH_UP_BYTES);
        let (records, reached) = self.parts.rescan.records(&self.parts.table, position, end);
        log::info!(
            "{} reads the log again: from={position} to={reached} records={}",
            self.cell.path(),
            records.len()
        );
        if reached <= position {
            return;
        }
        self.hand_over(records, reached);
        if reached < until {
            ctx.notify(VisibleMoved);
        }
    }

    fn hand_over(&mut self, mut records: Vec<Dispatched>, end: i64) {
        let start = self.position();
        let last = records.last().map(|last| Anchor {
            log_end: end,
            last_record: Some(last.record.physical_offset),
            last_store_timestamp: last.record.store_timestamp,
        });
        let mut keys = Vec::new();
        if self.parts.index.is_some() {
            let with_keys = |item: &&mut Dispatched| !item.record.index_keys.is_empty();
            keys.extend(
                records
                    .iter_mut()
                    .filter(with_keys)
                    .map(IndexedRecord::taken_from),
            );
        }
        records.retain(|item| item.record.in_queue());
        let shards = &self.parts.shards;
        let by_shard = spread(records, shards.len(), |item| shards.shard_of(&item.slot));
        if let Some(index) = &self.parts.index {
            index.tell(PutKeys {
                records: keys,
                start,
                end,
            });
        }
        self.cell.fail_point("mid_fan_out");
        for (shard, items) in by_shard.into_iter().enumerate() {
            if !items.is_empty() {
                shards.hand_over(
                    shard,
                    HandOver {
                        items,
                        log_end: end,
                    },
                );
                self.told[shard] = end;
            }
        }
        self.parts.watermarks.set_dispatched(end);
        if let Some(last) = last {
            self.parts.marks.push(last);
        }
    }

    /// Shards without records of late learn how far the log is handed over.
    fn tick(&mut self) {
        let log_end = self.position();
        for (shard, told) in self.told.iter_mut().enumerate() {
            if *told < log_end {
                *told = log_end;
                self.parts.shards.hand_over(
                    shard,
                    HandOver {
                        items: Vec::new(),
                        log_end,
                    },
                );
            }
        }
    }
}

/// Spreads items over `count` lists; with a single one they stay where they are.
fn spread<T>(items: Vec<T>, count: usize, place_of: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    if count <= 1 {
        return vec![items];
    }
    let mut places: Vec<Vec<T>> = Vec::new();
    places.resize_with(count, Vec::new);
    for item in items {
        if let Some(place) = places.get_mut(place_of(&item)) {
            place.push(item);
        }
    }
    places
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.notify(VisibleMoved);
        ctx.run_interval(shard::TICK, |dispatcher, _| dispatcher.tick());
    }
}

impl Supervised for Dispatcher {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

impl Handler<Dispatch> for Dispatcher {
    type Result = ();

    fn handle(&mut self, batch: Dispatch, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.waiting.push_back(batch);
        self.advance(ctx);
    }
}

impl Handler<TopicRemoved> for Dispatcher {
    type Result = ();

    fn handle(&mut self, removed: TopicRemoved, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.advance(ctx);
        // Records of removed slots that still wait to become visible are dropped by the shards.
        let gone = AllGone::new(removed.done, self.parts.watermarks.appended());
        self.parts.shards.drop_queues(removed.slots, &gone);
    }
}

impl Handler<VisibleMoved> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: VisibleMoved, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.advance(ctx);
    }
}

impl Handler<LogReopened> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: LogReopened, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.read_again_upto = self.parts.watermarks.whole();
        self.advance(ctx);
    }
}

impl Handler<Shutdown> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.advance(ctx);
        self.tick();
        ctx.stop();
    }
}

crate::crashable!(Dispatcher);
