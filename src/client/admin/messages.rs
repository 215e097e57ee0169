//! Finding messages.

use super::AdminClient;
use crate::client::api::KeyQuery;
use crate::client::error::ClientError;
use crate::client::message::MessageExt;
use crate::protocol::message::{id, properties};

impl AdminClient {
    /// The message that an offset id names, from the broker that the id names.
    pub async fn message_by_offset_id(
        &self,
        topic: &str,
        message_id: &str,
    ) -> Result<MessageExt, ClientError> {
        let (host, offset) = id::parse_offset_id(message_id)
            .ok_or_else(|| ClientError::Invalid(format!("{message_id} is not an offset id")))?;
        let record = self
            .inner()
            .api
            .view_message(&host.to_string(), topic, offset)
            .await?;
        Ok(MessageExt::decode(&record)?.0)
    }

    /// Messages with a key, from every broker of the topic.
    pub async fn messages_by_key(
        &self,
        topic: &str,
        key: &str,
        messages_max: i32,
        begin_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let query = KeyQuery {
            topic,
            key,
            messages_max,
            begin_ms,
            end_ms,
            unique: false,
        };
        let found = self.query(&query).await?;
        // The index knows hashes only.
        let has_key = |message: &MessageExt| {
            message
                .keys()
                .is_some_and(|keys| keys.split(' ').any(|known| known == key))
        };
        Ok(found.into_iter().filter(has_key).collect())
    }

    /// Messages with a unique key (usually one), from every broker of the topic.
    pub async fn messages_by_unique_key(
        &self,
        topic: &str,
        key: &str,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let made = crate::client::unique_id::creation_time_ms(key, crate::client::now_ms());
        let begin_ms = made.map_or(0, |made| made.saturating_sub(1_000));
        let query = KeyQuery {
            topic,
            key,
            messages_max: 32,
            begin_ms,
            end_ms: i64::MAX,
            unique: true,
        };
        let found = self.query(&query).await?;
        let is_it = |message: &MessageExt| message.property(properties::UNIQ_KEY) == Some(key);
        Ok(found.into_iter().filter(is_it).collect())
    }

    async fn query(&self, query: &KeyQuery<'_>) -> Result<Vec<MessageExt>, ClientError> {
        let mut found = Vec::new();
        for (broker, addr) in self.topic_brokers(query.topic).await? {
            let records = self.inner().api.query_messages(&addr, query).await?;
            found.extend(MessageExt::decode_all(records, &broker.as_str().into())?);
        }
        found.sort_by_key(|message| message.store_timestamp);
        Ok(found)
    }
}
