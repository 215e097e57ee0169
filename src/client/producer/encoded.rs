//! From messages to the request that carries them.

use bytes::{Bytes, BytesMut};

use super::Shared;
use crate::client::api::request;
use crate::client::error::ClientError;
use crate::client::message::Message;
use crate::client::trace::SentMessage;
use crate::client::{compression, now_ms, unique_id};
use crate::protocol::FieldValue::{Bool, Int, Str as Text};
use crate::protocol::body::MessageQueue;
use crate::protocol::message::{batch, names, properties};
use crate::protocol::{RemotingCommand, RequestCode, Str};

/// What is sent, encoded once for all attempts.
pub(super) struct Encoded {
    pub(super) topic: Str,
    pub(super) code: RequestCode,
    pub(super) body: Bytes,
    pub(super) properties: String,
    pub(super) flag: i32,
    pub(super) sys_flag: i32,
    pub(super) message_id: Str,
    pub(super) reconsume_times: i64,
    pub(super) reconsume_times_max: Option<i64>,
    /// What a trace tells of it: of each message of a batch.
    pub(super) traced: Vec<SentMessage>,
}

impl Shared {
    pub(super) fn encode(
        &self,
        mut message: Message,
        sys_flag: i32,
    ) -> Result<Encoded, ClientError> {
        message.check(self.config.body_len_max)?;
        let message_id = message.ensure_unique_key();
        let mut traced = Vec::new();
        if self.client.tracer().is_some() {
            traced.push(SentMessage::of(&message, message_id.clone()));
        }
        let mut sys_flag = sys_flag;
        let mut body = message.body.clone();
        if body.len() >= self.config.compress_from
            && let Some((zipped, flag)) = compression::compress(&body)
        {
            body = zipped;
            sys_flag |= flag;
        }
        let is_retry = names::is_retry_topic(&message.topic);
        let mut take = |name: &str| {
            let value = message.property(name)?.parse().ok()?;
            message.remove_property(name);
            Some(value)
        };
        let (reconsume_times, reconsume_times_max) = if is_retry {
            (
                take(properties::RECONSUME_TIME),
                take(properties::MAX_RECONSUME_TIMES),
            )
        } else {
            (None, None)
        };
        Ok(Encoded {
            code: RequestCode::SendMessageV2,
            body,
            properties: message.encode_properties(),
            flag: message.flag,
            sys_flag,
            message_id,
            reconsume_times: reconsume_times.unwrap_or(0),
            reconsume_times_max,
            traced,
            topic: message.topic,
        })
    }

    pub(super) fn encode_batch(&self, messages: Vec<Message>) -> Result<Encoded, ClientError> {
        let invalid = |text: &str| ClientError::Invalid(text.to_owned());
        let first = messages.first().ok_or_else(|| invalid("an empty batch"))?;
        let topic = first.topic.clone();
        if names::is_retry_topic(&topic) {
            return Err(invalid("a batch cannot go to a retry topic"));
        }
        let mut body = BytesMut::new();
        let mut ids = Vec::with_capacity(messages.len());
        let mut traced = Vec::new();
        for mut message in messages {
            message.check(self.config.body_len_max)?;
            if message.topic != topic {
                return Err(invalid("all messages of a batch have one topic"));
            }
            if message.property(properties::DELAY).is_some() {
                return Err(invalid("a batch cannot be delayed"));
            }
            let id = message.ensure_unique_key();
            if self.client.tracer().is_some() {
                traced.push(SentMessage::of(&message, id.clone()));
            }
            ids.push(id);
            let properties = message.encode_properties();
            let entry = batch::BatchMessage {
                flag: message.flag,
                body: &message.body,
                properties: properties.as_bytes(),
            };
            batch::encode_message(&entry, &mut body)
                .map_err(|error| ClientError::Invalid(error.to_string()))?;
        }
        if body.len() > self.config.body_len_max {
            let text = format!(
                "batch of {} bytes exceeds {}",
                body.len(),
                self.config.body_len_max
            );
            return Err(ClientError::Invalid(text));
        }
        let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
        Ok(Encoded {
            topic,
            code: RequestCode::SendBatchMessage,
            body: body.freeze(),
            // With an id of its own it can be stored as one record, see the broker's `queue.type=BatchCQ`.
            properties: Message::default()
                .with_wait_store_ok(true)
                .with_property(properties::UNIQ_KEY, unique_id::create())
                .encode_properties(),
            flag: 0,
            sys_flag: 0,
            message_id: ids.join(",").into(),
            reconsume_times: 0,
            reconsume_times_max: None,
            traced,
        })
    }

    /// The request for a queue of a broker: the one that leads it, if it is a logic queue.
    pub(super) fn request(
        &self,
        encoded: &Encoded,
        queue: &MessageQueue,
        broker: &str,
    ) -> RemotingCommand {
        let mut fields = vec![
            ("a", Text(&self.group)),
            ("b", Text(&encoded.topic)),
            ("c", Text(&self.config.default_topic)),
            ("d", Int(self.config.default_topic_queues.into())),
            ("e", Int(queue.queue_id.into())),
            ("f", Int(encoded.sys_flag.into())),
            ("g", Int(now_ms())),
            ("h", Int(encoded.flag.into())),
            ("i", Text(&encoded.properties)),
            ("j", Int(encoded.reconsume_times)),
            ("k", Bool(false)),
            ("m", Bool(encoded.code == RequestCode::SendBatchMessage)),
            ("n", Text(broker)),
        ];
        fields.extend(encoded.reconsume_times_max.map(|max| ("l", Int(max))));
        request(encoded.code, &fields).with_body(encoded.body.clone())
    }
}
