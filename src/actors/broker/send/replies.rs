//! The answers to the sends of one batch.

use std::{net::SocketAddr, sync::Arc};

use smallvec::SmallVec;

use crate::{
    actors::{
        broker::{context::SendMarks, refusal::SEE_FAQ, static_topics::send::SentTo},
        delivery::transactions::TransactionCounts,
        net::Responder,
        store::append::{AppendReply, AppendRequest, Appended, PutStatus},
    },
    protocol::{ResponseCode, Str, header::send::SendMessageResponseHeader, message::id},
};

/// A send that waits for its answer.
#[derive(Debug)]
pub(super) struct SendItem {
    pub(super) responder: Responder,
    pub(super) queue_id: i32,
    pub(super) unique_key: Option<Str>,
    pub(super) is_inner_batch: bool,
    /// Topic of a half message, and who counts it.
    pub(super) half_of: Option<(Str, Arc<TransactionCounts>)>,
    pub(super) recall_handle: Option<Str>,
    /// Logic queue of a static topic; kept until the answer, see [`SentTo`].
    pub(super) logic: Option<SentTo>,
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
        let extra = marks.fields();
        let ids = MessageIds::of(&outcome.requests, store_host);
        for (at, (item, request)) in items.into_iter().zip(&outcome.requests).enumerate() {
            let (code, remark) = response_of(request.status, outcome.error.as_deref());
            if !request.status.is_stored() {
                item.responder
                    .answer(code, remark.as_deref(), None, &extra, []);
                continue;
            }
            if let Some((topic, counts)) = &item.half_of {
                counts.add(topic, 1);
            }
            let physical = request.queue_offset;
            let logic = item.logic.as_ref();
            let header = SendMessageResponseHeader {
                msg_id: ids.get(at),
                queue_id: item.queue_id,
                queue_offset: logic.map_or(physical, |logic| logic.logic_offset(physical)),
                // Tells the client that its batch is one message.
                batch_uniq_id: item.unique_key.clone().filter(|_| item.is_inner_batch),
                transaction_id: item.unique_key,
                recall_handle: item.recall_handle,
            };
            item.responder.answer(code, None, Some(&header), &extra, []);
        }
    }
}

/// The offset ids of all requests, in one text: for each request those of its messages with commas
/// between.
struct MessageIds {
    text: Str,
    ends: SmallVec<[usize; 16]>,
}

impl MessageIds {
    fn of(requests: &[AppendRequest], store_host: SocketAddr) -> Self {
        let mut text = String::new();
        let mut ends = SmallVec::with_capacity(requests.len());
        for request in requests {
            if request.status.is_stored() {
                id::push_offset_ids(&mut text, store_host, request.physical_offsets());
            }
            ends.push(text.len());
        }
        let text = text.into();
        Self { text, ends }
    }

    fn get(&self, at: usize) -> Str {
        let end = |at: usize| self.ends.get(at).copied().unwrap_or(0);
        let start = at.checked_sub(1).map_or(0, end);
        let ids = self.text.get(start..end(at)).unwrap_or_default();
        self.text.slice_ref(ids)
    }
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
