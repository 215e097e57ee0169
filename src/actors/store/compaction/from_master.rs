//! A slave's question to its master for what is only in the master's compaction log (`MessageFetcher`).
//!
//! The commit log of a slave that was made late begins with what its master's still had; what the master has of
//! the messages before is in the compaction log. It is pulled as by any reader, by the predefined group of tools.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    actors::broker::registrar::Registrars,
    protocol::{
        CommandHeader, RemotingCommand, RequestCode, ResponseCode, Str,
        body::heartbeat::EXPRESSION_TAG,
        header::pull::{PullMessageRequestHeader, PullMessageResponseHeader},
        message::{names, sys_flag::pull::SUBSCRIPTION},
    },
    store::queue_table::QueueKey,
};

/// How long the master may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Messages that are asked for at a time.
const MESSAGES: i32 = 1024;

/// What a master answered.
#[derive(Debug)]
pub(super) enum Fetched {
    /// Messages, and where to go on.
    Messages(Bytes, i64),
    /// It has nothing from there on.
    Nothing,
    /// It does not answer now.
    NotNow,
}

/// Where a slave's master is found.
#[derive(Clone)]
pub struct FromMaster(pub Registrars);

impl FromMaster {
    /// Asks for messages of a queue from an offset on.
    pub(super) async fn fetch(&self, key: &QueueKey, offset: i64) -> Fetched {
        let Some(master) = self.0.master() else {
            return Fetched::NotNow;
        };
        let header = PullMessageRequestHeader {
            consumer_group: names::TOOLS_GROUP.into(),
            topic: key.topic.clone(),
            queue_id: key.queue_id,
            queue_offset: offset,
            max_msg_nums: MESSAGES,
            sys_flag: SUBSCRIPTION,
            subscription: Some(Str::from("*")),
            expression_type: Some(Str::from(EXPRESSION_TAG)),
            ..PullMessageRequestHeader::default()
        };
        let request = RemotingCommand::request(RequestCode::PullMessage, &header);
        let client = self.0.client();
        let Ok(answer) = client.call(&master.master_addr, request, ANSWER_MAX).await else {
            return Fetched::NotNow;
        };
        let next = PullMessageResponseHeader::decode(&answer.ext_fields);
        let next = next.ok().map(|header| header.next_begin_offset);
        let next = next.filter(|&next| next > offset);
        match (answer.response_code(), next) {
            (Some(ResponseCode::Success), Some(next)) => Fetched::Messages(answer.body, next),
            (Some(ResponseCode::PullRetryImmediately), Some(next)) => {
                Fetched::Messages(Bytes::new(), next)
            }
            (Some(ResponseCode::PullNotFound | ResponseCode::PullOffsetMoved), _) => {
                Fetched::Nothing
            }
            _ => Fetched::NotNow,
        }
    }
}
