//! Reads from the disk what pulls want that is not in memory, on a thread of its own.
//!
//! A lagging consumer must not stall the network thread of a tail consumer. What a pull is answered with
//! is read in blocks past the page cache ([`ColdBlocks`]), and goes to the far reader, which
//! answers, and has the next block read before it is asked for. Messages that lie scattered are read by
//! themselves, through the page cache; so are entries of a queue, and what a filter looks at, for pulls
//! that go back to their queue then. A few at a time: what waits to be answered takes memory. A restart
//! loses the pulls that wait here: they are answered with "outcome unknown", and the clients ask again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Supervised};
use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::{
    far_reader::AnswerFar,
    pull::Pull,
    queue::{Read, Serve},
    queues::QueueShards,
};
use crate::{
    actors::kernel::{ActorCell, ActorRef, Shutdown, TellRef},
    store::{
        commit_log::{ColdBlocks, ColdBlocksReader, CommitLogReader, Range},
        consume_queue::ColdPiece,
        error::StoreError,
        queue_table::QueueSlot,
    },
};

/// Bytes this near to the end of the log count as in memory without a look.
const HOT_DISTANCE: i64 = 64 * 1024 * 1024;

/// The longest that one read from the disk may take before the watchdog counts it as stuck.
const READ_MAX: Duration = Duration::from_secs(60);

/// Bytes that are brought at a time: they stay in the processor's cache.
const PIECE_LEN: usize = 32 * 1024;

/// So many were read and are not answered yet, at most.
const TURNS: usize = 4;

/// Blocks that nobody used for so long are given back.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// Whether a place of the log is so far back that it may not be in memory.
pub fn is_far(log: &CommitLogReader, physical_offset: i64) -> bool {
    log.end() - physical_offset > HOT_DISTANCE
}

/// Who waits for bytes.
#[derive(Debug)]
pub enum Asker {
    /// A pull.
    Pull(Box<Pull>),
    /// A read of the broker's own.
    Read(Arc<QueueSlot>, Box<Read>),
}

impl Asker {
    /// Queue offset from which on is read.
    pub fn offset(&self) -> i64 {
        match self {
            Self::Pull(pull) => pull.request.offset,
            Self::Read(_, read) => read.request.offset,
        }
    }

    /// Goes back to the queue; a pull keeps its turn, if it has one, until it is answered.
    pub fn back_to(self, shards: &QueueShards, turn: Option<Turn>) {
        match self {
            Self::Pull(pull) => {
                let slot = Arc::clone(&pull.slot);
                shards.to_queue(slot, Serve { pull, turn });
            }
            Self::Read(slot, read) => shards.to_queue(slot, *read),
        }
    }
}

/// What the cold reader has brought into the page cache for a request, in the order in which that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Brought {
    /// Nothing yet.
    #[default]
    Nothing,
    /// Entries of the queue.
    Entries,
    /// And what the filter looks at in the log.
    Properties,
}

/// What has to be brought into the page cache before a request can be looked at.
#[derive(Debug)]
pub enum Cold {
    /// Entries of the queue.
    Entries(ColdPiece),
    /// What the filter looks at in the log.
    Properties(SmallVec<[Range; 8]>),
}

impl Cold {
    /// What of a request is there once this is.
    pub fn brings(&self) -> Brought {
        match self {
            Self::Entries(_) => Brought::Entries,
            Self::Properties(_) => Brought::Properties,
        }
    }
}

/// Something has to be brought into the page cache; the asker goes back to its queue then.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Warm {
    /// Who needs it.
    pub asker: Asker,
    /// What.
    pub cold: Cold,
}

/// What was found is not in memory.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ReadFar {
    /// What was found, and for whom.
    pub far: Box<AnswerFar>,
    /// Who answers.
    pub then: TellRef<AnswerFar>,
}

/// Somebody goes through the log, and will want this.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ReadAhead(pub Range);

/// A turn of somebody for whom was read. Its end, whatever became of him, is the beginning of another's.
#[derive(Debug)]
pub struct Turn(TellRef<TurnEnded>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.tell(TurnEnded);
    }
}

/// Somebody was answered, or is gone.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct TurnEnded;

#[derive(Debug)]
enum Waiting {
    Bring(Warm),
    Read(ReadFar),
}

/// The actor; see the module.
pub struct ColdReader {
    cell: Arc<ActorCell>,
    log: CommitLogReader,
    shards: QueueShards,
    waiting: VecDeque<Waiting>,
    /// Turns that were given and have not ended.
    turns: usize,
    blocks: ColdBlocks,
    reader: ColdBlocksReader,
    /// What is brought goes through here.
    piece: Box<[u8]>,
}

