//! A pull on its way through the queue actor, and the answer that it ends in.

use std::{sync::Arc, time::Instant};

use crate::{
    actors::{
        broker::{stats::Stats, tables::offset_table::OffsetTable},
        net::Responder,
    },
    protocol::{ResponseCode, Str, header::pull::PullMessageResponseHeader},
    store::{
        get_message::{GetRequest, GetResult, GetStatus},
        queue_table::QueueSlot,
    },
};

/// What decides the broker that a reader is sent to next (`suggestWhichBrokerId`).
#[derive(Debug, Clone, Copy)]
pub struct Suggestion {
    /// Slaves may serve reads (`slaveReadEnable`).
    pub slave_read: bool,
    /// The group's ordinary broker id.
    pub normally: i64,
    /// The group's broker id while it reads far behind (`whichBrokerWhenConsumeSlowly`).
    pub when_slow: i64,
}

/// How a slave answers.
#[derive(Debug, Clone, Copy)]
pub struct OnSlave {
    /// The master is there: readers that do not lag belong to it.
    pub master_alive: bool,
    /// Readers are told of offsets that are wrong (`offsetCheckInSlave`): the slave may be the one that
    /// is behind, so by default they keep theirs.
    pub corrects_offsets: bool,
}

/// A pull request that passed all checks.
#[derive(Debug)]
pub struct Pull {
    /// The queue that it reads.
    pub slot: Arc<QueueSlot>,
    /// The reading group, for statistics.
    pub group: Str,
    /// What it reads.
    pub request: GetRequest,
    /// Until when it may wait for a message; `None` answers at once.
    pub wait_until: Option<Instant>,
    /// See [`Suggestion`].
    pub suggestion: Suggestion,
    /// Set on a slave.
    pub on_slave: Option<OnSlave>,
    /// `topicSysFlag` and `groupSysFlag` of the answer.
    pub topic_sys_flag: i32,
    /// See `topic_sys_flag`.
    pub group_sys_flag: i32,
    /// Whether the cold reader has brought what its filter looks at.
    pub is_warm: bool,
    /// Where it is kept how far the group has pulled.
    pub offsets: Arc<OffsetTable>,
    /// Who asked.
    pub responder: Responder,
}

impl Pull {
    /// Answers with what was found.
    pub fn answer(self, result: GetResult, stats: &Stats) {
        let code = self.response_code(&result);
        let header = PullMessageResponseHeader {
            suggest_which_broker_id: self.suggest(&result),
            next_begin_offset: self.next_begin_offset(&result),
            min_offset: result.min_offset,
            max_offset: result.max_offset,
            offset_delta: None,
            topic_sys_flag: Some(self.topic_sys_flag),
            group_sys_flag: Some(self.group_sys_flag),
            forbidden_type: None,
        };
        if result.status == GetStatus::Found {
            let key = &self.slot.key;
            stats.pulled(&self.group, key, result.messages, result.bytes);
            self.offsets.set_pulled(
                &key.topic,
                &self.group,
                key.queue_id,
                header.next_begin_offset,
            );
        } else {
            stats.missed();
        }
        let remark = Some(result.status.name());
        self.responder
            .answer(code, remark, Some(&header), &[], result.parts);
    }

    /// Whether an outcome may wait for the next message.
    pub fn may_wait(&self, result: &GetResult) -> bool {
        self.response_code(result) == ResponseCode::PullNotFound
    }

    fn response_code(&self, result: &GetResult) -> ResponseCode {
        let code = response_code(result.status, self.request.offset);
        let Some(slave) = self.on_slave else {
            return code;
        };
        let to_master = slave.master_alive && !result.suggest_slave;
        let keeps_offset = code == ResponseCode::PullOffsetMoved && !slave.corrects_offsets;
        if keeps_offset || (to_master && code != ResponseCode::Success) {
            return ResponseCode::PullRetryImmediately;
        }
        code
    }

    /// Where the reader goes on (`nextOffsetCorrection`).
    fn next_begin_offset(&self, result: &GetResult) -> i64 {
        let is_correction = matches!(
            result.status,
            GetStatus::NoMatchedLogicQueue
                | GetStatus::NoMessageInQueue
                | GetStatus::OffsetTooSmall
                | GetStatus::OffsetOverflowOne
                | GetStatus::OffsetOverflowBadly
                | GetStatus::OffsetFoundNull
        );
        match self.on_slave {
            Some(slave) if is_correction && !slave.corrects_offsets => self.request.offset,
            _ => result.next_begin_offset,
        }
    }

    fn suggest(&self, result: &GetResult) -> i64 {
        if self.on_slave.is_some_and(|slave| slave.master_alive) && !result.suggest_slave {
            return 0;
        }
        match (self.suggestion.slave_read, result.suggest_slave) {
            (false, _) => 0,
            (true, false) => self.suggestion.normally,
            (true, true) => self.suggestion.when_slow,
        }
    }
}

/// The response code of an outcome (`PullMessageProcessor.composeResponseHeader`).
fn response_code(status: GetStatus, requested_offset: i64) -> ResponseCode {
    match status {
        GetStatus::Found => ResponseCode::Success,
        GetStatus::NoMatchedMessage | GetStatus::MessageWasRemoving => {
            ResponseCode::PullRetryImmediately
        }
        GetStatus::NoMatchedLogicQueue | GetStatus::NoMessageInQueue if requested_offset != 0 => {
            ResponseCode::PullOffsetMoved
        }
        GetStatus::NoMatchedLogicQueue
        | GetStatus::NoMessageInQueue
        | GetStatus::OffsetFoundNull
        | GetStatus::OffsetOverflowOne => ResponseCode::PullNotFound,
        GetStatus::OffsetOverflowBadly | GetStatus::OffsetTooSmall | GetStatus::OffsetReset => {
            ResponseCode::PullOffsetMoved
        }
    }
}
