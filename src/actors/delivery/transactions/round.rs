//! A round: reads all marks, then looks at the open half messages in order.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{
    BATCH_BYTES_MAX, QUEUE_ID, Stored, TransactionsActor, acquire, append,
    half::{self, Question, Rules, Verdict},
    positive_ms,
};
use crate::{
    actors::{
        broker::tables::topics::Topics,
        kernel::lock,
        store::{append::AppendRequest, queues::QueueShards},
    },
    protocol::{
        body::topic_config::TopicConfig,
        message::{
            names, perm, properties,
            record::{CheckCrc, RecordView},
            transaction,
        },
    },
    store::{consume_queue::Entry, now_ms, queue_table::QueueSlot},
};

/// Entries of a queue that are looked at in one turn.
const LOOK_MAX: usize = 64;

/// How long a round may take (`MAX_PROCESS_TIME_LIMIT`); the next one goes on.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// A round that is under way.
pub(super) struct Round {
    /// When it began, ms: what is stored since then is for the next one.
    began_ms: i64,
    ends_at: Instant,
    rules: Rules,
    /// Questions that no producer was there for.
    unasked: u64,
}

/// The half messages of one turn that have to be stored again.
#[derive(Default)]
struct Moves {
    requests: Vec<AppendRequest>,
    items: Vec<Move>,
    mark: Vec<u8>,
    bytes: usize,
    /// Whether the walk ends here.
    last: bool,
    gives_up: bool,
}

struct Move {
    half: i64,
    to: Destination,
}

enum Destination {
    /// The end of the queue; the producer is asked.
    Asked(Option<Question>),
    /// The end of the queue; the producer knows the half message by this offset.
    Waits(i64),
    /// TRANS_CHECK_MAX_TIME_TOPIC; its own topic is this.
    GivenUp(String),
}

impl TransactionsActor {
    pub(super) fn round_later(&self, ctx: &mut Context<Self>) {
        let every = self
            .parts
            .config
            .load()
            .broker
            .transaction_check_interval_ms;
        ctx.run_later(positive_ms(every), |actor, ctx| {
            if actor.round.is_none() {
                actor.round = Some(Round {
                    began_ms: now_ms(),
                    ends_at: Instant::now() + ROUND_MAX,
                    rules: Rules::of(&actor.parts.config.load()),
                    unasked: 0,
                });
                actor.read_marks(ctx);
            }
            actor.round_later(ctx);
        });
    }

    fn end_round(&mut self) {
        let Some(round) = self.round.take() else {
            return;
        };
        if round.unasked > 0 {
            log::warn!(
                "{} no producer is there to be asked questions={}",
                self.cell.path(),
                round.unasked
            );
        }
        self.commit_offsets();
    }

    /// Reads all marks there are, then begins to walk.
    fn read_marks(&mut self, ctx: &mut Context<Self>) {
        let topic = names::TRANS_OP_HALF_TOPIC;
        let slot = self.parts.store.table.get(topic, QUEUE_ID);
        let slot = slot.filter(|slot| slot.readable_end() > self.ledger.next_op());
        let Some(slot) = slot.filter(|_| !self.ledger.is_full()) else {
            return self.walk(ctx);
        };
        let from = self.ledger.next_op();
        let shards = self.parts.store.shards.clone();
        let look = async move { look_at(&shards, slot, from).await };
        ctx.spawn(look.into_actor(self).map(|found, actor, ctx| {
            let Some((min, max, entries)) = found else {
                return actor.end_round();
            };
            actor.ledger.clamp_op(min, max);
            for (offset, entry) in (actor.ledger.next_op()..).zip(&entries) {
                actor.read_mark(offset, entry);
            }
            if entries.is_empty() {
                actor.walk(ctx);
            } else {
                actor.read_marks(ctx);
            }
        }));
    }

    fn read_mark(&mut self, offset: i64, entry: &Entry) {
        let record = record_of(self, entry);
        let view = record
            .as_deref()
            .and_then(|record| RecordView::parse(record, CheckCrc::No).ok());
        let marked =
            view.filter(|view| view.property(properties::TAGS) == Some(transaction::OP_TAG));
        if marked.is_none() {
            log::warn!("{} a mark is unreadable {entry:?}", self.cell.path());
        }
        let body = marked.map_or(&[][..], |view| view.body);
        self.ledger
            .read_mark(offset, transaction::marked_offsets(body));
    }

