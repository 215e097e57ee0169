//! Sends: from request frames to one batch for the commit log writer, and its answers.
//!
//! The rules and their order are RocketMQ's (`SendMessageProcessor`, `HookUtils`). Everything here
//! runs on the connection's thread, against published tables; only a topic that has to be made
//! first takes a turn of the topics actor.

use std::{net::SocketAddr, sync::Arc};

use bytes::BytesMut;

use super::{
    context::{BrokerContext, SendMarks},
    inner::{InnerMessage, batch_request, inner_batch_request, message_illegal},
    processor::send_back::DLQ_QUEUES,
    refusal::{OVERLOAD, Refusal, SEE_FAQ},
    static_topics::send::{self as logic, SentTo},
    tables::{attributes, topics::CreateForSend},
    timed::recall_handle,
};
use crate::{
    actors::{
        kernel::PermitClass,
        net::{ConnectionHandle, Responder},
        store::append::{AppendBatch, AppendRequest},
    },
    protocol::{
        RemotingCommand, RequestCode, ResponseCode, Str,
        body::{subscription_group::SubscriptionGroupConfig, topic_config::TopicConfig},
        header::send::SendMessageRequestHeader,
        java,
        language::version,
        message::{batch, keys::KeyProperties, names, perm, properties, sys_flag, transaction},
    },
    store::now_ms,
};

mod age;
mod replies;

use age::SendAge;
pub use replies::response_of;
use replies::{SendItem, SendReplies};

/// Whether a send becomes one record that holds several messages: a batch to a topic with
/// `queue.type=BatchCQ` that has an id of its own, as those of RocketMQ 5's clients have, or one that a
/// sender has marked. Any other batch to such a topic is stored as its messages.
fn is_inner_batch(
    header: &SendMessageRequestHeader,
    topic: &TopicConfig,
    wishes: &Wishes<'_>,
    is_batch: bool,
) -> bool {
    let has_id = is_batch && wishes.keys.unique_key.is_some();
    let is_marked = header.sys_flag & sys_flag::INNER_BATCH != 0;
    (has_id || is_marked) && topic.is_batch_cq()
}

/// `TopicFilterType` of a topic whose messages have several tags.
const MULTI_TAG: &str = "MULTI_TAG";

/// All sends of one read of a connection.
#[derive(Default)]
pub struct SendBatch {
    requests: Vec<AppendRequest>,
    items: Vec<SendItem>,
    wait_store_ok: bool,
    buf: BytesMut,
    /// The properties of the message at hand: one allocation for all.
    text: Vec<u8>,
    /// What this batch is marked with; looked up once.
    marks: Option<Arc<SendMarks>>,
    age: SendAge,
    /// When the requests at hand were read (ms); asked once.
    read_at_ms: Option<i64>,
}

/// What a record has beside body, topic and the properties that came: its fixed part and what the
/// broker adds. A guess, for memory is reserved by it.
const RECORD_EXTRA_LEN: usize = 256;

/// At most this much is reserved for the records of one read.
const RESERVE_MAX: usize = 1024 * 1024;

impl SendBatch {
    /// Makes room for the records of all frames of one read, so that they share one allocation.
    pub fn expect(&mut self, frames: &[RemotingCommand]) {
        self.read_at_ms = None;
        let len: usize = frames.iter().map(expected_len).sum();
        if len > 0 {
            self.buf.reserve(len.min(RESERVE_MAX));
        }
    }

    /// Checks a send and adds it; answers it here when it is refused.
    pub fn push(
        &mut self,
        ctx: &Arc<BrokerContext>,
        request: RemotingCommand,
        conn: &Arc<ConnectionHandle>,
    ) {
        let mut responder = conn.responder(&request);
        // First, so that what is refused costs little of what is to serve the rest.
        if let Some(remark) = self.too_old(ctx, &request) {
            return responder.fail(ResponseCode::SystemBusy, &remark);
        }
        let Some(permit) = ctx
            .permits
            .try_acquire(PermitClass::Sends, 1, request.body.len())
        else {
            return responder.fail(ResponseCode::SystemBusy, OVERLOAD);
        };
        responder.set_permit(permit);
        let header = match decode(&request) {
            Ok(header) => header,
            Err(refusal) => return responder.fail(refusal.code, &refusal.remark),
        };
        match ready_topic(ctx, &header) {
            Some(topic) => self.add(ctx, &request, header, &topic, responder),
            None => make_and_send(ctx, request, header, responder),
        }
    }

