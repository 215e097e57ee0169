//! Calling the program's function, and what becomes of its answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::{ConsumeOutcome, Job, Shared};
use crate::client::api::SendBack;
use crate::client::consumer::MessageModel;
use crate::client::message::{Message, MessageExt};
use crate::client::{ClientError, MqClient, Producer};
use crate::protocol::body::running_info::{CmResult, ConsumeMessageDirectlyResult};
use crate::protocol::message::{names, properties};
use crate::protocol::static_topic::is_mock_broker;

/// Pause before a message is consumed again here, when it could not be handed back.
const PAUSE_LOCAL_RETRY: Duration = Duration::from_secs(5);
/// Delay level of a message that failed for the first time.
const FIRST_RETRY_LEVEL: i32 = 3;

impl Shared {
    /// Hands jobs to workers, as many at once as configured.
    pub(super) async fn work_loop(self: Arc<Self>, mut jobs: mpsc::UnboundedReceiver<Job>) {
        loop {
            let job = tokio::select! {
                job = jobs.recv() => job,
                () = self.closed.cancelled() => return,
            };
            let Some(job) = job else { return };
            let Ok(place) = self.places.acquire().await else {
                return;
            };
            place.forget();
            let shared = self.clone();
            tokio::spawn(async move {
                shared.consume(job).await;
                shared.places.add_permits(1);
            });
        }
    }

    async fn consume(self: &Arc<Self>, job: Job) {
        let Job {
            state,
            mut messages,
        } = job;
        if state.process.is_dropped() {
            return;
        }
        for message in &mut messages {
            restore_topic(message);
        }
        let outcome = self.call_traced(messages.clone()).await;
        let mut done: Vec<i64> = Vec::with_capacity(messages.len());
        let mut again = Vec::new();
        for message in messages {
            let handled = match (outcome, self.config.model) {
                (ConsumeOutcome::Success, _) => true,
                (ConsumeOutcome::Later, MessageModel::Broadcasting) => {
                    let id = message.message_id();
                    log::warn!(
                        "client: broadcast message dropped group={} id={id}",
                        self.group
                    );
                    true
                }
                (ConsumeOutcome::Later, MessageModel::Clustering) => {
                    self.hand_back(&message, 0).await
                }
            };
            if handled {
                done.push(message.queue_offset);
            } else {
                again.push(message);
            }
        }
        let commit = state.process.remove(done);
        if let Some(offset) = commit
            && !state.process.is_dropped()
        {
            self.offsets.update(&state.queue, offset, true);
        }
        if !again.is_empty() {
            let (jobs, job) = (
                self.jobs.clone(),
                Job {
                    state,
                    messages: again,
                },
            );
            tokio::spawn(async move {
                tokio::time::sleep(PAUSE_LOCAL_RETRY).await;
                let _ = jobs.send(job);
            });
        }
    }

    pub(super) async fn call_traced(&self, messages: Vec<MessageExt>) -> ConsumeOutcome {
        let Some(tracer) = self.client.tracer() else {
            return self.call_listener(messages).await;
        };
        let begin = Instant::now();
        let request_id = tracer.begins(&self.group, &messages);
        let outcome = self.call_listener(messages.clone()).await;
        let success = outcome == ConsumeOutcome::Success;
        tracer.ends(
            &self.group,
            &messages,
            &request_id,
            begin.elapsed(),
            success,
        );
        outcome
    }

    /// A listener that panics asks for the messages again, as one that throws does in Java.
    pub(super) async fn call_listener(&self, messages: Vec<MessageExt>) -> ConsumeOutcome {
        let listener = self.listener.clone();
        let call = AssertUnwindSafe(async move { listener(messages).await });
        call.catch_unwind().await.unwrap_or_else(|_| {
            log::warn!("client: listener panicked group={}", self.group);
            ConsumeOutcome::Later
        })
    }

    /// Hands a message back to its broker; a delay level of 0 leaves the delay to it, -1 makes the
    /// message a dead letter.
    pub(super) async fn hand_back(&self, message: &MessageExt, delay_level: i32) -> bool {
        let id = &message.message_id();
        let reconsume_times_max = match self.config.reconsume_times_max {
            -1 => 16,
            times => times,
        };
        let back = SendBack {
            group: &self.group,
            physical_offset: message.physical_offset,
            delay_level,
            message_id: id,
            topic: &message.topic,
            reconsume_times_max,
        };
        let result = if is_mock_broker(&message.broker_name) {
            // Which broker stored it is not known here.
            self.send_again(message, delay_level < 0, reconsume_times_max)
                .await
        } else {
            match self.client.queue_addr(&message.queue()).await {
                Ok(addr) => self.client.api.send_back(&addr, &back).await,
                Err(error) => Err(error),
            }
        };
        if let Err(error) = &result {
            log::warn!(
                "client: message not handed back group={} id={id} error={error}",
                self.group
            );
        }
        result.is_ok()
    }

    /// Hands a message back as a new one of the group's retry topic
    /// (`DefaultMQPushConsumerImpl.sendMessageBackAsNormalMessage`); a dead letter is one that was tried
    /// too often.
    async fn send_again(
        &self,
        message: &MessageExt,
        dead: bool,
        reconsume_times_max: i32,
    ) -> Result<(), ClientError> {
        let times = match dead {
            true => reconsume_times_max.saturating_add(1),
            false => message.reconsume_times.saturating_add(1),
        };
        let mut again = Message::new(names::retry_topic(&self.group), message.body.clone());
        again.flag = message.flag;
        for (name, value) in properties::entries(&message.properties) {
            if let (Ok(name), Ok(value)) = (str::from_utf8(name), str::from_utf8(value)) {
                again.set_property(name, value);
            }
        }
        if message.property(properties::ORIGIN_MESSAGE_ID).is_none() {
            again.set_property(properties::ORIGIN_MESSAGE_ID, message.message_id());
        }
        again.set_property(properties::RETRY_TOPIC, message.topic.clone());
        again.set_property(properties::RECONSUME_TIME, times.to_string());
        again.set_property(
            properties::MAX_RECONSUME_TIMES,
            reconsume_times_max.to_string(),
        );
        again.remove_property(properties::TRAN_MSG);
        let level = message.reconsume_times.saturating_add(FIRST_RETRY_LEVEL);
        again.set_property(properties::DELAY, level.to_string());
        let client = MqClient {
            inner: self.client.clone(),
        };
        let producer = Producer::new(&client, names::CLIENT_INNER_PRODUCER)?;
        producer.send(again).await.map(drop)
    }

    pub(super) async fn consume_one_directly(
        &self,
        mut message: MessageExt,
    ) -> ConsumeMessageDirectlyResult {
        let begin = Instant::now();
        restore_topic(&mut message);
        let outcome = self.call_listener(vec![message]).await;
        ConsumeMessageDirectlyResult {
            order: self.config.orderly,
            auto_commit: true,
            consume_result: match outcome {
                ConsumeOutcome::Success => CmResult::Success,
                ConsumeOutcome::Later => CmResult::Later,
            },
            spent_time_mills: begin.elapsed().as_millis() as i64,
            remark: None,
        }
    }
}

/// A message from a retry topic gets the topic it was first sent to.
pub(super) fn restore_topic(message: &mut MessageExt) {
    if names::is_retry_topic(&message.topic)
        && let Some(topic) = message.property(properties::RETRY_TOPIC)
    {
        message.topic = topic.into();
    }
}
