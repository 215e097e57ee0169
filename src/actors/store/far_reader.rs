//! Answers pulls of what lies far back in the log, few at a time, on the thread of their queues.
//!
//! What is far back and in the page cache is copied: mapping it would have the kernel enter each page
//! into the process's tables, once, for a reader who is gone then. Messages that lie scattered, because
//! they were sent one by one to several queues that are drained together, are copied with all that lies
//! between them, once for all queues. What the cold reader has read goes out as it is, and what nobody has
//! read goes to the cold reader. An answer takes the thread for a while, and a consumer that drains its
//! backlog asks for all its queues at once: between two answers the thread looks at its sockets, so that
//! those who read the newest messages wait for one of them, not for all. While nobody writes messages there
//! are no newest ones, and several answers leave with one write. A restart loses the pulls that wait here:
//! they are answered with "outcome unknown", and the clients ask again.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Supervised,
    WrapFuture,
};
use smallvec::smallvec;
use tokio::task::yield_now;

use super::{
    cold_reader::{Asker, ReadAhead, ReadFar, Turn},
    queue::QueueParts,
};
use crate::{
    actors::kernel::{ActorCell, ActorRef, Shutdown},
    store::{
        commit_log::{BLOCK_LEN, CommitLogReader, Range},
        get_message::GetResult,
    },
};

/// What a queue found for somebody, far back.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AnswerFar {
    /// Who asked.
    pub asker: Asker,
    /// What was found.
    pub result: GetResult,
    /// The cold reader has read its bytes; else they are mappings.
    pub is_in_memory: bool,
    /// Set where the cold reader had to read for it.
    pub turn: Option<Turn>,
}

/// Answers between two looks at the sockets while nobody writes messages: a few hundred microseconds.
const ANSWERS_ALONE_MAX: usize = 8;

/// Blocks that are copied for one answer: a hundred microseconds.
const BLOCKS_AT_ONCE: usize = 2;

/// Nobody writes messages when the log has not grown for so long.
const WRITES_ENDED_AFTER: Duration = Duration::from_millis(100);

/// The actor; see the module.
pub struct FarReader {
    cell: Arc<ActorCell>,
    parts: Arc<QueueParts>,
    waiting: VecDeque<AnswerFar>,
    /// The thread looks at its sockets before the next answer.
    looking: bool,
    seen: Seen,
    writes: Writes,
}

impl FarReader {
    /// State for a first start and for every restart: nothing waits.
    pub fn recover(cell: Arc<ActorCell>, parts: Arc<QueueParts>) -> Self {
        Self {
            cell,
            parts,
            waiting: VecDeque::new(),
            looking: false,
            seen: Seen::default(),
            writes: Writes::default(),
        }
    }

    fn next(&mut self, ctx: &mut Context<Self>) {
        if self.looking || self.waiting.is_empty() {
            return;
        }
        let log_end = self.parts.log().end();
        let others_wait = self.writes.go_on(log_end, Instant::now());
        let at_once = if others_wait { 1 } else { ANSWERS_ALONE_MAX };
        for _ in 0..at_once {
            let Some(next) = self.waiting.pop_front() else {
                break;
            };
            self.answer(next, ctx);
        }
        // Deferred by tokio until the thread has polled its sockets.
        self.looking = true;
        ctx.spawn(yield_now().into_actor(self).map(|(), reader, ctx| {
            reader.looking = false;
            reader.next(ctx);
        }));
    }

    fn answer(&mut self, mut far: AnswerFar, ctx: &Context<Self>) {
        if !far.is_in_memory && !self.fetch(&mut far.result) {
            // Who was brought here by the cold reader waits for it once more.
            far.turn = None;
            let own = ActorRef::new(ctx.address(), Arc::clone(&self.cell));
            let (far, then) = (Box::new(far), own.narrow());
            self.parts.cold_reader.tell(ReadFar { far, then });
            return;
        }
        let AnswerFar {
            asker,
            result,
            turn,
            ..
        } = far;
        let behind = result.ranges.last().map(|range| range.end());
        match asker {
            Asker::Pull(pull) => pull.answer(result, &self.parts.stats),
            // The reader may have gone meanwhile.
            Asker::Read(_, read) => drop(read.reply.send(result)),
        }
        drop(turn);
        if let Some(behind) = behind {
            self.read_ahead(behind);
        }
    }

    /// Has the block behind what was answered read, unless it is in memory: then who goes through the log
    /// needs the disk no more.
    fn read_ahead(&mut self, behind: i64) {
        let parts = Arc::clone(&self.parts);
        if let Some(range) = parts.cold_blocks.ahead_of(behind)
            && !self.seen.is_in_memory(parts.log(), range.offset)
        {
            parts.cold_reader.tell(ReadAhead(range));
        }
    }