    /// Sends that have waited for too long are refused while more comes than is served, for their
    /// clients are about to give them up (`BrokerFastFailure`, which looks at the queue of a thread
    /// pool; here requests wait in the socket).
    fn too_old(&mut self, ctx: &BrokerContext, request: &RemotingCommand) -> Option<String> {
        let config = ctx.config.load();
        if !config.broker.broker_fast_failure_enable {
            return None;
        }
        let born_ms = SendMessageRequestHeader::born_timestamp_of(&request.ext_fields)?;
        let read_at = *self.read_at_ms.get_or_insert_with(now_ms);
        let wait_max = config.broker.wait_time_in_send_queue_ms;
        let age = self.age.too_old(read_at, born_ms, wait_max)?;
        let size = ctx.permits.usage(PermitClass::Sends).count;
        Some(format!(
            "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: \
             {age}ms, size of queue: {size}"
        ))
    }

    fn add(
        &mut self,
        ctx: &BrokerContext,
        request: &RemotingCommand,
        header: SendMessageRequestHeader,
        topic: &TopicConfig,
        responder: Responder,
    ) {
        let marks = self.marks.get_or_insert_with(|| ctx.marks.load_full());
        let sender = Sender {
            ctx,
            marks,
            request,
            peer: responder.conn().peer,
        };
        let prepared = match sender.prepare(header, topic, &mut self.text, &mut self.buf) {
            Ok(prepared) => prepared,
            Err(refusal) => {
                // What was encoded before the refusal is no part of the next request.
                self.buf.clear();
                return refuse(responder, marks, &refusal);
            }
        };
        if prepared.wait_store_ok != self.wait_store_ok && !self.items.is_empty() {
            // Those that wait for the disk shall not delay those that do not.
            self.submit(ctx);
        }
        self.wait_store_ok = prepared.wait_store_ok;
        self.requests.push(prepared.request);
        self.items.push(SendItem {
            responder,
            queue_id: prepared.queue_id,
            unique_key: prepared.unique_key,
            is_inner_batch: prepared.is_inner,
            half_of: prepared
                .half_of
                .map(|topic| (topic, Arc::clone(&ctx.transactions.counts))),
            recall_handle: prepared.recall_handle,
            logic: prepared.logic,
        });
    }

    /// Hands the batch to the writer.
    pub fn submit(&mut self, ctx: &BrokerContext) {
        let marks = self.marks.take();
        if self.items.is_empty() {
            return;
        }
        let marks = marks.unwrap_or_else(|| ctx.marks.load_full());
        let reply = SendReplies {
            items: std::mem::take(&mut self.items),
            store_host: ctx.identity.store_host,
            marks,
        };
        ctx.store.writer.tell(AppendBatch {
            requests: std::mem::take(&mut self.requests),
            wait_store_ok: self.wait_store_ok,
            permit: None,
            reply: Box::new(reply),
        });
    }
}

/// About how long the records of a frame will be; 0 if it is no send.
fn expected_len(frame: &RemotingCommand) -> usize {
    let body = match frame.request_code() {
        Some(RequestCode::SendMessage | RequestCode::SendMessageV2) => frame.body.len(),
        // Small messages of a batch grow most.
        Some(RequestCode::SendBatchMessage) => frame.body.len() * 2,
        _ => return 0,
    };
    body + frame.ext_fields.byte_len() + RECORD_EXTRA_LEN
}

/// Refuses a send; as all answers to sends, this one tells the broker's region, too. Only who is not the
/// leader of its queue is told so before anything else.
fn refuse(responder: Responder, marks: &SendMarks, refusal: &Refusal) {
    let Refusal { code, remark } = refusal;
    let fields = marks.fields();
    let fields = match code {
        ResponseCode::NotLeaderForQueue => &[][..],
        _ => &fields[..],
    };
    responder.answer(*code, Some(remark), None, fields, []);
}

/// The topic of a send, unless it, its group or its dead letter topic have to be made first.
fn ready_topic(ctx: &BrokerContext, header: &SendMessageRequestHeader) -> Option<Arc<TopicConfig>> {
    let topic = ctx.topics.get(&header.topic)?;
    let Some(group) = header.topic.strip_prefix(names::RETRY_PREFIX) else {
        return Some(topic);
    };
    let was_consumed = header.reconsume_times.unwrap_or(0) > 0;
    let needs_making = ctx.subscriptions.get(group).is_none()
        || (was_consumed && !ctx.topics.contains(&names::dlq_topic(group)));
    (!needs_making).then_some(topic)
}

