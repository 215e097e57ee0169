//! Calling back a timed message.

use crate::client::error::ClientError;
use crate::client::producer::Producer;
use crate::protocol::header::send::{RecallMessageRequestHeader, RecallMessageResponseHeader};
use crate::protocol::message::recall::RecallHandle;
use crate::protocol::{RemotingCommand, RequestCode, Str};

impl Producer {
    /// Calls back a message that waits for its time of delivery, by the handle that its
    /// [`SendResult`](crate::client::SendResult) gave; yields the message's id. It may be called until
    /// about a second before that time. Whoever called it back may not know whether the message was
    /// delivered meanwhile: the broker does not look.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with NO_PERMISSION where the broker has `recallMessageEnable=false` (its
    /// default), and with ILLEGAL_OPERATION for a message whose time has come.
    pub async fn recall(&self, topic: &str, handle: &str) -> Result<Str, ClientError> {
        let read = RecallHandle::decode(handle);
        let broker_name = read
            .map_err(|error| ClientError::Invalid(error.to_string()))?
            .broker_name;
        self.shared.route(&topic.into()).await?;
        let addr = self.shared.client.master_addr(&broker_name);
        let addr = addr.ok_or(ClientError::UnknownBroker(broker_name))?;
        let header = RecallMessageRequestHeader {
            producer_group: Some(self.shared.group.clone()),
            topic: topic.into(),
            recall_handle: handle.into(),
        };
        let request = RemotingCommand::request(RequestCode::RecallMessage, &header);
        let timeout = self.shared.config.send_timeout;
        let remoting = &self.shared.client.api.remoting;
        let answer = remoting.ask(&addr, request, timeout).await?;
        let header: Result<RecallMessageResponseHeader, _> = answer.decode_header();
        header
            .map(|header| header.msg_id)
            .map_err(|error| ClientError::Invalid(error.to_string()))
    }
}
