//! Requests that are relayed to a client.

use std::time::Duration;

use bytes::Bytes;

use super::{decode, query};
use crate::{
    actors::{
        broker::{context::BrokerContext, refusal::Refusal},
        net::CallError,
    },
    protocol::{
        RemotingCommand, RequestCode, ResponseCode,
        header::client::{
            ConsumeMessageDirectlyResultRequestHeader, GetConsumerRunningInfoRequestHeader,
        },
        message::id,
    },
};

/// Version ordinal of clients that answer relayed requests (V3_1_8_SNAPSHOT).
const RUNNING_INFO_VERSION: i32 = 62;

/// How long a client may take to answer a relayed request.
const RELAY_TIMEOUT: Duration = Duration::from_secs(10);

/// GET_CONSUMER_RUNNING_INFO (307): asks the client and passes its answer on.
pub async fn running_info(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: GetConsumerRunningInfoRequestHeader = decode(request)?;
    let code = RequestCode::GetConsumerRunningInfo;
    relay(
        ctx,
        request,
        code,
        &header.consumer_group,
        Some(&header.client_id),
        None,
    )
    .await
}

/// CONSUME_MESSAGE_DIRECTLY (309): has the client consume one message of the log.
pub async fn consume_directly(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let header: ConsumeMessageDirectlyResultRequestHeader = decode(request)?;
    let place = header.msg_id.as_deref().and_then(id::parse_offset_id);
    let Some(record) = place.and_then(|(_, offset)| query::whole_record(ctx, offset)) else {
        let remark = "the message is not in the log of this broker";
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    };
    let code = RequestCode::ConsumeMessageDirectly;
    let client = header.client_id.as_deref();
    relay(
        ctx,
        request,
        code,
        &header.consumer_group,
        client,
        Some(record),
    )
    .await
}

/// Sends a request on to a client of a group, with all of its fields, and waits for the answer
/// (`AdminBrokerProcessor.callConsumer`).
async fn relay(
    ctx: &BrokerContext,
    request: &RemotingCommand,
    code: RequestCode,
    group: &str,
    client_id: Option<&str>,
    body: Option<Bytes>,
) -> Result<RemotingCommand, Refusal> {
    let client_id = client_id.unwrap_or_default();
    let Some(member) = ctx.consumers.find(group, client_id) else {
        let remark = format!("The Consumer <{group}> <{client_id}> not online");
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    };
    if member.version < RUNNING_INFO_VERSION {
        let remark = format!(
            "The Consumer <{client_id}> Version <{}> too low to finish, please upgrade it to \
             V3_1_8_SNAPSHOT",
            member.version
        );
        return Err(Refusal::new(ResponseCode::SystemError, remark));
    }
    let mut call = RemotingCommand::request_without_header(code);
    call.ext_fields = request.ext_fields.clone();
    call.body = body.unwrap_or_default();
    match member.conn.call(call, RELAY_TIMEOUT).await {
        Ok(mut answered) => {
            answered.opaque = request.opaque;
            Ok(answered)
        }
        Err(CallError::Timeout) => {
            let remark = format!("consumer <{group}> <{client_id}> Timeout");
            Err(Refusal::new(ResponseCode::ConsumeMsgTimeout, remark))
        }
        Err(error) => {
            let remark = format!("invoke consumer <{group}> <{client_id}> Exception: {error}");
            Err(Refusal::new(ResponseCode::SystemError, remark))
        }
    }
}
