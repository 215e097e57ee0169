//! The records that the broker keeps of pops, in the revive topic: check points and
//! acknowledgements, as RocketMQ writes them without `enablePopBufferMerge`.
//!
//! A record carries the time at which it is to be looked at (TIMER_DELIVER_MS): it waits in the timer
//! topic until then, so that what reads the revive topic sees a check point a second before its
//! messages come back, and their acknowledgements at that time.

use std::sync::Arc;

use crate::{
    actors::{
        broker::{context::StoreHandles, inner::InnerMessage, refusal::Refusal, timed::TimedRules},
        delivery::append::append_all,
        delivery::timer::TimerMarks,
        kernel::Permits,
        store::append::AppendRequest,
    },
    config::Derived,
    protocol::{
        ResponseCode, Str,
        body::pop::{ACK_TAG, AckMsg, BATCH_ACK_TAG, CK_TAG, PopCheckPoint},
        fastjson,
        message::{names, properties},
    },
    store::now_ms,
};
use bytes::BytesMut;

/// A check point is looked at so long before its messages come back, ms (`ackTimeInterval`).
pub const CK_BEFORE_MS: i64 = 1000;

/// Writes the records; cheap to clone.
#[derive(Clone)]
pub struct ReviveLog {
    /// The store.
    pub store: StoreHandles,
    /// The broker's own share of the budget.
    pub permits: Permits,
    /// How the timer is, unless it is off.
    pub timer: Option<Arc<TimerMarks>>,
    /// What timed messages are held to.
    pub timed: Derived<TimedRules>,
    /// The revive topic.
    pub topic: Str,
}

/// The timer is on time while so few messages wait to be taken in.
const BEHIND_MAX: i64 = 256;

/// The timer is on time while its clock is so little behind, ms: it is published about every second.
const LATE_MAX_MS: i64 = 5000;

impl ReviveLog {
    /// A check point as an append (`buildCkMsg`).
    ///
    /// # Errors
    /// When it cannot be stored: it is too long, or too far ahead.
    pub fn check_point(
        &self,
        revive_queue: i32,
        point: &PopCheckPoint,
    ) -> Result<AppendRequest, Refusal> {
        let key = format!(
            "{}@{}@{}@{}@{}@{}@{CK_TAG}",
            point.topic.as_deref().unwrap_or_default(),
            point.queue_id,
            point.start_offset,
            point.consumer_group.as_deref().unwrap_or_default(),
            point.pop_time,
            point.broker_name.as_deref().unwrap_or_default(),
        );
        let body = json(point)?;
        self.record(
            revive_queue,
            CK_TAG,
            &key,
            &body,
            point.due().saturating_sub(CK_BEFORE_MS),
        )
    }

    /// Acknowledgements as an append. `deliver_at` (ms) is when their messages would come back.
    ///
    /// # Errors
    /// As [`Self::check_point`].
    pub fn ack(
        &self,
        revive_queue: i32,
        ack: &AckMsg,
        deliver_at: i64,
    ) -> Result<AppendRequest, Refusal> {
        // Java sets the key of a single acknowledgement for several, too.
        let key = format!(
            "{}@{}@{}@{}@{}@{}@{ACK_TAG}",
            ack.topic,
            ack.queue_id,
            ack.ack_offset,
            ack.consumer_group,
            ack.pop_time,
            ack.broker_name.as_deref().unwrap_or("null"),
        );
        let tag = match ack.ack_offset_list {
            Some(_) => BATCH_ACK_TAG,
            None => ACK_TAG,
        };
        self.record(revive_queue, tag, &key, &json(ack)?, deliver_at)
    }

    fn record(
        &self,
        revive_queue: i32,
        tag: &str,
        unique_key: &str,
        body: &[u8],
        deliver_at: i64,
    ) -> Result<AppendRequest, Refusal> {
        let mut text = Vec::with_capacity(unique_key.len() + 64);
        properties::append(&mut text, properties::TAGS, tag);
        properties::append(&mut text, properties::UNIQ_KEY, unique_key);
        properties::append(
            &mut text,
            properties::TIMER_DELIVER_MS,
            &deliver_at.to_string(),
        );
        let born_host = self.store.store_host;
        let message = InnerMessage::own(&self.topic, revive_queue, body, &text, born_host);
        let mut buf = BytesMut::with_capacity(body.len() + text.len() + 256);
        let rules = self.timed.load();
        let slot = rules.slot_of(&text, 0, self.timer.as_deref())?;
        message.into_request_at(slot, &self.store, 0, &mut buf)
    }

    /// Whether every record that is due has reached its queue.
    pub fn is_on_time(&self) -> bool {
        let Some(timer) = &self.timer else {
            return true;
        };
        let queue = self.store.table.get(names::TIMER_TOPIC, 0);
        let behind = queue.map_or(0, |queue| queue.readable_end() - timer.queue_offset());
        let late = now_ms() - timer.checkpoint().last_read_time_ms;
        behind <= BEHIND_MAX && late <= LATE_MAX_MS
    }

    /// Appends records and tells whether all of them are stored as the broker's mode demands.
    ///
    /// # Errors
    /// A refusal to answer with.
    pub async fn append(&self, requests: Vec<AppendRequest>) -> Result<(), Refusal> {
        append_all(&self.store, &self.permits, requests, &[]).await
    }
}

fn json<T: serde::Serialize>(body: &T) -> Result<Vec<u8>, Refusal> {
    let text = fastjson::to_vec(body);
    text.map_err(|error| Refusal::new(ResponseCode::SystemError, error.to_string()))
}
