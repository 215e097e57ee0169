//! A pull on its way through the queue actor, and the answer that it ends in.

use std::{sync::Arc, time::Instant};

use super::cold_reader::Brought;
use crate::{
    actors::{
        broker::{stats::Stats, tables::offset_table::OffsetTable},
        net::Responder,
    },
    protocol::{
        ResponseCode, Str,
        body::topic_queue_mapping::TopicQueueMappingDetail,
        header::pull::PullMessageResponseHeader,
        static_topic::read::{PullOffsets, to_logic, translated},
    },
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

/// How the answer to a pull of a static topic is told.
#[derive(Debug, Clone)]
pub enum LogicPull {
    /// As it is: another broker asked, which leads the queue that this is an older stretch of.
    Physical,
    /// As one of a logic queue.
    Logic {
        /// The topic's mapping.
        mapping: Arc<TopicQueueMappingDetail>,
        /// The logic queue.
        queue: i32,
        /// Generation of the stretch that is read.
        generation: i32,
    },
}

impl LogicPull {
    /// The answer to a pull of a physical offset as it is told, and what is to be added to the offsets of its
    /// messages. `None` as offset: the reader goes where the answer says, whatever it asked for.
    pub fn answered(
        &self,
        requested: Option<i64>,
        physical: PullOffsets,
    ) -> (PullOffsets, Option<i64>) {
        let Self::Logic {
            mapping,
            queue,
            generation,
        } = self
        else {
            return (physical, None);
        };
        let items = mapping.stretches(*queue);
        let read = items.iter().find(|item| item.r#gen == *generation);
        let Some(read) = read else {
            return (physical, None);
        };
        let (told, delta) = match requested {
            Some(requested) => to_logic(items, read, requested, physical),
            None => translated(items, read, physical),
        };
        (told, Some(delta))
    }

    /// Whether no more messages are let into the stretch: who has read all of it goes on elsewhere.
    fn is_old(&self) -> bool {
        match self {
            Self::Physical => true,
            Self::Logic {
                mapping,
                queue,
                generation,
            } => {
                let last = mapping.stretches(*queue).last();
                last.is_none_or(|last| last.r#gen != *generation)
            }
        }
    }
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
    /// What the cold reader has brought for it.
    pub brought: Brought,
    /// Set for static topics.
    pub logic: Option<Box<LogicPull>>,
    /// Where it is kept how far the group has pulled.
    pub offsets: Arc<OffsetTable>,
    /// Who asked.
    pub responder: Responder,
}

impl Pull {
    /// Answers with what was found. A client that went while its pull was held gets nothing, and does not
    /// count as having pulled it.
    pub fn answer(self, result: GetResult, stats: &Stats) {
        if self.responder.conn().is_closed() {
            return;
        }
        let physical = self.offsets_of(&result);
        let (told, delta) = self.told(&result, physical);
        let header = PullMessageResponseHeader {
            suggest_which_broker_id: self.suggest(&result),
            next_begin_offset: told.next_begin,
            min_offset: told.min,
            max_offset: told.max,
            offset_delta: delta,
            topic_sys_flag: Some(self.topic_sys_flag),
            group_sys_flag: Some(self.group_sys_flag),
            forbidden_type: None,
        };
        if result.status == GetStatus::Found {
            let key = &self.slot.key;
            stats.pulled(&self.group, key, result.messages, result.bytes);
            self.offsets
                .set_pulled(&key.topic, &self.group, key.queue_id, physical.next_begin);
        } else {
            stats.missed();
        }
        // RocketMQ makes such an answer anew, and leaves the remark out.
        let is_made_anew = delta.is_some() && told.code != ResponseCode::Success;
        let remark = (!is_made_anew).then_some(result.status.name());
        self.responder
            .answer(told.code, remark, Some(&header), &[], result.parts);
    }

    /// Whether an outcome may wait for the next message.
    pub fn may_wait(&self, result: &GetResult) -> bool {
        let physical = self.offsets_of(result);
        let is_at_end = physical.code == ResponseCode::PullNotFound;
        is_at_end && self.told(result, physical).0.code == ResponseCode::PullNotFound
    }

    /// Code and offsets of an outcome, of the physical queue.
    fn offsets_of(&self, result: &GetResult) -> PullOffsets {
        let code = self.response_code(result);
        let mut max = result.max_offset;
        if code != ResponseCode::Success && self.logic.as_ref().is_some_and(|logic| logic.is_old())
        {
            // Nobody is to go on behind messages that are not visible yet.
            max = max.max(self.slot.next_offset());
        }
        PullOffsets {
            code,
            next_begin: self.next_begin_offset(result),
            min: result.min_offset,
            max,
        }
    }

    fn told(&self, result: &GetResult, physical: PullOffsets) -> (PullOffsets, Option<i64>) {
        let is_reset = result.status == GetStatus::OffsetReset;
        let requested = (!is_reset).then_some(self.request.offset);
        match &self.logic {
            None => (physical, None),
            Some(logic) => logic.answered(requested, physical),
        }
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
