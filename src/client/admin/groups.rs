//! Groups, their clients and their offsets.

use std::collections::BTreeMap;

use super::{AdminClient, OffsetReset};
use crate::client::api::request;
use crate::client::error::ClientError;
use crate::client::message::MessageExt;
use crate::client::read_json;
use crate::protocol::FieldValue::{Bool, Int, Str as Text};
use crate::protocol::RequestCode;
use crate::protocol::body::MessageQueue;
use crate::protocol::body::connection::{ConsumerConnection, ProducerConnection};
use crate::protocol::body::offset::ResetOffsetBody;
use crate::protocol::body::running_info::{ConsumeMessageDirectlyResult, ConsumerRunningInfo};
use crate::protocol::body::stats::ConsumeStats;
use crate::protocol::body::subscription_group::SubscriptionGroupConfig;

impl AdminClient {
    /// Creates or changes a subscription group on a broker.
    pub async fn update_group(
        &self,
        addr: &str,
        group: &SubscriptionGroupConfig,
    ) -> Result<(), ClientError> {
        self.tell_json(addr, RequestCode::UpdateAndCreateSubscriptiongroup, group)
            .await
    }

    /// Deletes a subscription group on a broker.
    pub async fn delete_group(
        &self,
        addr: &str,
        group: &str,
        clean_offset: bool,
    ) -> Result<(), ClientError> {
        let fields = [
            ("groupName", Text(group)),
            ("cleanOffset", Bool(clean_offset)),
        ];
        let request = request(RequestCode::DeleteSubscriptiongroup, &fields);
        self.broker(addr, request).await.map(|_| ())
    }

    /// How far a group is, on a broker; of one topic or of all.
    pub async fn consume_stats(
        &self,
        addr: &str,
        group: &str,
        topic: Option<&str>,
    ) -> Result<ConsumeStats, ClientError> {
        let mut fields = vec![("consumerGroup", Text(group))];
        fields.extend(topic.map(|topic| ("topic", Text(topic))));
        let request = request(RequestCode::GetConsumeStats, &fields);
        let answer = self.broker(addr, request).await?;
        read_json(addr, "consume stats", &answer.body)
    }

    /// The clients of a consumer group on a broker.
    pub async fn consumer_connection(
        &self,
        addr: &str,
        group: &str,
    ) -> Result<ConsumerConnection, ClientError> {
        let fields = [("consumerGroup", Text(group))];
        let request = request(RequestCode::GetConsumerConnectionList, &fields);
        let answer = self.broker(addr, request).await?;
        read_json(addr, "a consumer connection", &answer.body)
    }

    /// The clients of a producer group on a broker.
    pub async fn producer_connection(
        &self,
        addr: &str,
        group: &str,
    ) -> Result<ProducerConnection, ClientError> {
        let fields = [("producerGroup", Text(group))];
        let request = request(RequestCode::GetProducerConnectionList, &fields);
        let answer = self.broker(addr, request).await?;
        read_json(addr, "a producer connection", &answer.body)
    }

    /// What a consumer says about itself, asked through its broker.
    pub async fn consumer_running_info(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        jstack: bool,
    ) -> Result<ConsumerRunningInfo, ClientError> {
        let fields = [
            ("consumerGroup", Text(group)),
            ("clientId", Text(client_id)),
            ("jstackEnable", Bool(jstack)),
        ];
        let answer = self
            .broker(addr, request(RequestCode::GetConsumerRunningInfo, &fields))
            .await?;
        read_json(addr, "consumer running info", &answer.body)
    }

    /// Lets a consumer consume one stored message at once.
    pub async fn consume_directly(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        message: &MessageExt,
    ) -> Result<ConsumeMessageDirectlyResult, ClientError> {
        let id = message.offset_id();
        let fields = [
            ("consumerGroup", Text(group)),
            ("clientId", Text(client_id)),
            ("msgId", Text(&id)),
            ("topic", Text(&message.topic)),
        ];
        let answer = self
            .broker(addr, request(RequestCode::ConsumeMessageDirectly, &fields))
            .await?;
        read_json(addr, "the result of consuming", &answer.body)
    }

    /// Sets a group's offsets to a time (ms; -1 = the end), or one queue to an offset.
    pub async fn reset_offset(
        &self,
        addr: &str,
        reset: &OffsetReset<'_>,
    ) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
        let mut fields = vec![
            ("group", Text(reset.group)),
            ("topic", Text(reset.topic)),
            ("timestamp", Int(reset.timestamp_ms)),
            ("isForce", Bool(reset.force)),
            ("queueId", Int(reset.queue_id.into())),
        ];
        fields.extend(reset.offset.map(|offset| ("offset", Int(offset))));
        let request = request(RequestCode::InvokeBrokerToResetOffset, &fields);
        let answer = self.broker(addr, request).await?;
        if answer.body.is_empty() {
            return Ok(BTreeMap::new());
        }
        let body: ResetOffsetBody = read_json(addr, "reset offsets", &answer.body)?;
        Ok(body.offset_table)
    }

    /// Commits an offset for a group.
    pub async fn update_offset(
        &self,
        addr: &str,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        self.inner()
            .api
            .update_offset(addr, group, queue, offset, false)
            .await
    }

    /// As [`AdminClient::update_offset`], at the broker that leads the queue.
    pub async fn commit_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        self.inner()
            .update_offset(group, queue, offset, false)
            .await
    }

    /// First offset of a queue.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.inner().min_offset(queue).await
    }

    /// One behind the last offset of a queue.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.inner().max_offset(queue).await
    }

    /// Offset of the first message stored at a time (ms) or later.
    pub async fn search_offset(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        self.inner().search_offset(queue, timestamp_ms).await
    }

    /// As [`AdminClient::search_offset`], asking this address.
    pub async fn search_offset_at(
        &self,
        addr: &str,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        self.inner()
            .api
            .search_offset(addr, queue, timestamp_ms)
            .await
    }
}