/// The rare road: something does not exist yet.
fn make_and_send(
    ctx: &Arc<BrokerContext>,
    request: RemotingCommand,
    header: SendMessageRequestHeader,
    responder: Responder,
) {
    let ctx = Arc::clone(ctx);
    actix_rt::spawn(async move {
        let made = make(&ctx, request.version, &header).await;
        match made.and_then(|()| topic_of(&ctx, &header)) {
            Ok(topic) => {
                let mut batch = SendBatch::default();
                batch.add(&ctx, &request, header, &topic, responder);
                batch.submit(&ctx);
            }
            Err(refusal) => refuse(responder, &ctx.marks.load(), &refusal),
        }
    });
}

async fn make(
    ctx: &BrokerContext,
    version: i32,
    header: &SendMessageRequestHeader,
) -> Result<(), Refusal> {
    make_topic(ctx, header).await?;
    let Some(group) = header.topic.strip_prefix(names::RETRY_PREFIX) else {
        return Ok(());
    };
    // A group that cannot be made is refused where its absence is found.
    if let Some(config) = ctx.subscriptions.find(group).await
        && is_dead(ctx, group, &config, version, header)
    {
        let dlq = names::dlq_topic(group);
        ctx.topics.create_retry(&dlq, DLQ_QUEUES, false, 0).await?;
    }
    Ok(())
}

/// Makes the topic of a send unless it is there.
///
/// # Errors
/// When it may not be made, or is no name of a topic.
pub async fn make_topic(
    ctx: &BrokerContext,
    header: &SendMessageRequestHeader,
) -> Result<(), Refusal> {
    if ctx.topics.contains(&header.topic) {
        return Ok(());
    }
    let wanted = CreateForSend {
        topic: &header.topic,
        default_topic: &header.default_topic,
        queue_nums: header.default_topic_queue_nums,
        unit_mode: header.unit_mode == Some(true),
    };
    ctx.topics.create_for_send(wanted).await?;
    Ok(())
}

/// The queue that a send names, or any of the topic's if it names none.
pub fn queue_of(header: &SendMessageRequestHeader, topic: &TopicConfig) -> i32 {
    match header.queue_id {
        ..0 => rand::random_range(0..topic.write_queue_nums.max(1)),
        given => given,
    }
}

/// Whether a message that a client sends to a retry topic by itself belongs into the dead letter queue
/// (`handleRetryAndDLQ`).
fn is_dead(
    ctx: &BrokerContext,
    group: &str,
    config: &SubscriptionGroupConfig,
    client_version: i32,
    header: &SendMessageRequestHeader,
) -> bool {
    let requested = (client_version >= version::V3_4_9)
        .then_some(header.max_reconsume_times)
        .flatten();
    let max = requested.unwrap_or(config.retry_max_times);
    header.reconsume_times.unwrap_or(0) > max || ctx.consumers.holds_locks(group)
}

/// Reads the header of any of the send codes: Java's short names, Go's and old clients' long ones.
pub fn decode(request: &RemotingCommand) -> Result<SendMessageRequestHeader, Refusal> {
    let code = request.request_code().unwrap_or(RequestCode::SendMessage);
    SendMessageRequestHeader::of_request(code, &request.ext_fields)
        .map_err(|error| Refusal::new(ResponseCode::SystemError, error.to_string()))
}

/// A send that passed all checks.
struct Prepared {
    request: AppendRequest,
    queue_id: i32,
    unique_key: Option<Str>,
    recall_handle: Option<Str>,
    wait_store_ok: bool,
    /// Topic of a half message.
    half_of: Option<Str>,
    /// One record with several messages.
    is_inner: bool,
    /// The logic queue of a static topic that it goes to.
    logic: Option<SentTo>,
}

/// What the properties of a sent message decide, and whether they have to be edited.
#[derive(Default)]
struct Wishes<'a> {
    keys: KeyProperties<'a>,
    wait_store_ok: bool,
    delay_level: i32,
    half_message: bool,
    timer: bool,
    /// It says of itself that it is several messages.
    inner_num: bool,
    /// The delay level is no number.
    delay_illegal: bool,
    /// One of the properties that the broker sets or removes is there already.
    needs_editing: bool,
}

