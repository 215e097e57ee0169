//! Where a message went and how safe it is.

use super::Encoded;
use crate::client::api;
use crate::client::error::ClientError;
use crate::protocol::body::MessageQueue;
use crate::protocol::message::properties;
use crate::protocol::{RemotingCommand, ResponseCode, Str};

/// How safe a stored message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendStatus {
    /// As safe as the broker is configured to make it.
    Ok,
    /// Stored; not flushed in time.
    FlushDiskTimeout,
    /// Stored; not replicated in time.
    FlushSlaveTimeout,
    /// Stored; no replica to wait for.
    SlaveNotAvailable,
}

impl SendStatus {
    /// RocketMQ's name.
    pub fn name(self) -> &'static str {
        match self {
            SendStatus::Ok => "SEND_OK",
            SendStatus::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
            SendStatus::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
            SendStatus::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
        }
    }

    pub(super) fn of(code: i32) -> Option<Self> {
        match ResponseCode::from_code(code)? {
            ResponseCode::Success => Some(SendStatus::Ok),
            ResponseCode::FlushDiskTimeout => Some(SendStatus::FlushDiskTimeout),
            ResponseCode::FlushSlaveTimeout => Some(SendStatus::FlushSlaveTimeout),
            ResponseCode::SlaveNotAvailable => Some(SendStatus::SlaveNotAvailable),
            _ => None,
        }
    }
}

/// Where a message went.
#[derive(Debug, Clone, PartialEq)]
pub struct SendResult {
    /// How safe it is.
    pub status: SendStatus,
    /// The id given by this producer (of a batch: the ids, separated by commas, or its own where it is
    /// stored as one record).
    pub message_id: Str,
    /// The id that tells broker and position (of a batch: the ids, separated by commas).
    pub offset_id: Str,
    /// The queue.
    pub queue: MessageQueue,
    /// Place in the queue (of a batch: of its first message).
    pub queue_offset: i64,
    /// The transaction's id.
    pub transaction_id: Option<Str>,
    /// Handle to recall a timed message.
    pub recall_handle: Option<Str>,
    /// The broker's region.
    pub region_id: Str,
    /// Whether the broker wants the message to be traced.
    pub trace_on: bool,
}

/// The result of a send from its answer.
pub(super) fn read_answer(
    addr: &str,
    answer: &RemotingCommand,
    encoded: &Encoded,
    queue: &MessageQueue,
) -> Result<SendResult, ClientError> {
    let Some(status) = SendStatus::of(answer.code) else {
        return Err(ClientError::refused(
            addr,
            answer.code,
            answer.remark.as_deref(),
        ));
    };
    let fields = &answer.ext_fields;
    let text = |name: &str| fields.get(name).map(Str::from);
    let queue_id = api::number(addr, fields, "queueId")?;
    Ok(SendResult {
        status,
        message_id: text("batchUniqId").unwrap_or_else(|| encoded.message_id.clone()),
        offset_id: text("msgId").unwrap_or_default(),
        queue: MessageQueue {
            queue_id: queue_id as i32,
            ..queue.clone()
        },
        queue_offset: api::number(addr, fields, "queueOffset")?,
        transaction_id: text("transactionId"),
        recall_handle: text("recallHandle"),
        region_id: text(properties::MSG_REGION).unwrap_or_default(),
        trace_on: fields.get(properties::TRACE_ON) != Some("false"),
    })
}
