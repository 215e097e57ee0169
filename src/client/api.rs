//! One function per request that clients make of brokers and NameServers (RocketMQ's
//! MQClientAPIImpl): header in, answer checked and read.

use std::time::Duration;

use bytes::Bytes;

use crate::client::error::ClientError;
use crate::client::message::MessageExt;
use crate::client::remoting::RemotingClient;
use crate::protocol::FieldValue::{Bool, Int, Str as Text};
use crate::protocol::body::MessageQueue;
use crate::protocol::body::heartbeat::{CheckClientRequestBody, SubscriptionData};
use crate::protocol::body::lock::{LockBatchRequestBody, LockBatchResponseBody};
use crate::protocol::{
    ExtFields, FieldValue, RemotingCommand, RequestCode, ResponseCode, Str, fastjson,
};

/// A request with these header fields.
pub(crate) fn request(
    code: RequestCode,
    fields: &[(&'static str, FieldValue<'_>)],
) -> RemotingCommand {
    let mut request = RemotingCommand::request_without_header(code);
    for (name, value) in fields {
        request.ext_fields.push_value(name, *value);
    }
    request
}

/// Fails unless the answer's code is SUCCESS.
pub(crate) fn success(addr: &str, answer: RemotingCommand) -> Result<RemotingCommand, ClientError> {
    if answer.code == ResponseCode::Success.code() {
        return Ok(answer);
    }
    Err(ClientError::refused(
        addr,
        answer.code,
        answer.remark.as_deref(),
    ))
}

impl RemotingClient {
    /// As [`call`](Self::call), and an answer whose code is not SUCCESS is an error.
    pub async fn ask(
        &self,
        addr: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, ClientError> {
        success(addr, self.call(addr, request, timeout).await?)
    }
}

/// A number in an answer's header.
pub(crate) fn number(
    addr: &str,
    fields: &ExtFields,
    name: &'static str,
) -> Result<i64, ClientError> {
    let text = fields.get(name);
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| ClientError::BadAnswer {
            what: name,
            addr: addr.to_owned(),
            reason: text.map_or_else(
                || "missing".to_owned(),
                |text| format!("not a number: {text}"),
            ),
        })
}

/// What a consumer asks for in one pull.
#[derive(Debug, Clone)]
pub(crate) struct PullRequest<'a> {
    pub(crate) group: &'a str,
    pub(crate) queue: &'a MessageQueue,
    pub(crate) offset: i64,
    pub(crate) messages_max: i32,
    pub(crate) bytes_max: i32,
    pub(crate) sys_flag: i32,
    pub(crate) commit_offset: i64,
    pub(crate) suspend: Duration,
    pub(crate) subscription: Option<&'a str>,
    pub(crate) expression_type: &'a str,
    pub(crate) sub_version: i64,
}

/// The answer to a pull, whatever its code, unless the queue has moved.
#[derive(Debug, Clone)]
pub(crate) struct PullAnswer {
    pub(crate) code: i32,
    pub(crate) remark: Option<Str>,
    pub(crate) next_offset: Option<i64>,
    pub(crate) min_offset: i64,
    pub(crate) max_offset: i64,
    pub(crate) suggested_broker: i64,
    /// Of a static topic: what is added to the messages' offsets.
    offset_delta: Option<i64>,
    pub(crate) body: Bytes,
}

impl PullAnswer {
    /// The messages, as messages of the queue that was asked for: those of a static topic lie in other
    /// queues at other offsets (`PullAPIWrapper.processPullResult`).
    pub(crate) fn messages(self, queue: &MessageQueue) -> Result<Vec<MessageExt>, ClientError> {
        let broker = queue.broker_name.as_str().into();
        let mut messages = MessageExt::decode_unwrapped(self.body, &broker)?;
        if let Some(delta) = self.offset_delta {
            for message in &mut messages {
                message.queue_id = queue.queue_id;
                message.queue_offset = message.queue_offset.saturating_add(delta);
            }
        }
        Ok(messages)
    }
}

/// Requests with a default timeout.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) remoting: RemotingClient,
    pub(crate) timeout: Duration,
}

