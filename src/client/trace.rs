//! Tells about what a client sends and consumes in messages of a trace topic (RocketMQ's
//! `AsyncTraceDispatcher`).
//!
//! Events wait in a bounded queue and go out together. Nothing waits for them: they are dropped, and
//! counted in the log, while the queue is full or the broker does not take them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::client::instance::Inner;
use crate::client::message::{Message, MessageExt};
use crate::client::producer::{Producer, SendResult};
use crate::client::{ClientError, MqClient, now_ms};
use crate::protocol::Str;
use crate::protocol::message::properties;
use crate::protocol::trace::{MessageKind, TraceEvent, TraceKind};

/// Events that wait at most (`queueSize` of the dispatcher).
const WAITING_MAX: usize = 2048;
/// Events of one message at most (`batchSize`).
const BATCH_MAX: usize = 100;
/// How long events wait for others.
const LINGER: Duration = Duration::from_millis(500);
/// Bytes of one message at most (`maxMsgSize`).
const BODY_MAX: usize = 128_000;
/// Bytes of keys from which on the next message begins: properties are bounded.
const KEYS_MAX: usize = 10_000;

/// The group that sends traces (`TraceConstants.GROUP_NAME_PREFIX`).
const GROUP: &str = "_INNER_TRACE_PRODUCER";

/// What waits to be sent.
enum Item {
    /// An event, and the keys that it is found by beside the message's id.
    Event(Box<TraceEvent>, Vec<Str>),
    /// Told when all before it is sent.
    Flush(oneshot::Sender<()>),
}

/// Takes events; the sending task ends with it.
pub(crate) struct Tracer {
    topic: Str,
    items: mpsc::Sender<Item>,
    dropped: AtomicU64,
}

impl Tracer {
    /// Begins to send the events of a client to a topic.
    pub(crate) fn start(client: Weak<Inner>, topic: &Str) -> Tracer {
        let (items, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(send_all(client, topic.clone(), waiting));
        Tracer {
            topic: topic.clone(),
            items,
            dropped: AtomicU64::new(0),
        }
    }

    /// Waits until what was told is sent.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.items.send(Item::Flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }

    fn tell(&self, event: TraceEvent, keys: Option<&str>) {
        let keys = keys
            .unwrap_or_default()
            .split(' ')
            .filter(|key| !key.is_empty());
        let keys = keys.map(Str::from).collect();
        if self
            .items
            .try_send(Item::Event(Box::new(event), keys))
            .is_err()
        {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                log::warn!("client: trace events are dropped so_far={dropped}");
            }
        }
    }

    /// Tells of a send to a broker that took so long; not of traces themselves, nor where the broker
    /// says that it wants none.
    pub(crate) fn sent(
        &self,
        group: &str,
        message: &SentMessage,
        broker_addr: &str,
        cost: Duration,
        result: &Result<SendResult, ClientError>,
    ) {
        let sent = result.as_ref().ok();
        if message.topic == self.topic || sent.is_some_and(|sent| !sent.trace_on) {
            return;
        }
        let event = TraceEvent {
            time_ms: now_ms() - cost.as_millis() as i64,
            region: sent
                .map(|sent| sent.region_id.to_string())
                .unwrap_or_default(),
            group: group.to_owned(),
            message_id: message.id.to_string(),
            kind: TraceKind::Pub {
                topic: message.topic.to_string(),
                tags: message.tags.as_deref().map(str::to_owned),
                keys: message.keys.as_deref().map(str::to_owned),
                store_host: broker_addr.to_owned(),
                body_len: message.body_len as i32,
                cost_ms: cost.as_millis() as i32,
                message: message.kind,
                offset_id: sent.map(|sent| sent.offset_id.to_string()),
                success: sent.is_some(),
            },
        };
        self.tell(event, message.keys.as_deref());
    }

    /// Tells that a listener is called with messages; gives the id that joins this with its end.
    pub(crate) fn begins(&self, group: &str, messages: &[MessageExt]) -> String {
        let request_id = crate::client::unique_id::create().to_string();
        for message in messages.iter().filter(|message| is_traced(message)) {
            let keys = message.keys();
            let event = TraceEvent {
                time_ms: now_ms(),
                region: region(message),
                group: group.to_owned(),
                message_id: message.message_id(),
                kind: TraceKind::SubBefore {
                    request_id: request_id.clone(),
                    retry_times: message.reconsume_times,
                    keys: keys.map(str::to_owned),
                },
            };
            self.tell(event, keys);
        }
        request_id
    }

    /// Tells what a listener made of messages.
    pub(crate) fn ends(
        &self,
        group: &str,
        messages: &[MessageExt],
        request_id: &str,
        cost: Duration,
        success: bool,
    ) {
        // What is told is the time of each.
        let each = cost / messages.len().max(1) as u32;
        for message in messages.iter().filter(|message| is_traced(message)) {
            let keys = message.keys();
            let event = TraceEvent {
                time_ms: now_ms(),
                region: String::new(),
                group: group.to_owned(),
                message_id: message.message_id(),
                kind: TraceKind::SubAfter {
                    request_id: request_id.to_owned(),
                    cost_ms: each.as_millis() as i32,
                    success,
                    keys: keys.map(str::to_owned),
                    outcome: if success { 0 } else { 4 },
                },
            };
            self.tell(event, keys);
        }
    }
}

