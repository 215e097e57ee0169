//! A message on its way into the log, whoever sends it: producers, send-backs, deliveries.

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;

use super::{
    context::{BrokerContext, StoreHandles},
    refusal::{OVERLOAD, Refusal},
    timed::without_times,
};
use crate::{
    actors::{
        kernel::PermitClass,
        store::append::{
            AppendBatch, AppendOutcome, AppendRequest, FurtherQueue, InnerBatch, PutStatus,
            RecordMeta, ReplyTo, TagsCode,
        },
    },
    protocol::{
        ResponseCode,
        java::IndexKeyHash,
        message::{
            batch, inner_batch,
            keys::KeyProperties,
            multi_dispatch, names, properties,
            record::{self, NewRecord, RecordView},
            sys_flag,
        },
    },
    store::{now_ms, queue_table::QueueSlot},
};

/// A single message; see the module.
#[derive(Debug, Clone)]
pub struct InnerMessage<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue of the topic.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// System flag.
    pub sys_flag: i32,
    /// When it was made, ms.
    pub born_timestamp: i64,
    /// Who made it.
    pub born_host: SocketAddr,
    /// How often consuming it failed.
    pub reconsume_times: i32,
    /// Offset of the half message of a transaction.
    pub prepared_transaction_offset: i64,
    /// Body.
    pub body: &'a [u8],
    /// Text of the properties.
    pub properties: &'a [u8],
    /// Those of them that it is found by.
    pub keys: KeyProperties<'a>,
}

impl<'a> InnerMessage<'a> {
    /// A stored message on its way to another queue, with these properties.
    pub fn of_record(
        view: &RecordView<'a>,
        topic: &'a str,
        queue_id: i32,
        properties: &'a [u8],
    ) -> Self {
        Self {
            topic,
            queue_id,
            flag: view.flag,
            sys_flag: view.sys_flag,
            born_timestamp: view.born_timestamp,
            born_host: view.born_host,
            reconsume_times: view.reconsume_times,
            prepared_transaction_offset: 0,
            body: view.body,
            properties,
            keys: KeyProperties::of(properties),
        }
    }

    /// A message that the broker makes by itself, now.
    pub fn own(
        topic: &'a str,
        queue_id: i32,
        body: &'a [u8],
        properties: &'a [u8],
        born_host: SocketAddr,
    ) -> Self {
        Self {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: now_ms(),
            born_host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties,
            keys: KeyProperties::of(properties),
        }
    }
}

impl InnerMessage<'_> {
    /// Encodes the message for its queue. `delay_level` above 0 sends it through
    /// SCHEDULE_TOPIC_XXXX (`HookUtils.transformDelayLevelMessage`).
    pub fn into_request(
        self,
        store: &StoreHandles,
        delay_level: i32,
        buf: &mut BytesMut,
    ) -> Result<AppendRequest, Refusal> {
        let Some(delay_ms) = store.watermarks.log().delay_levels().delay_ms(delay_level) else {
            let meta = (
                TagsCode::Hash(self.keys.tags_code()),
                self.keys.index_keys(IndexKeyHash::of(self.topic)),
            );
            return self.encode(store, meta, buf);
        };
        let level = delay_level.min(store.watermarks.log().delay_levels().max_level());
        let mut edited = properties::Editor::new(self.properties);
        without_times(&mut edited);
        edited.set(properties::REAL_TOPIC, self.topic);
        edited.set(properties::REAL_QID, self.queue_id.to_string());
        let text = edited.to_vec();
        let delayed = InnerMessage {
            topic: names::SCHEDULE_TOPIC,
            queue_id: level - 1,
            properties: &text,
            ..self
        };
        let index_keys = delayed
            .keys
            .index_keys(IndexKeyHash::of(names::SCHEDULE_TOPIC));
        delayed.encode(store, (TagsCode::DeliverAfter(delay_ms), index_keys), buf)
    }

    fn encode(
        self,
        store: &StoreHandles,
        (tags_code, index_keys): (TagsCode, SmallVec<[i32; 4]>),
        buf: &mut BytesMut,
    ) -> Result<AppendRequest, Refusal> {
        let further = Further::of(&self, store)?;
        let properties = further.as_ref().map_or(self.properties, |f| &f.properties);
        let record = NewRecord {
            topic: self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host: store.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            properties,
        };
        let len = encode_within(&record, store, buf)?;
        let meta = RecordMeta {
            len: len as u32,
            tags_code,
            sys_flag: stored_sys_flag(&record),
            inner: None,
            index_keys,
            further: further.map(|further| further.queues(len)),
        };
        let slot = store.slot(self.topic, self.queue_id);
        Ok(AppendRequest::new(slot, buf.split(), smallvec![meta]))
    }
}

