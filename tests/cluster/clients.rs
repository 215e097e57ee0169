//! Writers and readers that record what they do. Each is one thread that does one thing at a time,
//! gives up on an answer after a while, and then takes a new connection.

use crate::common::eventually;
use crate::common::load::{body_of, identity_of, properties_of};
use crate::common::record;
use crate::common::remoting::{Client, Frame};
use crate::common::requests::{PULL_MESSAGE, SEND_MESSAGE_V2, pull_ext, send_ext};
use crate::common::rng::Rng;
use crate::history::{Clock, Entry, Message, Operation, Queue, Replica, Seen, Sent, What};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub const TOPIC: &str = "HistoryTopic";

/// When a client gives up on an answer; longer than the brokers' `slaveTimeout`.
const ANSWER_MAX: Duration = Duration::from_millis(1_500);
const CONNECT_MAX: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);
const BODY_LEN: usize = 200;

const SYSTEM_ERROR: i32 = 1;
const FLUSH_DISK_TIMEOUT: i32 = 10;
const SLAVE_NOT_AVAILABLE: i32 = 11;
const FLUSH_SLAVE_TIMEOUT: i32 = 12;

/// A connection that is made anew when it failed.
struct Line {
    to: SocketAddr,
    client: Option<Client>,
}

impl Line {
    fn new(to: SocketAddr) -> Line {
        Line { to, client: None }
    }

    fn client(&mut self) -> Option<&Client> {
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.client = Client::connect_within(self.to, CONNECT_MAX).ok();
        }
        self.client.as_ref()
    }

    /// None without an answer; then the connection is gone.
    fn call(&mut self, code: i32, ext: &[(&str, String)], body: &[u8]) -> Option<Frame> {
        let answer = self.client()?.call(code, ext, body, ANSWER_MAX);
        if answer.is_err() {
            self.client = None;
        }
        answer.ok()
    }
}

/// What clients of one history share.
#[derive(Clone)]
pub struct Shared {
    pub clock: Arc<Clock>,
    stop: Arc<AtomicBool>,
    /// Acknowledged messages per pair.
    acked: Arc<Vec<AtomicUsize>>,
}

/// Running clients.
pub struct Clients {
    pub shared: Shared,
    threads: Vec<JoinHandle<Vec<Operation>>>,
}

/// A writer.
#[derive(Clone, Copy)]
pub struct Writer {
    pub to: SocketAddr,
    pub queue: Queue,
    /// Pause between two messages.
    pub pace: Duration,
    /// Sends a message again until its outcome is known.
    pub retries: bool,
}

/// A reader of all queues of one copy.
#[derive(Clone, Copy)]
pub struct Reader {
    pub to: SocketAddr,
    pub pair: usize,
    pub replica: Replica,
    pub queues: i32,
    pub seed: u64,
}

impl Clients {
    pub fn new(clock: &Arc<Clock>, pairs: usize) -> Clients {
        Clients {
            shared: Shared {
                clock: clock.clone(),
                stop: Arc::default(),
                acked: Arc::new((0..pairs).map(|_| AtomicUsize::new(0)).collect()),
            },
            threads: Vec::new(),
        }
    }

    pub fn write(&mut self, writer: Writer) {
        let shared = self.shared.clone();
        self.threads
            .push(std::thread::spawn(move || write(&writer, &shared)));
    }

    pub fn read(&mut self, reader: Reader) {
        let shared = self.shared.clone();
        self.threads
            .push(std::thread::spawn(move || read(&reader, &shared)));
    }

    /// Waits until so many more messages of a pair are acknowledged.
    pub fn wait_acked(&self, pair: usize, more: usize) {
        let acked = || self.shared.acked[pair].load(Ordering::Relaxed);
        let want = acked() + more;
        eventually(&format!("{more} more acknowledged by pair {pair}"), || {
            (acked() >= want).then_some(())
        });
    }

    /// Ends all and gives what they did, in the order in which it began.
    pub fn stop(self) -> Vec<Operation> {
        self.shared.stop.store(true, Ordering::Release);
        let threads = self.threads.into_iter();
        let mut all: Vec<Operation> = threads
            .flat_map(|thread| thread.join().expect("a client panicked"))
            .collect();
        all.sort_by_key(|operation| operation.invoked);
        all
    }
}

