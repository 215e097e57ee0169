//! What a NameServer publishes on its debug endpoint.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use actix::ArbiterHandle;
use prometheus_client::registry::Registry;

use super::shared::Shared;
use super::{Namesrv, ROOT};
use crate::actors::kernel::{ActorRef, Tree};
use crate::console::{
    ActorCollector, Console, ConsoleConfig, ConsoleData, Fact, NetCollector, Overview,
    PermitCollector, ProcessCollector, TopicRow,
};
use crate::routes::model::{PERM_READ, PERM_WRITE};

/// Most topics that the page lists.
const TOPICS_SHOWN_MAX: usize = 1000;

/// The page's data, read from published tables.
struct Facts(Arc<Shared>);

impl ConsoleData for Facts {
    fn not_ready(&self) -> Vec<String> {
        let waiting = !self.0.is_ready();
        waiting
            .then(|| "name server not ready".to_owned())
            .into_iter()
            .collect()
    }

    fn overview(&self) -> Overview {
        let tables = &self.0.tables;
        let (topics, groups, live) = tables.counts();
        let clusters = tables.clusters();
        let names: Vec<&str> = clusters.keys().map(|name| &**name).collect();
        let rows = tables.topics().into_iter().take(TOPICS_SHOWN_MAX);
        Overview {
            title: "NameServer".to_owned(),
            facts: vec![
                Fact::new("version", env!("CARGO_PKG_VERSION")),
                Fact::new("clusters", names.join(", ")),
                Fact::new("broker groups", groups),
                Fact::new("live brokers", live),
                Fact::new("topics", topics),
            ],
            topics: rows.filter_map(|topic| self.row(&topic)).collect(),
            groups: Vec::new(),
        }
    }
}

impl Facts {
    fn row(&self, topic: &str) -> Option<TopicRow> {
        let route = self.0.tables.route(topic, false)?;
        let mut row = TopicRow {
            topic: topic.to_owned(),
            ..TopicRow::default()
        };
        let mut perm = 0;
        for (_, queues) in &route.queues {
            row.read_queues += u32::try_from(queues.read_queue_nums).unwrap_or(0);
            row.write_queues += u32::try_from(queues.write_queue_nums).unwrap_or(0);
            perm |= queues.perm;
        }
        let letters = [(PERM_READ, 'R'), (PERM_WRITE, 'W')];
        row.perm = letters
            .iter()
            .filter(|(bit, _)| perm & bit != 0)
            .map(|(_, c)| *c)
            .collect();
        Some(row)
    }
}

impl Namesrv {
    /// Starts the debug endpoint at `debugListenAddr`, unless that is empty; yields its actor and
    /// address.
    ///
    /// # Errors
    /// An address that is none, or that cannot be listened on.
    pub fn start_console(
        &self,
        tree: &Tree,
        arbiter: &ArbiterHandle,
    ) -> io::Result<Option<(ActorRef<Console>, SocketAddr)>> {
        let config = self.shared.config.load();
        let Some(listen) = &config.own.debug_listen_addr else {
            return Ok(None);
        };
        let listen = listen.parse().map_err(|_| {
            let text = format!("debugListenAddr={listen}: an address and port are wanted");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ActorCollector(tree.clone())));
        registry.register_collector(Box::new(NetCollector(self.net.clone())));
        registry.register_collector(Box::new(PermitCollector(self.permits.clone())));
        registry.register_collector(Box::new(ProcessCollector));
        let console = ConsoleConfig {
            listen,
            allow_crash: config.own.debug_allow_crash,
        };
        let facts = Arc::new(Facts(self.shared.clone()));
        Console::start(tree, ROOT, arbiter, console, facts, registry).map(Some)
    }
}
