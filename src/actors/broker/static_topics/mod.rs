//! Static topics: requests for logic queues, answered by the broker that leads them.
//!
//! A request that names a topic with a mapping ([`super::tables::mappings`]) means a logic queue, unless
//! it says `lo=false`. Who does not lead that queue answers NOT_LEADER_FOR_QUEUE, for the client's route
//! is old then. The leader makes it a request for a physical queue. Where that is an older stretch of the
//! queue, which another broker keeps, the leader asks there, with `lo=false`; clients never do.
//!
//! | module | what |
//! | --- | --- |
//! | [`update`] | code 513: a topic gets a mapping; what is under way by the old one is waited for |
//! | [`send`] | sends |
//! | [`pull`] | pulls |
//! | [`queues`] | offsets of a queue: codes 29 to 32 |
//! | [`offsets`] | offsets of groups: codes 14 and 15 |
//! | [`forward`] | questions to other brokers, so many at a time |
//! | [`cleaner`] | forgets stretches without messages, and queues that went on without this broker |
//!
//! Pops know of none of this, as in RocketMQ: who pops a static topic pops its physical queues.

use std::sync::Arc;

use super::{context::BrokerContext, refusal::Refusal};
use crate::protocol::{
    RemotingCommand, ResponseCode,
    body::topic_queue_mapping::{LogicQueueMappingItem, TopicQueueMappingDetail},
    static_topic::item,
};

pub mod cleaner;
pub mod forward;
pub mod offsets;
pub mod pull;
pub mod queues;
pub mod send;
pub mod update;

pub use cleaner::{Cleaner, StaticTopics};
pub use forward::Forwarder;

/// The field that tells logic queues from physical ones (`TopicRequestHeader.lo`).
const LOGIC: &str = "lo";

/// What `lo` says, read as Java reads it; `None` where it is not there.
fn says_logic(request: &RemotingCommand) -> Option<bool> {
    let text = request.ext_fields.get(LOGIC)?;
    Some(text.eq_ignore_ascii_case("true"))
}

/// Whether who asks for a topic wants its mapping, too.
pub fn wants_mapping(request: &RemotingCommand) -> bool {
    says_logic(request) == Some(true)
}

/// The mapping by which a request is to be understood; `None` where its queue is a physical one.
pub fn mapping_of(
    ctx: &BrokerContext,
    topic: &str,
    request: &RemotingCommand,
) -> Option<Arc<TopicQueueMappingDetail>> {
    let mapping = ctx.topics.mappings().detail(topic)?;
    (says_logic(request) != Some(false)).then_some(mapping)
}

/// A logic queue that this broker leads.
#[derive(Debug, Clone)]
pub struct Led {
    mapping: Arc<TopicQueueMappingDetail>,
    queue: i32,
}

impl Led {
    /// The queue of a mapping, if this broker leads it.
    ///
    /// # Errors
    /// NOT_LEADER_FOR_QUEUE.
    pub fn of(mapping: Arc<TopicQueueMappingDetail>, queue: i32) -> Result<Self, Refusal> {
        match mapping.led(queue) {
            Some(_) => Ok(Self { mapping, queue }),
            None => Err(does_not_lead(&mapping, queue)),
        }
    }

    /// The stretches of the queue, the oldest first.
    fn items(&self) -> &[LogicQueueMappingItem] {
        self.mapping.stretches(self.queue)
    }

    /// The stretch that has a logic offset.
    ///
    /// # Errors
    /// When none has its place in the queue yet.
    fn at(&self, logic_offset: i64) -> Result<&LogicQueueMappingItem, Refusal> {
        item::find(self.items(), logic_offset).ok_or_else(|| {
            let (topic, queue) = (&self.mapping.topic, self.queue);
            let remark = format!("{topic}-{queue} has no logic offsets yet");
            Refusal::new(ResponseCode::SystemError, remark)
        })
    }

    /// Whether this broker keeps a stretch itself.
    fn is_here(&self, item: &LogicQueueMappingItem) -> bool {
        item.bname == self.mapping.bname
    }
}

fn not_leader(remark: String) -> Refusal {
    Refusal::new(ResponseCode::NotLeaderForQueue, remark)
}

/// What most requests are told for a queue that others lead.
fn does_not_lead(mapping: &TopicQueueMappingDetail, queue: i32) -> Refusal {
    let (topic, broker) = (&mapping.topic, &mapping.bname);
    not_leader(format!(
        "{topic}-{queue} does not exit in request process of current broker {broker}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::RequestCode;

    #[test]
    fn lo_is_read_as_java_reads_it() {
        let request = |text: Option<&str>| {
            let mut request = RemotingCommand::request_without_header(RequestCode::GetMaxOffset);
            if let Some(text) = text {
                request.ext_fields.insert("lo", text);
            }
            request
        };
        for (text, logic) in [
            (None, None),
            (Some("true"), Some(true)),
            (Some("TRUE"), Some(true)),
            (Some("false"), Some(false)),
            (Some("no"), Some(false)),
        ] {
            assert_eq!(says_logic(&request(text)), logic, "{text:?}");
            assert_eq!(wants_mapping(&request(text)), logic == Some(true));
        }
    }
}
