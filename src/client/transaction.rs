//! Transactions: a message that becomes visible when its producer says so (RocketMQ's
//! TransactionMQProducer).
//!
//! The message is stored as a half message, the listener runs the local transaction, and its
//! outcome is sent to the broker, oneway. When that is lost, or the outcome was unknown, the
//! broker asks later and the listener answers from what it finds.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::client::api::request;
use crate::client::error::ClientError;
use crate::client::instance::MqClient;
use crate::client::message::{Message, MessageExt};
use crate::client::producer::{Producer, ProducerConfig, SendResult, SendStatus, Shared};
use crate::protocol::FieldValue::{Bool, Int, Str as Text};
use crate::protocol::message::{id, properties, sys_flag};
use crate::protocol::static_topic::is_mock_broker;
use crate::protocol::{RemotingCommand, RequestCode};

/// How a local transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// Deliver the message.
    Commit,
    /// Drop the message.
    Rollback,
    /// Not known yet; the broker will ask.
    Unknown,
}

impl TransactionOutcome {
    fn flag(self) -> i32 {
        match self {
            TransactionOutcome::Commit => sys_flag::TRANSACTION_COMMIT,
            TransactionOutcome::Rollback => sys_flag::TRANSACTION_ROLLBACK,
            TransactionOutcome::Unknown => sys_flag::TRANSACTION_NONE,
        }
    }
}

/// Runs local transactions and remembers how they ended.
pub trait TransactionListener: Send + Sync + 'static {
    /// The half message is stored: do the work.
    fn execute<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, TransactionOutcome>;

    /// The broker asks how the transaction of this message ended.
    fn check<'a>(&'a self, message: &'a MessageExt) -> BoxFuture<'a, TransactionOutcome>;
}

/// A producer whose messages wait for a local transaction.
#[derive(Clone)]
pub struct TransactionProducer {
    producer: Producer,
    listener: Arc<dyn TransactionListener>,
}

impl TransactionProducer {
    /// A producer of a group; the broker asks any producer of the group about its transactions.
    pub fn new(
        client: &MqClient,
        group: &str,
        listener: Arc<dyn TransactionListener>,
    ) -> Result<Self, ClientError> {
        let config = ProducerConfig::default();
        let producer = Producer::build(client, group, config, Some(listener.clone()))?;
        Ok(TransactionProducer { producer, listener })
    }

    /// The producer, for messages without a transaction.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Stores the half message, runs the listener and reports the outcome.
    pub async fn send(
        &self,
        mut message: Message,
    ) -> Result<(SendResult, TransactionOutcome), ClientError> {
        let shared = &self.producer.shared;
        message.remove_property(properties::DELAY);
        message.set_property(properties::TRAN_MSG, "true");
        message.set_property(properties::PGROUP, shared.group.clone());
        message.ensure_unique_key();
        let result = shared.send_prepared(message.clone()).await?;
        let outcome = match result.status {
            SendStatus::Ok => self.listener.execute(&message).await,
            // Stored, but not as safe as configured: Java rolls back.
            _ => TransactionOutcome::Rollback,
        };
        if let Err(error) = self.report(&message, &result, outcome).await {
            // The broker will ask.
            let id = &result.message_id;
            log::warn!("client: outcome of transaction not sent message={id} error={error}");
        }
        Ok((result, outcome))
    }

    async fn report(
        &self,
        message: &Message,
        result: &SendResult,
        outcome: TransactionOutcome,
    ) -> Result<(), ClientError> {
        let shared = &self.producer.shared;
        let (host, physical_offset) = id::parse_offset_id(&result.offset_id).ok_or_else(|| {
            ClientError::Invalid(format!("{} is not an offset id", result.offset_id))
        })?;
        // A logic queue may have moved meanwhile: the broker is the one that stored the message.
        let addr = match is_mock_broker(&result.queue.broker_name) {
            true => host.to_string(),
            false => shared.client.queue_addr(&result.queue).await?,
        };
        let end = End {
            topic: &message.topic,
            group: &shared.group,
            table_offset: result.queue_offset,
            physical_offset,
            outcome,
            from_check: false,
            message_id: &result.message_id,
            transaction_id: result.transaction_id.as_deref(),
        };
        Ok(shared
            .client
            .api
            .remoting
            .oneway(&addr, end.request())
            .await?)
    }
}

/// The request that ends a transaction.
struct End<'a> {
    topic: &'a str,
    group: &'a str,
    table_offset: i64,
    physical_offset: i64,
    outcome: TransactionOutcome,
    from_check: bool,
    message_id: &'a str,
    transaction_id: Option<&'a str>,
}

impl End<'_> {
    fn request(&self) -> RemotingCommand {
        let mut fields = vec![
            ("topic", Text(self.topic)),
            ("producerGroup", Text(self.group)),
            ("tranStateTableOffset", Int(self.table_offset)),
            ("commitLogOffset", Int(self.physical_offset)),
            ("commitOrRollback", Int(self.outcome.flag().into())),
            ("fromTransactionCheck", Bool(self.from_check)),
            ("msgId", Text(self.message_id)),
        ];
        fields.extend(self.transaction_id.map(|id| ("transactionId", Text(id))));
        request(RequestCode::EndTransaction, &fields)
    }
}

/// Answers CHECK_TRANSACTION_STATE in the background.
pub(crate) fn answer_check(shared: &Shared, addr: String, request: RemotingCommand) {
    let Some(listener) = shared.transactions.clone() else {
        log::warn!("client: transaction check without a listener broker={addr}");
        return;
    };
    let (group, remoting) = (shared.group.clone(), shared.client.api.remoting.clone());
    shared.spawn(async move {
        let body: Bytes = request.body.clone();
        let message = match MessageExt::decode(&body) {
            Ok((message, _)) => message,
            Err(error) => return log::warn!("client: bad transaction check error={error}"),
        };
        let outcome = listener.check(&message).await;
        let number = |name| {
            request
                .ext_fields
                .get(name)
                .and_then(|text| text.parse().ok())
        };
        let message_id = message.message_id();
        let end = End {
            topic: &message.topic,
            group: &group,
            table_offset: number("tranStateTableOffset").unwrap_or(message.queue_offset),
            physical_offset: number("commitLogOffset").unwrap_or(message.physical_offset),
            outcome,
            from_check: true,
            message_id: &message_id,
            transaction_id: request.ext_fields.get("transactionId"),
        };
        if let Err(error) = remoting.oneway(&addr, end.request()).await {
            log::warn!("client: transaction check not answered broker={addr} error={error}");
        }
    });
}