/// The light message queues that a message names.
struct Further {
    /// The message's properties, with room for the offsets at their end.
    properties: Vec<u8>,
    /// Length of the text of offsets.
    offsets_len: usize,
    /// Each queue, and where its offset stands in that text.
    queues: Vec<(Arc<QueueSlot>, usize)>,
}

impl Further {
    /// None where multi-dispatch is off, or the message names no such queue, or may not.
    fn of(message: &InnerMessage<'_>, store: &StoreHandles) -> Result<Option<Self>, Refusal> {
        // A queue of batches hands nothing on (`BatchConsumeQueue.putMessagePositionInfoWrapper`).
        let is_inner_batch = message.sys_flag & sys_flag::INNER_BATCH != 0;
        if !store.watermarks.log().dispatch_rules().multi_dispatch || is_inner_batch {
            return Ok(None);
        }
        let names = properties::get(message.properties, properties::INNER_MULTI_DISPATCH);
        let Some(names) = names.filter(|_| multi_dispatch::is_allowed(message.topic)) else {
            return Ok(None);
        };
        let (offsets, places) = multi_dispatch::offsets_to_fill(names);
        if places.is_empty() {
            return Ok(None);
        }
        let slots = places
            .into_iter()
            .map(|(name, place)| Ok((store.lmq_slot(name)?, place)));
        let queues = slots.collect::<Result<_, Refusal>>()?;
        let offsets_len = offsets.len();
        let mut edited = properties::Editor::new(message.properties);
        edited.remove(properties::INNER_MULTI_QUEUE_OFFSET);
        edited.set(properties::INNER_MULTI_QUEUE_OFFSET, offsets);
        Ok(Some(Self {
            properties: edited.to_vec(),
            offsets_len,
            queues,
        }))
    }

    /// The queues, for a record of `len` bytes: it ends with its properties, and they with the offsets.
    fn queues(self, len: usize) -> Box<[FurtherQueue]> {
        let behind = self.offsets_len + size_of_val(&properties::ENTRY_SEPARATOR);
        let start = len.saturating_sub(behind);
        let queues = self.queues.into_iter();
        let queues = queues.map(|(slot, place)| FurtherQueue {
            slot,
            place: start + place,
            queue_offset: None,
        });
        queues.collect()
    }
}

/// The bits that the record's hosts add are of no use to queues; those of the sender are.
fn stored_sys_flag(record: &NewRecord<'_>) -> i32 {
    record.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6)
}

/// Encodes a record that keeps the limits on body and record (`maxMessageSize`, + 64 KiB).
fn encode_within(
    record: &NewRecord<'_>,
    store: &StoreHandles,
    buf: &mut BytesMut,
) -> Result<usize, Refusal> {
    let body_max = store.max_message_size();
    let too_long = record.body.len() > body_max
        || record::record_len(record) > body_max + RECORD_OVERHEAD_MAX
        || record.properties.len() > properties::PROPERTIES_LEN_MAX;
    if too_long {
        return Err(message_illegal(body_max));
    }
    record::encode_record(record, buf).map_err(|_| message_illegal(body_max))
}

/// What a record may have beside the largest body (`MessageExtEncoder`).
const RECORD_OVERHEAD_MAX: usize = 64 * 1024;

/// RocketMQ's answer to a message that cannot be stored.
pub fn message_illegal(body_max: usize) -> Refusal {
    Refusal::new(
        ResponseCode::MessageIllegal,
        format!(
            "the message is illegal, maybe msg body or properties length not matched. \
             msg body length limit {body_max}B, msg properties length limit 32KB."
        ),
    )
}

