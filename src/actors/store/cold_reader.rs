//! Reads ahead for pulls whose bytes are not in memory, on a thread of its own.
//!
//! A lagging consumer must not stall the network thread of a tail consumer: the queue gives a pull
//! away, the cold reader touches its pages, and the pull is answered from here. A restart loses the
//! pull that was being read: it is answered with "outcome unknown", and the client asks again.

use std::{sync::Arc, time::Duration};

use actix::{Actor, ActorContext, Context, Handler, Message, Supervised};
use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    pull::Pull,
    queue::{Read, Serve},
    queues::QueueShards,
};
use crate::{
    actors::kernel::{ActorCell, Shutdown},
    store::{mapped, queue_table::QueueSlot},
};

/// Bytes this near to the end of the log count as in memory without a look.
pub const HOT_DISTANCE: i64 = 64 * 1024 * 1024;

/// The longest that one read from the disk may take before the watchdog counts it as stuck.
const READ_MAX: Duration = Duration::from_secs(60);

/// Bytes that have to be read first.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Warm {
    /// Who goes back to its queue then.
    pub then: WarmFor,
    /// The slices that it will be answered with, or that its filter looks at.
    pub parts: SmallVec<[Bytes; 8]>,
}

/// Who waits for bytes.
#[derive(Debug)]
pub enum WarmFor {
    /// A pull.
    Pull(Box<Pull>),
    /// A read of the broker's own.
    Read(Arc<QueueSlot>, Box<Read>),
}

/// The actor; see the module.
pub struct ColdReader {
    cell: Arc<ActorCell>,
    shards: QueueShards,
}

impl ColdReader {
    /// State for a first start and for every restart: none.
    pub fn recover(cell: Arc<ActorCell>, shards: QueueShards) -> Self {
        Self { cell, shards }
    }
}

impl Actor for ColdReader {
    type Context = Context<Self>;
}

impl Supervised for ColdReader {}

impl Handler<Warm> for ColdReader {
    type Result = ();

    fn handle(&mut self, message: Warm, _: &mut Self::Context) {
        self.cell.begin_work();
        self.cell.blocking(READ_MAX, || {
            for part in &message.parts {
                mapped::will_need(part);
            }
            for part in &message.parts {
                touch(part);
            }
        });
        match message.then {
            WarmFor::Pull(pull) => {
                let slot = Arc::clone(&pull.slot);
                self.shards.to_queue(slot, Serve(pull));
            }
            WarmFor::Read(slot, read) => self.shards.to_queue(slot, *read),
        }
    }
}

/// Reads a byte of each page, which waits for the disk here instead of on a network thread.
fn touch(part: &[u8]) {
    const PAGE: usize = 4096;
    for byte in part.iter().step_by(PAGE).chain(part.last()) {
        std::hint::black_box(*byte);
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
