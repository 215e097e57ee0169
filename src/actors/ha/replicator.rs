//! The master's side of one slave: sends it the log and takes its reports.
//!
//! Owns the slave's socket. It is woken by the writer (in SYNC_FLUSH by the flush) and tells `acks`
//! and the dispatcher when the slave holds more. A crash closes the socket: the slave comes again
//! and begins where it is.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Supervised, WrapFuture, fut::ActorFutureExt,
};
use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::oneshot,
    time::timeout,
};

use super::{HaParts, flow::FlowLimit};
use crate::{
    actors::{
        kernel::ActorCell,
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
    #[error("the slave wants the log from {wanted} on, which begins at {min} here")]
    TooOld { wanted: i64, min: i64 },
}

/// The actor; see the module.
pub struct Replicator {
    cell: Arc<ActorCell>,
    session: Option<Session>,
}

/// A slave's connection; leaves the published slaves with its last breath.
struct Session {
    cell: Arc<ActorCell>,
    parts: HaParts,
    flow: FlowLimit,
    stream: Option<TcpStream>,
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
        let Some(stream) = self.stream.take() else {
            return End::Eof;
        };
        if let Err(error) = stream.set_nodelay(true) {
            return error.into();
        }
        let (reader, writer) = stream.into_split();
        let (asked, asks) = oneshot::channel();
        tokio::select! {
            end = self.take_reports(reader, asked) => end,
            end = self.send_log(writer, asks) => end,
        }
    }

    async fn take_reports(&self, mut reader: OwnedReadHalf, asked: oneshot::Sender<i64>) -> End {
        let mut buf = [0; 1024];
        let mut reports = Reports::default();
        let mut asked = Some(asked);
        loop {
            let patience = self.parts.policy.load().housekeeping;
            let read = match timeout(patience, reader.read(&mut buf)).await {
                Err(_) => return End::Silent(patience),
                Ok(Err(error)) => return error.into(),
                Ok(Ok(0)) => return End::Eof,
                Ok(Ok(read)) => read,
            };
            let report = match reports.feed(buf.get(..read).unwrap_or_default()) {
                Err(error) => return error.into(),
                Ok(None) => continue,
                Ok(Some(report)) => report,
            };
            let end = self.parts.watermarks.whole();
            if report > end {
                return End::Ahead {
                    reported: report,
                    end,
                };
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
            if let Some(asked) = asked.take() {
                log::info!(
                    "{} asked for the log from={report} end={end}",
                    self.cell.path()
                );
                let _ = asked.send(report);
            }
        }
    }

    async fn send_log(&self, mut writer: OwnedWriteHalf, asks: oneshot::Receiver<i64>) -> End {
        let Ok(asked) = asks.await else {
            return End::Eof;
        };
        let log = self.parts.watermarks.log();
        let mut next = match asked {
            // An empty slave begins with the last segment, as in RocketMQ.
            0 => log.segment_start(self.parts.limit()).max(log.min_offset()),
            asked => asked,
        };
        self.replica.set_next(next);
        loop {
            let limit = self.parts.limit();
            if next >= limit {
                let pause = self.parts.policy.load().heartbeat;
                tokio::select! {
                    () = self.replica.log_moved() => {}
                    () = actix_rt::time::sleep(pause) => {
                        let beat = Bytes::copy_from_slice(&encode_transfer_head(next, 0));
                        if let Err(end) = self.write(&mut writer, vec![beat]).await {
                            return end;
                        }
                    }
                }
                continue;
            }
            let (parts, upto) = self.transfers(next, limit).await;
            if upto == next {
                let min = log.min_offset();
                return End::TooOld { wanted: next, min };
            }
            // Before they leave: an acknowledgement may come at once.
            self.replica.set_next(upto);
            if let Err(end) = self.write(&mut writer, parts).await {
                return end;
            }
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

    async fn write(&self, writer: &mut OwnedWriteHalf, parts: Vec<Bytes>) -> Result<(), End> {
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