impl<'a> Wishes<'a> {
    fn of(text: &'a [u8]) -> Self {
        let mut wishes = Self {
            wait_store_ok: true,
            ..Self::default()
        };
        let is = |text: &[u8], word: &str| text.eq_ignore_ascii_case(word.as_bytes());
        for (name, value) in properties::entries(text) {
            if wishes.keys.note(name, value) {
                continue;
            }
            match std::str::from_utf8(name).unwrap_or_default() {
                properties::WAIT => wishes.wait_store_ok = !is(value, "false"),
                properties::DELAY => {
                    let level = std::str::from_utf8(value).unwrap_or_default().parse();
                    wishes.delay_illegal = level.is_err();
                    wishes.delay_level = level.unwrap_or(0);
                }
                properties::TRAN_MSG => wishes.half_message = is(value, "true"),
                properties::TIMER_DELAY_SEC
                | properties::TIMER_DELAY_MS
                | properties::TIMER_DELIVER_MS => wishes.timer = true,
                properties::INNER_NUM => {
                    wishes.inner_num = true;
                    wishes.needs_editing = true;
                }
                properties::INNER_BASE
                | properties::POP_CK
                | properties::CLUSTER
                | properties::MSG_REGION
                | properties::TRACE_ON => wishes.needs_editing = true,
                _ => {}
            }
        }
        wishes
    }
}

struct Sender<'a> {
    ctx: &'a BrokerContext,
    marks: &'a SendMarks,
    request: &'a RemotingCommand,
    peer: SocketAddr,
}

