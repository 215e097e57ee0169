//! Callboard: a message broker that speaks Apache RocketMQ's protocol and keeps RocketMQ's files,
//! built as a tree of supervised actix actors.
//!
//! Three layers, dependencies pointing down only:
//!
//! * [`actors`] owns state and time: who appends, who flushes, who waits, who is restarted.
//! * [`store`] turns bytes into files and back; it knows neither actors nor sockets.
//! * [`protocol`] turns bytes into values and back; it knows neither files nor actors.
//!
//! [`routes`] is what a NameServer knows. [`client`] and [`admin`] are the other side of the wire and share [`protocol`];
//! [`console`] shows the actor tree to people and to Prometheus; [`config`] reads RocketMQ's
//! properties files; [`cluster`] writes folders of them, and runs the servers of a folder as child
//! processes. The programs in `bin/` only parse flags, load a configuration and start a root actor.

// The fuzzers (cargo-fuzz sets `fuzzing`) read foreign bytes: actors and clients would be most of their build.
#[cfg(not(fuzzing))]
pub mod actors;
#[cfg(not(fuzzing))]
pub mod admin;
#[cfg(not(fuzzing))]
pub mod client;
#[cfg(not(fuzzing))]
pub mod cluster;
pub mod config;
#[cfg(not(fuzzing))]
pub mod console;
pub mod filter;
mod hash;
#[cfg(not(fuzzing))]
pub mod program;
pub mod protocol;
pub mod routes;
pub mod store;
