//! Requests that brokers make of clients (RocketMQ's ClientRemotingProcessor).

use std::sync::{Arc, Weak};

use crate::client::api::number;
use crate::client::error::ClientError;
use crate::client::instance::{ConsumerHandle, Inner};
use crate::client::message::MessageExt;
use crate::client::remoting::{PushHandler, PushOrigin};
use crate::protocol::body::offset::{GetConsumerStatusBody, ResetOffsetBody};
use crate::protocol::message::properties;
use crate::protocol::{RemotingCommand, RequestCode, ResponseCode, fastjson};

/// Answers for one client.
pub(crate) struct FromServer {
    client: Weak<Inner>,
}

impl FromServer {
    pub(crate) fn new(client: Weak<Inner>) -> Self {
        FromServer { client }
    }
}

impl PushHandler for FromServer {
    fn on_push(&self, request: RemotingCommand, origin: PushOrigin) {
        let Some(client) = self.client.upgrade() else {
            return;
        };
        match request.request_code() {
            Some(RequestCode::NotifyConsumerIdsChanged) => client.rebalance_soon(),
            Some(RequestCode::CheckTransactionState) => {
                check_transaction(&client, request, &origin)
            }
            Some(RequestCode::ResetConsumerClientOffset) => {
                reset_offsets(&client, &request, &origin)
            }
            Some(RequestCode::GetConsumerStatusFromClient) => {
                answer(&request, &origin, consumer_status(&client, &request));
            }
            Some(RequestCode::GetConsumerRunningInfo) => {
                answer(&request, &origin, running_info(&client, &request));
            }
            Some(RequestCode::ConsumeMessageDirectly) => consume_directly(&client, request, origin),
            Some(RequestCode::PushReplyMessageToClient) => {
                answer(
                    &request,
                    &origin,
                    take_reply(&client, &request).map(|()| Vec::new()),
                );
            }
            _ => {
                let remark = format!(" request type {} not supported", request.code);
                let code = ResponseCode::RequestCodeNotSupported;
                origin.reply(RemotingCommand::response(&request, code).with_remark(remark));
            }
        }
    }
}

fn answer(request: &RemotingCommand, origin: &PushOrigin, body: Result<Vec<u8>, ClientError>) {
    let response = match body {
        Ok(body) => RemotingCommand::response(request, ResponseCode::Success).with_body(body),
        Err(error) => RemotingCommand::response(request, ResponseCode::SystemError)
            .with_remark(error.to_string()),
    };
    origin.reply(response);
}

fn text<'a>(request: &'a RemotingCommand, name: &'static str) -> Result<&'a str, ClientError> {
    let missing = || ClientError::Invalid(format!("the custom field <{name}> is null"));
    request.ext_fields.get(name).ok_or_else(missing)
}

fn consumer(
    client: &Inner,
    request: &RemotingCommand,
    field: &'static str,
) -> Result<Arc<dyn ConsumerHandle>, ClientError> {
    let group = text(request, field)?;
    let none = || {
        ClientError::Invalid(format!(
            "The Consumer Group <{group}> not exist in this consumer"
        ))
    };
    client.consumer(group).ok_or_else(none)
}

fn to_json(value: &impl serde::Serialize) -> Result<Vec<u8>, ClientError> {
    fastjson::to_vec(value).map_err(|error| ClientError::Invalid(error.to_string()))
}

fn check_transaction(client: &Inner, request: RemotingCommand, origin: &PushOrigin) {
    let group = MessageExt::decode(&request.body)
        .ok()
        .and_then(|(message, _)| message.property(properties::PGROUP).map(str::to_owned));
    let producer = group.as_deref().and_then(|group| client.producer(group));
    match producer {
        Some(producer) => producer.check_transaction(origin.addr().to_owned(), request),
        None => log::warn!("client: transaction check for an unknown group={group:?}"),
    }
}

fn reset_offsets(client: &Inner, request: &RemotingCommand, origin: &PushOrigin) {
    let read = || -> Result<_, ClientError> {
        let consumer = consumer(client, request, "group")?;
        let topic = text(request, "topic")?.to_owned();
        let body: ResetOffsetBody =
            crate::client::read_json(origin.addr(), "offsets to reset", &request.body)?;
        Ok((consumer, topic, body.offset_table))
    };
    match read() {
        Ok((consumer, topic, table)) => {
            let table = table.into_iter().collect();
            tokio::spawn(consumer.reset_offsets(&topic, table));
        }
        Err(error) => log::warn!("client: offsets not reset error={error}"),
    }
    answer(request, origin, Ok(Vec::new()));
}

fn consumer_status(client: &Inner, request: &RemotingCommand) -> Result<Vec<u8>, ClientError> {
    let offsets = consumer(client, request, "group")?.offsets(text(request, "topic")?);
    to_json(&GetConsumerStatusBody {
        message_queue_table: offsets.into_iter().collect(),
        ..GetConsumerStatusBody::default()
    })
}

fn running_info(client: &Inner, request: &RemotingCommand) -> Result<Vec<u8>, ClientError> {
    to_json(&consumer(client, request, "consumerGroup")?.running_info())
}

fn consume_directly(client: &Arc<Inner>, request: RemotingCommand, origin: PushOrigin) {
    let client = client.clone();
    tokio::spawn(async move {
        let result = async {
            let consumer = consumer(&client, &request, "consumerGroup")?;
            let (mut message, _) = MessageExt::decode(&request.body)?;
            if let Some(broker) = request.ext_fields.get("brokerName") {
                message.broker_name = broker.into();
            }
            to_json(&consumer.consume_directly(message).await)
        };
        let body = result.await;
        answer(&request, &origin, body);
    });
}

/// The reply to a request message, see [`super::rpc`].
fn take_reply(client: &Inner, request: &RemotingCommand) -> Result<(), ClientError> {
    let fields = &request.ext_fields;
    let properties = fields
        .get("properties")
        .unwrap_or_default()
        .as_bytes()
        .to_vec();
    let here = number("the broker", fields, "bornTimestamp")?;
    let addr = |name| {
        let text = fields.get(name).unwrap_or_default().trim_start_matches('/');
        text.parse()
            .unwrap_or_else(|_| std::net::SocketAddr::from(([0, 0, 0, 0], 0)))
    };
    let sys_flag = number("the broker", fields, "sysFlag")? as i32;
    let body = match super::compression::decompress(sys_flag, &request.body) {
        Ok(Some(plain)) => plain,
        Ok(None) => request.body.clone(),
        Err(error) => return Err(ClientError::Invalid(error.to_string())),
    };
    let message = MessageExt {
        topic: text(request, "topic")?.into(),
        broker_name: Default::default(),
        queue_id: number("the broker", fields, "queueId")? as i32,
        queue_offset: 0,
        physical_offset: 0,
        store_size: 0,
        flag: number("the broker", fields, "flag")? as i32,
        sys_flag,
        born_timestamp: here,
        born_host: addr("bornHost"),
        store_timestamp: number("the broker", fields, "storeTimestamp")?,
        store_host: addr("storeHost"),
        reconsume_times: 0,
        body_crc: 0,
        prepared_transaction_offset: 0,
        body,
        properties: properties.into(),
    };
    let id = message
        .property(properties::CORRELATION_ID)
        .unwrap_or_default()
        .to_owned();
    match client.replies.remove(&id) {
        Some((_, waiting)) => {
            let _ = waiting.send(message);
        }
        None => log::info!("client: reply that nobody waits for correlation={id}"),
    }
    Ok(())
}
