//! The writer of a slave: takes the raw bytes of its master's log and assigns nothing.
//!
//! The records in them tell what the master assigned. They move the queues' next offsets and go to
//! the dispatcher, as if they had been appended here.

use std::sync::Arc;

use actix::{AsyncContext, Context, Handler, Message, WrapFuture, fut::ActorFutureExt};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::CommitLogWriter;
use crate::{
    actors::{
        kernel::lock,
        store::dispatcher::{Dispatch, Dispatched, TopicRemoved, VisibleMoved},
    },
    store::{dispatch::ScannedRecord, error::StoreError, queue_table::QueueSlot},
};

/// What a sender of raw bytes is told.
pub type Followed = Result<i64, StoreError>;

/// Raw bytes of the master's log. One message at a time: the next one only after the answer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AppendRaw {
    /// Physical offset of the first byte: where this log ends.
    pub offset: i64,
    /// The bytes, in pieces.
    pub pieces: Vec<Bytes>,
    /// Told the log's end, behind all of them.
    pub reply: oneshot::Sender<Followed>,
}

/// Records that are in the log and on their way to their queues.
struct HandOn {
    records: std::vec::IntoIter<ScannedRecord>,
    /// Behind the last whole record.
    whole: i64,
    /// Who waits for it, and the log's end.
    reply: Option<(oneshot::Sender<Followed>, i64)>,
}

impl CommitLogWriter {
    fn append_raw(&mut self, message: AppendRaw, ctx: &mut Context<Self>) {
        match self.store_raw(message.offset, &message.pieces) {
            Ok((end, records, whole)) => {
                let hand_on = HandOn {
                    records: records.into_iter(),
                    whole,
                    reply: Some((message.reply, end)),
                };
                self.hand_on(hand_on, ctx);
            }
            Err(error) => {
                // The cutter may be ahead of the files: both begin again at the last whole record.
                self.files = None;
                self.cutter = None;
                // The follower may have gone.
                let _ = message.reply.send(Err(error));
            }
        }
    }

    /// Brings the bytes into the log; yields its end, the records that are whole now, and the end of
    /// the last one.
    fn store_raw(
        &mut self,
        offset: i64,
        pieces: &[Bytes],
    ) -> Result<(i64, Vec<ScannedRecord>, i64), StoreError> {
        if !self.parts.follows {
            return Err(StoreError::invalid("raw bytes for the log of a master"));
        }
        if self.parts.watermarks.refuses_writes() {
            return Err(StoreError::Poisoned);
        }
        if self.files.is_none() {
            self.reopen();
        }
        let log = self.parts.watermarks.log();
        let Some(files) = self.files.as_mut() else {
            return Err(StoreError::invalid("the log cannot be opened"));
        };
        let cutter = match &mut self.cutter {
            Some(cutter) if cutter.position() == offset => cutter,
            // A start, or an empty log, which begins where the master says.
            cutter => cutter.insert(log.cutter(offset)),
        };
        let mut records = Vec::new();
        for piece in pieces {
            cutter.feed(piece, &mut records)?;
        }
        let whole = cutter.whole();
        let end = files.append_raw(offset, pieces)?;
        if let Some(last) = records.last() {
            files.note_store_timestamp(last.record.store_timestamp);
        }
        self.cell.fail_point("after_bytes");
        Ok((end, records, whole))
    }

    /// Moves the queues' next offsets and tells the dispatcher. Where a record is of a topic that the
    /// master deleted and made again, the queue of the old one goes first, and what follows waits.
    fn hand_on(&mut self, mut hand_on: HandOn, ctx: &mut Context<Self>) {
        let start = self.parts.watermarks.whole();
        let mut records = Vec::with_capacity(hand_on.records.len());
        let mut end = start;
        while let Some(next) = hand_on.records.as_slice().first() {
            let (key, record) = (&next.key, &next.record);
            let table = &self.parts.table;
            let slot = table.slot_for(key, record, record.physical_offset);
            if record.in_queue() && record.queue_offset < slot.next_offset() {
                self.publish_records(start, record.physical_offset, records);
                return self.drop_old_queue(&slot, record.physical_offset, hand_on, ctx);
            }
            let Some(next) = hand_on.records.next() else {
                break;
            };
            if next.record.in_queue() {
                let offsets = slot.offsets_of(&next.record);
                slot.raise_next_offset(next.record.queue_offset + offsets);
            }
            end = next.record.end();
            records.push(Dispatched {
                slot,
                record: next.record,
            });
        }
        self.publish_records(start, hand_on.whole.max(end), records);
        if let Some((reply, end)) = hand_on.reply {
            let _ = reply.send(Ok(end));
        }
    }

    fn publish_records(&mut self, start: i64, end: i64, records: Vec<Dispatched>) {
        self.parts.watermarks.set_whole(end);
        if end > start {
            self.parts.dispatcher.tell(Dispatch {
                start,
                end,
                records,
            });
        }
        self.wake_others();
    }

    fn drop_old_queue(
        &mut self,
        slot: &Arc<QueueSlot>,
        new_from: i64,
        hand_on: HandOn,
        ctx: &mut Context<Self>,
    ) {
        let key = &slot.key;
        log::info!(
            "{} drops a queue of a topic that was deleted and made again queue={key} at={new_from}",
            self.cell.path()
        );
        let log_min = self.parts.watermarks.log().min_offset();
        let remembered = lock(&self.parts.deleted).remember(&key.topic, new_from, log_min);
        if let Err(error) = remembered {
            log::warn!("{} cannot write it down: {error}", self.cell.path());
        }
        let slots = self.parts.table.close_topic(&key.topic);
        let (done, gone) = oneshot::channel();
        self.parts.dispatcher.tell(TopicRemoved { slots, done });
        let topic = key.topic.clone();
        let wait = gone.into_actor(self).map(move |_, writer, ctx| {
            writer.parts.table.reopen(&topic);
            writer.hand_on(hand_on, ctx);
        });
        ctx.spawn(wait);
    }

    /// After a restart: what is whole in the log and was not handed on.
    pub(super) fn hand_on_rest(&mut self, ctx: &mut Context<Self>) {
        let log = self.parts.watermarks.log();
        let (from, to) = (self.parts.watermarks.whole(), log.end());
        if !self.parts.follows || from >= to {
            return;
        }
        let records: Vec<_> = log.scan(from, to).map_while(Result::ok).collect();
        let hand_on = HandOn {
            records: records.into_iter(),
            whole: to,
            reply: None,
        };
        self.hand_on(hand_on, ctx);
        self.parts.dispatcher.tell(VisibleMoved);
    }
}

impl Handler<AppendRaw> for CommitLogWriter {
    type Result = ();

    fn handle(&mut self, message: AppendRaw, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.append_raw(message, ctx);
    }
}