impl Api {
    /// Sends a request and fails unless it is answered with SUCCESS.
    pub(crate) async fn ask(
        &self,
        addr: &str,
        request: RemotingCommand,
    ) -> Result<RemotingCommand, ClientError> {
        success(addr, self.remoting.call(addr, request, self.timeout).await?)
    }

    async fn ask_number(
        &self,
        addr: &str,
        request: RemotingCommand,
        name: &'static str,
    ) -> Result<i64, ClientError> {
        let answer = self.ask(addr, request).await?;
        number(addr, &answer.ext_fields, name)
    }

    pub(crate) async fn heartbeat(&self, addr: &str, body: Vec<u8>) -> Result<(), ClientError> {
        let request = request(RequestCode::HeartBeat, &[]).with_body(body);
        self.ask(addr, request).await.map(|_| ())
    }

    pub(crate) async fn unregister(
        &self,
        addr: &str,
        client_id: &str,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
    ) -> Result<(), ClientError> {
        let mut fields = vec![("clientID", Text(client_id))];
        fields.extend(producer_group.map(|group| ("producerGroup", Text(group))));
        fields.extend(consumer_group.map(|group| ("consumerGroup", Text(group))));
        let request = request(RequestCode::UnregisterClient, &fields);
        self.ask(addr, request).await.map(|_| ())
    }

