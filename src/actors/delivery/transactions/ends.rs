//! Ends: what producers said goes into the log, many at a time.

use std::sync::atomic::Ordering::Relaxed;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::sync::oneshot;

use super::{BATCH_BYTES_MAX, End, Ended, TransactionParts, TransactionsActor, half, ledger::Fate};
use crate::{
    actors::{
        kernel::{Permit, PermitClass},
        store::append::{AppendBatch, AppendReply, AppendRequest, Appended, PutStatus},
    },
    protocol::message::transaction,
};

/// Transactions that are ended with one append.
pub(super) const BATCH_MAX: usize = 256;

/// How long ends wait for a share of the budget before they try again.
const BUDGET_PAUSE: std::time::Duration = std::time::Duration::from_millis(5);

/// Transactions that are ended with one append: their messages, then one mark for all.
#[derive(Default)]
struct EndBatch {
    requests: Vec<AppendRequest>,
    bytes: usize,
    mark: Vec<u8>,
    items: Vec<EndItem>,
}

struct EndItem {
    half: i64,
    has_message: bool,
    topic: String,
    answer: oneshot::Sender<Ended>,
}

impl Ended {
    fn stored() -> Self {
        Self {
            status: PutStatus::PutOk,
            error: None,
        }
    }
}

/// How an append ended, request by request.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) statuses: Vec<PutStatus>,
    /// Queue offset and physical offset of each.
    pub(super) places: Vec<(i64, i64)>,
    error: Option<String>,
}

impl Stored {
    fn failed(requests: usize, why: &str) -> Self {
        Self {
            statuses: vec![PutStatus::ServiceNotAvailable; requests],
            places: Vec::new(),
            error: Some(why.to_owned()),
        }
    }
}

#[derive(Debug)]
struct ReplyStored(oneshot::Sender<Stored>);

impl AppendReply for ReplyStored {
    fn answer(self: Box<Self>, outcome: &Appended) {
        let requests = || outcome.requests.iter();
        // The actor may have crashed meanwhile.
        let _ = self.0.send(Stored {
            statuses: requests().map(|request| request.status).collect(),
            places: requests()
                .map(|request| (request.queue_offset, request.physical_offset))
                .collect(),
            error: outcome.error.clone(),
        });
    }
}

impl TransactionsActor {
    /// Stores what was collected. Without budget it waits for some: what a producer said is not lost
    /// for that, and the budget of requests bounds how many wait.
    pub(super) fn take_ends(&mut self, ctx: &mut Context<Self>) {
        while !self.ends.is_empty() {
            let count = self.ends.len().min(BATCH_MAX);
            let Some(permit) = acquire(&self.parts, count + 1) else {
                if !std::mem::replace(&mut self.waits, true) {
                    // Each turn of the actor ends here.
                    ctx.run_later(BUDGET_PAUSE, |actor, _| actor.waits = false);
                }
                return;
            };
            let mut ends = std::mem::take(&mut self.ends);
            self.ends = ends.split_off(count);
            let batch = self.collect(ends);
            self.store_ends(batch, permit, ctx);
        }
    }

    /// Messages and mark of what can be stored now; the others are answered or wait.
    fn collect(&mut self, ends: Vec<End>) -> EndBatch {
        let mark_max = self.parts.config.load().broker.transaction_op_msg_size_max;
        let mark_max = usize::try_from(mark_max).unwrap_or(0);
        let mut batch = EndBatch::default();
        for mut end in ends {
            if batch.bytes >= BATCH_BYTES_MAX
                || (!batch.mark.is_empty() && batch.mark.len() >= mark_max)
            {
                self.ends.push(end);
                continue;
            }
            let half = match self.ledger.fate(end.half) {
                // Twice the same word, or two different ones: the first counts.
                Fate::Ended => {
                    let _ = end.answer.send(Ended::stored());
                    continue;
                }
                Fate::Open(newest) => newest,
                Fate::Unknown => end.half,
            };
            if !self.busy.insert(half) {
                self.held.push(end);
                continue;
            }
            let message = end.message.take();
            batch.bytes += message.as_ref().map_or(0, |message| message.bytes.len());
            transaction::mark_offset(&mut batch.mark, half);
            batch.items.push(EndItem {
                half,
                has_message: message.is_some(),
                topic: end.topic,
                answer: end.answer,
            });
            batch.requests.extend(message);
        }
        batch
    }

