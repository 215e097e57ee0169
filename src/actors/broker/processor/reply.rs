//! SEND_REPLY_MESSAGE (324, 325): a consumer's reply to a request message goes to the client that waits
//! for it, which must be a producer of this broker; by default it is stored as well
//! (`ReplyMessageProcessor`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;

use super::{answer, refused};
use crate::{
    actors::{
        broker::{
            context::BrokerContext,
            inner::InnerMessage,
            refusal::Refusal,
            send::{check_topic, decode, make_topic, queue_of, topic_of},
        },
        net::ConnectionHandle,
        store::append::AppendOutcome,
    },
    protocol::{
        RemotingCommand, RequestCode, ResponseCode,
        header::send::{
            ReplyMessageRequestHeader, SendMessageRequestHeader, SendMessageResponseHeader,
        },
        message::{id, keys::KeyProperties, properties},
    },
    store::now_ms,
};

/// How long the client may take to confirm that it has the reply.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// What RocketMQ answers where a stored reply has no id.
const NO_ID: &str = "0";

/// Answers SEND_REPLY_MESSAGE, in either form. Refusals, too, tell region and tracing.
pub async fn reply(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    conn: &Arc<ConnectionHandle>,
) -> Result<RemotingCommand, Refusal> {
    let header = decode(request)?;
    let mut response = match push_and_store(ctx, request, header, conn).await {
        Ok(response) => response,
        Err(refusal) => refused(request, &refusal),
    };
    let marks = ctx.marks.load();
    for (name, value) in marks.fields() {
        response.ext_fields.insert(name, value);
    }
    Ok(response)
}

async fn push_and_store(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    header: SendMessageRequestHeader,
    conn: &Arc<ConnectionHandle>,
) -> Result<RemotingCommand, Refusal> {
    make_topic(ctx, &header).await?;
    let topic = topic_of(ctx, &header)?;
    check_topic(ctx, &header, &topic, conn.peer)?;
    let queue_id = queue_of(&header, &topic);
    let text = marked(ctx, &header);
    let pushed = push(ctx, request, &header, conn.peer, &text).await;
    let stored = if ctx.config.load().broker.store_reply_message_enable {
        store(ctx, request, &header, conn.peer, queue_id, &text).await
    } else {
        None
    };
    let (msg_id, queue_offset) = match &stored {
        Some(outcome) => (
            id::offset_id(ctx.identity.store_host, outcome.physical_offset),
            outcome.queue_offset,
        ),
        None => (NO_ID.to_owned(), 0),
    };
    let mut response = match pushed {
        Ok(()) => answer(request),
        Err(remark) => {
            RemotingCommand::response(request, ResponseCode::SystemError).with_remark(remark)
        }
    };
    if stored.is_some() || response.response_code() == Some(ResponseCode::Success) {
        response = response.with_header(&SendMessageResponseHeader {
            msg_id: msg_id.into(),
            queue_id,
            queue_offset,
            transaction_id: None,
            batch_uniq_id: None,
            recall_handle: None,
        });
    }
    Ok(response)
}

/// The reply's properties with what every broker adds to them.
fn marked(ctx: &BrokerContext, header: &SendMessageRequestHeader) -> Vec<u8> {
    let given = header.properties.as_ref();
    let marks = ctx.marks.load();
    let mut edited = properties::Editor::new(given.map_or(&b""[..], |text| text.as_bytes()));
    for (name, value) in marks.fields() {
        edited.set(name, value);
    }
    edited.to_vec()
}

/// Hands the reply to the client that waits for it; an error is what its sender is told.
async fn push(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    header: &SendMessageRequestHeader,
    peer: SocketAddr,
    text: &[u8],
) -> Result<(), String> {
    let name = properties::REPLY_TO_CLIENT;
    let Some(client) = properties::get(text, name) else {
        return Err(format!("reply message properties[{name}] is null"));
    };
    let Some(conn) = ctx.producers.find(client) else {
        return Err(format!(
            "push reply message fail, channel of <{client}> not found."
        ));
    };
    let now = now_ms();
    let mut edited = properties::Editor::new(text);
    edited.set(properties::PUSH_REPLY_TIME, now.to_string());
    let pushed = ReplyMessageRequestHeader {
        producer_group: header.producer_group.clone(),
        topic: header.topic.clone(),
        default_topic: header.default_topic.clone(),
        default_topic_queue_nums: header.default_topic_queue_nums,
        queue_id: header.queue_id,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        flag: header.flag,
        properties: String::from_utf8(edited.to_vec()).ok().map(Into::into),
        reconsume_times: header.reconsume_times,
        unit_mode: header.unit_mode == Some(true),
        born_host: peer.to_string().into(),
        store_host: ctx.identity.store_host.to_string().into(),
        store_timestamp: now,
    };
    let call = RemotingCommand::request(RequestCode::PushReplyMessageToClient, &pushed)
        .with_body(request.body.clone());
    let failed = || format!("push reply message to {client}fail.");
    match conn.call(call, PUSH_TIMEOUT).await {
        Ok(answered) if answered.response_code() == Some(ResponseCode::Success) => Ok(()),
        Ok(answered) => {
            let remark = answered.remark.as_deref().unwrap_or_default();
            log::warn!("broker reply not taken client={client} remark=\"{remark}\"");
            Err(failed())
        }
        Err(error) => {
            log::warn!("broker reply not pushed client={client}: {error}");
            Err(failed())
        }
    }
}

/// Stores the reply, which the sender is not told about when it fails: the client may have it already.
async fn store(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    header: &SendMessageRequestHeader,
    peer: SocketAddr,
    queue_id: i32,
    text: &[u8],
) -> Option<AppendOutcome> {
    let message = InnerMessage {
        topic: &header.topic,
        queue_id,
        flag: header.flag,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        born_host: peer,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        prepared_transaction_offset: 0,
        body: &request.body,
        properties: text,
        keys: KeyProperties::of(text),
    };
    let append = message.into_request(&ctx.store, 0, &mut BytesMut::new());
    let append = append
        .inspect_err(|refusal| log::warn!("broker reply not stored: {}", refusal.remark))
        .ok()?;
    let wait = properties::waits_for_store(text);
    let outcome = ctx.append_own(append, wait).await.ok()?;
    if !outcome.status.is_stored() {
        log::warn!("broker reply not stored: {:?}", outcome.error);
        return None;
    }
    Some(outcome)
}