    /// Client ids of the online members of a group.
    pub(crate) async fn consumer_ids(
        &self,
        addr: &str,
        group: &str,
    ) -> Result<Vec<String>, ClientError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            #[serde(default)]
            consumer_id_list: Vec<String>,
        }
        let fields = [("consumerGroup", Text(group))];
        let request = request(RequestCode::GetConsumerListByGroup, &fields);
        let answer = self.ask(addr, request).await?;
        let body: Body = crate::client::read_json(addr, "a consumer list", &answer.body)?;
        Ok(body.consumer_id_list)
    }

    pub(crate) async fn pull(
        &self,
        addr: &str,
        pull: &PullRequest<'_>,
        timeout: Duration,
    ) -> Result<PullAnswer, ClientError> {
        let mut fields = vec![
            ("consumerGroup", Text(pull.group)),
            ("topic", Text(&pull.queue.topic)),
            ("queueId", Int(pull.queue.queue_id.into())),
            ("queueOffset", Int(pull.offset)),
            ("maxMsgNums", Int(pull.messages_max.into())),
            ("maxMsgBytes", Int(pull.bytes_max.into())),
            ("sysFlag", Int(pull.sys_flag.into())),
            ("commitOffset", Int(pull.commit_offset)),
            ("suspendTimeoutMillis", Int(pull.suspend.as_millis() as i64)),
            ("subVersion", Int(pull.sub_version)),
            ("expressionType", Text(pull.expression_type)),
            ("bname", Text(&pull.queue.broker_name)),
        ];
        fields.extend(pull.subscription.map(|text| ("subscription", Text(text))));
        let request = request(RequestCode::PullMessage, &fields);
        let answer = self.remoting.call(addr, request, timeout).await?;
        if answer.code == ResponseCode::NotLeaderForQueue.code() {
            let remark = answer.remark.as_deref();
            return Err(ClientError::refused(addr, answer.code, remark));
        }
        let read = |name| {
            answer
                .ext_fields
                .get(name)
                .and_then(|text| text.parse().ok())
        };
        Ok(PullAnswer {
            code: answer.code,
            next_offset: read("nextBeginOffset"),
            min_offset: read("minOffset").unwrap_or(0),
            max_offset: read("maxOffset").unwrap_or(0),
            suggested_broker: read("suggestWhichBrokerId").unwrap_or(0),
            offset_delta: read("offsetDelta"),
            remark: answer.remark,
            body: answer.body,
        })
    }

    /// The committed offset of a group; None when the broker has none.
    pub(crate) async fn query_offset(
        &self,
        addr: &str,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, ClientError> {
        let fields = [
            ("consumerGroup", Text(group)),
            ("topic", Text(&queue.topic)),
            ("queueId", Int(queue.queue_id.into())),
            ("bname", Text(&queue.broker_name)),
        ];
        let request = request(RequestCode::QueryConsumerOffset, &fields);
        match self.ask_number(addr, request, "offset").await {
            Ok(offset) => Ok(Some(offset)),
            Err(error) if error.is(ResponseCode::QueryNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Commits an offset; oneway, as Java's consumers do, unless the answer is wanted.
    pub(crate) async fn update_offset(
        &self,
        addr: &str,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
        oneway: bool,
    ) -> Result<(), ClientError> {
        let fields = [
            ("consumerGroup", Text(group)),
            ("topic", Text(&queue.topic)),
            ("queueId", Int(queue.queue_id.into())),
            ("commitOffset", Int(offset)),
            ("bname", Text(&queue.broker_name)),
        ];
        let request = request(RequestCode::UpdateConsumerOffset, &fields);
        if oneway {
            return Ok(self.remoting.oneway(addr, request).await?);
        }
        self.ask(addr, request).await.map(|_| ())
    }

    pub(crate) async fn max_offset(
        &self,
        addr: &str,
        queue: &MessageQueue,
    ) -> Result<i64, ClientError> {
        self.ask_number(
            addr,
            queue_request(RequestCode::GetMaxOffset, queue),
            "offset",
        )
        .await
    }

    pub(crate) async fn min_offset(
        &self,
        addr: &str,
        queue: &MessageQueue,
    ) -> Result<i64, ClientError> {
        self.ask_number(
            addr,
            queue_request(RequestCode::GetMinOffset, queue),
            "offset",
        )
        .await
    }

    pub(crate) async fn earliest_store_time(
        &self,
        addr: &str,
        queue: &MessageQueue,
    ) -> Result<i64, ClientError> {
        let request = queue_request(RequestCode::GetEarliestMsgStoretime, queue);
        self.ask_number(addr, request, "timestamp").await
    }

    pub(crate) async fn search_offset(
        &self,
        addr: &str,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        let mut request = queue_request(RequestCode::SearchOffsetByTimestamp, queue);
        request
            .ext_fields
            .push_value("timestamp", Int(timestamp_ms));
        request.ext_fields.push_value("boundaryType", Text("LOWER"));
        self.ask_number(addr, request, "offset").await
    }

    /// The stored record at a physical offset.
    pub(crate) async fn view_message(
        &self,
        addr: &str,
        topic: &str,
        physical_offset: i64,
    ) -> Result<Bytes, ClientError> {
        let fields = [("topic", Text(topic)), ("offset", Int(physical_offset))];
        let request = request(RequestCode::ViewMessageById, &fields);
        Ok(self.ask(addr, request).await?.body)
    }

    /// Stored records whose key, or unique key, this is; empty when there are none.
    pub(crate) async fn query_messages(
        &self,
        addr: &str,
        query: &KeyQuery<'_>,
    ) -> Result<Bytes, ClientError> {
        let mut request = request(
            RequestCode::QueryMessage,
            &[
                ("topic", Text(query.topic)),
                ("key", Text(query.key)),
                ("maxNum", Int(query.messages_max.into())),
                ("beginTimestamp", Int(query.begin_ms)),
                ("endTimestamp", Int(query.end_ms)),
                ("indexType", Text("K")),
            ],
        );
        request
            .ext_fields
            .push_value("_UNIQUE_KEY_QUERY", Bool(query.unique));
        match self.ask(addr, request).await {
            Ok(answer) => Ok(answer.body),
            Err(error) if error.is(ResponseCode::QueryNotFound) => Ok(Bytes::new()),
            Err(error) => Err(error),
        }
    }

    /// Asks a broker whether a subscription's filter works there.
    pub(crate) async fn check_subscription(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        subscription: &SubscriptionData,
    ) -> Result<(), ClientError> {
        let body = CheckClientRequestBody {
            client_id: client_id.to_owned(),
            group: group.to_owned(),
            namespace: None,
            subscription_data: subscription.clone(),
        };
        let body = to_json(&body)?;
        let request = request(RequestCode::CheckClientConfig, &[]).with_body(body);
        self.ask(addr, request).await.map(|_| ())
    }

    /// Locks queues of one broker for a client, or renews its locks; yields those that it has now.
    pub(crate) async fn lock_queues(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        queues: Vec<MessageQueue>,
    ) -> Result<Vec<MessageQueue>, ClientError> {
        let request = lock_request(RequestCode::LockBatchMq, group, client_id, queues)?;
        let answer = self.ask(addr, request).await?;
        let body: LockBatchResponseBody =
            crate::client::read_json(addr, "locked queues", &answer.body)?;
        Ok(body.lock_ok_mq_set)
    }

    /// Gives locks of queues of one broker back.
    pub(crate) async fn unlock_queues(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        queues: Vec<MessageQueue>,
    ) -> Result<(), ClientError> {
        let request = lock_request(RequestCode::UnlockBatchMq, group, client_id, queues)?;
        self.ask(addr, request).await.map(|_| ())
    }

    /// Hands a message that could not be consumed back to its broker.
    pub(crate) async fn send_back(
        &self,
        addr: &str,
        back: &SendBack<'_>,
    ) -> Result<(), ClientError> {
        let request = request(
            RequestCode::ConsumerSendMsgBack,
            &[
                ("offset", Int(back.physical_offset)),
                ("group", Text(back.group)),
                ("delayLevel", Int(back.delay_level.into())),
                ("originMsgId", Text(back.message_id)),
                ("originTopic", Text(back.topic)),
                ("unitMode", Bool(false)),
                ("maxReconsumeTimes", Int(back.reconsume_times_max.into())),
            ],
        );
        self.ask(addr, request).await.map(|_| ())
    }
}

/// What [`Api::query_messages`] looks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyQuery<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: &'a str,
    pub(crate) messages_max: i32,
    pub(crate) begin_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) unique: bool,
}

/// A message on its way back, see [`Api::send_back`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendBack<'a> {
    pub(crate) group: &'a str,
    pub(crate) physical_offset: i64,
    pub(crate) delay_level: i32,
    pub(crate) message_id: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) reconsume_times_max: i32,
}

