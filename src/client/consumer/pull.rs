//! A consumer that pulls when the program says so: RocketMQ's DefaultMQPullConsumer.

use std::time::Duration;

use std::sync::Arc;

use crate::client::api::PullRequest;
use crate::client::consumer::subscription::{Expression, subscription_data, tag_matches};
use crate::client::error::ClientError;
use crate::client::instance::{Inner, MqClient};
use crate::client::message::MessageExt;
use crate::protocol::body::MessageQueue;
use crate::protocol::message::{names, sys_flag};
use crate::protocol::{ResponseCode, Str};

/// Time allowed for a pull that is not held.
const PULL_TIMEOUT: Duration = Duration::from_secs(10);
/// What an answer may take longer than the broker holds the pull.
const HELD_MARGIN: Duration = Duration::from_secs(10);
/// Body bytes asked for in one pull.
const PULL_BYTES_MAX: i32 = 4 * 1024 * 1024;

/// How a pull ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullStatus {
    /// There are messages.
    Found,
    /// Nothing at this offset yet.
    NoNewMessage,
    /// Messages were skipped by the filter; go on at the next offset.
    NoMatchedMessage,
    /// The queue does not have this offset; go on at the next offset.
    OffsetIllegal,
}

/// The answer to a pull.
#[derive(Debug, Clone, PartialEq)]
pub struct PullOutcome {
    /// How it ended.
    pub status: PullStatus,
    /// Where to go on.
    pub next_offset: i64,
    /// First offset of the queue.
    pub min_offset: i64,
    /// One behind the last offset of the queue.
    pub max_offset: i64,
    /// The messages.
    pub messages: Vec<MessageExt>,
}

/// Pulls from queues; offsets are the program's business, with the group's store at hand.
#[derive(Clone)]
pub struct PullConsumer {
    client: Arc<Inner>,
    group: Str,
}

impl PullConsumer {
    /// A consumer of a group on a client.
    pub fn new(client: &MqClient, group: &str) -> Result<Self, ClientError> {
        names::validate_group(group).map_err(|error| ClientError::Invalid(error.to_string()))?;
        Ok(PullConsumer {
            client: client.inner.clone(),
            group: group.into(),
        })
    }

    /// The queues of a topic that can be read, sorted.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(self
            .client
            .route(&topic.into(), None)
            .await?
            .read_queues
            .clone())
    }

    /// Pulls at most `messages_max` messages; answers at once.
    pub async fn pull(
        &self,
        queue: &MessageQueue,
        expression: &Expression,
        offset: i64,
        messages_max: u32,
    ) -> Result<PullOutcome, ClientError> {
        self.pull_held(queue, expression, offset, messages_max, Duration::ZERO)
            .await
    }

    /// As [`PullConsumer::pull`], but when there is nothing new the broker holds the request up
    /// to `hold` for a message to come.
    pub async fn pull_held(
        &self,
        queue: &MessageQueue,
        expression: &Expression,
        offset: i64,
        messages_max: u32,
        hold: Duration,
    ) -> Result<PullOutcome, ClientError> {
        let subscription = subscription_data(&queue.topic, expression, 0)?;
        let held = if hold.is_zero() {
            0
        } else {
            sys_flag::pull::SUSPEND
        };
        let request = PullRequest {
            group: &self.group,
            queue,
            offset,
            messages_max: i32::try_from(messages_max).unwrap_or(i32::MAX),
            bytes_max: PULL_BYTES_MAX,
            sys_flag: sys_flag::pull::SUBSCRIPTION | held,
            commit_offset: 0,
            suspend: hold,
            subscription: Some(expression.text()),
            expression_type: expression.kind(),
            sub_version: 0,
        };
        let timeout = if hold.is_zero() {
            PULL_TIMEOUT
        } else {
            hold + HELD_MARGIN
        };
        let (api, request) = (&self.client.api, &request);
        let pull =
            |addr: String| async move { Ok((api.pull(&addr, request, timeout).await?, addr)) };
        let (answer, addr) = self.client.ask_queue(queue, pull).await?;
        let status = match ResponseCode::from_code(answer.code) {
            Some(ResponseCode::Success) => PullStatus::Found,
            Some(ResponseCode::PullNotFound) => PullStatus::NoNewMessage,
            Some(ResponseCode::PullRetryImmediately) => PullStatus::NoMatchedMessage,
            Some(ResponseCode::PullOffsetMoved) => PullStatus::OffsetIllegal,
            _ => {
                return Err(ClientError::refused(
                    &addr,
                    answer.code,
                    answer.remark.as_deref(),
                ));
            }
        };
        let (min_offset, max_offset) = (answer.min_offset, answer.max_offset);
        let next_offset = answer.next_offset.unwrap_or(offset);
        let mut messages = answer.messages(queue)?;
        messages.retain(|message| tag_matches(&subscription, message));
        Ok(PullOutcome {
            status,
            next_offset,
            min_offset,
            max_offset,
            messages,
        })
    }

    /// The group's committed offset of a queue.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<i64>, ClientError> {
        self.client.query_offset(&self.group, queue).await
    }

    /// Commits an offset and waits until the broker has it.
    pub async fn commit(&self, queue: &MessageQueue, offset: i64) -> Result<(), ClientError> {
        self.client
            .update_offset(&self.group, queue, offset, false)
            .await
    }

    /// First offset of a queue.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.client.min_offset(queue).await
    }

    /// One behind the last offset of a queue.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.client.max_offset(queue).await
    }

    /// Offset of the first message stored at this time (ms) or later.
    pub async fn offset_by_time(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        self.client.search_offset(queue, timestamp_ms).await
    }

    /// Store time (ms) of a queue's oldest message.
    pub async fn earliest_store_time(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        let api = &self.client.api;
        self.client
            .ask_queue(queue, |addr| async move {
                api.earliest_store_time(&addr, queue).await
            })
            .await
    }
}
