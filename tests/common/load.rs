//! Numbered load: senders with retries off, each on its own connection with a window of requests
//! in flight. Every message says who sent it and its number; nothing is ever sent twice.

use super::remoting::{Arrival, Client};
use super::requests::{SEND_MESSAGE_V2, send_ext};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// An acknowledged message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub number: u32,
    pub queue_id: i32,
    pub queue_offset: i64,
}

/// What one sender was told.
#[derive(Default, Debug)]
pub struct Report {
    pub sender: u32,
    /// Numbers below this were sent at some time.
    pub next_number: u32,
    pub acked: Vec<Ack>,
    /// Answers other than SEND_OK, by code and remark.
    pub refused: BTreeMap<(i32, String), usize>,
    /// Not answered because the connection ended: the outcome is unknown.
    pub unknown: usize,
    /// Not answered on a living connection within a minute: always a fault.
    pub stuck: Vec<u32>,
    /// Times the connection ended before the load was stopped.
    pub disconnects: usize,
    /// The slowest answer.
    pub slowest: Duration,
}

/// How to send.
#[derive(Clone)]
pub struct LoadOptions {
    pub topic: String,
    pub queues: i32,
    pub senders: u32,
    /// The first sender's number, so that several loads of one test can be told apart.
    pub first_sender: u32,
    pub window: usize,
    pub body_len: usize,
    /// Reconnect after a disconnect (else the sender ends).
    pub reconnect: bool,
    /// The first number of each sender.
    pub first_numbers: Vec<u32>,
}

/// Running senders.
pub struct Load {
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
    progress: Vec<Arc<Progress>>,
    senders: Vec<JoinHandle<Report>>,
}

/// How far one sender got, for those who watch it.
#[derive(Default)]
pub struct Progress {
    /// Every number below was answered, or its connection had ended.
    pub settled: AtomicU32,
    /// Every number from here on was not sent yet.
    pub next: AtomicU32,
}

/// The body of message `number` of `sender`, padded to `len`.
pub fn body_of(sender: u32, number: u32, len: usize) -> Vec<u8> {
    let mut body = format!("{sender}:{number}:").into_bytes();
    body.resize(len.max(body.len()), b'x');
    body
}

/// Who sent it, and its number.
pub fn identity_of(body: &[u8]) -> (u32, u32) {
    let text = String::from_utf8_lossy(&body[..body.len().min(30)]);
    let mut parts = text.split(':');
    let mut number = || parts.next().and_then(|p| p.parse().ok());
    match (number(), number()) {
        (Some(sender), Some(number)) => (sender, number),
        _ => panic!("not a body of ours: {text:?}"),
    }
}

pub fn key_of(sender: u32, number: u32) -> String {
    format!("k{sender}x{number}")
}

pub fn properties_of(sender: u32, number: u32) -> String {
    let key = key_of(sender, number);
    format!("KEYS\u{1}{key}\u{2}UNIQ_KEY\u{1}{sender:016X}{number:016X}\u{2}WAIT\u{1}true\u{2}")
}

impl Load {
    pub fn start(to: SocketAddr, options: &LoadOptions) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acked = Arc::new(AtomicU64::new(0));
        let progress: Vec<Arc<Progress>> = (0..options.senders).map(|_| Arc::default()).collect();
        let senders = (0..options.senders)
            .zip(&progress)
            .map(|(id, progress)| {
                let first = options.first_numbers.get(id as usize).copied().unwrap_or(0);
                let mut sender = Sender {
                    to,
                    options: options.clone(),
                    stop: stop.clone(),
                    acked: acked.clone(),
                    progress: progress.clone(),
                    report: Report {
                        sender: options.first_sender + id,
                        next_number: first,
                        ..Report::default()
                    },
                };
                std::thread::spawn(move || {
                    sender.run();
                    sender.report
                })
            })
            .collect();
        Load {
            stop,
            acked,
            progress,
            senders,
        }
    }

    /// How far each sender got.
    pub fn progress(&self) -> &[Arc<Progress>] {
        &self.progress
    }

    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Waits until `more` messages beyond now are acknowledged.
    pub fn wait_acked(&self, more: u64) {
        let want = self.acked() + more;
        super::eventually(&format!("{more} more acknowledged"), || {
            (self.acked() >= want).then_some(())
        });
    }

    /// Ends the load; each sender first waits for the answers it still expects.
    pub fn stop(self) -> Vec<Report> {
        self.stop.store(true, Ordering::Release);
        self.senders
            .into_iter()
            .map(|sender| sender.join().expect("a sender panicked"))
            .collect()
    }
}

