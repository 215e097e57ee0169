//! Request and reply through messages: a request is an ordinary message with a correlation id and
//! the client to answer to; the reply travels through the broker straight to that client.

use std::time::Duration;

use crate::client::error::ClientError;
use crate::client::message::{Message, MessageExt};
use crate::client::producer::{Producer, SendResult};
use crate::client::{RemotingError, unique_id};
use crate::protocol::Str;
use crate::protocol::message::{names, properties};

/// Value of `MSG_TYPE` of a reply.
const REPLY: &str = "reply";

impl Producer {
    /// Sends a request message and awaits the reply that a consumer sends with
    /// [`Producer::reply`].
    pub async fn request(
        &self,
        mut message: Message,
        timeout: Duration,
    ) -> Result<MessageExt, ClientError> {
        let client = &self.shared.client;
        // The reply comes over a connection on which the broker knows this client.
        self.shared.route(&message.topic).await?;
        client.heartbeat_all().await;
        let id = unique_id::create();
        message.set_property(properties::CORRELATION_ID, id.clone());
        message.set_property(properties::REPLY_TO_CLIENT, client.config.client_id.clone());
        message.set_property(properties::TTL, timeout.as_millis().to_string());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        client.replies.insert(id.clone(), sender);
        let both = async {
            self.send(message).await?;
            receiver.await.map_err(|_| ClientError::ShutDown)
        };
        let result = tokio::time::timeout(timeout, both).await;
        client.replies.remove(&id);
        result.unwrap_or_else(|_| {
            let addr = "a consumer".to_owned();
            Err(ClientError::Remoting(RemotingError::Timeout {
                addr,
                timeout,
            }))
        })
    }

    /// Answers a request message.
    pub async fn reply(
        &self,
        request: &MessageExt,
        body: impl Into<bytes::Bytes>,
    ) -> Result<SendResult, ClientError> {
        let property = |name: &str| {
            let missing = || ClientError::Invalid(format!("not a request: it has no {name}"));
            request.property(name).map(Str::from).ok_or_else(missing)
        };
        let cluster = property(properties::CLUSTER)?;
        let message = Message::new(names::reply_topic(&cluster), body)
            .with_property(properties::MSG_TYPE, REPLY)
            .with_property(
                properties::CORRELATION_ID,
                property(properties::CORRELATION_ID)?,
            )
            .with_property(
                properties::REPLY_TO_CLIENT,
                property(properties::REPLY_TO_CLIENT)?,
            )
            .with_property(properties::TTL, property(properties::TTL)?);
        self.shared.send_reply(message).await
    }
}