impl Sender<'_> {
    /// Checks a send whose topic exists and encodes its record or records.
    fn prepare(
        &self,
        mut header: SendMessageRequestHeader,
        topic: &TopicConfig,
        text: &mut Vec<u8>,
        buf: &mut BytesMut,
    ) -> Result<Prepared, Refusal> {
        let sent_to = logic::route(self.ctx, self.request, &mut header)?;
        check_topic(self.ctx, &header, topic, self.peer)?;
        let queue_id = queue_of(&header, topic);
        let given = header
            .properties
            .as_ref()
            .map_or(&b""[..], |text| text.as_bytes());
        let mut wishes = Wishes::of(given);
        let is_batch = self.request.request_code() == Some(RequestCode::SendBatchMessage)
            || header.batch == Some(true);
        // Old clients send a message back with all of its properties, TRAN_MSG included.
        let is_retried = header.reconsume_times.unwrap_or(0) > 0 && wishes.delay_level > 0;
        let is_half = wishes.half_message && !is_retried;
        let is_inner = is_inner_batch(&header, topic, &wishes, is_batch);
        let is_batch = is_batch || is_inner;
        let compacted = topic.is_compaction();
        if compacted {
            self.check_keys(&wishes, is_batch)?;
        }
        // There an empty body deletes the key.
        if self.request.body.is_empty() && !compacted {
            // RocketMQ stumbles over it.
            let what = "the message body is empty";
            return Err(Refusal::new(ResponseCode::MessageIllegal, what));
        }
        self.check_kind(&header, &wishes, is_batch, is_half)?;
        if !is_inner && (wishes.inner_num || header.sys_flag & sys_flag::INNER_BATCH != 0) {
            return Err(message_illegal(self.ctx.store.max_message_size()));
        }
        let (mut stored_topic, mut stored_queue, mut delay_level) =
            self.place(&header, queue_id, wishes.delay_level)?;
        let has_own = is_batch && !is_inner;
        let unique_key = self.stored_properties(&header, &wishes, has_own, text);
        let half_of = is_half.then(|| stored_topic.clone());
        if let Some(topic) = &half_of {
            // A delay begins when the transaction is committed.
            *text = transaction::half_properties(text, topic, stored_queue);
            (stored_topic, stored_queue, delay_level) = (names::TRANS_HALF_TOPIC.into(), 0, 0);
        }
        wishes.keys.unique_key = unique_key.as_deref();
        let mut sys_flag = header.sys_flag;
        if is_half {
            sys_flag = sys_flag::with_transaction_type(sys_flag, sys_flag::TRANSACTION_NONE);
        }
        if topic.topic_filter_type == MULTI_TAG {
            sys_flag |= sys_flag::MULTI_TAGS;
        }
        let message = InnerMessage {
            topic: &stored_topic,
            queue_id: stored_queue,
            flag: header.flag,
            sys_flag,
            born_timestamp: header.born_timestamp,
            born_host: self.peer,
            reconsume_times: header.reconsume_times.unwrap_or(0),
            prepared_transaction_offset: 0,
            body: &self.request.body,
            properties: text,
            keys: wishes.keys,
        };
        let store = &self.ctx.store;
        let timed = match wishes.timer && !is_batch {
            true => self.ctx.timed_slot(&message)?,
            false => None,
        };
        // A half message is checked for its time, which is looked at when it is committed.
        let timed = timed.filter(|_| !is_half);
        let request = match is_batch {
            true if is_inner => {
                inner_batch_request(message, &mut Vec::with_capacity(256), store, buf)?
            }
            true => batch_request(message, store, buf)?,
            false => message.into_request_at(timed, store, delay_level, buf)?,
        };
        let handle_of = |out_ms| {
            let broker_name = &self.ctx.identity.broker_name;
            recall_handle(&stored_topic, broker_name, out_ms, unique_key.as_deref()?)
        };
        let recall_handle = timed.and_then(handle_of);
        let slot = &request.slot;
        // The topic may have been deleted since it was looked up: then its queue was made too late
        // for the deletion to find it. A queue with messages was not.
        let is_new = slot.next_offset() == 0 && slot.key.topic == header.topic;
        if is_new && !self.ctx.topics.contains(&header.topic) {
            return Err(topic_not_exist(&header.topic));
        }
        let wait_store_ok = wishes.wait_store_ok;
        let queue_id = sent_to.as_ref().map_or(queue_id, |sent_to| sent_to.queue);
        // What waits in a topic of the system's is told the place there: a half message's is asked for.
        let is_there = slot.key.topic == header.topic;
        Ok(Prepared {
            logic: sent_to.filter(|_| is_there),
            request,
            queue_id,
            unique_key,
            recall_handle,
            wait_store_ok,
            half_of,
            is_inner,
        })
    }

    /// Refuses a message without a key for a topic of which the last message of each key is kept. RocketMQ
    /// takes it when it comes in a batch, and keeps it for nobody.
    fn check_keys(&self, wishes: &Wishes<'_>, is_batch: bool) -> Result<(), Refusal> {
        let has_key = |keys: Option<&str>| keys.is_some_and(|keys| !java::is_blank(keys));
        let all = match is_batch {
            false => has_key(wishes.keys.keys),
            // One that cannot be read is refused further on.
            true => batch::messages(&self.request.body)
                .flatten()
                .all(|message| has_key(KeyProperties::of(message.properties).keys)),
        };
        if all {
            return Ok(());
        }
        let remark = "Required message key is missing";
        Err(Refusal::new(ResponseCode::MessageIllegal, remark))
    }

    /// Refuses what a plain broker cannot do with a message, rather than storing it as something else.
    fn check_kind(
        &self,
        header: &SendMessageRequestHeader,
        wishes: &Wishes<'_>,
        is_batch: bool,
        is_half: bool,
    ) -> Result<(), Refusal> {
        if is_half {
            self.check_half()?;
        }
        let illegal = |what: &str| Err(Refusal::new(ResponseCode::MessageIllegal, what));
        // RocketMQ stumbles over it.
        if wishes.delay_illegal {
            return illegal("the delay level is not a number");
        }
        if is_batch && names::is_retry_topic(&header.topic) {
            let topic = &header.topic;
            return illegal(&format!(
                "batch request does not support retry group {topic}"
            ));
        }
        let refused_in_batch = wishes.delay_level > 0 || wishes.timer;
        if is_batch && (refused_in_batch || is_half) {
            return Err(message_illegal(self.ctx.store.max_message_size()));
        }
        Ok(())
    }

    fn check_half(&self) -> Result<(), Refusal> {
        let config = self.ctx.config.load();
        if !config.broker.reject_transaction_message {
            return Ok(());
        }
        let ip = &config.broker.broker_ip1;
        let remark = format!("the broker[{ip}] sending transaction message is forbidden");
        Err(Refusal::new(ResponseCode::NoPermission, remark))
    }

    /// Topic, queue and delay level that the message is stored with: see [`is_dead`].
    fn place(
        &self,
        header: &SendMessageRequestHeader,
        queue_id: i32,
        delay_level: i32,
    ) -> Result<(Str, i32, i32), Refusal> {
        let Some(group) = header.topic.strip_prefix(names::RETRY_PREFIX) else {
            return Ok((header.topic.clone(), queue_id, delay_level));
        };
        let Some(config) = self.ctx.subscriptions.get(group) else {
            let remark = format!("subscription group not exist, {group} {SEE_FAQ}");
            return Err(Refusal::new(
                ResponseCode::SubscriptionGroupNotExist,
                remark,
            ));
        };
        if is_dead(self.ctx, group, &config, self.request.version, header) {
            return Ok((names::dlq_topic(group).into(), 0, 0));
        }
        Ok((header.topic.clone(), queue_id, delay_level))
    }

    /// Makes `text` the properties as they are stored; returns the message's unique key.
    ///
    /// Appending to the text is the common road; only a message that was here before has properties
    /// that would otherwise be there twice.
    fn stored_properties(
        &self,
        header: &SendMessageRequestHeader,
        wishes: &Wishes<'_>,
        messages_have_own: bool,
        text: &mut Vec<u8>,
    ) -> Option<Str> {
        text.clear();
        let given = header.properties.clone().unwrap_or_default();
        if messages_have_own {
            return wishes.keys.unique_key.map(|key| given.slice_ref(key));
        }
        if wishes.needs_editing {
            let mut editor = properties::Editor::new(given.as_bytes());
            for name in [
                properties::INNER_NUM,
                properties::INNER_BASE,
                properties::POP_CK,
                properties::CLUSTER,
                properties::MSG_REGION,
                properties::TRACE_ON,
            ] {
                editor.remove(name);
            }
            text.extend_from_slice(&editor.to_vec());
        } else {
            text.extend_from_slice(given.as_bytes());
        }
        if !text.is_empty() && text.last() != Some(&properties::ENTRY_SEPARATOR) {
            text.push(properties::ENTRY_SEPARATOR);
        }
        text.extend_from_slice(&self.marks.stored_properties);
        if let Some(key) = wishes.keys.unique_key {
            return Some(given.slice_ref(key));
        }
        let key = self.ctx.identity.unique_keys.next(now_ms());
        properties::append(text, properties::UNIQ_KEY, &key);
        Some(key.into())
    }
}