struct Sender {
    to: SocketAddr,
    options: LoadOptions,
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
    progress: Arc<Progress>,
    report: Report,
}

/// Requests in flight on one connection: number, queue and time of sending.
type InFlight = HashMap<i32, (u32, i32, Instant)>;

impl Sender {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn run(&mut self) {
        while !self.stopping() {
            match Client::connect(self.to) {
                Ok(client) => {
                    self.run_connection(&client);
                    if self.stopping() {
                        return;
                    }
                    self.report.disconnects += 1;
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
            if !self.options.reconnect {
                return;
            }
        }
    }

    /// Sends until stopped or disconnected; every request begun here is accounted for.
    fn run_connection(&mut self, client: &Client) {
        let (to, from) = mpsc::channel();
        let mut flying = InFlight::new();
        let mut closed = false;
        while !self.stopping() && !closed {
            while flying.len() < self.options.window && !closed {
                closed = !self.send_one(client, &to, &mut flying);
            }
            self.publish(&flying);
            closed |= !self.collect(&from, &mut flying);
        }
        let since = Instant::now();
        while !flying.is_empty() && since.elapsed() < super::PATIENCE {
            self.collect(&from, &mut flying);
        }
        self.publish(&flying);
        self.report
            .stuck
            .extend(flying.values().map(|(number, ..)| *number));
    }

    fn publish(&self, flying: &InFlight) {
        let oldest = flying.values().map(|(number, ..)| *number).min();
        let settled = oldest.unwrap_or(self.report.next_number);
        self.progress.settled.store(settled, Ordering::Release);
    }

    fn send_one(
        &mut self,
        client: &Client,
        to: &mpsc::Sender<Arrival>,
        flying: &mut InFlight,
    ) -> bool {
        let (sender, number) = (self.report.sender, self.report.next_number);
        let queue_id = (number % self.options.queues as u32) as i32;
        let properties = properties_of(sender, number);
        let ext = send_ext(&self.options.topic, queue_id, &properties);
        let body = body_of(sender, number, self.options.body_len);
        // Before it leaves: who reads this knows what cannot have been sent yet.
        self.progress.next.store(number + 1, Ordering::Release);
        let Some(opaque) = client.start(SEND_MESSAGE_V2, &ext, &body, to) else {
            return false;
        };
        self.report.next_number += 1;
        flying.insert(opaque, (number, queue_id, Instant::now()));
        true
    }

    /// Takes what has arrived, waiting a little for the first; false when the connection ended.
    fn collect(&mut self, from: &Receiver<Arrival>, flying: &mut InFlight) -> bool {
        let mut next = match from.recv_timeout(Duration::from_millis(100)) {
            Ok(arrival) => Some(arrival),
            Err(RecvTimeoutError::Timeout) => {
                return flying
                    .values()
                    .all(|(.., begun)| begun.elapsed() < super::PATIENCE);
            }
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        let mut alive = true;
        while let Some(arrival) = next {
            let (number, queue_id, begun) = flying
                .remove(&arrival.opaque)
                .expect("an answer to a request of ours");
            self.report.slowest = self.report.slowest.max(arrival.at - begun);
            match arrival.answer {
                None => {
                    self.report.unknown += 1;
                    alive = false;
                }
                Some(frame) if frame.code == 0 => {
                    assert_eq!(frame.ext_number("queueId"), i64::from(queue_id), "queue");
                    self.acked.fetch_add(1, Ordering::Relaxed);
                    self.report.acked.push(Ack {
                        number,
                        queue_id,
                        queue_offset: frame.ext_number("queueOffset"),
                    });
                }
                Some(frame) => {
                    let seen = (frame.code, frame.remark);
                    *self.report.refused.entry(seen).or_default() += 1;
                }
            }
            next = from.try_recv().ok();
        }
        alive
    }
}
