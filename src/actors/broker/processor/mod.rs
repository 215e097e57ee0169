//! Request processors: one file per family of codes, each request an async function from request
//! to response.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use super::{context::BrokerContext, refusal::Refusal, static_topics::update};
use crate::{
    actors::net::ConnectionHandle,
    protocol::{CommandHeader, RemotingCommand, RequestCode, ResponseCode, fastjson},
};

pub mod ack;
pub mod admin;
pub mod assignment;
pub mod client;
pub mod connection;
pub mod offset;
pub mod peek;
pub mod progress;
pub mod query;
pub mod replication;
pub mod reply;
pub mod send_back;
pub mod subscription;
pub mod timer;
pub mod topic;
pub mod transaction;

/// Answers a control request.
pub async fn process(
    ctx: &Arc<BrokerContext>,
    code: RequestCode,
    request: &RemotingCommand,
    conn: &Arc<ConnectionHandle>,
) -> RemotingCommand {
    if is_for_masters(code) && !ctx.is_master() {
        // RocketMQ's slaves take such a change, and lose it with the next copy of the master's table.
        let remark = "Can't modify topic or subscription group from slave broker, \
                      please execute it from master broker.";
        return refused(request, &Refusal::new(ResponseCode::SystemError, remark));
    }
    let answered = match store(ctx, code, request, conn).await {
        Some(answered) => Some(answered),
        None => groups(ctx, code, request, conn).await,
    };
    match answered {
        Some(Ok(response)) => response,
        Some(Err(refusal)) => refused(request, &refusal),
        None => not_supported(request),
    }
}

/// Whether a request changes what a slave keeps as its master has it.
fn is_for_masters(code: RequestCode) -> bool {
    matches!(
        code,
        RequestCode::UpdateAndCreateTopic
            | RequestCode::UpdateAndCreateTopicList
            | RequestCode::UpdateAndCreateStaticTopic
            | RequestCode::DeleteTopicInBroker
            | RequestCode::UpdateAndCreateSubscriptiongroup
            | RequestCode::UpdateAndCreateSubscriptiongroupList
            | RequestCode::DeleteSubscriptiongroup
            | RequestCode::UpdateAndGetGroupForbidden
            | RequestCode::SetMessageRequestMode
            | RequestCode::CloneGroupOffset
    )
}

/// Answers requests about messages, progress and the broker itself; `None` for all others.
async fn store(
    ctx: &BrokerContext,
    code: RequestCode,
    request: &RemotingCommand,
    conn: &ConnectionHandle,
) -> Option<Result<RemotingCommand, Refusal>> {
    Some(match code {
        RequestCode::QueryMessage => query::query_message(ctx, request).await,
        RequestCode::ViewMessageById => query::view_message(ctx, request).await,
        RequestCode::SearchOffsetByTimestamp => query::search_offset(ctx, request).await,
        RequestCode::GetMaxOffset => query::max_offset(ctx, request).await,
        RequestCode::GetMinOffset => query::min_offset(ctx, request).await,
        RequestCode::GetEarliestMsgStoretime => query::earliest_store_time(ctx, request).await,
        RequestCode::EndTransaction => transaction::end(ctx, request).await,
        RequestCode::ResumeCheckHalfMessage => transaction::resume_check(ctx, request).await,
        RequestCode::ConsumerSendMsgBack => send_back::send_back(ctx, request).await,
        RequestCode::RecallMessage => timer::recall(ctx, request, conn).await,
        RequestCode::GetTimerCheckPoint => timer::check_point(ctx, request),
        RequestCode::GetTimerMetrics => timer::metrics(ctx, request),
        RequestCode::GetConsumerRunningInfo => connection::running_info(ctx, request).await,
        RequestCode::ConsumeMessageDirectly => connection::consume_directly(ctx, request).await,
        RequestCode::GetTopicStatsInfo => progress::topic_stats(ctx, request).await,
        RequestCode::GetConsumeStats => progress::consume_stats(ctx, request).await,
        RequestCode::GetBrokerConsumeStats => progress::all_consume_stats(ctx, request).await,
        RequestCode::QueryCorrectionOffset => progress::correction_offsets(ctx, request),
        RequestCode::QueryConsumeTimeSpan => progress::time_span(ctx, request).await,
        RequestCode::QueryConsumeQueue => progress::consume_queue(ctx, request).await,
        RequestCode::GetBrokerConfig => admin::get_config(ctx, request),
        RequestCode::UpdateBrokerConfig => admin::update_config(ctx, request).await,
        RequestCode::GetBrokerRuntimeInfo => admin::runtime_info(ctx, request).await,
        RequestCode::ViewBrokerStatsData => admin::view_stats(ctx, request),
        RequestCode::GetAllDelayOffset => admin::delay_offsets(ctx, request),
        RequestCode::CleanExpiredConsumequeue => admin::clean_queues(ctx, request),
        RequestCode::CleanUnusedTopic => admin::clean_unused_topics(ctx, request).await,
        RequestCode::DeleteExpiredCommitlog => admin::delete_expired(ctx, request),
        RequestCode::GetBrokerHaStatus => replication::ha_status(ctx, request),
        RequestCode::CallboardMirror => replication::mirror(ctx, request).await,
        RequestCode::CallboardOffsets => replication::offsets(ctx, request),
        _ => return None,
    })
}

