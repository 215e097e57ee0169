//! The master's side of one slave: sends it the log and takes its reports.
//!
//! Owns the slave's socket. It is woken by the writer (in SYNC_FLUSH by the flush) and tells `acks`
//! and the dispatcher when the slave holds more. A crash closes the socket: the slave comes again
//! and begins where it is.
//!
//! Its thread may wait for the disk. With double write on a machine of few cores, a slave that keeps up is
//! served from the writer's thread instead: each send waits for it, and a hop between two threads costs
//! more than all the work on its transfer (docs/benchmarks.md).

use std::{
    io,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use actix::{
    Actor, ActorContext, ArbiterHandle, AsyncContext, Context, Supervised, WrapFuture,
    fut::ActorFutureExt,
};
use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    time::timeout,
};

use super::{HaParts, flow::FlowLimit};
use crate::{
    actors::{
        kernel::{ActorCell, elsewhere},
        store::{acks::MarksMoved, dispatcher::VisibleMoved, replicas::Replicas},
    },
    crashable,
    protocol::ha::{HaError, Reports, encode_transfer_head},
};

pub(super) use crate::actors::store::replicas::Replica;

/// Transfers that leave with one write.
const TRANSFERS_PER_WRITE_MAX: usize = 16;

/// A slave this far behind has the kernel asked for what comes next.
const READ_AHEAD_LEN: usize = 4 << 20;

/// A slave that is no further behind keeps up: what it lacks is in memory, and sent with one write.
const KEEPS_UP_LEN: i64 = 256 << 10;

/// Why a slave's connection ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the slave closed it")]
    Eof,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
    #[error("the slave does not read")]
    Stalled,
    #[error("the slave does not speak the protocol: {0}")]
    Protocol(#[from] HaError),
    #[error(
        "refused: the slave's log goes up to {reported}, this one only to {end}: one of them has \
         messages that the other never had"
    )]
    Ahead { reported: i64, end: i64 },
    #[error("the thread that served it has stopped")]
    Thread,
    #[error("the slave wants the log from {wanted} on, which begins at {min} here")]
    TooOld { wanted: i64, min: i64 },
}

/// The actor; see the module.
pub struct Replicator {
    cell: Arc<ActorCell>,
    session: Option<Session>,
}

/// From where a slave is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A thread that may wait for the disk, for what is sent may have to be read.
    Own,
    /// Beside the writer: the log's end is in memory, and nobody has to be woken between an append, its
    /// transfer, the report and the answer.
    BesideWriter,
}

/// What a slave that has to be served from elsewhere leaves behind.
struct Moves;

/// A slave's connection; leaves the published slaves with its last breath.
struct Session {
    cell: Arc<ActorCell>,
    parts: HaParts,
    flow: FlowLimit,
    stream: Option<TcpStream>,
    /// A report of which only a part came.
    reports: Reports,
    /// Where the writer is, if slaves may be served from there.
    beside_writer: Option<ArbiterHandle>,
    place: Place,
    replicas: Replicas,
    replica: Arc<Replica>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.replicas.leave(&self.replica);
    }
}

impl Replicator {
    pub(super) fn new(
        cell: Arc<ActorCell>,
        parts: HaParts,
        flow: FlowLimit,
        beside_writer: Option<ArbiterHandle>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Self {
        let replicas = parts.watermarks.replicas().clone();
        let replica = replicas.join(peer);
        let shown = Arc::clone(&replica);
        cell.set_detail(move || {
            serde_json::json!({
                "next": shown.next(),
                "acked": shown.acked(),
                "reported": shown.reported(),
                "bytes_per_second": shown.bytes_per_second(),
            })
        });
        let session = Session {
            cell: cell.clone(),
            parts,
            flow,
            stream: Some(stream),
            reports: Reports::default(),
            beside_writer,
            place: Place::Own,
            replicas,
            replica,
        };
        Self {
            cell,
            session: Some(session),
        }
    }
}

impl Session {
    async fn run(mut self) -> End {
        loop {
            let beside_writer = self.beside_writer.clone();
            let served = match beside_writer.filter(|_| self.place == Place::BesideWriter) {
                None => self.serve().await,
                Some(arbiter) => elsewhere(&arbiter, self.serve())
                    .await
                    .unwrap_or(Err(End::Thread)),
            };
            match served {
                Ok(moves) => self = moves,
                Err(end) => return end,
            }
        }
    }

