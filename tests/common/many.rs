//! Sends over many connections from one thread: a thread for each would take the processor from
//! the server that is measured. Every send carries the same bytes but for its
//! request number and its time of birth.

use super::remoting::encode;
use super::requests::{SEND_MESSAGE_V2, now_ms, send_ext};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// How often the sends that have come due are handed to the sockets.
const PACE: Duration = Duration::from_millis(4);
/// Request numbers begin here, so that all have the same number of digits.
const FIRST_OPAQUE: i32 = 1_000_000_000;

/// When to send.
#[derive(Clone, Copy, Debug)]
pub enum Pattern {
    /// Each connection has so many requests in flight.
    Closed { window: usize },
    /// So many sends a second over all connections, whatever comes back.
    Open { rate: u64 },
}

/// Who sends what to whom, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub to: SocketAddr,
    pub topic: &'static str,
    pub queues: i32,
    pub body_len: usize,
    pub connections: u64,
    pub lasting: Duration,
    /// A client gives up on a send so long after it was due.
    pub timeout: Duration,
}

/// What became of the sends.
#[derive(Default, Debug)]
pub struct Total {
    pub offered: u64,
    pub acked: u64,
    /// Acknowledged within a second of the time at which they were due.
    pub in_time: u64,
    /// Answered otherwise, by code.
    pub refused: BTreeMap<i32, u64>,
    /// Answered too late for the client.
    pub timed_out: u64,
    /// Due, but the socket never took them: the client's own time-out.
    pub unsent: u64,
    /// Lost with their connection.
    pub closed: u64,
    /// Never answered though the connection lives: always a fault.
    pub stuck: u64,
}

impl Total {
    fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Every send that ended in one of the ways that are allowed.
    pub fn ended(&self) -> u64 {
        self.acked + self.refused_total() + self.timed_out + self.unsent
    }

    fn add(&mut self, other: &Total) {
        self.offered += other.offered;
        self.acked += other.acked;
        self.in_time += other.in_time;
        self.timed_out += other.timed_out;
        self.unsent += other.unsent;
        self.closed += other.closed;
        self.stuck += other.stuck;
        for (code, count) in &other.refused {
            *self.refused.entry(*code).or_default() += count;
        }
    }
}

impl Plan {
    /// Sends and waits for every answer, at most `PATIENCE` after the last send.
    pub fn run(self, pattern: Pattern) -> Total {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, async move {
            let mut streams = Vec::new();
            for _ in 0..self.connections {
                let stream = TcpStream::connect(self.to).await.expect("connect");
                stream.set_nodelay(true).expect("no delay");
                streams.push(stream);
            }
            let begun = Instant::now();
            let senders: Vec<_> = (0..)
                .zip(streams)
                .map(|(id, stream)| {
                    let sender = Sender::new(self, pattern, stream, begun, id);
                    tokio::task::spawn_local(sender.run())
                })
                .collect();
            let mut total = Total::default();
            for sender in senders {
                total.add(&sender.await.expect("a sender failed"));
            }
            total
        })
    }
}

/// One connection.
struct Sender {
    plan: Plan,
    stream: TcpStream,
    begun: Instant,
    /// Requests in flight, in a closed loop.
    window: usize,
    /// When the first send is due, the time between two, and how many there are, in an open loop.
    pace: Option<(Instant, Duration, u64)>,
    template: Vec<u8>,
    opaque_at: usize,
    born_at: usize,
    out: Vec<u8>,
    out_from: usize,
    input: Vec<u8>,
    next: i32,
    due_times: HashMap<i32, Instant>,
    total: Total,
}

impl Sender {
    fn new(plan: Plan, pattern: Pattern, stream: TcpStream, begun: Instant, id: u64) -> Sender {
        let queue = (id % plan.queues as u64) as i32;
        let body = vec![b'x'; plan.body_len];
        let ext = send_ext(plan.topic, queue, "");
        let template = encode(SEND_MESSAGE_V2, FIRST_OPAQUE, 0, &ext, &body);
        let place = |digits: &str| {
            let mut places = template.windows(digits.len());
            places.position(|bytes| bytes == digits.as_bytes())
        };
        let opaque_at = place(&FIRST_OPAQUE.to_string()).expect("the request number");
        let born = ext.iter().find(|(name, _)| *name == "g");
        let born_at = place(&born.expect("a time of birth").1).expect("the time of birth");
        let (window, pace) = match pattern {
            Pattern::Closed { window } => (window, None),
            Pattern::Open { rate } => {
                let all = rate as f64 * plan.lasting.as_secs_f64();
                let each = (all / plan.connections as f64).ceil();
                let gap = plan.lasting.div_f64(each);
                // Spread over the first gap, so that the connections do not march in step.
                let first = begun + gap.mul_f64(id as f64 / plan.connections as f64);
                (0, Some((first, gap, each as u64)))
            }
        };
        Sender {
            plan,
            stream,
            begun,
            window,
            pace,
            template,
            opaque_at,
            born_at,
            out: Vec::new(),
            out_from: 0,
            input: Vec::new(),
            next: FIRST_OPAQUE,
            due_times: HashMap::new(),
            total: Total::default(),
        }
    }

