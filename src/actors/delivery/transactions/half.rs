//! One half message: what is to be done with it, and what is stored and sent for that.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use crate::{
    actors::{
        broker::{context::StoreHandles, inner::InnerMessage, refusal::Refusal},
        store::append::AppendRequest,
    },
    config::broker::BrokerConfig,
    protocol::{
        RemotingCommand, RequestCode,
        header::transaction::CheckTransactionStateRequestHeader,
        message::{
            id, names, properties,
            record::{self, NewRecord, RecordView},
            transaction,
        },
    },
};

/// When half messages are asked about and given up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// `transactionTimeOut`, ms.
    timeout_ms: i64,
    /// `transactionCheckMax`.
    check_max: i64,
    /// `fileReservedTime`, ms.
    reserved_ms: i64,
}

impl Rules {
    pub(super) fn of(config: &BrokerConfig) -> Self {
        Self {
            timeout_ms: config.broker.transaction_timeout_ms,
            check_max: config.broker.transaction_check_max.into(),
            reserved_ms: i64::from(config.store.file_reserved_time_hours) * 3_600_000,
        }
    }
}

/// What is to be done with an open half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is too young; so are those behind it.
    Later,
    /// Its producer is asked, for the nth time, and it goes to the end of the queue.
    Check {
        /// Questions, this one included.
        times: i64,
    },
    /// It is not to be asked about yet, but those behind it may: it goes to the end of the queue. Its
    /// copies know where it was first.
    Wait {
        /// Offset that its producer knows.
        first: i64,
    },
    /// It goes to TRANS_CHECK_MAX_TIME_TOPIC.
    GiveUp,
}

/// Decides about a half message in a round that began at `round_ms`
/// (`TransactionalMessageServiceImpl.check`).
pub(super) fn judge(half: &RecordView<'_>, rules: &Rules, round_ms: i64, now_ms: i64) -> Verdict {
    // What a round put to the end of the queue is for the next round; so its last question can be
    // answered before it is given up.
    if half.store_timestamp >= round_ms {
        return Verdict::Later;
    }
    let int = |name| properties::get_int(half.properties, name);
    let age_ms = now_ms - half.born_timestamp;
    let times = int(properties::TRANSACTION_CHECK_TIMES).unwrap_or(0);
    if times >= rules.check_max || age_ms > rules.reserved_ms {
        return Verdict::GiveUp;
    }
    match half.property(properties::CHECK_IMMUNITY_TIME_IN_SECONDS) {
        None if (0..=rules.timeout_ms).contains(&age_ms) => return Verdict::Later,
        None => {}
        Some(text) => {
            let seconds = text.parse().ok().filter(|&seconds: &i64| seconds >= 0);
            let immune_ms = seconds.map_or(rules.timeout_ms, |s| s.saturating_mul(1000));
            let first = half.property(properties::TRANSACTION_PREPARED_QUEUE_OFFSET);
            let first = first.map_or(Some(half.queue_offset), |text| {
                text.parse().ok().filter(|&offset: &i64| offset >= 0)
            });
            if let (true, Some(first)) = (age_ms <= immune_ms, first) {
                return Verdict::Wait { first };
            }
        }
    }
    Verdict::Check { times: times + 1 }
}

/// The time (ms) after its birth until which a half message may be ended without having been asked
/// about, if it has such a wish (`TransactionalMessageUtil.getImmunityTime`).
pub fn immunity_ms(half: &RecordView<'_>, timeout_ms: i64) -> Option<i64> {
    let text = half.property(properties::CHECK_IMMUNITY_TIME_IN_SECONDS)?;
    let wished = text.parse::<i64>().unwrap_or(0).saturating_mul(1000);
    Some(wished.max(timeout_ms))
}

/// A half message at the end of its queue, with these properties.
pub fn copy_of(
    half: &RecordView<'_>,
    text: &[u8],
    store: &StoreHandles,
) -> Result<AppendRequest, Refusal> {
    InnerMessage::of_record(half, names::TRANS_HALF_TOPIC, 0, text).into_request(
        store,
        0,
        &mut BytesMut::new(),
    )
}