    /// Looks at the next half messages, and goes on while there are any that are old enough.
    fn walk(&mut self, ctx: &mut Context<Self>) {
        let from = self.ledger.half();
        let slot = self
            .parts
            .store
            .table
            .get(names::TRANS_HALF_TOPIC, QUEUE_ID);
        let slot = slot.filter(|slot| slot.readable_end() > from);
        let time_left = self
            .round
            .as_ref()
            .is_some_and(|round| Instant::now() < round.ends_at);
        let Some(slot) = slot.filter(|_| time_left) else {
            return self.end_round();
        };
        let shards = self.parts.store.shards.clone();
        let look = async move { look_at(&shards, slot, from).await };
        ctx.spawn(look.into_actor(self).map(move |found, actor, ctx| {
            let Some((min, max, entries)) = found else {
                return actor.end_round();
            };
            actor.ledger.clamp_half(min, max);
            let moves = actor.look_at_halves(&entries, min.max(from));
            actor.make_moves(moves, ctx);
        }));
    }

    /// Decides about each half message of a turn: what needs nothing is passed at once.
    fn look_at_halves(&mut self, entries: &[Entry], from: i64) -> Moves {
        let mut moves = Moves {
            last: entries.is_empty(),
            ..Moves::default()
        };
        for (half, entry) in (from..).zip(entries) {
            if self.ledger.is_settled(half) {
                continue;
            }
            if self.busy.contains(&half) || moves.bytes >= BATCH_BYTES_MAX {
                // Its end is being stored: then the round is over; the next one knows.
                moves.last |= self.busy.contains(&half);
                break;
            }
            let record = record_of(self, entry);
            let view = record
                .as_deref()
                .and_then(|record| RecordView::parse(record, CheckCrc::No).ok());
            let Some(view) = view else {
                log::warn!(
                    "{} a half message is unreadable {entry:?}",
                    self.cell.path()
                );
                self.ledger.pass(half);
                continue;
            };
            if !self.look_at_half(half, &view, &mut moves) {
                moves.last = true;
                break;
            }
        }
        moves
    }

    /// Decides about one half message; false when the walk ends here.
    fn look_at_half(&mut self, half: i64, view: &RecordView<'_>, moves: &mut Moves) -> bool {
        let store = &self.parts.store;
        let Some(topic) = view.property(properties::REAL_TOPIC) else {
            log::warn!(
                "{} a half message has no topic offset={half}",
                self.cell.path()
            );
            self.ledger.pass(half);
            return true;
        };
        if lock(&store.deleted).covers(topic, view.physical_offset) {
            // A new topic of that name is not where it was sent to.
            self.ledger.pass(half);
            return true;
        }
        let Some((rules, began_ms)) = self.round.as_ref().map(|r| (r.rules, r.began_ms)) else {
            return false;
        };
        let stored = match half::judge(view, &rules, began_ms, now_ms()) {
            Verdict::Later => return false,
            Verdict::GiveUp => {
                let to = Destination::GivenUp(topic.to_owned());
                moves.gives_up = true;
                half::given_up(view, store).map(|request| (request, to))
            }
            Verdict::Wait { first } => {
                let name = properties::TRANSACTION_PREPARED_QUEUE_OFFSET;
                let text = transaction::moved_properties(view.properties, name, first);
                let to = Destination::Waits(first);
                half::copy_of(view, &text, store).map(|request| (request, to))
            }
            Verdict::Check { times } => {
                let name = properties::TRANSACTION_CHECK_TIMES;
                let text = transaction::moved_properties(view.properties, name, times);
                let question = Question::about(view, &text, topic, store.store_host);
                let to = Destination::Asked(question);
                half::copy_of(view, &text, store).map(|request| (request, to))
            }
        };
        match stored {
            Ok((request, to)) => {
                moves.bytes += request.bytes.len();
                moves.requests.push(request);
                transaction::mark_offset(&mut moves.mark, half);
                moves.items.push(Move { half, to });
            }
            Err(refusal) => {
                // It was stored once, so the limits have changed since.
                log::error!(
                    "{} a half message cannot be moved offset={half}: {}",
                    self.cell.path(),
                    refusal.remark
                );
                return false;
            }
        }
        true
    }