    fn store_ends(&mut self, mut batch: EndBatch, permit: Permit, ctx: &mut Context<Self>) {
        if batch.items.is_empty() {
            return;
        }
        let items = batch.items;
        match half::mark(&batch.mark, &self.parts.store) {
            Ok(mark) => batch.requests.push(mark),
            Err(refusal) => {
                // A mark of some thousand bytes is refused for one reason: `maxMessageSize` is tiny.
                let failed = Stored::failed(batch.requests.len() + 1, &refusal.remark);
                return self.ended(items, &failed, ctx);
            }
        }
        // As in RocketMQ nobody waits for the disk: what is lost with the power is asked about.
        let appended = append(&self.parts, batch.requests, false, permit);
        ctx.spawn(
            appended
                .into_actor(self)
                .map(move |stored, actor, ctx| match stored {
                    Ok(stored) => actor.ended(items, &stored, ctx),
                    // Dropping the askers tells them that the outcome is unknown. What was stored is
                    // read from the queue of marks.
                    Err(_) => actor.free(items.iter().map(|item| item.half), ctx),
                }),
        );
    }

    /// The end of some transactions was stored, or not.
    fn ended(&mut self, items: Vec<EndItem>, stored: &Stored, ctx: &mut Context<Self>) {
        self.cell.fail_point("after_end");
        let counts = &self.parts.counts;
        let marked = stored.statuses.last().copied();
        let marked = marked.unwrap_or(PutStatus::WriteFailed);
        let mut messages = stored.statuses.iter().copied();
        let halves: Vec<i64> = items.iter().map(|item| item.half).collect();
        for item in items {
            let message = item.has_message.then(|| messages.next()).flatten();
            let status = message.unwrap_or(marked);
            // A message that is stored must not be stored again, though its mark is not.
            if marked.is_stored() || status.is_stored() {
                self.ledger.end(item.half);
                counts.add(&item.topic, -1);
                match message {
                    Some(status) if !status.is_stored() => {}
                    Some(_) => drop(counts.commits.fetch_add(1, Relaxed)),
                    None => drop(counts.rollbacks.fetch_add(1, Relaxed)),
                }
            }
            let error = stored.error.clone().filter(|_| !status.is_stored());
            let _ = item.answer.send(Ended { status, error });
        }
        self.free(halves, ctx);
    }

    /// Half messages are not busy any more: whoever waited for them goes on.
    pub(super) fn free(&mut self, halves: impl IntoIterator<Item = i64>, ctx: &mut Context<Self>) {
        for half in halves {
            self.busy.remove(&half);
        }
        if !self.held.is_empty() {
            self.ends.append(&mut self.held);
            self.take_ends(ctx);
        }
    }
}

/// A share of the broker's own budget.
pub(super) fn acquire(parts: &TransactionParts, requests: usize) -> Option<Permit> {
    parts
        .permits
        .try_acquire(PermitClass::Internal, requests, 0)
}

/// Appends requests with one write. The outcome is an error when the writer crashed.
pub(super) fn append(
    parts: &TransactionParts,
    requests: Vec<AppendRequest>,
    wait_store_ok: bool,
    permit: Permit,
) -> oneshot::Receiver<Stored> {
    let (answer, answered) = oneshot::channel();
    parts.store.writer.tell(AppendBatch {
        requests,
        wait_store_ok,
        permit: Some(permit),
        reply: Box::new(ReplyStored(answer)),
    });
    answered
}
