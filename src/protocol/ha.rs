//! The bytes of replication: what a slave and its master say to each other (`DefaultHAService`).
//!
//! One TCP connection per slave, opened by the slave to the master's replication port. No
//! handshake, no magic number, no remoting frame. Integers are big-endian.
//!
//! ```text
//! slave -> master     0               8
//!   report            | offset (i64)  |   end of the slave's log; the first one says where to begin
//!
//! master -> slave     0               8       12        12 + len
//!   transfer          | offset (i64)  | len   | bytes   |   raw bytes of the log from `offset` on
//!   heartbeat         | offset (i64)  | 0     |             the next offset, nothing new
//! ```
//!
//! A transfer never crosses a segment's end, and need not begin or end at a record.

use bytes::{Buf, Bytes, BytesMut};

/// Length of a report, in bytes.
pub const REPORT_LEN: usize = 8;

/// Length of the head of a transfer, in bytes (`DefaultHAConnection.TRANSFER_HEADER_SIZE`).
pub const TRANSFER_HEAD_LEN: usize = 12;

/// The most bytes of log in one transfer that are accepted: no more fits RocketMQ's own buffer
/// (`DefaultHAClient.READ_MAX_BUFFER_SIZE`).
pub const TRANSFER_BODY_LEN_MAX: usize = 4 * 1024 * 1024 - TRANSFER_HEAD_LEN;

/// Why bytes are not of the replication protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HaError {
    /// A length below 0 or above [`TRANSFER_BODY_LEN_MAX`].
    #[error("a transfer of {0} bytes")]
    BodyLen(i32),
    /// An offset below 0, or one whose end no log can have.
    #[error("offset {0}")]
    Offset(i64),
}

/// A report, ready to be written.
pub fn encode_report(offset: i64) -> [u8; REPORT_LEN] {
    offset.to_be_bytes()
}

/// The head of a transfer of `len` bytes from `offset` on; of a heartbeat with `len` 0.
pub fn encode_transfer_head(offset: i64, len: u32) -> [u8; TRANSFER_HEAD_LEN] {
    let mut head = [0; TRANSFER_HEAD_LEN];
    head[..8].copy_from_slice(&offset.to_be_bytes());
    head[8..].copy_from_slice(&len.to_be_bytes());
    head
}

/// Puts reports together from what a socket gives; of several at once the last one counts, as in
/// RocketMQ.
#[derive(Debug, Default)]
pub struct Reports {
    partial: [u8; REPORT_LEN],
    filled: usize,
}

impl Reports {
    /// Takes the next bytes of the connection; yields the last report that is whole with them.
    ///
    /// # Errors
    /// [`HaError::Offset`] for a report below 0.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<i64>, HaError> {
        let mut last = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(REPORT_LEN - self.filled));
            if let Some(place) = self.partial.get_mut(self.filled..self.filled + now.len()) {
                place.copy_from_slice(now);
            }
            self.filled += now.len();
            rest = later;
            if self.filled == REPORT_LEN {
                self.filled = 0;
                last = Some(i64::from_be_bytes(self.partial));
            }
        }
        match last {
            Some(offset) if offset < 0 => Err(HaError::Offset(offset)),
            last => Ok(last),
        }
    }
}

/// Raw bytes of a master's log; without bytes a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Physical offset of the first byte.
    pub offset: i64,
    /// The bytes.
    pub body: Bytes,
}

/// Takes the next whole transfer off the front of `buf`; its body shares the buffer's memory.
///
/// `None` when more bytes are needed; then there is room for the rest of the transfer in `buf`.
///
/// # Errors
/// [`HaError`] where none can begin.
pub fn take_transfer(buf: &mut BytesMut) -> Result<Option<Transfer>, HaError> {
    let Some(head) = buf.first_chunk::<TRANSFER_HEAD_LEN>() else {
        return Ok(None);
    };
    let mut fields = &head[..];
    let (offset, len) = (fields.get_i64(), fields.get_i32());
    let body_len = usize::try_from(len).map_err(|_| HaError::BodyLen(len))?;
    if body_len > TRANSFER_BODY_LEN_MAX {
        return Err(HaError::BodyLen(len));
    }
    if offset < 0 || offset.checked_add(i64::from(len)).is_none() {
        return Err(HaError::Offset(offset));
    }
    let whole = TRANSFER_HEAD_LEN + body_len;
    if buf.len() < whole {
        buf.reserve(whole - buf.len());
        return Ok(None);
    }
    buf.advance(TRANSFER_HEAD_LEN);
    let body = buf.split_to(body_len).freeze();
    Ok(Some(Transfer { offset, body }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_of_several_reports_counts() {
        let mut reports = Reports::default();
        let mut bytes = encode_report(5).to_vec();
        bytes.extend(encode_report(1 << 40));
        assert_eq!(reports.feed(&bytes[..3]), Ok(None));
        assert_eq!(reports.feed(&bytes[3..15]), Ok(Some(5)));
        assert_eq!(reports.feed(&bytes[15..]), Ok(Some(1 << 40)));
        assert_eq!(reports.feed(&encode_report(-1)), Err(HaError::Offset(-1)));
    }

    #[test]
    fn impossible_transfers_are_refused() {
        let refused = |offset: i64, len: u32| {
            let mut buf = BytesMut::from(&encode_transfer_head(offset, len)[..]);
            take_transfer(&mut buf).unwrap_err()
        };
        assert_eq!(refused(0, u32::MAX), HaError::BodyLen(-1));
        assert_eq!(refused(0, 1 << 22), HaError::BodyLen(1 << 22));
        assert_eq!(refused(-8, 1), HaError::Offset(-8));
        assert_eq!(refused(i64::MAX, 1), HaError::Offset(i64::MAX));
    }

    proptest! {
        #[test]
        fn transfers_are_read_however_they_are_cut(
            transfers in prop::collection::vec((0..i64::MAX / 2, prop::collection::vec(any::<u8>(), 0..300)), 0..8),
            cut in 1..97_usize,
        ) {
            let mut sent = Vec::new();
            for (offset, body) in &transfers {
                sent.extend(encode_transfer_head(*offset, body.len() as u32));
                sent.extend(body);
            }
            let (mut buf, mut got) = (BytesMut::new(), Vec::new());
            for piece in sent.chunks(cut) {
                buf.extend_from_slice(piece);
                while let Some(transfer) = take_transfer(&mut buf).unwrap() {
                    got.push((transfer.offset, transfer.body.to_vec()));
                }
            }
            prop_assert_eq!(got, transfers);
            prop_assert!(buf.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut buf = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take_transfer(&mut buf) {}
            let _ = Reports::default().feed(&bytes);
        }
    }
}
