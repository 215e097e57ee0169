//! Draining queues: one pull on the way per queue, all of a connection's queues multiplexed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::control::Control;
use crate::frames::{self, Answer, OPAQUE_BASE, Template};
use crate::report::Tally;

/// A connection that hears nothing for this long gives the run up (pulls are held up to 15 s).
const SILENCE_MAX: Duration = Duration::from_secs(40);
/// How long a queue that answered with an error or with nothing rests.
const REST: Duration = Duration::from_millis(20);

/// Pulls of one connection on the way at once while queues are drained: a server stops reading from a
/// client that asks for more than it takes, and both would wait for the other.
const DRAINING_MAX: usize = 256;

/// Response codes of a pull that are part of the game.
const FOUND: i32 = 0;
const NOT_FOUND: i32 = 19;
const RETRY: i32 = 20;
const MOVED: i32 = 21;

/// One queue and where it is read.
#[derive(Debug, Clone)]
pub struct Cursor {
    /// The pull request with a mark for the offset.
    pub template: Template,
    /// Next offset.
    pub offset: i64,
    /// The queue is done when the offset gets here; `i64::MAX` = never.
    pub end: i64,
}

/// What one connection does.
#[derive(Debug)]
pub struct Load {
    /// Broker address.
    pub addr: String,
    /// The queues of this connection.
    pub cursors: Vec<Cursor>,
    /// Called with each message record, for end-to-end latency.
    pub epoch: Option<Instant>,
    /// End-to-end latencies, µs, when there is an epoch.
    pub end_to_end: Rc<RefCell<Tally>>,
}

/// Runs one connection to the end of the run, or until all its queues are done.
pub async fn run(load: Load, control: Rc<Control>, total: Rc<RefCell<Tally>>) {
    let mut tally = Tally::default();
    let addr = load.addr.clone();
    if let Err(reason) = pull_until_over(load, &control, &mut tally).await {
        *tally.errors.entry(-1).or_default() += 1;
        control.fail(format!("{addr}: {reason}"));
    }
    total.borrow_mut().merge(&tally);
}

async fn pull_until_over(
    mut load: Load,
    control: &Control,
    tally: &mut Tally,
) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(&load.addr).await.map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    let mut sent = vec![Instant::now(); load.cursors.len()];
    let mut due: VecDeque<usize> = (0..load.cursors.len()).collect();
    due.retain(|queue| load.cursors[*queue].offset < load.cursors[*queue].end);
    let is_draining = load.cursors.iter().all(|cursor| cursor.end < i64::MAX);
    let on_the_way_max = if is_draining {
        DRAINING_MAX
    } else {
        usize::MAX
    };
    let mut rest: Vec<(Instant, usize)> = Vec::new();
    let mut on_the_way = 0_usize;
    let mut input: Vec<u8> = Vec::with_capacity(1 << 20);
    let mut output: Vec<u8> = Vec::new();
    while !control.is_over() {
        let now = Instant::now();
        rest.retain(|(time, queue)| {
            let ready = *time <= now;
            if ready {
                due.push_back(*queue);
            }
            !ready
        });
        output.clear();
        while on_the_way < on_the_way_max
            && let Some(queue) = due.pop_front()
        {
            let cursor = &load.cursors[queue];
            cursor
                .template
                .append_pull(&mut output, OPAQUE_BASE + queue as i32, cursor.offset);
            sent[queue] = now;
            on_the_way += 1;
        }
        if on_the_way == 0 && rest.is_empty() {
            return Ok(());
        }
        if !output.is_empty() {
            stream.write_all(&output).await.map_err(text)?;
        }
        let patience = if rest.is_empty() { SILENCE_MAX } else { REST };
        match tokio::time::timeout(patience, stream.read_buf(&mut input)).await {
            Ok(Ok(0)) => return Err("the server closed the connection".into()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) if !rest.is_empty() => continue,
            Err(_) => return Err(format!("no answer for {SILENCE_MAX:?}")),
        }
        let mut used = 0;
        while let Some(answer) = frames::parse(&input[used..])? {
            used += answer.len;
            let Ok(queue) = usize::try_from(answer.opaque.wrapping_sub(OPAQUE_BASE)) else {
                continue;
            };
            if queue >= load.cursors.len() {
                continue;
            }
            on_the_way = on_the_way.saturating_sub(1);
            let again = take_answer(&mut load, queue, &answer, sent[queue], control, tally);
            match again {
                Again::Now => due.push_back(queue),
                Again::Later => rest.push((Instant::now() + REST, queue)),
                Again::Never => {}
            }
        }
        input.drain(..used);
    }
    Ok(())
}

enum Again {
    Now,
    Later,
    Never,
}

fn take_answer(
    load: &mut Load,
    queue: usize,
    answer: &Answer<'_>,
    sent: Instant,
    control: &Control,
    tally: &mut Tally,
) -> Again {
    let now = Instant::now();
    let next = frames::header_number(answer, "nextBeginOffset");
    let cursor = &mut load.cursors[queue];
    if control.measuring() {
        tally.requests += 1;
        let latency = now.saturating_duration_since(sent).as_micros() as u64;
        tally.latency.saturating_record(latency.max(1));
    }
    match (answer.code, next) {
        (FOUND, Some(next)) => {
            let end_to_end = load.epoch.map(|epoch| (epoch, &load.end_to_end));
            let (messages, bytes) = walk(answer.body, end_to_end, control);
            if control.measuring() {
                tally.messages += messages;
                tally.bytes += bytes;
                control.count(messages, now);
            }
            cursor.offset = next;
        }
        (NOT_FOUND | RETRY, _) => {}
        (MOVED, Some(next)) => cursor.offset = next,
        (code, _) => {
            *tally.errors.entry(code).or_default() += 1;
            return Again::Later;
        }
    }
    match answer.code {
        _ if cursor.offset >= cursor.end => Again::Never,
        FOUND | NOT_FOUND => Again::Now,
        _ => Again::Later,
    }
}

/// Steps over the records of a pull answer; returns their number and bytes. With an epoch, the
/// first eight body bytes are the time they were sent, ns since then.
fn walk(
    body: &[u8],
    end_to_end: Option<(Instant, &Rc<RefCell<Tally>>)>,
    control: &Control,
) -> (u64, u64) {
    let (mut messages, mut rest) = (0, body);
    while let Some(size) = rest.first_chunk::<4>() {
        let size = u32::from_be_bytes(*size) as usize;
        let Some((record, after)) = rest.split_at_checked(size.max(4)) else {
            break;
        };
        messages += 1;
        if let Some((epoch, tally)) = end_to_end
            && control.measuring()
            && let Some(sent_ns) = body_stamp(record)
        {
            let now_ns = epoch.elapsed().as_nanos() as u64;
            let latency = now_ns.saturating_sub(sent_ns) / 1000;
            tally.borrow_mut().latency.saturating_record(latency.max(1));
        }
        rest = after;
    }
    (messages, body.len() as u64)
}

/// The first eight bytes of a record's body, for records with IPv4 hosts or IPv6 ones.
fn body_stamp(record: &[u8]) -> Option<u64> {
    let sys_flag = u32::from_be_bytes(*record.get(36..)?.first_chunk()?);
    let v6 = usize::from(sys_flag & 0x10 != 0) + usize::from(sys_flag & 0x20 != 0);
    let body = 88 + 12 * v6;
    Some(u64::from_be_bytes(*record.get(body..)?.first_chunk()?))
}
