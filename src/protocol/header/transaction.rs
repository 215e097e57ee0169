//! Transactions: codes 37, 39 and 323.

use crate::command_header;
use crate::protocol::Str;

command_header! {
    /// Commits or rolls back a half message (code 37).
    pub struct EndTransactionRequestHeader {
        /// Topic.
        topic: Option<Str> => "topic",
        /// Group of the producer.
        producer_group: Str => "producerGroup",
        /// Queue offset of the half message.
        tran_state_table_offset: i64 => "tranStateTableOffset",
        /// Position of the half message in the commit log.
        commit_log_offset: i64 => "commitLogOffset",
        /// Transaction type of [`crate::protocol::message::sys_flag`].
        commit_or_rollback: i32 => "commitOrRollback",
        /// Whether this answers a check.
        from_transaction_check: bool = false => "fromTransactionCheck",
        /// Identifier of the message.
        msg_id: Str => "msgId",
        /// Unique key of the message.
        transaction_id: Option<Str> => "transactionId",
    }
}

command_header! {
    /// Asks a producer about a half message (code 39).
    pub struct CheckTransactionStateRequestHeader {
        /// Topic.
        topic: Option<Str> => "topic",
        /// Queue offset of the half message.
        tran_state_table_offset: i64 => "tranStateTableOffset",
        /// Position of the half message in the commit log.
        commit_log_offset: i64 => "commitLogOffset",
        /// Identifier of the message.
        msg_id: Option<Str> => "msgId",
        /// Unique key of the message.
        transaction_id: Option<Str> => "transactionId",
        /// Offset message id of the half message.
        offset_msg_id: Option<Str> => "offsetMsgId",
    }
}

command_header! {
    /// Has a given up half message checked again (code 323).
    pub struct ResumeCheckHalfMessageRequestHeader {
        /// Topic.
        topic: Option<Str> => "topic",
        /// Identifier of the message.
        msg_id: Option<Str> => "msgId",
    }
}