/// Encodes a wire batch (code 320) as one request: its records follow each other in the log. Each
/// message keeps its own properties and gets no others, as RocketMQ 5.4.0 stores it.
pub fn batch_request(
    message: InnerMessage<'_>,
    store: &StoreHandles,
    buf: &mut BytesMut,
) -> Result<AppendRequest, Refusal> {
    let illegal = || message_illegal(store.max_message_size());
    let mut records: SmallVec<[RecordMeta; 1]> = SmallVec::new();
    if message.body.len() > store.max_message_size() {
        return Err(illegal());
    }
    let topic_hash = IndexKeyHash::of(message.topic);
    for item in batch::messages(message.body) {
        let item = item.map_err(|_| illegal())?;
        let record = NewRecord {
            topic: message.topic,
            queue_id: message.queue_id,
            flag: item.flag,
            sys_flag: message.sys_flag,
            born_timestamp: message.born_timestamp,
            born_host: message.born_host,
            store_host: store.store_host,
            reconsume_times: message.reconsume_times,
            prepared_transaction_offset: 0,
            body: item.body,
            properties: item.properties,
        };
        let len = encode_within(&record, store, buf)?;
        let keys = KeyProperties::of(item.properties);
        records.push(RecordMeta {
            len: len as u32,
            tags_code: TagsCode::Hash(keys.tags_code()),
            sys_flag: stored_sys_flag(&record),
            inner: None,
            index_keys: keys.index_keys(topic_hash),
            // RocketMQ looks at single messages only (`MessageExtEncoder.encode`).
            further: None,
        });
    }
    if records.is_empty() {
        return Err(illegal());
    }
    let slot = store.slot(message.topic, message.queue_id);
    Ok(AppendRequest::new(slot, buf.split(), records))
}

/// Encodes a wire batch as one record of a topic with `queue.type=BatchCQ`; `properties` are those of the
/// batch, and `text` is room for them and what the broker adds.
pub fn inner_batch_request(
    message: InnerMessage<'_>,
    text: &mut Vec<u8>,
    store: &StoreHandles,
    buf: &mut BytesMut,
) -> Result<AppendRequest, Refusal> {
    let Some(messages) = inner_batch::count(message.body) else {
        return Err(message_illegal(store.max_message_size()));
    };
    text.clear();
    text.extend_from_slice(message.properties);
    inner_batch::append_properties(text, messages);
    let flags = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
    let message = InnerMessage {
        sys_flag: message.sys_flag | flags,
        properties: text,
        ..message
    };
    let meta = (
        TagsCode::Hash(message.keys.tags_code()),
        message.keys.index_keys(IndexKeyHash::of(message.topic)),
    );
    let mut request = message.encode(store, meta, buf)?;
    if let Some(record) = request.records.first_mut() {
        let place = inner_batch::base_place(record.len as usize);
        record.inner = Some(InnerBatch { messages, place });
    }
    Ok(request)
}

impl BrokerContext {
    /// Appends one request within the broker's own budget and waits for its outcome.
    ///
    /// # Errors
    /// SYSTEM_BUSY past the budget.
    pub async fn append_own(
        &self,
        request: AppendRequest,
        wait_store_ok: bool,
    ) -> Result<AppendOutcome, Refusal> {
        let bytes = request.bytes.len();
        let permit = self.permits.try_acquire(PermitClass::Internal, 1, bytes);
        if permit.is_none() {
            return Err(Refusal::new(ResponseCode::SystemBusy, OVERLOAD));
        }
        let (answer, answered) = oneshot::channel();
        self.store.writer.tell(AppendBatch {
            requests: vec![request],
            wait_store_ok,
            permit,
            reply: Box::new(ReplyTo(answer)),
        });
        Ok(answered.await.unwrap_or(AppendOutcome {
            status: PutStatus::WriteFailed,
            physical_offset: -1,
            queue_offset: -1,
            store_timestamp: 0,
            error: Some("outcome unknown".to_owned()),
        }))
    }
}
