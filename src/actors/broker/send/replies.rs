//! The answers to the sends of one batch.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    actors::{
        broker::{context::SendMarks, refusal::SEE_FAQ},
        net::Responder,
        store::append::{AppendReply, AppendRequest, Appended, PutStatus},
    },
    protocol::{
        ResponseCode, Str,
        header::send::SendMessageResponseHeader,
        message::{id, properties},
    },
};

/// A send that waits for its answer.
#[derive(Debug)]
pub(super) struct SendItem {
    pub(super) responder: Responder,
    pub(super) queue_id: i32,
    pub(super) unique_key: Option<Str>,
    pub(super) is_batch: bool,
}

/// Answers the sends of one batch. Responders that are dropped answer by themselves.
#[derive(Debug)]
pub(super) struct SendReplies {
    pub(super) items: Vec<SendItem>,
    pub(super) store_host: SocketAddr,
    pub(super) marks: Arc<SendMarks>,
}

impl AppendReply for SendReplies {
    fn answer(self: Box<Self>, outcome: &Appended) {
        let Self {
            items,
            store_host,
            marks,
        } = *self;
        let trace_on = if marks.trace_on { "true" } else { "false" };
        let extra = [
            (properties::MSG_REGION, marks.region.as_str()),
            (properties::TRACE_ON, trace_on),
        ];
        for (item, request) in items.into_iter().zip(&outcome.requests) {
            let (code, remark) = response_of(request.status, outcome.error.as_deref());
            if !request.status.is_stored() {
                item.responder
                    .answer(code, remark.as_deref(), None, &extra, []);
                continue;
            }
            let header = SendMessageResponseHeader {
                msg_id: message_ids(&item, request, store_host),
                queue_id: item.queue_id,
                queue_offset: request.queue_offset,
                transaction_id: item.unique_key,
                batch_uniq_id: None,
                recall_handle: None,
            };
            item.responder.answer(code, None, Some(&header), &extra, []);
        }
    }
}

/// The offset id of a message, or those of a batch with commas between.
fn message_ids(item: &SendItem, request: &AppendRequest, store_host: SocketAddr) -> Str {
    if !item.is_batch {
        return id::offset_id(store_host, request.physical_offset).into();
    }
    let ids: Vec<String> = request
        .physical_offsets()
        .map(|offset| id::offset_id(store_host, offset))
        .collect();
    ids.join(",").into()
}

/// Response code and remark of a put status (`SendMessageProcessor.handlePutMessageResult`).
pub fn response_of(status: PutStatus, error: Option<&str>) -> (ResponseCode, Option<String>) {
    let why = error.unwrap_or("unknown");
    match status {
        PutStatus::PutOk => (ResponseCode::Success, None),
        PutStatus::FlushDiskTimeout => (ResponseCode::FlushDiskTimeout, None),
        PutStatus::FlushSlaveTimeout => (ResponseCode::FlushSlaveTimeout, None),
        PutStatus::ServiceNotAvailable => (
            ResponseCode::ServiceNotAvailable,
            Some(format!(
                "service not available now. It may be caused by one of the following reasons: \
                 the broker's disk is full, messages are put to the slave, message store has been \
                 shut down, etc. [{why}]"
            )),
        ),
        PutStatus::MessageIllegal => (
            ResponseCode::MessageIllegal,
            Some(format!("the message is illegal: {why}")),
        ),
        PutStatus::TopicDeleted => (
            ResponseCode::TopicNotExist,
            Some(format!(
                "the topic was deleted, apply first please!{SEE_FAQ}"
            )),
        ),
        PutStatus::WriteFailed => (
            ResponseCode::SystemError,
            Some(format!(
                "create mapped file failed, server is busy or broken. [{why}]"
            )),
        ),
    }
}