impl Shared {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

fn write(writer: &Writer, shared: &Shared) -> Vec<Operation> {
    let mut line = Line::new(writer.to);
    let mut message = Message {
        writer: shared.clock.number(),
        number: 0,
    };
    let mut done = Vec::new();
    while !shared.stopping() {
        if line.client().is_none() {
            std::thread::sleep(PAUSE);
            continue;
        }
        let invoked = shared.clock.now();
        let sent = send(&mut line, writer.queue, message);
        let is_known = sent != Sent::Unknown;
        done.push(Operation {
            process: message.writer,
            invoked,
            completed: is_known.then(|| shared.clock.now()),
            what: What::Send {
                queue: writer.queue,
                message,
                sent,
            },
        });
        if let Sent::Acked(_) = sent {
            shared.acked[writer.queue.pair].fetch_add(1, Ordering::Relaxed);
        } else {
            std::thread::sleep(PAUSE);
        }
        let is_stored = sent.offset().is_some();
        if !writer.retries || is_stored {
            message.number += 1;
        }
        std::thread::sleep(writer.pace);
    }
    done
}

fn send(line: &mut Line, queue: Queue, message: Message) -> Sent {
    let Message { writer, number } = message;
    let ext = send_ext(TOPIC, queue.id, &properties_of(writer, number));
    let body = body_of(writer, number, BODY_LEN);
    match line.call(SEND_MESSAGE_V2, &ext, &body) {
        None => Sent::Unknown,
        Some(answer) => match answer.code {
            0 => Sent::Acked(answer.ext_number("queueOffset")),
            FLUSH_DISK_TIMEOUT | SLAVE_NOT_AVAILABLE | FLUSH_SLAVE_TIMEOUT => {
                Sent::Stored(answer.ext_number("queueOffset"))
            }
            // "Outcome unknown", and never a refusal (ARCHITECTURE.md).
            SYSTEM_ERROR => Sent::Unknown,
            code => Sent::Refused(code),
        },
    }
}

fn read(reader: &Reader, shared: &Shared) -> Vec<Operation> {
    let mut rng = Rng::seeded(reader.seed);
    let mut line = Line::new(reader.to);
    let process = shared.clock.number();
    let mut next = vec![0; reader.queues as usize];
    let mut done = Vec::new();
    while !shared.stopping() {
        let mut found_some = false;
        for id in 0..reader.queues {
            let queue = Queue {
                pair: reader.pair,
                id,
            };
            let end = &mut next[id as usize];
            // At times something old, to see whether it is still the same.
            let is_new = *end == 0 || rng.between(0, 40) > 0;
            let from = if is_new {
                *end
            } else {
                rng.between((*end as u64).saturating_sub(500), *end as u64) as i64
            };
            let invoked = shared.clock.now();
            let Some(seen) = pull(&mut line, queue, from) else {
                continue;
            };
            if let Seen::Messages(entries) = &seen {
                let last = entries.last().map_or(from, |(offset, _)| offset + 1);
                *end = last.max(*end);
                found_some |= is_new;
            }
            done.push(Operation {
                process,
                invoked,
                completed: Some(shared.clock.now()),
                what: What::Read {
                    queue,
                    replica: reader.replica,
                    from,
                    seen,
                },
            });
        }
        if !found_some {
            std::thread::sleep(PAUSE);
        }
    }
    done
}

/// What a copy shows from an offset on; none without an answer.
fn pull(line: &mut Line, queue: Queue, from: i64) -> Option<Seen> {
    let ext = pull_ext(TOPIC, queue.id, from, 0);
    let answer = line.call(PULL_MESSAGE, &ext, b"")?;
    match answer.code {
        0 => {
            let records = record::parse_all(&answer.body);
            let entries = records.into_iter().map(|record| {
                assert_eq!(record.queue_id, queue.id);
                let (writer, number) = identity_of(&record.body);
                (record.queue_offset, Message { writer, number })
            });
            Some(Seen::Messages(entries.collect()))
        }
        // Not found, try again, offset moved.
        19..=21 => Some(Seen::Nothing {
            min: answer.ext_number("minOffset"),
            max: answer.ext_number("maxOffset"),
            code: answer.code,
        }),
        // Still starting, the topic is not known yet, and so on: nothing was learned.
        _ => None,
    }
}

/// A whole queue of a copy, which has to be able to answer.
pub fn read_whole(to: SocketAddr, queue: Queue) -> Vec<Entry> {
    let mut line = Line::new(to);
    let mut all: Vec<Entry> = Vec::new();
    loop {
        let from = all.last().map_or(0, |(offset, _)| offset + 1);
        let seen = eventually(&format!("an answer for {queue:?}"), || {
            pull(&mut line, queue, from)
        });
        match seen {
            Seen::Messages(entries) => all.extend(entries),
            Seen::Nothing { .. } => return all,
        }
    }
}
