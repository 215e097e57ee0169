//! Reads ahead for pulls whose bytes are not in memory, on a thread of its own.
//!
//! A lagging consumer must not stall the network thread of a tail consumer: the queue gives a pull
//! away, the cold reader reads what it wants, and the pull goes back and is answered. One at a time: the
//! thread of the queues looks at its sockets between two answers, not after as many as wait. A restart
//! loses the pulls that wait here: they are answered with "outcome unknown", and the clients ask again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};
use smallvec::SmallVec;

use super::{
    pull::{Pull, Warmed},
    queue::{Read, Serve},
    queues::QueueShards,
};
use crate::{
    actors::kernel::{ActorCell, ActorRef, Shutdown, TellRef},
    store::{
        commit_log::{CommitLogReader, Range},
        queue_table::QueueSlot,
    },
};

/// Bytes this near to the end of the log count as in memory without a look.
pub const HOT_DISTANCE: i64 = 64 * 1024 * 1024;

/// The longest that one read from the disk may take before the watchdog counts it as stuck.
const READ_MAX: Duration = Duration::from_secs(60);

/// Bytes that one read takes: they stay in the processor's cache.
const PIECE_LEN: usize = 32 * 1024;

/// Bytes that have to be read first.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Warm {
    /// Who goes back to its queue then.
    pub then: WarmFor,
    /// What it will be answered with, or what its filter looks at.
    pub ranges: SmallVec<[Range; 8]>,
}

/// Who waits for bytes.
#[derive(Debug)]
pub enum WarmFor {
    /// A pull.
    Pull(Box<Pull>),
    /// A read of the broker's own.
    Read(Arc<QueueSlot>, Box<Read>),
}

impl WarmFor {
    /// What has been brought for it so far.
    pub fn warmed(&mut self) -> &mut Warmed {
        match self {
            Self::Pull(pull) => &mut pull.warmed,
            Self::Read(_, read) => &mut read.warmed,
        }
    }
}

/// A pull's turn. Its end, whatever became of the pull, is the beginning of the next one's.
#[derive(Debug)]
pub struct Turn(TellRef<TurnEnded>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.tell(TurnEnded);
    }
}

/// A pull was answered, or is gone.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct TurnEnded;

/// The actor; see the module.
pub struct ColdReader {
    cell: Arc<ActorCell>,
    log: CommitLogReader,
    shards: QueueShards,
    waiting: VecDeque<Warm>,
    /// A pull has its turn.
    answering: bool,
    /// What is read goes through here.
    piece: Box<[u8]>,
}

impl ColdReader {
    /// State for a first start and for every restart: nothing waits.
    pub fn recover(cell: Arc<ActorCell>, log: CommitLogReader, shards: QueueShards) -> Self {
        Self {
            cell,
            log,
            shards,
            waiting: VecDeque::new(),
            answering: false,
            piece: vec![0; PIECE_LEN].into(),
        }
    }

    fn next(&mut self, ctx: &mut Context<Self>) {
        while !self.answering
            && let Some(Warm { then, ranges }) = self.waiting.pop_front()
        {
            self.cell.blocking(READ_MAX, || {
                for range in &ranges {
                    self.log.bring(*range, &mut self.piece);
                }
            });
            match then {
                WarmFor::Pull(pull) => {
                    self.answering = true;
                    let own = ActorRef::new(ctx.address(), Arc::clone(&self.cell));
                    let (slot, turn) = (Arc::clone(&pull.slot), Some(Turn(own.narrow())));
                    self.shards.to_queue(slot, Serve { pull, turn });
                }
                WarmFor::Read(slot, read) => self.shards.to_queue(slot, *read),
            }
        }
    }
}

impl Actor for ColdReader {
    type Context = Context<Self>;
}

impl Supervised for ColdReader {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.log.clone(), self.shards.clone());
    }
}

impl Handler<Warm> for ColdReader {
    type Result = ();

    fn handle(&mut self, message: Warm, ctx: &mut Self::Context) {
        self.cell.begin_work();
        // The disk may be at work for all that wait.
        self.cell.blocking(READ_MAX, || {
            for range in &message.ranges {
                self.log.will_need(range.offset, range.len);
            }
        });
        self.waiting.push_back(message);
        self.next(ctx);
    }
}

impl Handler<TurnEnded> for ColdReader {
    type Result = ();

    fn handle(&mut self, _: TurnEnded, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.answering = false;
        self.next(ctx);
    }
}

impl Handler<Shutdown> for ColdReader {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}

crate::crashable!(ColdReader);
