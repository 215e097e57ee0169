//! Closed-loop sending: so many requests on the way per connection, a new one for each answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::control::Control;
use crate::frames::{self, OPAQUE_BASE, Template};
use crate::report::Tally;
use crate::setup::now_ms;

/// A connection that hears nothing for this long gives the run up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long answers are awaited after the end.
const TAIL_MAX: Duration = Duration::from_secs(3);

/// What one connection does.
#[derive(Debug, Clone)]
pub struct Load {
    /// Broker address.
    pub addr: String,
    /// One frame per queue.
    pub templates: Rc<Vec<Template>>,
    /// Requests on the way.
    pub in_flight: usize,
    /// Messages in a request.
    pub batch: u64,
    /// Body bytes of a request.
    pub body_len: u64,
    /// Each frame in a write of its own, as independent synchronous senders would.
    pub write_each: bool,
    /// First value of the unique-key counter of this connection.
    pub first_counter: u64,
}

/// One connection's requests by slot: the slot is the opaque.
struct Slots {
    sent: Vec<Instant>,
    free: Vec<u32>,
    next_queue: usize,
    counter: u64,
}

/// Runs one connection to the end of the run.
pub async fn run(load: Load, control: Rc<Control>, total: Rc<RefCell<Tally>>) {
    let mut tally = Tally::default();
    if let Err(reason) = send_until_over(&load, &control, &mut tally).await {
        *tally.errors.entry(-1).or_default() += 1;
        control.fail(format!("{}: {reason}", load.addr));
    }
    total.borrow_mut().merge(&tally);
}

async fn send_until_over(load: &Load, control: &Control, tally: &mut Tally) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(&load.addr).await.map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    let mut slots = Slots {
        sent: vec![Instant::now(); load.in_flight],
        free: (0..load.in_flight as u32).rev().collect(),
        next_queue: load.first_counter as usize,
        counter: load.first_counter,
    };
    let mut input: Vec<u8> = Vec::with_capacity(256 * 1024);
    let mut output: Vec<u8> = Vec::new();
    let mut ends: Vec<usize> = Vec::new();
    loop {
        output.clear();
        ends.clear();
        if !control.is_over() {
            slots.fill(load, &mut output, &mut ends);
        } else if slots.free.len() == load.in_flight {
            return Ok(());
        }
        if load.write_each {
            let mut begin = 0;
            for end in &ends {
                stream.write_all(&output[begin..*end]).await.map_err(text)?;
                begin = *end;
            }
        } else if !output.is_empty() {
            stream.write_all(&output).await.map_err(text)?;
        }
        let patience = if control.is_over() {
            TAIL_MAX
        } else {
            SILENCE_MAX
        };
        let reading = tokio::time::timeout(patience, stream.read_buf(&mut input));
        match reading.await {
            Ok(Ok(0)) => return Err("the server closed the connection".into()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) if control.is_over() => return Ok(()),
            Err(_) => return Err(format!("no answer for {SILENCE_MAX:?}")),
        }
        let used = slots.take_answers(&input, load, control, tally)?;
        input.drain(..used);
    }
}

impl Slots {
    /// One request for each free slot.
    fn fill(&mut self, load: &Load, output: &mut Vec<u8>, ends: &mut Vec<usize>) {
        if self.free.is_empty() {
            return;
        }
        let (now, now_ms) = (Instant::now(), now_ms());
        while let Some(slot) = self.free.pop() {
            let template = &load.templates[self.next_queue % load.templates.len()];
            self.next_queue += 1;
            template.append(output, OPAQUE_BASE + slot as i32, &mut self.counter, now_ms);
            self.sent[slot as usize] = now;
            ends.push(output.len());
        }
    }

    fn take_answers(
        &mut self,
        input: &[u8],
        load: &Load,
        control: &Control,
        tally: &mut Tally,
    ) -> Result<usize, String> {
        let now = Instant::now();
        let mut used = 0;
        while let Some(answer) = frames::parse(&input[used..])? {
            used += answer.len;
            let slot = answer.opaque.wrapping_sub(OPAQUE_BASE);
            let Some(sent) = usize::try_from(slot)
                .ok()
                .and_then(|slot| self.sent.get(slot))
            else {
                continue;
            };
            if control.measuring() {
                let latency = now.saturating_duration_since(*sent).as_micros() as u64;
                tally.latency.saturating_record(latency.max(1));
                tally.requests += 1;
                if answer.code == 0 {
                    tally.messages += load.batch;
                    tally.bytes += load.body_len;
                    control.count(load.batch, now);
                } else {
                    *tally.errors.entry(answer.code).or_default() += 1;
                }
            }
            self.free.push(slot as u32);
        }
        Ok(used)
    }
}