/// The topic that a send names.
///
/// # Errors
/// [`topic_not_exist`].
pub fn topic_of(
    ctx: &BrokerContext,
    header: &SendMessageRequestHeader,
) -> Result<Arc<TopicConfig>, Refusal> {
    let topic = ctx.topics.get(&header.topic);
    topic.ok_or_else(|| topic_not_exist(&header.topic))
}

/// `AbstractSendMessageProcessor.msgCheck`, for a topic that exists.
pub fn check_topic(
    ctx: &BrokerContext,
    header: &SendMessageRequestHeader,
    topic: &TopicConfig,
    peer: SocketAddr,
) -> Result<(), Refusal> {
    let config = ctx.config.load();
    let name = &header.topic;
    let opens_at = config.broker.start_accept_send_request_timestamp_ms;
    if opens_at > 0 && now_ms() < opens_at {
        let remark = format!("broker unable to service, until {opens_at}");
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    }
    if let Some(what) = attributes::not_built(&topic.attributes) {
        return Err(Refusal::not_built(name, what));
    }
    if !perm::is_writable(config.broker.broker_permission) && topic.order {
        let ip = &config.broker.broker_ip1;
        let remark = format!("the broker[{ip}] sending message is forbidden");
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    if names::is_forbidden_to_send(name) {
        let remark = format!("Sending message to topic[{name}] is forbidden.");
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    if header.queue_id >= topic.write_queue_nums.max(topic.read_queue_nums) {
        let remark = format!(
            "request queueId[{}] is illegal, {} Producer: {peer}",
            header.queue_id,
            topic.describe(),
        );
        return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
    }
    Ok(())
}

/// RocketMQ's answer where a topic is missing and may not be made.
pub fn topic_not_exist(topic: &str) -> Refusal {
    let remark = format!("topic[{topic}] not exist, apply first please!{SEE_FAQ}");
    Refusal::new(ResponseCode::TopicNotExist, remark)
}
