//! Sends to logic queues (`TopicQueueMappingManager.rewriteRequestForStaticTopic`,
//! `SendMessageProcessor.rewriteResponseForStaticTopic`).

use std::sync::Arc;

use super::{does_not_lead, says_logic};
use crate::{
    actors::broker::{context::BrokerContext, refusal::Refusal, tables::mappings::Mapping},
    protocol::{RemotingCommand, header::send::SendMessageRequestHeader},
};

/// The logic queue that a message was sent to; kept until the send is answered.
#[derive(Debug)]
pub struct SentTo {
    /// Held, so that who moves the queue elsewhere can wait for this message.
    mapping: Arc<Mapping>,
    /// The logic queue.
    pub queue: i32,
}

impl SentTo {
    /// The logic offset of a message of the queue; -1 as long as that is not known.
    pub fn logic_offset(&self, physical: i64) -> i64 {
        let led = self.mapping.detail().led(self.queue);
        led.map_or(-1, |led| led.static_offset_loosely(physical))
    }
}

/// Makes a send to a logic queue one to its physical queue; `None` for other topics. A send that names
/// no queue goes to any that this broker leads; RocketMQ takes the first that it knows of.
///
/// # Errors
/// NOT_LEADER_FOR_QUEUE.
pub fn route(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    header: &mut SendMessageRequestHeader,
) -> Result<Option<SentTo>, Refusal> {
    let Some(mapping) = ctx.topics.mapping(&header.topic) else {
        return Ok(None);
    };
    if says_logic(request) == Some(false) {
        return Ok(None);
    }
    let detail = mapping.detail();
    let mut queues = detail.hosted_queues.keys().copied();
    let queue = match header.queue_id {
        ..0 => queues.find(|&queue| detail.led(queue).is_some()),
        given => Some(given),
    };
    let queue = queue.unwrap_or(header.queue_id);
    let Some(led) = detail.led(queue) else {
        return Err(does_not_lead(detail, queue));
    };
    header.queue_id = led.queue_id;
    Ok(Some(SentTo { mapping, queue }))
}
