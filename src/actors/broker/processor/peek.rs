//! Looking at messages that could be popped, PEEK_MESSAGE (200052), and at pops that wait,
//! POLLING_INFO (200055) (`PeekMessageProcessor`, `PollingInfoProcessor`).

use bytes::BytesMut;

use super::{ack::NOTHING_SAID, answer, decode, refused};
use crate::{
    actors::{
        broker::{context::BrokerContext, pop::check_peek, refusal::Refusal},
        delivery::pop::request::{CountWaiting, MESSAGES_MAX, Whom},
        net::ConnectionHandle,
    },
    protocol::{
        RemotingCommand, ResponseCode,
        header::pop::{
            PeekMessageRequestHeader, PollingInfoRequestHeader, PollingInfoResponseHeader,
            PopMessageResponseHeader,
        },
    },
    store::get_message::{EntryFilter, GetRequest, GetResult, GetStatus, PULL_BYTES_MAX},
};

/// What a peek has found so far.
struct Peeking<'a> {
    ctx: &'a BrokerContext,
    group: &'a str,
    max: usize,
    found: BytesMut,
    messages: usize,
    rest: i64,
}

/// PEEK_MESSAGE (200052).
pub async fn peek(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    conn: &ConnectionHandle,
) -> Result<RemotingCommand, Refusal> {
    let header: PeekMessageRequestHeader = decode(request)?;
    let (topic, group) = (&header.topic, &header.consumer_group);
    ctx.subscriptions.find(group).await;
    if let Err(refusal) = check_peek(ctx, topic, group, header.queue_id, conn.peer) {
        let empty = PopMessageResponseHeader::default();
        return Ok(refused(request, &refusal).with_header(&empty));
    }
    let asked = header.max_msg_nums.clamp(0, MESSAGES_MAX);
    let mut peeking = Peeking {
        ctx,
        group,
        max: usize::try_from(asked).unwrap_or(0),
        found: BytesMut::new(),
        messages: 0,
        rest: 0,
    };
    let random = rand::random_range(0..100);
    let retry_first = random % 5 == 0;
    let retry = ctx.pops.parts.policy.load().retry_topic(topic, group);
    if retry_first {
        peeking.topic(&retry, random).await;
    }
    if header.queue_id < 0 {
        peeking.topic(topic, random).await;
    } else {
        peeking.queue(topic, header.queue_id).await;
    }
    if !retry_first && peeking.messages < peeking.max {
        peeking.topic(&retry, random).await;
    }
    let (code, remark) = if peeking.messages > 0 {
        (ResponseCode::Success, "FOUND")
    } else {
        (ResponseCode::PullNotFound, "NO_MESSAGE_IN_QUEUE")
    };
    let told = PopMessageResponseHeader {
        rest_num: peeking.rest,
        ..PopMessageResponseHeader::default()
    };
    Ok(RemotingCommand::response(request, code)
        .with_remark(remark)
        .with_header(&told)
        .with_body(peeking.found.freeze()))
}

impl Peeking<'_> {
    async fn topic(&mut self, topic: &str, random: i32) {
        let queues = self.ctx.pops.parts.read_queues(topic);
        for number in 0..queues {
            self.queue(topic, (random + number) % queues).await;
        }
    }

    async fn queue(&mut self, topic: &str, queue_id: i32) {
        let offset = self.ctx.pops.parts.offset(topic, self.group, queue_id);
        let rest = self.ctx.pops.parts.rest(topic, self.group, queue_id);
        self.rest = self.rest.saturating_add(rest);
        if self.messages >= self.max {
            return;
        }
        let Some(mut found) = self.read(topic, queue_id, offset).await else {
            return;
        };
        let is_off = matches!(
            found.status,
            GetStatus::OffsetTooSmall | GetStatus::OffsetOverflowBadly
        );
        if is_off {
            let right = found.next_begin_offset;
            let Some(again) = self.read(topic, queue_id, right).await else {
                return;
            };
            found = again;
        }
        self.messages += found.messages;
        for part in &found.parts {
            self.found.extend_from_slice(part);
        }
    }

    async fn read(&self, topic: &str, queue_id: i32, offset: i64) -> Option<GetResult> {
        let slot = self.ctx.store.table.get(topic, queue_id)?;
        let request = GetRequest {
            offset,
            max_messages: self.max - self.messages,
            max_bytes: PULL_BYTES_MAX,
            filter: EntryFilter::All,
        };
        self.ctx.store.shards.read(slot, request).await.ok()
    }
}

/// POLLING_INFO (200055).
pub async fn polling_info(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    conn: &ConnectionHandle,
) -> Result<RemotingCommand, Refusal> {
    let header: PollingInfoRequestHeader = decode(request)?;
    let (topic, group) = (&header.topic, &header.consumer_group);
    ctx.subscriptions.find(group).await;
    if let Err(refusal) = check_peek(ctx, topic, group, header.queue_id, conn.peer) {
        let empty = PollingInfoResponseHeader::default();
        return Ok(refused(request, &refusal).with_header(&empty));
    }
    let whom = Whom {
        topic: topic.clone(),
        group: group.clone(),
        queue_id: header.queue_id,
        order: false,
        attempt_id: None,
    };
    let unknown = || Refusal::new(ResponseCode::SystemError, "outcome unknown");
    let shard = ctx.pops.shard(topic, group).ok_or_else(unknown)?;
    let count = shard.ask(CountWaiting(whom)).await.map_err(|_| unknown())?;
    let header = PollingInfoResponseHeader {
        polling_num: i32::try_from(count).unwrap_or(i32::MAX),
    };
    Ok(answer(request)
        .with_remark(NOTHING_SAID)
        .with_header(&header))
}