    async fn run(mut self) -> Total {
        let end = self.begun + self.plan.lasting;
        let mut last_offer = end;
        loop {
            let offering = self.offer(end);
            if self.transfer().is_err() {
                self.total.closed += self.due_times.len() as u64;
                return self.total;
            }
            if offering {
                last_offer = Instant::now();
            } else if self.due_times.is_empty() {
                return self.total;
            } else if last_offer.elapsed() > super::PATIENCE {
                self.total.stuck += self.due_times.len() as u64;
                return self.total;
            }
            if self.pace.is_none() && offering && self.due_times.len() < self.window {
                // The answers just read make room for the next requests.
                tokio::task::yield_now().await;
                continue;
            }
            let writes = self.out_from < self.out.len();
            tokio::select! {
                _ = self.stream.readable() => {}
                _ = self.stream.writable(), if writes => {}
                () = tokio::time::sleep(PACE) => {}
            }
        }
    }

    /// Queues the sends that are due. False once nothing more will be.
    fn offer(&mut self, end: Instant) -> bool {
        let now = Instant::now();
        let Some((first, gap, each)) = self.pace else {
            while now < end && self.due_times.len() < self.window {
                self.enqueue(now);
            }
            return now < end;
        };
        // What waits for the socket is not written any sooner by a longer queue.
        let blocked = self.out_from < self.out.len();
        while self.total.offered < each {
            let due = first + gap.mul_f64(self.total.offered as f64);
            if due > now {
                return true;
            }
            if now - due > self.plan.timeout {
                self.total.offered += 1;
                self.total.unsent += 1;
            } else if blocked {
                return true;
            } else {
                self.enqueue(due);
            }
        }
        false
    }

    fn enqueue(&mut self, due: Instant) {
        let from = self.out.len();
        self.out.extend_from_slice(&self.template);
        let frame = &mut self.out[from..];
        let places = [
            (self.opaque_at, i64::from(self.next)),
            (self.born_at, now_ms()),
        ];
        for (at, number) in places {
            let digits = number.to_string();
            frame[at..at + digits.len()].copy_from_slice(digits.as_bytes());
        }
        self.due_times.insert(self.next, due);
        self.next += 1;
        self.total.offered += 1;
    }

    /// Writes and reads until the socket would block; an error is the end of the connection.
    fn transfer(&mut self) -> io::Result<()> {
        while self.out_from < self.out.len() {
            match self.stream.try_write(&self.out[self.out_from..]) {
                Ok(len) => self.out_from += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.out_from == self.out.len() {
            self.out.clear();
            self.out_from = 0;
        }
        loop {
            self.input.reserve(16 * 1024);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => self.take_answers(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn take_answers(&mut self) {
        let now = Instant::now();
        let word = |at: &[u8]| u32::from_be_bytes([at[0], at[1], at[2], at[3]]) as usize;
        let mut from = 0;
        while self.input.len() - from >= 8 {
            let rest = &self.input[from..];
            let len = 4 + word(rest);
            if rest.len() < len {
                break;
            }
            // Serialization 0, JSON, is the word's highest byte.
            let header = &rest[8..8 + word(&rest[4..])];
            let header: Value = serde_json::from_slice(header).expect("an answer's header");
            from += len;
            self.count(&header, now);
        }
        self.input.drain(..from);
    }

    fn count(&mut self, header: &Value, now: Instant) {
        let number = |name: &str| header[name].as_i64().expect("a number") as i32;
        let (code, opaque) = (number("code"), number("opaque"));
        let due = self.due_times.remove(&opaque);
        let due = due.unwrap_or_else(|| panic!("two answers or a foreign one: {header}"));
        let took = now.saturating_duration_since(due);
        if took > self.plan.timeout {
            self.total.timed_out += 1;
        } else if code == 0 {
            self.total.acked += 1;
            self.total.in_time += u64::from(took <= Duration::from_secs(1));
        } else {
            *self.total.refused.entry(code).or_default() += 1;
        }
    }
}
