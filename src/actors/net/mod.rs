//! Sockets: the listener, one actor per connection, and what the rest of a server sees of them.
//!
//! A server gives a [`Service`] per connection; it runs on the arbiter of its connection and gets
//! all whole requests of one read at once. Answers come from any thread through a [`Responder`] or
//! the [`ConnectionHandle`], collect in the connection's outbox, and leave with one vectored
//! write per wake-up; bodies are never copied.
//!
//! ```text
//! <parent>/net                     the hub: ticker, counters, registry
//! <parent>/net/listener/<port>     accepts, survives a full table of files
//! <parent>/net/connection/<peer>   reads, decodes, calls the service, writes
//! ```
//!
//! A panic in a connection or its service closes that socket and nothing else. A peer that does
//! not read, does not write or sends half a frame costs the others nothing: see [`NetConfig`] for
//! every bound.

mod calls;
mod config;
mod connection;
mod handle;
mod hub;
mod listener;
mod outbox;
mod responder;
#[cfg(test)]
mod tests;
mod watch;

pub use calls::CallError;
pub use config::NetConfig;
pub use handle::ConnectionHandle;
pub use hub::{Net, NetCounters};
pub use listener::bind;
pub use outbox::Outgoing;
pub use responder::Responder;

use std::sync::Arc;

use crate::protocol::RemotingCommand;

/// What a server does with the requests of one connection. It lives on the connection's arbiter.
pub trait Service: 'static {
    /// All whole requests of one read, in the order they came. Whatever is left in `frames`
    /// afterwards is dropped; responses to the server's own calls never show up here.
    ///
    /// It must not block: every other connection of the arbiter waits meanwhile.
    fn frames(&mut self, frames: &mut Vec<RemotingCommand>, conn: &Arc<ConnectionHandle>);

    /// The connection is gone; called once, also after a panic of this service.
    fn closed(&mut self, conn: &Arc<ConnectionHandle>) {
        let _ = conn;
    }
}

/// Makes the service of a new connection, on the arbiter of that connection.
pub type ServiceFactory = Arc<dyn Fn(&Arc<ConnectionHandle>) -> Box<dyn Service> + Send + Sync>;