    /// Serves the slave on the calling thread; comes back when another one suits better.
    async fn serve(mut self) -> Result<Self, End> {
        let Some(stream) = self.stream.take() else {
            return Err(End::Eof);
        };
        stream.set_nodelay(true)?;
        let mut stream = tokio::net::TcpStream::from_std(stream)?;
        let mut reports = std::mem::take(&mut self.reports);
        let (mut reader, writer) = stream.split();
        if self.replica.next() < 0 {
            let asked = self.next_report(&mut reader, &mut reports).await?;
            self.begin(asked);
        }
        let Moves = tokio::select! {
            end = self.take_reports(reader, &mut reports) => return Err(end),
            served = self.send_log(writer) => served?,
        };
        self.reports = reports;
        self.stream = Some(stream.into_std()?);
        self.place = match self.place {
            Place::Own => Place::BesideWriter,
            Place::BesideWriter => Place::Own,
        };
        let (path, next) = (self.cell.path(), self.replica.next());
        log::info!("{path} goes on place={:?} next={next}", self.place);
        Ok(self)
    }

    /// Whether a slave that is so far behind is to be served from elsewhere.
    fn moves(&self, behind: i64) -> bool {
        match self.place {
            // Where no send waits for slaves, what they are sent is better sent beside the appends.
            Place::Own => {
                behind <= KEEPS_UP_LEN
                    && self.beside_writer.is_some()
                    && self.parts.policy.load().slaves_needed > 0
            }
            Place::BesideWriter => behind > READ_AHEAD_LEN as i64,
        }
    }

    /// Takes the first report: where the slave is.
    fn begin(&self, asked: i64) {
        let (log, end) = (self.parts.watermarks.log(), self.parts.watermarks.whole());
        log::info!(
            "{} asked for the log from={asked} end={end}",
            self.cell.path()
        );
        self.replica.set_next(match asked {
            // An empty slave begins with the last segment, as in RocketMQ.
            0 => log.segment_start(self.parts.limit()).max(log.min_offset()),
            asked => asked,
        });
    }

    /// The next report; what a slave says that has more than there is is refused.
    async fn next_report(
        &self,
        reader: &mut ReadHalf<'_>,
        reports: &mut Reports,
    ) -> Result<i64, End> {
        let mut buf = [0; 1024];
        loop {
            let patience = self.parts.policy.load().housekeeping;
            let read = timeout(patience, reader.read(&mut buf)).await;
            let read = read.map_err(|_| End::Silent(patience))??;
            if read == 0 {
                return Err(End::Eof);
            }
            let Some(report) = reports.feed(buf.get(..read).unwrap_or_default())? else {
                continue;
            };
            let end = self.parts.watermarks.whole();
            if report > end {
                return Err(End::Ahead {
                    reported: report,
                    end,
                });
            }
            let needed = self.parts.policy.load().slaves_needed;
            if self.replicas.reported(&self.replica, report, needed) {
                self.cell.count_handled(1);
                self.cell.fail_point("mid_ack");
                if needed > 0 {
                    self.parts.dispatcher.tell(VisibleMoved);
                    self.parts.acks.tell(MarksMoved);
                }
            }
            return Ok(report);
        }
    }

    async fn take_reports(&self, mut reader: ReadHalf<'_>, reports: &mut Reports) -> End {
        loop {
            if let Err(end) = self.next_report(&mut reader, reports).await {
                return end;
            }
        }
    }