/// What a trace tells of a message that was sent.
#[derive(Debug)]
pub(crate) struct SentMessage {
    id: Str,
    topic: Str,
    tags: Option<Str>,
    keys: Option<Str>,
    body_len: usize,
    kind: MessageKind,
}

impl SentMessage {
    /// Of a message with this id.
    pub(crate) fn of(message: &Message, id: Str) -> SentMessage {
        let property = |name| message.property(name).map(Str::from);
        let has = |name: &str| message.property(name).is_some();
        let delays = [
            properties::DELAY,
            properties::TIMER_DELIVER_MS,
            properties::TIMER_DELAY_MS,
            properties::TIMER_DELAY_SEC,
        ];
        let kind = if has(properties::TRAN_MSG) {
            MessageKind::TransHalf
        } else if delays.into_iter().any(has) {
            MessageKind::Delay
        } else {
            MessageKind::Normal
        };
        SentMessage {
            id,
            topic: message.topic.clone(),
            tags: property(properties::TAGS),
            keys: property(properties::KEYS),
            body_len: message.body.len(),
            kind,
        }
    }
}

/// Brokers say with each message whether it is to be traced (`traceOn`).
fn is_traced(message: &MessageExt) -> bool {
    message.property(properties::TRACE_ON) != Some("false")
}

fn region(message: &MessageExt) -> String {
    message
        .property(properties::MSG_REGION)
        .unwrap_or_default()
        .to_owned()
}

/// Sends what comes, until nobody is left to tell anything.
async fn send_all(client: Weak<Inner>, topic: Str, mut waiting: mpsc::Receiver<Item>) {
    let mut is_open = true;
    while is_open {
        let mut batch = Vec::new();
        let mut flushed = None;
        let mut until = None;
        while batch.len() < BATCH_MAX && flushed.is_none() {
            let next = match until {
                None => waiting.recv().await,
                Some(until) => match tokio::time::timeout_at(until, waiting.recv()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            match next {
                Some(Item::Event(event, keys)) => batch.push((*event, keys)),
                Some(Item::Flush(done)) => flushed = Some(done),
                None => {
                    is_open = false;
                    break;
                }
            }
            until.get_or_insert_with(|| tokio::time::Instant::now() + LINGER);
        }
        let Some(client) = client.upgrade() else {
            return;
        };
        if let Err(error) = send(client, messages(&topic, batch)).await {
            log::warn!("client: trace not sent topic={topic} error={error}");
        }
        if let Some(done) = flushed {
            let _ = done.send(());
        }
    }
}

async fn send(client: Arc<Inner>, messages: Vec<Message>) -> Result<(), ClientError> {
    if messages.is_empty() {
        return Ok(());
    }
    let producer = Producer::new(&MqClient { inner: client }, GROUP)?;
    for message in messages {
        producer.send(message).await?;
    }
    Ok(())
}

/// Events as messages, each no longer than it may be, and with all ids and keys of its events.
fn messages(topic: &Str, events: impl IntoIterator<Item = (TraceEvent, Vec<Str>)>) -> Vec<Message> {
    let mut out = Vec::new();
    let (mut body, mut keys) = (String::new(), Vec::<Str>::new());
    let mut finish = |body: &mut String, keys: &mut Vec<Str>| {
        keys.sort_unstable();
        keys.dedup();
        let keys = std::mem::take(keys).join(" ");
        out.push(Message::new(topic.clone(), std::mem::take(body).into_bytes()).with_keys(keys));
    };
    for (event, more) in events {
        let mut text = String::new();
        event.encode(&mut text);
        let keys_len: usize = keys.iter().map(|key| key.len() + 1).sum();
        if !body.is_empty() && (body.len() + text.len() > BODY_MAX || keys_len > KEYS_MAX) {
            finish(&mut body, &mut keys);
        }
        body.push_str(&text);
        keys.push(event.message_id.as_str().into());
        keys.extend(more);
    }
    if !body.is_empty() {
        finish(&mut body, &mut keys);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::trace::events;

    #[test]
    fn events_share_a_message_until_it_is_full() {
        let event = |id: usize| TraceEvent {
            time_ms: 1,
            region: "r".into(),
            group: "g".into(),
            message_id: format!("{id:032}"),
            kind: TraceKind::Recall {
                topic: "T".into(),
                success: true,
            },
        };
        let all = (0..1_000).map(|id| (event(id), vec!["k".into()]));
        let out = messages(&"Traces".into(), all);
        assert!(out.len() > 1 && out.len() < 10, "{}", out.len());
        let texts = out
            .iter()
            .map(|m| String::from_utf8(m.body.to_vec()).unwrap());
        let back: Vec<_> = texts
            .flat_map(|text| events(&text).collect::<Vec<_>>())
            .collect();
        assert_eq!(back, (0..1_000).map(event).collect::<Vec<_>>());
        let keys = out[0].property(properties::KEYS).unwrap();
        assert!(keys.split(' ').any(|key| key == "k"));
        assert!(keys.split(' ').any(|key| key.ends_with("0001")));
    }
}