/// Answers requests about topics, groups, clients and offsets; `None` for all others.
async fn groups(
    ctx: &BrokerContext,
    code: RequestCode,
    request: &RemotingCommand,
    conn: &Arc<ConnectionHandle>,
) -> Option<Result<RemotingCommand, Refusal>> {
    Some(match code {
        RequestCode::UpdateAndCreateTopic => topic::update(ctx, request).await,
        RequestCode::UpdateAndCreateTopicList => topic::update_list(ctx, request).await,
        RequestCode::UpdateAndCreateStaticTopic => update::update(ctx, request).await,
        RequestCode::DeleteTopicInBroker => topic::delete(ctx, request).await,
        RequestCode::GetAllTopicConfig => topic::list(ctx, request).await,
        RequestCode::GetTopicConfig => topic::get(ctx, request).await,
        RequestCode::GetSystemTopicListFromBroker => topic::system_list(ctx, request).await,
        RequestCode::UpdateAndCreateSubscriptiongroup => subscription::update(ctx, request).await,
        RequestCode::UpdateAndCreateSubscriptiongroupList => {
            subscription::update_list(ctx, request).await
        }
        RequestCode::DeleteSubscriptiongroup => subscription::delete(ctx, request).await,
        RequestCode::GetAllSubscriptiongroupConfig => subscription::list(ctx, request).await,
        RequestCode::GetSubscriptiongroupConfig => subscription::get(ctx, request).await,
        RequestCode::UpdateAndGetGroupForbidden => subscription::forbid(ctx, request).await,
        RequestCode::QueryAssignment => assignment::query(ctx, request).await,
        RequestCode::SetMessageRequestMode => assignment::set_mode(ctx, request).await,
        RequestCode::GetAllMessageRequestMode => assignment::modes(ctx, request).await,
        RequestCode::SendReplyMessage | RequestCode::SendReplyMessageV2 => {
            reply::reply(ctx, request, conn).await
        }
        RequestCode::AckMessage => ack::ack(ctx, request, conn).await,
        RequestCode::BatchAckMessage => ack::batch_ack(ctx, request, conn).await,
        RequestCode::ChangeMessageInvisibletime => ack::change_invisible(ctx, request, conn).await,
        RequestCode::PeekMessage => peek::peek(ctx, request, conn).await,
        RequestCode::PollingInfo => peek::polling_info(ctx, request, conn).await,
        RequestCode::HeartBeat => client::heartbeat(ctx, request, conn).await,
        RequestCode::UnregisterClient => client::unregister(ctx, request, conn).await,
        RequestCode::CheckClientConfig => client::check_config(ctx, request).await,
        RequestCode::GetConsumerListByGroup => client::consumer_list(ctx, request).await,
        RequestCode::GetConsumerConnectionList => client::consumer_connections(ctx, request).await,
        RequestCode::GetProducerConnectionList => client::producer_connections(ctx, request).await,
        RequestCode::GetAllProducerInfo => client::producers(ctx, request).await,
        RequestCode::LockBatchMq => client::lock(ctx, request).await,
        RequestCode::UnlockBatchMq => client::unlock(ctx, request).await,
        RequestCode::QueryConsumerOffset => offset::query_offset(ctx, request).await,
        RequestCode::UpdateConsumerOffset => offset::update_offset(ctx, request).await,
        RequestCode::GetAllConsumerOffset => offset::all_offsets(ctx, request).await,
        RequestCode::InvokeBrokerToResetOffset => offset::reset_offset(ctx, request).await,
        RequestCode::InvokeBrokerToGetConsumerStatus => offset::consumer_status(ctx, request).await,
        RequestCode::QueryTopicConsumeByWho => offset::groups_of_topic(ctx, request).await,
        RequestCode::QueryTopicsByConsumer => offset::topics_of_group(ctx, request).await,
        RequestCode::QuerySubscriptionByConsumer => offset::subscription(ctx, request).await,
        RequestCode::CloneGroupOffset => offset::clone_offsets(ctx, request).await,
        _ => return None,
    })
}

/// Reads the JSON body of a request.
pub fn read_json<T: DeserializeOwned>(request: &RemotingCommand) -> Result<T, Refusal> {
    let body = fastjson::from_slice(&request.body);
    body.map_err(|error| Refusal::new(ResponseCode::SystemError, error.to_string()))
}

/// A SUCCESS answer with a JSON body.
pub fn json<T: Serialize>(request: &RemotingCommand, body: &T) -> Result<RemotingCommand, Refusal> {
    match fastjson::to_vec(body) {
        Ok(body) => Ok(answer(request).with_body(body)),
        Err(error) => Err(Refusal::new(ResponseCode::SystemError, error.to_string())),
    }
}

/// Reads a typed header.
pub fn decode<H: CommandHeader>(request: &RemotingCommand) -> Result<H, Refusal> {
    let header = request.decode_header();
    header.map_err(|error| Refusal::new(ResponseCode::SystemError, error.to_string()))
}

/// A SUCCESS answer to be filled.
pub fn answer(request: &RemotingCommand) -> RemotingCommand {
    RemotingCommand::response(request, ResponseCode::Success)
}

/// The answer to a refused request.
pub fn refused(request: &RemotingCommand, refusal: &Refusal) -> RemotingCommand {
    RemotingCommand::response(request, refusal.code).with_remark(refusal.remark.as_str())
}

/// RocketMQ's answer to a code that it does not know.
pub fn not_supported(request: &RemotingCommand) -> RemotingCommand {
    RemotingCommand::response(request, ResponseCode::RequestCodeNotSupported)
        .with_remark(format!(" request type {} not supported", request.code))
}