fn lock_request(
    code: RequestCode,
    group: &str,
    client_id: &str,
    queues: Vec<MessageQueue>,
) -> Result<RemotingCommand, ClientError> {
    let body = LockBatchRequestBody {
        client_id: client_id.to_owned(),
        consumer_group: group.to_owned(),
        mq_set: queues,
        only_this_broker: false,
    };
    Ok(request(code, &[]).with_body(to_json(&body)?))
}

fn to_json(body: &impl serde::Serialize) -> Result<Vec<u8>, ClientError> {
    fastjson::to_vec(body).map_err(|error| ClientError::Invalid(error.to_string()))
}

fn queue_request(code: RequestCode, queue: &MessageQueue) -> RemotingCommand {
    request(
        code,
        &[
            ("topic", Text(&queue.topic)),
            ("queueId", Int(queue.queue_id.into())),
            ("bname", Text(&queue.broker_name)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::message::testing::{plain, stored};

    #[test]
    fn messages_of_a_static_topic_get_the_place_that_was_asked_for() {
        let body = stored(&plain(), 7);
        let answer = |offset_delta| PullAnswer {
            code: 0,
            remark: None,
            next_offset: None,
            min_offset: 0,
            max_offset: 0,
            suggested_broker: 0,
            offset_delta,
            body: body.clone(),
        };
        let place = |answer: PullAnswer, queue: &MessageQueue| {
            let messages = answer.messages(queue).unwrap();
            let message = messages.first().unwrap();
            (message.queue(), message.queue_offset)
        };
        let asked = MessageQueue::new("T", "__syslo__global__", 1);
        assert_eq!(place(answer(Some(10_000)), &asked), (asked, 10_007));
        let ordinary = MessageQueue::new("T", "b", 3);
        assert_eq!(place(answer(None), &ordinary), (ordinary, 7));
    }
}
