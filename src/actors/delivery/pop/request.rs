//! What shards of pops are asked: pops, notifications, and acknowledgements of ordered messages.

use actix::Message;

use crate::{actors::net::Responder, protocol::Str, store::get_message::EntryFilter};

/// The most messages that one pop may ask for.
pub const MESSAGES_MAX: i32 = 32;

/// Whom a request is for.
#[derive(Debug, Clone)]
pub struct Whom {
    /// Topic.
    pub topic: Str,
    /// Group.
    pub group: Str,
    /// Queue of the topic; negative for all.
    pub queue_id: i32,
    /// Whether messages are ordered.
    pub order: bool,
    /// Names the attempt of an ordered pop.
    pub attempt_id: Option<Str>,
}

/// A pop that passed all checks.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Pop {
    /// For whom.
    pub whom: Whom,
    /// Most messages.
    pub max: usize,
    /// How long they stay hidden, ms.
    pub invisible_time: i64,
    /// 0: a new group begins at the first message, else near the last one.
    pub init_mode: i32,
    /// Which messages.
    pub filter: EntryFilter,
    /// Until when it may wait, ms; none answers at once.
    pub wait_until: Option<i64>,
    /// It has looked once more since it was last told of a message.
    pub rechecked: bool,
    /// Who asked.
    pub responder: Responder,
}

impl Pop {
    /// The same pop, told of a new message.
    pub fn fresh(self) -> Self {
        Self {
            rechecked: false,
            ..self
        }
    }
}

/// A question whether there are messages, that passed all checks.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Notify {
    /// For whom.
    pub whom: Whom,
    /// Until when it may wait, ms; none answers at once.
    pub wait_until: Option<i64>,
    /// Who asked.
    pub responder: Responder,
}

/// How many pops wait at one place (code 200055).
#[derive(Debug, Message)]
#[rtype(result = "usize")]
pub struct CountWaiting(pub Whom);

/// An ordered message was consumed.
#[derive(Debug, Message)]
#[rtype(result = "crate::actors::delivery::pop::request::OrderAnswer")]
pub struct AckOrdered {
    /// For whom.
    pub whom: Whom,
    /// The message.
    pub offset: i64,
    /// When it was popped, ms.
    pub pop_time: i64,
}

/// An ordered message is to be visible again at another time.
#[derive(Debug, Message)]
#[rtype(result = "crate::actors::delivery::pop::request::OrderAnswer")]
pub struct HideOrdered {
    /// For whom.
    pub whom: Whom,
    /// The message.
    pub offset: i64,
    /// When it was popped, ms.
    pub pop_time: i64,
    /// When it is visible again, ms.
    pub visible_at: i64,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderAnswer {
    /// It counts.
    Done,
    /// The message lies before the group's offset, or was popped again meanwhile: nothing to do.
    Past,
    /// The message was not popped; this is the group's offset.
    Illegal(i64),
}

impl<A, M> actix::dev::MessageResponse<A, M> for OrderAnswer
where
    A: actix::Actor,
    M: Message<Result = OrderAnswer>,
{
    fn handle(self, _: &mut A::Context, answer: Option<actix::dev::OneshotSender<Self>>) {
        if let Some(answer) = answer {
            let _ = answer.send(self);
        }
    }
}
