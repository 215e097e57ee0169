//! Request processors: one file per family of codes, each request an async function from request
//! to response.

use std::sync::Arc;

use super::{context::BrokerContext, refusal::Refusal};
use crate::{
    actors::net::ConnectionHandle,
    protocol::{CommandHeader, RemotingCommand, RequestCode, ResponseCode},
};

pub mod query;
pub mod send_back;

/// Answers a control request.
pub async fn process(
    ctx: &Arc<BrokerContext>,
    code: RequestCode,
    request: &RemotingCommand,
    conn: &Arc<ConnectionHandle>,
) -> RemotingCommand {
    let _ = conn;
    match code {
        RequestCode::QueryMessage => query::query_message(ctx, request).await,
        RequestCode::ViewMessageById => query::view_message(ctx, request).await,
        RequestCode::SearchOffsetByTimestamp => query::search_offset(ctx, request).await,
        RequestCode::GetMaxOffset => query::max_offset(ctx, request).await,
        RequestCode::GetMinOffset => query::min_offset(ctx, request).await,
        RequestCode::GetEarliestMsgStoretime => query::earliest_store_time(ctx, request).await,
        RequestCode::ConsumerSendMsgBack => send_back::send_back(ctx, request).await,
        _ => not_supported(request),
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