impl ColdReader {
    /// State for a first start and for every restart: nothing waits.
    pub fn recover(
        cell: Arc<ActorCell>,
        log: CommitLogReader,
        shards: QueueShards,
        blocks: ColdBlocks,
    ) -> Self {
        let reader = ColdBlocksReader::new(blocks.clone());
        Self {
            cell,
            log,
            shards,
            waiting: VecDeque::new(),
            turns: 0,
            blocks,
            reader,
            piece: vec![0; PIECE_LEN].into(),
        }
    }

    fn next(&mut self, ctx: &Context<Self>) {
        while self.turns < TURNS {
            match self.waiting.pop_front() {
                Some(Waiting::Bring(warm)) => self.bring(warm, ctx),
                Some(Waiting::Read(read)) => self.answer_with(read, ctx),
                None => return,
            }
        }
    }

    fn turn(&mut self, ctx: &Context<Self>) -> Option<Turn> {
        self.turns += 1;
        let own = ActorRef::new(ctx.address(), Arc::clone(&self.cell));
        Some(Turn(own.narrow()))
    }

    fn bring(&mut self, warm: Warm, ctx: &Context<Self>) {
        self.cell.blocking(READ_MAX, || match &warm.cold {
            Cold::Entries(piece) => piece.bring(&mut self.piece),
            Cold::Properties(ranges) => {
                for range in ranges {
                    self.log.bring(*range, &mut self.piece);
                }
            }
        });
        let turn = self.turn(ctx);
        warm.asker.back_to(&self.shards, turn);
    }

    /// `None` when it is not in the log any more.
    fn read(&mut self, ranges: &[Range]) -> Result<Option<SmallVec<[Bytes; 8]>>, StoreError> {
        let Self {
            cell,
            log,
            blocks,
            reader,
            ..
        } = self;
        cell.blocking(READ_MAX, || {
            if ColdBlocks::are_worth_it(ranges)
                && reader.read(ranges)?
                && let Some(slices) = blocks.slices(ranges)
            {
                return Ok(Some(slices));
            }
            let copy = log.copy(ranges)?;
            Ok(copy.map(|copy| smallvec![copy]))
        })
    }

    fn answer_with(&mut self, ReadFar { mut far, then }: ReadFar, ctx: &Context<Self>) {
        match self.read(&far.result.ranges) {
            Ok(Some(parts)) => far.result.parts = parts,
            // Deleted meanwhile: the mappings that the queue has taken are still there.
            Ok(None) => {}
            Err(error) => {
                log::error!("{} cannot read: {error}", self.cell.path());
                self.cell.set_last_error(&error.to_string());
                return;
            }
        }
        far.is_in_memory = true;
        far.turn = self.turn(ctx);
        then.tell(*far);
    }
}

impl Actor for ColdReader {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(FORGET_AFTER, |own, _| own.reader.forget_unused());
    }
}

impl Supervised for ColdReader {
    fn restarting(&mut self, _: &mut Self::Context) {
        let (cell, log) = (self.cell.clone(), self.log.clone());
        *self = Self::recover(cell, log, self.shards.clone(), self.blocks.clone());
    }
}

impl Handler<Warm> for ColdReader {
    type Result = ();

    fn handle(&mut self, message: Warm, ctx: &mut Self::Context) {
        self.cell.begin_work();
        // The disk may be at work for all that wait. For entries it is: to read them was tried.
        if let Cold::Properties(ranges) = &message.cold {
            self.cell.blocking(READ_MAX, || {
                for range in ranges {
                    self.log.will_need(range.offset, range.len);
                }
            });
        }
        self.waiting.push_back(Waiting::Bring(message));
        self.next(ctx);
    }
}

impl Handler<ReadFar> for ColdReader {
    type Result = ();

    fn handle(&mut self, message: ReadFar, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.waiting.push_back(Waiting::Read(message));
        self.next(ctx);
    }
}

impl Handler<ReadAhead> for ColdReader {
    type Result = ();

    fn handle(&mut self, ReadAhead(range): ReadAhead, _: &mut Self::Context) {
        self.cell.begin_work();
        let read = self.cell.blocking(READ_MAX, || self.reader.read(&[range]));
        if let Err(error) = read {
            // Who asks for it is told.
            log::warn!("{} cannot read ahead: {error}", self.cell.path());
        }
    }
}

impl Handler<TurnEnded> for ColdReader {
    type Result = ();

    fn handle(&mut self, _: TurnEnded, ctx: &mut Self::Context) {
        self.cell.begin_work();
        // One of before a restart may end after it.
        self.turns = self.turns.saturating_sub(1);
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
