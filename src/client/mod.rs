//! The client side of the wire: producer, push and pull consumer, admin client.
//!
//! Everything here speaks RocketMQ's remoting protocol, so it works against a Java broker as well
//! as against ours. Nothing here knows actors: it needs a tokio runtime and nothing else.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub mod config;
mod connection;
pub mod error;
pub mod fault;
pub mod remoting;
pub mod unique_id;

pub use config::ClientConfig;
pub use error::ClientError;
pub use remoting::{PushHandler, PushOrigin, RemotingClient, RemotingConfig, RemotingError};

/// Locks a mutex whose data stays valid when a holder panicked: all critical sections of the
/// client are single assignments or table operations.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
