//! Answers pulls of what lies far back in the log, one at a time, on the thread of their queues.
//!
//! What is far back is copied: mapping it would have the kernel enter each page into the process's
//! tables, once, for a reader who is gone then. A copy takes the thread for a while, and a consumer that
//! drains its backlog asks for all its queues at once: between two answers the thread looks at its
//! sockets, so that those who read the newest messages wait for one of them, not for all. What is not in
//! memory goes to the cold reader. A restart loses the pulls that wait here: they are answered with
//! "outcome unknown", and the clients ask again.

use std::{collections::VecDeque, sync::Arc};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised,
    WrapFuture,
};
use smallvec::smallvec;
use tokio::task::yield_now;

use super::{
    cold_reader::{Turn, Warm, WarmFor},
    pull::Warmed,
    queue::QueueParts,
};
use crate::{
    actors::kernel::{ActorCell, Shutdown},
    store::get_message::GetResult,
};

/// What a queue found for somebody, far back.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AnswerFar {
    /// Who asked.
    pub asker: WarmFor,
    /// What was found; its bytes are still to come.
    pub result: GetResult,
    /// The cold reader's turn, where its bytes were cold.
    pub turn: Option<Turn>,
}

/// The actor; see the module.
pub struct FarReader {
    cell: Arc<ActorCell>,
    parts: Arc<QueueParts>,
    waiting: VecDeque<AnswerFar>,
    /// The thread looks at its sockets before the next answer.
    looking: bool,
}

impl FarReader {
    /// State for a first start and for every restart: nothing waits.
    pub fn recover(cell: Arc<ActorCell>, parts: Arc<QueueParts>) -> Self {
        Self {
            cell,
            parts,
            waiting: VecDeque::new(),
            looking: false,
        }
    }

    fn next(&mut self, ctx: &mut Context<Self>) {
        if self.looking {
            return;
        }
        let Some(next) = self.waiting.pop_front() else {
            return;
        };
        self.answer(next);
        // Deferred by tokio until the thread has polled its sockets.
        self.looking = true;
        ctx.spawn(yield_now().into_actor(self).map(|(), reader, ctx| {
            reader.looking = false;
            reader.next(ctx);
        }));
    }

    fn answer(&self, far: AnswerFar) {
        let AnswerFar {
            mut asker,
            mut result,
            turn,
        } = far;
        if !self.fetch(&mut result, *asker.warmed()) {
            *asker.warmed() = Warmed::Answer;
            self.parts.cold_reader.tell(Warm {
                then: asker,
                ranges: result.ranges,
            });
            return;
        }
        match asker {
            WarmFor::Pull(pull) => pull.answer(result, &self.parts.stats),
            // The reader may have gone meanwhile.
            WarmFor::Read(_, read) => drop(read.reply.send(result)),
        }
        drop(turn);
    }

    /// Copies what was found; `false` where the disk has to be read first.
    fn fetch(&self, result: &mut GetResult, warmed: Warmed) -> bool {
        // What was brought a moment ago and is gone again would be gone the next time, too.
        let is_brought = warmed == Warmed::Answer;
        let log = self.parts.log();
        match log.copy_in_memory(&result.ranges) {
            Ok(Some(copy)) => {
                result.parts = smallvec![copy];
                true
            }
            Ok(None) => is_brought,
            Err(_) => is_brought || log.all_resident(&result.ranges),
        }
    }
}

impl Actor for FarReader {
    type Context = Context<Self>;
}

impl Supervised for FarReader {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

impl Handler<AnswerFar> for FarReader {
    type Result = ();

    fn handle(&mut self, far: AnswerFar, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.waiting.push_back(far);
        self.next(ctx);
    }
}

impl Handler<Shutdown> for FarReader {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}

crate::crashable!(FarReader);
