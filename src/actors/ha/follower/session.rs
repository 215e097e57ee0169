//! One connection to the master.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedWriteHalf},
    sync::oneshot,
    time::timeout,
};

use super::FollowerParts;
use crate::{
    actors::{kernel::ActorCell, store::commit_log_writer::AppendRaw},
    protocol::{
        RemotingCommand, RequestCode,
        body::stats::KvTable,
        fastjson,
        ha::{HaError, Transfer, encode_report, take_transfer},
    },
    store::error::StoreError,
};

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// So much of its own log's end a follower has sent once more, in bytes, to compare it.
const OVERLAP_LEN: i64 = 64 * 1024;

/// Bytes that are read from the socket at a time.
const READ_LEN: usize = 512 * 1024;

/// Why following a master ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("cannot connect to {address}: {error}")]
    Connect { address: String, error: io::Error },
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error(
        "the master closed the connection after a report of {reported}{}",
        if *.followed { "" } else { ": its log may end before that, or begin behind it" }
    )]
    Eof { reported: i64, followed: bool },
    #[error("nothing was heard for {0:?}")]
    Silent(Duration),
    #[error("the master does not speak the protocol: {0}")]
    Protocol(#[from] HaError),
    #[error("the master sent its log from {got} on, {expected} was to come")]
    OutOfStep { got: i64, expected: i64 },
    #[error(
        "the log differs from the master's at offset {offset}, in {}: nothing was overwritten. \
         Truncate the log there (mqadmin truncateLog) or start with an empty store",
        file.display()
    )]
    Diverged { offset: i64, file: PathBuf },
    #[error("the log takes no more: {0}")]
    Store(#[from] StoreError),
    #[error("the writer is gone")]
    Writer,
    #[error("the master is at another address now")]
    Moved,
}

impl End {
    /// Whether the master was followed, so that it is worth to come again soon.
    pub(super) fn followed(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::OutOfStep { .. } | Self::Store(_) => false,
            Self::Eof { followed, .. } => *followed,
            _ => true,
        }
    }
}

/// See the module.
pub(super) struct Session {
    cell: Arc<ActorCell>,
    parts: FollowerParts,
    address: String,
    /// What the log held at the beginning: below this the master's bytes are compared.
    own_end: i64,
    /// The next byte to come.
    next: i64,
    /// What was reported last.
    reported: i64,
    /// An empty log begins where the master says.
    empty: bool,
}

impl Session {
    pub(super) fn new(cell: Arc<ActorCell>, parts: FollowerParts, address: String) -> Self {
        let log = parts.ha.watermarks.log();
        let (min, own_end) = (log.min_offset(), log.end());
        let empty = own_end == min;
        // 0 would ask for the master's last segment: a log that begins at 0 is compared from 1 on.
        let next = if empty {
            own_end
        } else {
            (own_end - OVERLAP_LEN).max(min).max(1)
        };
        Self {
            cell,
            parts,
            address,
            own_end,
            next,
            reported: next,
            empty,
        }
    }

    /// Where an empty log begins: where the master's does. Asked for with 0, a master would begin with
    /// its last segment, so that a slave that came late would lack what is older for ever; therefore
    /// a log from 0 on is asked for from 1 on, and its first byte, the highest of a record's length, is
    /// a zero that need not be sent.
    async fn begin(&mut self) {
        let Some(master) = self.parts.registrars.master() else {
            return;
        };
        let question = RemotingCommand::request_without_header(RequestCode::GetBrokerRuntimeInfo);
        let client = self.parts.registrars.client();
        let Ok(answer) = client
            .call(&master.master_addr, question, CONNECT_MAX)
            .await
        else {
            return;
        };
        let info: KvTable = fastjson::from_slice(&answer.body).unwrap_or_default();
        let number = |key: &str| info.table.get(key)?.parse::<i64>().ok();
        if let (Some(min), Some(max)) = (number("commitLogMinOffset"), number("commitLogMaxOffset"))
            && min < max
        {
            self.next = min.max(1);
            self.reported = self.next;
            self.own_end = self.next;
        }
    }

