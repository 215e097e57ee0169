//! Assignment of queues by the broker (`QueryAssignmentProcessor`): codes 400, 401 and 402.
//!
//! How a group gets the messages of a topic can be set to POP and is kept for tools and slaves,
//! but pop is not served yet: an assignment is always one to pull. Clients follow the mode in the
//! answer, so a group set to POP is consumed by pulling meanwhile.

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
        message::names,
    },
};

/// QUERY_ASSIGNMENT (400). Without a list in the answer the client keeps the queues it has.
pub async fn query(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let asked: QueryAssignmentRequestBody = read_json(request)?;
    let queues = assigned(ctx, &asked).await;
    let assignment = |message_queue| MessageQueueAssignment {
        attachments: None,
        message_queue,
        mode: MessageRequestMode::Pull,
    };
    let body = QueryAssignmentResponseBody {
        message_queue_assignments: queues
            .map(|queues| queues.into_iter().map(assignment).collect()),
    };
    json(request, &body)
}

/// The queues of the asking client; `None` when that cannot be told.
async fn assigned(
    ctx: &BrokerContext,
    asked: &QueryAssignmentRequestBody,
) -> Option<Vec<MessageQueue>> {
    let queues = ctx.registrars.readable_queues(&asked.topic).await?;
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
    // A client that is not online yet has nothing.
    Some(member.map_or_else(Vec::new, |member| {
        strategy.allocate(&queues, member, clients.len())
    }))
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
