//! The client side of the wire: producer, push and pull consumer, admin client.
//!
//! Everything here speaks RocketMQ's remoting protocol, so it works against a Java broker as well
//! as against ours. Nothing here knows actors: it needs a tokio runtime and nothing else.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;

use crate::protocol::fastjson;

pub mod admin;
mod api;
mod compression;
pub mod config;
mod connection;
pub mod consumer;
pub mod error;
pub mod fault;
mod from_server;
pub mod instance;
mod leaders;
pub mod message;
pub mod producer;
pub mod recall;
pub mod remoting;
pub mod route;
pub mod rpc;
mod trace;
pub mod transaction;
pub mod unique_id;

pub use crate::protocol::body::MessageQueue;
pub use admin::AdminClient;
pub use config::ClientConfig;
pub use consumer::{
    ConsumeFrom, ConsumeOutcome, MessageModel, PopConsumer, PopOptions, PoppedMessage,
    PullConsumer, PushConsumer,
};
pub use error::ClientError;
pub use instance::MqClient;
pub use message::{Message, MessageExt};
pub use producer::{Producer, ProducerConfig, SendResult, SendStatus};
pub use remoting::{PushHandler, PushOrigin, RemotingClient, RemotingConfig, RemotingError};
pub use route::TopicRoute;
pub use transaction::{TransactionListener, TransactionOutcome, TransactionProducer};

/// Locks a mutex whose data stays valid when a holder panicked: all critical sections of the
/// client are single assignments or table operations.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wall clock, ms since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as i64
}

/// Reads a JSON body, in Java's dialect or standard.
pub(crate) fn read_json<T: DeserializeOwned>(
    addr: &str,
    what: &'static str,
    bytes: &[u8],
) -> Result<T, ClientError> {
    fastjson::from_slice(bytes).map_err(|error| ClientError::BadAnswer {
        what,
        addr: addr.to_owned(),
        reason: error.to_string(),
    })
}
