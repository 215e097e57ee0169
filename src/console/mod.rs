//! The debug endpoint: the actor tree, metrics, health and a live page, over HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `GET /actors?depth=&limit=&offset=` | the tree; `depth` levels below the root (3), `limit` children of each node (100), `offset` skips children of the root |
//! | `GET /actors/{path}` | that subtree, same parameters |
//! | `POST /actors/{path}/crash[?at=point]` | panics the actor, or arms a fail point in it; 403 unless `debugAllowCrash` |
//! | `GET /overview` | topics, groups and lag, as [`ConsoleData`] publishes them |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /healthz`, `GET /readyz` | alive; ready to serve, else 503 with the reasons |
//! | `GET /` | a page that shows all of it live |
//!
//! Trees and overview come as MessagePack with `Accept: application/msgpack`. Everything is read
//! from published counters; no actor is ever asked, for it may be the one that is stuck.

mod collectors;
mod server;
#[cfg(test)]
mod tests;

pub use collectors::{ActorCollector, NetCollector, PermitCollector, ProcessCollector};
pub use server::{Console, ConsoleConfig};

use serde::Serialize;

/// What a program publishes for the page and for readiness. Called on the console's threads:
/// it reads atomics and snapshots and never waits for an actor.
pub trait ConsoleData: Send + Sync + 'static {
    /// Why the program cannot serve now; empty when it can. Stuck actors are added by the console.
    fn not_ready(&self) -> Vec<String> {
        Vec::new()
    }

    /// The tables of the page.
    fn overview(&self) -> Overview;
}

/// The tables of the page and of `GET /overview`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Overview {
    /// The program and who it is, such as `broker broker-a`.
    pub title: String,
    /// Single facts: role, version, watermarks, disk.
    pub facts: Vec<Fact>,
    /// Topics. A program with very many gives the busiest.
    pub topics: Vec<TopicRow>,
    /// Consumer groups by topic.
    pub groups: Vec<GroupRow>,
}

/// One fact of the page.
#[derive(Clone, Debug, Serialize)]
pub struct Fact {
    /// What it is.
    pub name: String,
    /// Its value, as it is to be shown.
    pub value: String,
}

impl Fact {
    /// A fact with anything that can be shown.
    pub fn new(name: &str, value: impl ToString) -> Self {
        Fact {
            name: name.to_string(),
            value: value.to_string(),
        }
    }
}

/// One topic of the page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TopicRow {
    /// The name.
    pub topic: String,
    /// Its queues for reading and for writing.
    pub read_queues: u32,
    /// Its queues for writing.
    pub write_queues: u32,
    /// `RW`, `R`, `W` or empty.
    pub perm: String,
    /// Messages kept now, over all queues.
    pub messages: u64,
    /// Messages ever put, over all queues.
    pub put: u64,
}

/// One consumer group and topic of the page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct GroupRow {
    /// The group.
    pub group: String,
    /// The topic it consumes.
    pub topic: String,
    /// Consumers online now.
    pub members: u32,
    /// Messages not yet committed by the group, over all queues.
    pub lag: u64,
}