    /// Takes what was found out of memory; `false` where the disk has to be read for it.
    fn fetch(&mut self, result: &mut GetResult) -> bool {
        let parts = Arc::clone(&self.parts);
        let log = parts.log();
        if let Some(slices) = parts.cold_blocks.slices(&result.ranges) {
            result.parts = slices;
            return true;
        }
        // To ask for a copy of what is not there has the kernel read ahead, into the page cache, on this
        // thread. The ends tell: who goes through the log meets the border there, and not in between.
        let first = result.ranges.first().map(|range| range.offset);
        let last = result.ranges.last().map(|range| range.end() - 1);
        let mut ends = first.into_iter().chain(last);
        if ends.any(|end| !self.seen.is_in_memory(log, end)) {
            return false;
        }
        if self.seen.is_worth_a_block(log, &result.ranges)
            && let Ok(true) = parts
                .cold_blocks
                .fill_from_memory(&result.ranges, BLOCKS_AT_ONCE)
            && let Some(slices) = parts.cold_blocks.slices(&result.ranges)
        {
            result.parts = slices;
            return true;
        }
        match log.copy_in_memory(&result.ranges) {
            Ok(Some(copy)) => {
                result.parts = smallvec![copy];
                true
            }
            // It went in between, or is deleted.
            Ok(None) => {
                self.seen.pieces.clear();
                false
            }
            // The file system cannot tell: the mappings will do, a moment after the look at them.
            Err(_) => true,
        }
    }
}

/// Where the page cache was looked at a moment ago and had what was looked for. Queues that are drained
/// together lie in the same pieces of the log, and to look costs a system call.
#[derive(Default)]
struct Seen {
    /// Those that were looked at, oldest first.
    pieces: VecDeque<Piece>,
}

struct Piece {
    number: i64,
    looked_at: Instant,
    /// How many wanted messages since that lie scattered in it.
    asked: u32,
}

impl Seen {
    /// Bytes that one look stands for: those of a block, as a piece that is wanted often becomes one.
    const PIECE_LEN: i64 = BLOCK_LEN as i64;

    /// Looks that are remembered, and for how long.
    const PIECES_MAX: usize = 32;
    /// See [`Self::PIECES_MAX`].
    const TRUSTED_FOR: Duration = Duration::from_millis(20);

    fn is_in_memory(&mut self, log: &CommitLogReader, offset: i64) -> bool {
        self.piece(log, offset).is_some()
    }

    /// The piece with an offset in it, if that is in memory.
    fn piece(&mut self, log: &CommitLogReader, offset: i64) -> Option<&mut Piece> {
        let number = offset / Self::PIECE_LEN;
        let now = Instant::now();
        let is_fresh = |piece: &Piece| now.duration_since(piece.looked_at) < Self::TRUSTED_FOR;
        while self.pieces.front().is_some_and(|piece| !is_fresh(piece))
            || self.pieces.len() > Self::PIECES_MAX
        {
            self.pieces.pop_front();
        }
        let known = self.pieces.iter().position(|piece| piece.number == number);
        if let Some(index) = known {
            return self.pieces.get_mut(index);
        }
        if !log.resident(offset, 1) {
            return None;
        }
        self.pieces.push_back(Piece {
            number,
            looked_at: now,
            asked: 0,
        });
        self.pieces.back_mut()
    }

    /// Whether messages lie scattered in pieces that others have wanted scattered messages of: queues are
    /// drained together, and to copy a piece once costs less than to copy each of its messages for itself.
    fn is_worth_a_block(&mut self, log: &CommitLogReader, ranges: &[Range]) -> bool {
        /// Runs of neighbours that one answer is made of.
        const SCATTERED_MIN: usize = 5;
        /// Who is the only one to want a piece has taken most of what he wants of it when he asks so often.
        const ASKED_MIN: u32 = 3;
        /// Pieces that one answer is made of: many answers may be made of the same ones.
        const TOUCHED_MAX: usize = 8;
        if ranges.len() < SCATTERED_MIN {
            return false;
        }
        let (mut touched, mut last, mut is_worth_it) = (0, None, true);
        for range in ranges {
            let number = range.offset / Self::PIECE_LEN;
            if last.replace(number) == Some(number) {
                continue;
            }
            touched += 1;
            let piece = self
                .piece(log, range.offset)
                .filter(|_| touched <= TOUCHED_MAX);
            let Some(piece) = piece else { return false };
            piece.asked += 1;
            is_worth_it &= piece.asked >= ASKED_MIN;
        }
        is_worth_it
    }
}

/// Whether messages are being written, told from the end of the log.
#[derive(Default)]
struct Writes {
    end: i64,
    /// When the end was another one for the last time.
    grown: Option<Instant>,
}

impl Writes {
    fn go_on(&mut self, end: i64, now: Instant) -> bool {
        if self.end != end {
            self.end = end;
            self.grown = Some(now);
        }
        let since = self.grown.map(|grown| now.duration_since(grown));
        since.is_some_and(|since| since < WRITES_ENDED_AFTER)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_go_on_until_the_log_has_not_grown_for_a_while() {
        let (mut writes, begun) = (Writes::default(), Instant::now());
        let mut at = |end, ms| writes.go_on(end, begun + Duration::from_millis(ms));
        assert!(at(100, 0));
        assert!(at(100, 99));
        assert!(!at(100, 100));
        assert!(at(101, 150));
        assert!(at(101, 249));
        assert!(!at(101, 250));
    }
}
