//! Open-loop sending: requests leave at the times a rate demands, whether answers come or not,
//! and latency counts from the time a request was due. So a server that stalls is charged for
//! every request that should have been sent meanwhile.
//!
//! Two plain threads per connection: the sender sleeps on the kernel's fine timers (a runtime's
//! timers have a resolution of 1 ms), the reader blocks on the socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::frames::{self, OPAQUE_BASE, Template};
use crate::report::Tally;
use crate::setup::now_ms;

/// Requests that may be on the way at once; past that the sender waits, and latency shows it.
const IN_FLIGHT_MAX: usize = 1 << 16;
/// A write carries at most this many requests that are due together.
const BURST_MAX: u64 = 256;

/// What one open-loop connection does.
#[derive(Debug, Clone)]
pub struct OpenLoad {
    /// Broker address.
    pub addr: String,
    /// One frame per queue.
    pub templates: Vec<Template>,
    /// Requests per second.
    pub rate: f64,
    /// Messages in a request.
    pub batch: u64,
    /// Body bytes of a request.
    pub body_len: u64,
    /// First value of the unique-key counter.
    pub first_counter: u64,
    /// Writes ns since `epoch` into the first 8 body bytes, for `latency` mode.
    pub stamp_body: bool,
    /// Zero of all times.
    pub epoch: Instant,
    /// When counting starts.
    pub measure_from: Instant,
    /// When sending ends.
    pub until: Instant,
}

struct Shared {
    /// Due time of the request in each slot, ns since the epoch.
    due: Vec<AtomicU64>,
    answered: AtomicU64,
    stop: AtomicBool,
}

/// Runs one connection; returns what was counted.
pub fn run(load: OpenLoad) -> Result<Tally, String> {
    let stream = TcpStream::connect(&load.addr).map_err(|error| error.to_string())?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    stream
        .set_read_timeout(Some(Duration::from_secs(3)))
        .map_err(|error| error.to_string())?;
    let reader = stream.try_clone().map_err(|error| error.to_string())?;
    let shared = Arc::new(Shared {
        due: (0..IN_FLIGHT_MAX).map(|_| AtomicU64::new(0)).collect(),
        answered: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    let tally = Arc::new(Mutex::new(Tally::default()));
    let reading = {
        let (shared, tally, load) = (shared.clone(), tally.clone(), load.clone());
        std::thread::spawn(move || read_answers(reader, &load, &shared, &tally))
    };
    let sent = send_on_time(stream, &load, &shared);
    let deadline = Instant::now() + Duration::from_secs(3);
    while let Ok(sent) = sent
        && shared.answered.load(Ordering::Acquire) < sent
        && Instant::now() < deadline
        && !reading.is_finished()
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    shared.stop.store(true, Ordering::Release);
    let read = reading
        .join()
        .map_err(|_| "the reading thread panicked".to_owned())?;
    let sent = sent?;
    read?;
    let mut tally = std::mem::take(&mut *tally.lock().map_err(|_| "poisoned".to_owned())?);
    let lost = sent.saturating_sub(shared.answered.load(Ordering::Acquire));
    if lost > 0 {
        *tally.errors.entry(-1).or_default() += lost;
    }
    Ok(tally)
}

fn send_on_time(mut stream: TcpStream, load: &OpenLoad, shared: &Shared) -> Result<u64, String> {
    let interval_ns = 1e9 / load.rate;
    let begin = Instant::now();
    let offset_ns = begin.saturating_duration_since(load.epoch).as_nanos() as u64;
    let mut output = Vec::new();
    let mut counter = load.first_counter;
    let mut sent: u64 = 0;
    loop {
        let due = begin + Duration::from_nanos((sent as f64 * interval_ns) as u64);
        if due >= load.until || shared.stop.load(Ordering::Acquire) {
            return Ok(sent);
        }
        if let Some(pause) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(pause);
        }
        while sent.saturating_sub(shared.answered.load(Ordering::Acquire)) >= IN_FLIGHT_MAX as u64 {
            std::thread::sleep(Duration::from_micros(100));
            if shared.stop.load(Ordering::Acquire) || Instant::now() >= load.until {
                return Ok(sent);
            }
        }
        output.clear();
        let past_ns = begin.elapsed().as_nanos() as f64;
        let due_now = ((past_ns / interval_ns) as u64 + 1)
            .saturating_sub(sent)
            .clamp(1, BURST_MAX);
        let ms = now_ms();
        for _ in 0..due_now {
            let due_ns = offset_ns + (sent as f64 * interval_ns) as u64;
            let slot = sent as usize % IN_FLIGHT_MAX;
            shared.due[slot].store(due_ns, Ordering::Release);
            let template = &load.templates[sent as usize % load.templates.len()];
            let at = output.len();
            template.append(&mut output, OPAQUE_BASE + slot as i32, &mut counter, ms);
            if load.stamp_body {
                let at = at + template.body_at();
                output[at..at + 8].copy_from_slice(&due_ns.to_be_bytes());
            }
            sent += 1;
        }
        stream
            .write_all(&output)
            .map_err(|error| error.to_string())?;
    }
}

fn read_answers(
    mut stream: TcpStream,
    load: &OpenLoad,
    shared: &Shared,
    tally: &Mutex<Tally>,
) -> Result<(), String> {
    let mut input: Vec<u8> = vec![0; 256 * 1024];
    let mut filled = 0;
    let mut tally = tally.lock().map_err(|_| "poisoned".to_owned())?;
    let measure_ns = load
        .measure_from
        .saturating_duration_since(load.epoch)
        .as_nanos() as u64;
    loop {
        if filled == input.len() {
            input.resize(filled * 2, 0);
        }
        match stream.read(&mut input[filled..]) {
            Ok(0) => return Err("the server closed the connection".into()),
            Ok(n) => filled += n,
            Err(error) if is_timeout(&error) && !shared.stop.load(Ordering::Acquire) => continue,
            Err(error) if is_timeout(&error) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        let now_ns = load.epoch.elapsed().as_nanos() as u64;
        let mut used = 0;
        while let Some(answer) = frames::parse(&input[used..filled])? {
            used += answer.len;
            let slot = answer.opaque.wrapping_sub(OPAQUE_BASE);
            let due = usize::try_from(slot)
                .ok()
                .and_then(|slot| shared.due.get(slot));
            let Some(due_ns) = due.map(|due| due.load(Ordering::Acquire)) else {
                continue;
            };
            if due_ns >= measure_ns {
                tally
                    .latency
                    .saturating_record((now_ns.saturating_sub(due_ns) / 1000).max(1));
                tally.requests += 1;
                if answer.code == 0 {
                    tally.messages += load.batch;
                    tally.bytes += load.body_len;
                } else {
                    *tally.errors.entry(answer.code).or_default() += 1;
                }
            }
            shared.answered.fetch_add(1, Ordering::AcqRel);
        }
        input.copy_within(used..filled, 0);
        filled -= used;
        if shared.stop.load(Ordering::Acquire) {
            return Ok(());
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}
