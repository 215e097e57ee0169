//! What the clients of a cluster did and saw: operations with the times at which they began and
//! ended. A history is plain data, so that the checker needs no cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// A queue of the cluster: there is one topic, on all masters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    /// Which master it is on.
    pub pair: usize,
    pub id: i32,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "queue {}/{}", self.pair, self.id)
    }
}

/// Who sent a message, and which of its messages it is. Messages of one writer begin with 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    pub writer: u32,
    pub number: u32,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {}:{}", self.writer, self.number)
    }
}

/// Which copy of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Replica {
    Master,
    Slave,
}

/// A message at its place in a queue.
pub type Entry = (i64, Message);

/// What became of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// SEND_OK: it is kept at this offset.
    Acked(i64),
    /// FLUSH_DISK_TIMEOUT, FLUSH_SLAVE_TIMEOUT, SLAVE_NOT_AVAILABLE: the master stored it at this
    /// offset, and promises no more than that.
    Stored(i64),
    /// Refused with this code: it is stored nowhere.
    Refused(i32),
    /// No answer, or one that says that the outcome is not known. It may still be stored, at any
    /// later time.
    Unknown,
}

impl Sent {
    /// The offset that the sender was told.
    pub fn offset(self) -> Option<i64> {
        match self {
            Sent::Acked(offset) | Sent::Stored(offset) => Some(offset),
            Sent::Refused(_) | Sent::Unknown => None,
        }
    }
}

/// What a read showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Messages(Vec<Entry>),
    /// Nothing is there; the queue ends here, says the broker.
    Nothing {
        min: i64,
        max: i64,
        code: i32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A try to send a message; a message may be tried several times.
    Send {
        queue: Queue,
        message: Message,
        sent: Sent,
    },
    /// A read from an offset on. Reads without an answer show nothing and are not recorded.
    Read {
        queue: Queue,
        replica: Replica,
        from: i64,
        seen: Seen,
    },
}

/// An operation of one process, which does one thing at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub process: u32,
    /// Microseconds since the history began.
    pub invoked: u64,
    /// None when the outcome never became known.
    pub completed: Option<u64>,
    pub what: What,
}

impl Operation {
    pub fn queue(&self) -> Queue {
        match self.what {
            What::Send { queue, .. } | What::Read { queue, .. } => queue,
        }
    }
}

/// All of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub operations: Vec<Operation>,
    /// Whole queues as they were read at the end, from 0 on.
    pub last: BTreeMap<(Queue, Replica), Vec<Entry>>,
}

/// A try to send.
#[derive(Clone, Copy, Debug)]
pub struct Try<'a> {
    pub operation: &'a Operation,
    pub queue: Queue,
    pub message: Message,
    pub sent: Sent,
}

/// A read that showed messages.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    pub operation: &'a Operation,
    pub queue: Queue,
    pub replica: Replica,
    pub from: i64,
    pub entries: &'a [Entry],
}

impl History {
    pub fn sends(&self) -> impl Iterator<Item = Try<'_>> {
        self.operations.iter().filter_map(|operation| {
            let What::Send {
                queue,
                message,
                sent,
            } = operation.what
            else {
                return None;
            };
            Some(Try {
                operation,
                queue,
                message,
                sent,
            })
        })
    }

    pub fn sights(&self) -> impl Iterator<Item = Sight<'_>> {
        self.operations.iter().filter_map(|operation| {
            let What::Read {
                queue,
                replica,
                from,
                seen: Seen::Messages(entries),
            } = &operation.what
            else {
                return None;
            };
            Some(Sight {
                operation,
                queue: *queue,
                replica: *replica,
                from: *from,
                entries,
            })
        })
    }
}

/// Figures of a history, for the test's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub acked: usize,
    pub stored: usize,
    pub refused: usize,
    pub unknown: usize,
    pub reads: usize,
    pub seen: usize,
}

impl Figures {
    pub fn of(history: &History) -> Figures {
        let mut figures = Figures::default();
        for send in history.sends() {
            let count = match send.sent {
                Sent::Acked(_) => &mut figures.acked,
                Sent::Stored(_) => &mut figures.stored,
                Sent::Refused(_) => &mut figures.refused,
                Sent::Unknown => &mut figures.unknown,
            };
            *count += 1;
        }
        for sight in history.sights() {
            figures.reads += 1;
            figures.seen += sight.entries.len();
        }
        figures
    }
}

/// The clock and the numbers of processes and writers of one history.
pub struct Clock {
    begun: Instant,
    next: AtomicU32,
}

impl Clock {
    pub fn new() -> Clock {
        Clock {
            begun: Instant::now(),
            next: AtomicU32::new(0),
        }
    }

    pub fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    /// A number that nobody has.
    pub fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}