    async fn send_log(&self, mut writer: WriteHalf<'_>) -> Result<Moves, End> {
        let log = self.parts.watermarks.log();
        let mut next = self.replica.next();
        loop {
            let limit = self.parts.limit();
            if self.moves(limit - next) {
                return Ok(Moves);
            }
            if next >= limit {
                let pause = self.parts.policy.load().heartbeat;
                tokio::select! {
                    () = self.replica.log_moved() => {}
                    () = actix_rt::time::sleep(pause) => {
                        let beat = Bytes::copy_from_slice(&encode_transfer_head(next, 0));
                        self.write(&mut writer, vec![beat]).await?;
                    }
                }
                continue;
            }
            let (parts, upto) = self.transfers(next, limit).await;
            if upto == next {
                let min = log.min_offset();
                return Err(End::TooOld { wanted: next, min });
            }
            // Before they leave: an acknowledgement may come at once.
            self.replica.set_next(upto);
            self.write(&mut writer, parts).await?;
            self.replica.count_sent((upto - next) as usize);
            next = upto;
        }
    }

    /// Some transfers from `from` on, head and body by turns, and where they end. They are slices of
    /// the log's mappings.
    async fn transfers(&self, from: i64, limit: i64) -> (Vec<Bytes>, i64) {
        let policy = *self.parts.policy.load_full();
        let log = self.parts.watermarks.log();
        if limit - from > READ_AHEAD_LEN as i64 {
            let segment_left = log.segment_start(from) + log.segment_len() as i64 - from;
            log.will_need(from, READ_AHEAD_LEN.min(segment_left as usize));
        }
        let mut parts = Vec::with_capacity(2 * TRANSFERS_PER_WRITE_MAX);
        let mut next = from;
        while next < limit && parts.len() < 2 * TRANSFERS_PER_WRITE_MAX {
            let segment_end = log.segment_start(next) + log.segment_len() as i64;
            let left = (limit.min(segment_end) - next) as usize;
            let mut len = left.min(policy.batch_len);
            if let Some(max) = policy.bytes_per_second_max {
                match self.flow.take(len, max) {
                    Ok(allowed) => len = allowed,
                    Err(_) if !parts.is_empty() => break,
                    Err(pause) => {
                        actix_rt::time::sleep(pause).await;
                        continue;
                    }
                }
            }
            let Some(body) = log.slice(next, len) else {
                break;
            };
            let head = encode_transfer_head(next, u32::try_from(len).unwrap_or(0));
            parts.push(Bytes::copy_from_slice(&head));
            parts.push(body);
            next += len as i64;
        }
        (parts, next)
    }

    async fn write(&self, writer: &mut WriteHalf<'_>, parts: Vec<Bytes>) -> Result<(), End> {
        let patience = self.parts.policy.load().housekeeping;
        let mut parts = std::collections::VecDeque::from(parts);
        while !parts.is_empty() {
            let slices: Vec<_> = parts.iter().map(|part| io::IoSlice::new(part)).collect();
            let written = timeout(patience, writer.write_vectored(&slices)).await;
            let mut written = written.map_err(|_| End::Stalled)??;
            if written == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            self.cell.fail_point("mid_transfer");
            while let Some(first) = parts.front_mut() {
                if first.len() > written {
                    first.advance(written);
                    break;
                }
                written -= first.len();
                parts.pop_front();
            }
        }
        Ok(())
    }
}

impl Actor for Replicator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(session) = self.session.take() else {
            return ctx.stop();
        };
        let peer = session.replica.peer;
        log::info!("{} begins peer={peer}", self.cell.path());
        let over = session.run().into_actor(self).map(|end, replicator, ctx| {
            log::warn!("{} ends: {end}", replicator.cell.path());
            ctx.stop();
        });
        ctx.spawn(over);
    }
}

impl Supervised for Replicator {}

crashable!(Replicator);