/// A half message that is given up.
pub(super) fn given_up(
    half: &RecordView<'_>,
    store: &StoreHandles,
) -> Result<AppendRequest, Refusal> {
    let topic = names::TRANS_CHECK_MAX_TIME_TOPIC;
    InnerMessage::of_record(half, topic, 0, half.properties).into_request(
        store,
        0,
        &mut BytesMut::new(),
    )
}

/// The message that a transaction was about, as consumers get it. A delay level that its producer
/// asked for begins now; `slot_of` tells the slot of the timer wheel, if it has to wait there.
pub fn committed(
    half: &RecordView<'_>,
    topic: &str,
    queue_id: i32,
    store: &StoreHandles,
    slot_of: impl FnOnce(&InnerMessage<'_>) -> Result<Option<i64>, Refusal>,
) -> Result<AppendRequest, Refusal> {
    let text = transaction::committed_properties(half.properties);
    let delay = properties::get_int(&text, properties::DELAY);
    let delay = delay.and_then(|level| i32::try_from(level).ok());
    let message = InnerMessage {
        queue_id,
        sys_flag: transaction::committed_sys_flag(half.sys_flag),
        prepared_transaction_offset: half.physical_offset,
        ..InnerMessage::of_record(half, topic, 0, &text)
    };
    let slot = slot_of(&message)?;
    message.into_request_at(slot, store, delay.unwrap_or(0), &mut BytesMut::new())
}

/// The mark of half messages that are done with; `body` as [`transaction::mark_offset`] writes it.
pub(super) fn mark(body: &[u8], store: &StoreHandles) -> Result<AppendRequest, Refusal> {
    let text = transaction::mark_properties();
    let topic = names::TRANS_OP_HALF_TOPIC;
    let message = InnerMessage::own(topic, 0, body, &text, store.store_host);
    message.into_request(store, 0, &mut BytesMut::new())
}

/// A question to a producer, to be sent when the half message has its new place.
#[derive(Debug)]
pub(super) struct Question {
    /// Group of the producer.
    pub(super) group: String,
    unique_key: Option<String>,
    store_host: SocketAddr,
    store_timestamp: i64,
    record: BytesMut,
}

impl Question {
    /// A question about a half message, whose copy has these properties. The message goes with it, as
    /// it was sent.
    pub(super) fn about(
        half: &RecordView<'_>,
        text: &[u8],
        topic: &str,
        store_host: SocketAddr,
    ) -> Option<Self> {
        let queue_id = half.property(properties::REAL_QID)?.parse().ok()?;
        let new = NewRecord {
            topic,
            queue_id,
            store_host,
            properties: text,
            ..half.to_new()
        };
        let mut encoded = BytesMut::with_capacity(record::record_len(&new));
        record::encode_record(&new, &mut encoded).ok()?;
        Some(Self {
            group: half.property(properties::PGROUP)?.to_owned(),
            unique_key: half.property(properties::UNIQ_KEY).map(str::to_owned),
            store_host,
            store_timestamp: half.store_timestamp,
            record: encoded,
        })
    }

    /// CHECK_TRANSACTION_STATE (39) for the copy at these offsets.
    pub(super) fn request(
        mut self,
        queue_offset: i64,
        physical_offset: i64,
        broker_name: &str,
    ) -> RemotingCommand {
        let (record, stored) = (&mut self.record, self.store_timestamp);
        record::patch_record(record, queue_offset, physical_offset, stored);
        let header = CheckTransactionStateRequestHeader {
            topic: Some(names::TRANS_HALF_TOPIC.into()),
            tran_state_table_offset: queue_offset,
            commit_log_offset: physical_offset,
            msg_id: self.unique_key.as_deref().map(Into::into),
            transaction_id: self.unique_key.as_deref().map(Into::into),
            offset_msg_id: Some(id::offset_id(self.store_host, physical_offset).into()),
        };
        let body: Bytes = self.record.freeze();
        let code = RequestCode::CheckTransactionState;
        let mut command = RemotingCommand::request(code, &header).with_body(body);
        command.ext_fields.insert("bname", broker_name);
        command
    }
}

#[cfg(test)]
#[path = "half_tests.rs"]
mod tests;
