//! A client of a group, as its heartbeats describe it (`ClientChannelInfo`).

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{
    actors::net::ConnectionHandle,
    protocol::{LanguageCode, Str},
};

/// A client and the connection that it sends heartbeats on.
pub struct Member {
    /// The client's own name.
    pub client_id: Str,
    /// Its connection.
    pub conn: Arc<ConnectionHandle>,
    /// Language of the client.
    pub language: LanguageCode,
    /// Version ordinal of the client.
    pub version: i32,
    seen_ms: AtomicU64,
}

impl Member {
    /// A client that was heard of at `now_ms`.
    pub fn new(
        client_id: &str,
        conn: &Arc<ConnectionHandle>,
        language: LanguageCode,
        version: i32,
        now_ms: u64,
    ) -> Arc<Self> {
        Arc::new(Self {
            // A copy: a slice of the frame would keep the whole frame in memory.
            client_id: client_id.to_owned().into(),
            conn: conn.clone(),
            language,
            version,
            seen_ms: AtomicU64::new(now_ms),
        })
    }

    /// When it was last heard of, in milliseconds since the Unix epoch.
    pub fn seen_ms(&self) -> u64 {
        self.seen_ms.load(Relaxed)
    }

    /// It was heard of again.
    pub fn seen(&self, now_ms: u64) {
        self.seen_ms.fetch_max(now_ms, Relaxed);
    }

    /// Whether it has been silent for longer than `limit_ms`.
    pub fn is_expired(&self, now_ms: u64, limit_ms: u64) -> bool {
        now_ms.saturating_sub(self.seen_ms()) > limit_ms
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Member({} {})", self.client_id, self.conn.peer)
    }
}