    pub(super) async fn run(mut self) -> End {
        if self.empty {
            self.begin().await;
        }
        match self.follow().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, End> {
        let stream = self.connect().await?;
        stream.set_nodelay(true)?;
        let (mut reader, mut writer) = stream.into_split();
        self.report(&mut writer, self.next).await?;
        log::info!(
            "{} asks for the log address={} from={} own_end={}",
            self.cell.path(),
            self.address,
            self.next,
            self.own_end
        );
        let status = self.parts.status.clone();
        status.set_state("comparing");
        let flushed_only = self.parts.ha.flushed_only;
        let watermarks = self.parts.ha.watermarks.clone();
        let mut is_following = false;
        let mut buf = BytesMut::new();
        loop {
            if buf.capacity() - buf.len() < READ_LEN / 4 {
                // No more than it had at first: then its memory is used again, what came before being
                // written and dropped by now.
                buf.reserve(READ_LEN.saturating_sub(buf.len()).max(READ_LEN / 4));
            }
            let policy = *self.parts.ha.policy.load_full();
            let read = tokio::select! {
                read = timeout(policy.housekeeping, reader.read_buf(&mut buf)) => {
                    read.map_err(|_| End::Silent(policy.housekeeping))??
                }
                // SYNC_FLUSH: what was taken before is on disk now.
                () = watermarks.flush_moved(), if flushed_only => {
                    self.report_progress(&mut writer, false).await?;
                    continue;
                }
            };
            if read == 0 {
                return Err(End::Eof {
                    reported: self.reported,
                    followed: self.next >= self.own_end,
                });
            }
            status.heard(read);
            let was_comparing = self.next < self.own_end;
            let is_answer_due = self.take(&mut buf).await?;
            if was_comparing && self.next >= self.own_end {
                log::info!("{} follows from={}", self.cell.path(), self.own_end);
            }
            if self.next >= self.own_end && !is_following {
                is_following = true;
                status.set_state("following");
            }
            self.report_progress(&mut writer, is_answer_due).await?;
            if is_answer_due && self.parts.master().is_some_and(|now| now != self.address) {
                return Err(End::Moved);
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, End> {
        let connected = timeout(CONNECT_MAX, TcpStream::connect(&self.address)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        connected.map_err(|error| End::Connect {
            address: self.address.clone(),
            error,
        })
    }

    /// Takes all whole transfers out of the buffer; yields whether a heartbeat was among them.
    async fn take(&mut self, buf: &mut BytesMut) -> Result<bool, End> {
        let mut pieces = Vec::new();
        let mut heartbeat = false;
        let mut append_at = None;
        while let Some(transfer) = take_transfer(buf)? {
            if self.empty && self.next != transfer.offset && append_at.is_none() {
                self.next = transfer.offset;
                self.own_end = transfer.offset;
            }
            if transfer.offset != self.next {
                return Err(End::OutOfStep {
                    got: transfer.offset,
                    expected: self.next,
                });
            }
            if transfer.body.is_empty() {
                heartbeat = true;
                if self.next < self.own_end {
                    self.is_ahead();
                }
                continue;
            }
            let new = self.compare(&transfer)?;
            self.next += transfer.body.len() as i64;
            if self.empty && append_at.is_none() && transfer.offset == 1 {
                append_at = Some(0);
                pieces.push(Bytes::from_static(&[0]));
            }
            if !new.is_empty() {
                append_at.get_or_insert(self.next - new.len() as i64);
                pieces.push(new);
            }
        }
        if let Some(offset) = append_at {
            self.append(offset, pieces).await?;
        }
        Ok(heartbeat)
    }

    /// Compares what the log has already; yields the bytes behind its end.
    fn compare(&self, transfer: &Transfer) -> Result<Bytes, End> {
        let known = usize::try_from(self.own_end - transfer.offset).unwrap_or(0);
        let known = known.min(transfer.body.len());
        if known > 0 {
            let log = self.parts.ha.watermarks.log();
            let mut own = vec![0; known];
            let mut filled = 0;
            while let Some(rest) = own.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match log.read_at(transfer.offset + filled as i64, rest)? {
                    0 => return Err(StoreError::invalid("the log is shorter than it was").into()),
                    read => filled += read,
                }
            }
            let theirs = transfer.body.iter().zip(&own);
            if let Some(at) = theirs.into_iter().position(|(theirs, ours)| theirs != ours) {
                let offset = transfer.offset + at as i64;
                let file = log.path_of(offset).unwrap_or_default();
                return Err(End::Diverged { offset, file });
            }
        }
        Ok(transfer.body.slice(known..))
    }

    /// The master has nothing more, and this log goes further.
    fn is_ahead(&self) {
        let state = format!(
            "ahead: the log ends at {}, the master's at {}",
            self.own_end, self.next
        );
        if self.parts.status.state() != state {
            log::error!("{} is {state}", self.cell.path());
            self.cell.set_last_error(&state);
            self.parts.status.set_state(state);
        }
    }

    async fn append(&mut self, offset: i64, pieces: Vec<Bytes>) -> Result<(), End> {
        let (reply, answer) = oneshot::channel();
        self.parts.ha.writer.tell(AppendRaw {
            offset,
            pieces,
            reply,
        });
        let end = answer.await.map_err(|_| End::Writer)??;
        self.cell.count_handled(1);
        self.cell.fail_point("after_append");
        self.empty = false;
        if end != self.next {
            return Err(End::OutOfStep {
                got: end,
                expected: self.next,
            });
        }
        Ok(())
    }

    /// Reports what the log holds, if that grew or the master wants to hear something. Nothing is
    /// reported before all that is here was compared.
    async fn report_progress(
        &mut self,
        writer: &mut OwnedWriteHalf,
        is_answer_due: bool,
    ) -> Result<(), End> {
        if self.next < self.own_end {
            return Ok(());
        }
        let watermarks = &self.parts.ha.watermarks;
        let mut holds = watermarks.appended();
        if self.parts.ha.flushed_only {
            holds = holds.min(watermarks.flushed());
        }
        if holds > self.reported || (is_answer_due && !self.empty) {
            self.report(writer, holds).await?;
        }
        Ok(())
    }

    async fn report(&mut self, writer: &mut OwnedWriteHalf, offset: i64) -> Result<(), End> {
        writer.write_all(&encode_report(offset)).await?;
        self.reported = offset;
        self.parts.status.told();
        Ok(())
    }
}
