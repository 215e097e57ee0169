//! Assignment of queues by the broker (`QueryAssignmentProcessor`): codes 400, 401 and 402.
//!
//! How a group gets the messages of a topic is set by an operator (401) or, where nobody did, by
//! `defaultMessageRequestMode`; retry topics are always pulled. A client that pops gets each broker as
//! queue -1, unless only so many clients shall share a queue (`popShareQueueNum`).

use super::{answer, json, read_json};
use crate::{
    actors::{
        broker::{context::BrokerContext, refusal::Refusal},
        groups::allocate::Strategy,
    },
    protocol::{
        RemotingCommand, ResponseCode,
        body::{
            MessageQueue,
            assignment::{
                MessageQueueAssignment, MessageRequestMode, QueryAssignmentRequestBody,
                QueryAssignmentResponseBody, SetMessageRequestModeRequestBody,
            },
            heartbeat::MessageModel,
        },
        message::{multi_dispatch::LMQ_QUEUE_ID, names},
    },
};

/// The queue of an assignment that stands for all queues of its broker.
const ANY_QUEUE: i32 = -1;

/// QUERY_ASSIGNMENT (400). Without a list in the answer the client keeps the queues it has.
pub async fn query(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let asked: QueryAssignmentRequestBody = read_json(request)?;
    let (mode, share) = mode_of(ctx, &asked.topic, &asked.consumer_group);
    let queues = assigned(ctx, &asked, mode, share).await;
    let assignment = |message_queue| MessageQueueAssignment {
        attachments: None,
        message_queue,
        mode,
    };
    let body = QueryAssignmentResponseBody {
        message_queue_assignments: queues
            .map(|queues| queues.into_iter().map(assignment).collect()),
    };
    json(request, &body)
}

/// How a group gets the messages of a topic, and how many clients share a queue when popping.
fn mode_of(ctx: &BrokerContext, topic: &str, group: &str) -> (MessageRequestMode, i32) {
    if let Some(set) = ctx.subscriptions.request_mode(topic, group) {
        return (set.mode, set.pop_share_queue_num);
    }
    let config = ctx.config.load();
    let mode = if names::is_retry_topic(topic) {
        MessageRequestMode::Pull
    } else {
        MessageRequestMode::from_name(&config.broker.default_message_request_mode)
            .unwrap_or_default()
    };
    (mode, config.broker.default_pop_share_queue_num)
}

/// The queues of the asking client; `None` when that cannot be told.
async fn assigned(
    ctx: &BrokerContext,
    asked: &QueryAssignmentRequestBody,
    mode: MessageRequestMode,
    share: i32,
) -> Option<Vec<MessageQueue>> {
    let queues = match names::is_lmq(&asked.topic) {
        // No NameServer knows them.
        true => vec![MessageQueue {
            broker_name: ctx.identity.broker_name.clone(),
            queue_id: LMQ_QUEUE_ID,
            topic: asked.topic.clone(),
        }],
        false => ctx.registrars.readable_queues(&asked.topic).await?,
    };
    let balanced = ctx.config.load().broker.server_load_balancer_enable;
    if asked.message_model == MessageModel::Broadcasting || !balanced {
        return Some(queues);
    }
    let mut clients = ctx.consumers.get(&asked.consumer_group)?.client_ids();
    clients.sort_unstable();
    let strategy = Strategy::from_name(&asked.strategy_name)?;
    let member = clients
        .iter()
        .position(|client| **client == *asked.client_id);
    if mode == MessageRequestMode::Pop {
        return Some(to_pop(strategy, &queues, member, clients.len(), share));
    }
    // A client that is not online yet has nothing.
    Some(member.map_or_else(Vec::new, |member| {
        strategy.allocate(&queues, member, clients.len())
    }))
}

/// The queues that client number `member` of `clients` pops (`allocate4Pop`): all of them where any
/// number of clients may share a queue; else its own and those of the `share` clients behind it.
fn to_pop(
    strategy: Strategy,
    queues: &[MessageQueue],
    member: Option<usize>,
    clients: usize,
    share: i32,
) -> Vec<MessageQueue> {
    let share = usize::try_from(share).unwrap_or(0);
    if share == 0 || share >= clients.saturating_sub(1) {
        let mut brokers: Vec<MessageQueue> = Vec::new();
        for queue in queues {
            let any = MessageQueue {
                queue_id: ANY_QUEUE,
                ..queue.clone()
            };
            if !brokers.contains(&any) {
                brokers.push(any);
            }
        }
        return brokers;
    }
    let Some(member) = member else {
        return Vec::new();
    };
    if clients > queues.len() {
        // More clients than queues: each gets one.
        let queue = queues.get(member % queues.len().max(1));
        return queue.into_iter().cloned().collect();
    }
    let shared = (0..=share).map(|behind| (member + behind) % clients);
    let mut all: Vec<MessageQueue> = Vec::new();
    for queue in shared.flat_map(|member| strategy.allocate(queues, member, clients)) {
        if !all.contains(&queue) {
            all.push(queue);
        }
    }
    all
}

/// SET_MESSAGE_REQUEST_MODE (401).
pub async fn set_mode(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let mode: SetMessageRequestModeRequestBody = read_json(request)?;
    if names::is_retry_topic(&mode.topic) {
        let remark = "retry topic is not allowed to set mode";
        return Err(Refusal::new(ResponseCode::NoPermission, remark));
    }
    if !ctx.topics.contains(&mode.topic) {
        let remark = format!("topic[{}] not exist", mode.topic);
        return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
    }
    if ctx.subscriptions.find(&mode.consumer_group).await.is_none() {
        let remark = "subscription group does not exist";
        return Err(Refusal::new(
            ResponseCode::SubscriptionGroupNotExist,
            remark,
        ));
    }
    ctx.subscriptions.set_request_mode(mode).await?;
    Ok(answer(request))
}

/// GET_ALL_MESSAGE_REQUEST_MODE (402).
pub async fn modes(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    json(request, &*ctx.subscriptions.request_modes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(count: i32) -> Vec<MessageQueue> {
        let queue = |queue_id| MessageQueue {
            broker_name: if queue_id % 2 == 0 { "a" } else { "b" }.to_owned(),
            queue_id,
            topic: "t".to_owned(),
        };
        (0..count).map(queue).collect()
    }

    fn ids(queues: &[MessageQueue]) -> Vec<i32> {
        queues.iter().map(|queue| queue.queue_id).collect()
    }

    #[test]
    fn every_broker_is_one_queue_unless_few_may_share() {
        let strategy = Strategy::from_name("AVG").unwrap();
        let pop = |count, member, clients, share| {
            to_pop(strategy, &queues(count), member, clients, share)
        };
        for (clients, share) in [(1, -1), (5, 0), (3, 2), (3, 9)] {
            let all = pop(8, Some(0), clients, share);
            assert_eq!(ids(&all), [ANY_QUEUE, ANY_QUEUE]);
        }
        assert_eq!(ids(&pop(8, Some(0), 4, 1)), [0, 1, 2, 3]);
        assert_eq!(ids(&pop(8, Some(3), 4, 1)), [6, 7, 0, 1]);
        assert_eq!(ids(&pop(2, Some(3), 4, 1)), [1]);
        assert!(pop(8, None, 4, 1).is_empty());
    }
}
