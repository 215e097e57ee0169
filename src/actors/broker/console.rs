//! What the broker shows at its debug endpoint: facts, topics, groups and their lag, out of
//! published tables.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use prometheus_client::registry::Registry;

use super::context::BrokerContext;
use crate::{
    actors::{
        kernel::{ActorRef, Role, Threads, Tree},
        net::Net,
    },
    config::broker::BrokerConfig,
    console::{
        ActorCollector, Console, ConsoleConfig, ConsoleData, Fact, GroupRow, NetCollector,
        Overview, PermitCollector, ProcessCollector, TopicRow,
    },
    protocol::message::perm,
};

/// Topics and groups that the page lists at most.
const ROWS_MAX: usize = 1000;

/// Ports from the broker's port to the debug endpoint's.
const PORT_OFFSET: u16 = 2;

/// Where the debug endpoint listens; `None` when it is off (`debugListenAddr` is empty).
///
/// # Errors
/// When `debugListenAddr` is no address.
pub fn listen_addr(config: &BrokerConfig) -> io::Result<Option<SocketAddr>> {
    let port = config.broker.listen_port.saturating_add(PORT_OFFSET);
    match config.own.debug_listen_addr.as_deref() {
        None => Ok(Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))),
        Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            let what = format!("debugListenAddr is not an address: {text}");
            io::Error::new(io::ErrorKind::InvalidInput, what)
        }),
    }
}

/// Starts the debug endpoint.
///
/// # Errors
/// When its address cannot be bound.
pub fn start(
    tree: &Tree,
    threads: &Threads,
    ctx: &Arc<BrokerContext>,
    net: &Net,
) -> io::Result<Option<(ActorRef<Console>, SocketAddr)>> {
    let config = ctx.config.load_full();
    let Some(listen) = listen_addr(&config)? else {
        return Ok(None);
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ActorCollector(tree.clone())));
    registry.register_collector(Box::new(NetCollector(net.clone())));
    registry.register_collector(Box::new(PermitCollector(ctx.permits.clone())));
    registry.register_collector(Box::new(ProcessCollector));
    let console_config = ConsoleConfig {
        listen,
        allow_crash: config.own.debug_allow_crash,
    };
    let data = Arc::new(BrokerConsole(Arc::clone(ctx)));
    let arbiter = threads.get(Role::Console);
    Console::start(tree, "broker", &arbiter, console_config, data, registry).map(Some)
}

struct BrokerConsole(Arc<BrokerContext>);

impl ConsoleData for BrokerConsole {
    fn not_ready(&self) -> Vec<String> {
        let marks = &self.0.store.watermarks;
        let mut why = Vec::new();
        if marks.refuses_writes() {
            why.push("the disk failed: writes are refused until a restart".to_owned());
        }
        if marks.is_disk_full() {
            why.push("the disk is full".to_owned());
        }
        why
    }

    fn overview(&self) -> Overview {
        let ctx = &self.0;
        let marks = &ctx.store.watermarks;
        let totals = ctx.stats.totals();
        Overview {
            title: format!("broker {}", ctx.identity.broker_name),
            facts: vec![
                Fact::new("address", &ctx.identity.broker_addr),
                Fact::new("cluster", &ctx.identity.cluster),
                Fact::new("log begins at", marks.log().min_offset()),
                Fact::new("log ends at", marks.appended()),
                Fact::new("on disk up to", marks.flushed()),
                Fact::new("visible up to", marks.visible()),
                Fact::new("queues", ctx.store.table.len()),
                Fact::new("messages stored", totals.put),
                Fact::new("messages read", totals.got),
                Fact::new(
                    "puts a second (10 s, 60 s, 600 s)",
                    ctx.stats.rates(|t| t.put),
                ),
            ],
            topics: topics(ctx),
            groups: groups(ctx),
        }
    }
}

fn topics(ctx: &BrokerContext) -> Vec<TopicRow> {
    let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for slot in ctx.store.table.slots() {
        let end = slot.readable_end().max(0) as u64;
        let kept = (slot.readable_end() - slot.min_offset()).max(0) as u64;
        let of = counts.entry(slot.key.topic.to_string()).or_default();
        *of = (of.0 + kept, of.1 + end);
    }
    let mut rows: Vec<TopicRow> = ctx
        .topics
        .all()
        .into_iter()
        .map(|config| {
            let (messages, put) = counts.get(&config.topic_name).copied().unwrap_or_default();
            TopicRow {
                topic: config.topic_name.clone(),
                read_queues: config.read_queue_nums.max(0) as u32,
                write_queues: config.write_queue_nums.max(0) as u32,
                perm: perm::text(config.perm),
                messages,
                put,
            }
        })
        .collect();
    rows.sort_by(|a, b| b.put.cmp(&a.put).then_with(|| a.topic.cmp(&b.topic)));
    rows.truncate(ROWS_MAX);
    rows
}

fn groups(ctx: &BrokerContext) -> Vec<GroupRow> {
    let mut rows = Vec::new();
    for (key, committed) in ctx.offsets.table().all() {
        let Some((topic, group)) = key.split_once('@') else {
            continue;
        };
        let behind = |&(queue_id, offset): &(i32, i64)| {
            let slot = ctx.store.table.get(topic, queue_id);
            slot.map_or(0, |slot| (slot.readable_end() - offset).max(0) as u64)
        };
        let online = ctx.consumers.get(group);
        rows.push(GroupRow {
            group: group.to_owned(),
            topic: topic.to_owned(),
            members: online.map_or(0, |info| info.members.len() as u32),
            lag: committed.iter().map(behind).sum(),
        });
        if rows.len() >= ROWS_MAX {
            break;
        }
    }
    rows
}