    /// Stores the copies and their mark with one write, then asks the producers and goes on.
    fn make_moves(&mut self, mut moves: Moves, ctx: &mut Context<Self>) {
        if moves.items.is_empty() {
            return if moves.last {
                self.end_round()
            } else {
                self.walk(ctx)
            };
        }
        let Ok(mark) = half::mark(&moves.mark, &self.parts.store) else {
            return self.end_round();
        };
        let mut requests = std::mem::take(&mut moves.requests);
        requests.push(mark);
        let halves: Vec<i64> = moves.items.iter().map(|item| item.half).collect();
        self.busy.extend(&halves);
        let (parts, gives_up) = (self.parts.clone(), moves.gives_up);
        let stored = async move {
            if gives_up {
                make_given_up_topic(&parts.topics).await;
            }
            // The copies have to be as safe as what they stand for: the answer waits for the disk.
            let permit = acquire(&parts, requests.len())?;
            append(&parts, requests, true, permit).await.ok()
        };
        ctx.spawn(stored.into_actor(self).map(move |stored, actor, ctx| {
            let went_well = stored.is_some_and(|stored| actor.moved(moves.items, &stored));
            if went_well && !moves.last {
                actor.walk(ctx);
            } else {
                actor.end_round();
            }
            actor.free(halves, ctx);
        }));
    }

    /// Copies were stored, or not; whether all of them were.
    fn moved(&mut self, items: Vec<Move>, stored: &Stored) -> bool {
        self.cell.fail_point("after_move");
        let mut went_well = stored.statuses.last().is_some_and(|mark| mark.is_stored());
        let outcomes = stored.statuses.iter().zip(&stored.places);
        for (item, (status, &(queue_offset, physical_offset))) in items.into_iter().zip(outcomes) {
            if !status.is_stored() {
                went_well = false;
                continue;
            }
            match item.to {
                Destination::GivenUp(topic) => {
                    self.ledger.moved(item.half, None);
                    self.parts.counts.add(&topic, -1);
                    self.parts.counts.given_up.fetch_add(1, Relaxed);
                    log::warn!("{} gives up a half message topic={topic}", self.cell.path());
                }
                Destination::Waits(first) => {
                    self.ledger.moved(item.half, Some(queue_offset));
                    if first != item.half {
                        self.ledger.moved(first, Some(queue_offset));
                    }
                }
                Destination::Asked(question) => {
                    self.ledger.moved(item.half, Some(queue_offset));
                    self.ask(question, queue_offset, physical_offset);
                }
            }
        }
        went_well
    }

    /// Asks one of the producers of the group, taking turns.
    fn ask(&mut self, question: Option<Question>, queue_offset: i64, physical_offset: i64) {
        let Some(question) = question else { return };
        let Some(conn) = self.parts.producers.available(&question.group) else {
            self.parts.counts.unasked.fetch_add(1, Relaxed);
            if let Some(round) = &mut self.round {
                round.unasked += 1;
            }
            return;
        };
        self.parts.counts.checks.fetch_add(1, Relaxed);
        let name = self.parts.config.load().broker.broker_name.clone();
        conn.notify(question.request(queue_offset, physical_offset, &name));
    }
}

/// First and behind-the-last offset of a queue, and its entries from `from` on. The end is the
/// writer's: what was stored just now may not have been handed over.
async fn look_at(
    shards: &QueueShards,
    slot: Arc<QueueSlot>,
    from: i64,
) -> Option<(i64, i64, Vec<Entry>)> {
    let end = slot.next_offset();
    let look = shards.inspect(slot, move |view| {
        let (min, max) = view.range();
        let entries = view.entries(from.clamp(min, max.max(min)), LOOK_MAX);
        entries.map(|entries| (min, max.max(end), entries))
    });
    look.await.ok()?.ok()
}

fn record_of(actor: &TransactionsActor, entry: &Entry) -> Option<bytes::Bytes> {
    let size = usize::try_from(entry.size).ok()?;
    let log = actor.parts.store.watermarks.log();
    log.slice(entry.physical_offset, size)
}

/// RocketMQ makes the topic when it gives up its first half message. Failing that the message is in
/// the log all the same, and the next one tries again.
async fn make_given_up_topic(topics: &Topics) {
    let config = TopicConfig::new(
        names::TRANS_CHECK_MAX_TIME_TOPIC,
        1,
        perm::READ | perm::WRITE,
    );
    if let Err(error) = topics.create_if_absent(config).await {
        log::warn!("no topic for half messages that are given up: {error}");
    }
}
