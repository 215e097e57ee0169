//! Topics: updateTopic, updateTopicPerm, deleteTopic, topicList, topicRoute, topicStatus,
//! topicClusterList, allocateMQ.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use crate::admin::output::cut;
use crate::admin::{Context, time};
use crate::client::admin::ORDER_TOPIC_CONFIG;
use crate::client::consumer::{AllocateStrategy, Averagely};
use crate::client::{ClientError, MessageQueue};
use crate::protocol::body::stats::TopicStatsTable;
use crate::protocol::body::topic_config::TopicConfig;
use crate::protocol::fastjson;
use crate::protocol::message::names;
use crate::protocol::static_topic::report::add_topic_stats;

/// One broker or the masters of a cluster.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Target {
    /// Broker address.
    #[arg(short = 'b', long = "brokerAddr")]
    pub(crate) broker_addr: Option<String>,
    /// Cluster name.
    #[arg(short = 'c', long = "clusterName")]
    pub(crate) cluster_name: Option<String>,
}

impl Target {
    /// The addresses that are meant.
    pub(crate) async fn addrs(&self, ctx: &Context) -> Result<Vec<String>, ClientError> {
        self.addrs_of(ctx, true).await
    }

    /// As [`Target::addrs`], with slaves.
    pub(crate) async fn all_addrs(&self, ctx: &Context) -> Result<Vec<String>, ClientError> {
        self.addrs_of(ctx, false).await
    }

    async fn addrs_of(&self, ctx: &Context, masters: bool) -> Result<Vec<String>, ClientError> {
        match (&self.broker_addr, &self.cluster_name) {
            (Some(addr), _) => Ok(vec![addr.trim().into()]),
            (None, Some(cluster)) => Ok(ctx
                .admin
                .addrs(cluster.trim(), masters)
                .await?
                .into_iter()
                .collect()),
            (None, None) => Ok(Vec::new()),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct UpdateTopic {
    #[command(flatten)]
    target: Target,
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Attributes: `+key=value,-key`.
    #[arg(short, long, allow_hyphen_values = true)]
    attributes: Option<String>,
    /// Read queues.
    #[arg(short, long = "readQueueNums", default_value_t = 8)]
    read_queue_nums: i32,
    /// Write queues.
    #[arg(short, long = "writeQueueNums", default_value_t = 8)]
    write_queue_nums: i32,
    /// Permission: 2 write, 4 read, 6 both.
    #[arg(short, long, default_value_t = 6)]
    perm: i32,
    /// Whether it is an order topic.
    #[arg(short, long)]
    order: Option<bool>,
    /// Whether it is a unit topic.
    #[arg(short, long)]
    unit: Option<bool>,
    /// Whether it has subscriptions of units.
    #[arg(short = 's', long = "hasUnitSub")]
    has_unit_sub: Option<bool>,
}

impl UpdateTopic {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let order = self.order.unwrap_or(false);
        let config = TopicConfig {
            topic_name: self.topic.trim().into(),
            read_queue_nums: self.read_queue_nums,
            write_queue_nums: self.write_queue_nums,
            perm: self.perm,
            topic_sys_flag: i32::from(self.unit.unwrap_or(false))
                | i32::from(self.has_unit_sub.unwrap_or(false)) << 1,
            order,
            attributes: parse_attributes(self.attributes.as_deref().unwrap_or_default())?,
            ..TopicConfig::default()
        };
        let addrs = self.target.addrs(ctx).await?;
        for addr in &addrs {
            ctx.admin.update_topic(addr, &config).await?;
            if !ctx.out.json {
                println!("create topic to {addr} success.");
            }
        }
        if order {
            let conf = self.order_conf(ctx, &addrs).await?;
            ctx.admin
                .put_kv(ORDER_TOPIC_CONFIG, &config.topic_name, &conf)
                .await?;
            if !ctx.out.json {
                println!("set cluster orderConf. isOrder={order}, orderConf=[{conf}]");
            }
        }
        ctx.out
            .show(&json!({ "brokers": addrs, "topic": config }), || {
                println!(
                    "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, \
                 topicFilterType=SINGLE_TAG, topicSysFlag={}, order={}, attributes={}]",
                    config.topic_name,
                    config.read_queue_nums,
                    config.write_queue_nums,
                    crate::protocol::message::perm::text(config.perm),
                    config.topic_sys_flag,
                    config.order,
                    java_map(&config.attributes),
                );
            });
        Ok(())
    }

    /// `broker:queues;...` for all brokers that got the topic.
    async fn order_conf(&self, ctx: &Context, addrs: &[String]) -> Result<String, ClientError> {
        let info = ctx.admin.cluster_info().await?;
        let ours = info.broker_addr_table.iter().filter(|(_, broker)| {
            broker
                .broker_addrs
                .values()
                .any(|addr| addrs.contains(addr))
        });
        let parts: Vec<String> = ours
            .map(|(name, _)| format!("{name}:{}", self.write_queue_nums))
            .collect();
        Ok(parts.join(";"))
    }
}

pub(super) fn parse_attributes(text: &str) -> Result<BTreeMap<String, String>, ClientError> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((key, value)) if key.starts_with('+') => Ok((key.into(), value.into())),
            None if part.starts_with('-') => Ok((part.into(), String::new())),
            _ => Err(ClientError::Invalid(format!(
                "{part} is not +key=value or -key"
            ))),
        })
        .collect()
}

/// A map as Java prints it.
fn java_map(map: &BTreeMap<String, String>) -> String {
    let parts: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!("{{{}}}", parts.join(", "))
}

#[derive(Debug, Args)]
pub(super) struct UpdateTopicPerm {
    #[command(flatten)]
    target: Target,
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Permission: 2 write, 4 read, 6 both.
    #[arg(short, long)]
    perm: i32,
}

impl UpdateTopicPerm {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let topic = self.topic.trim();
        let route = ctx.admin.route(topic).await?;
        for addr in self.target.addrs(ctx).await? {
            let name = route
                .broker_datas
                .iter()
                .find(|broker| broker.broker_addrs.values().any(|known| *known == addr));
            let queues = name.and_then(|broker| {
                route
                    .queue_datas
                    .iter()
                    .find(|queue| queue.broker_name == broker.broker_name)
            });
            let Some(queues) = queues else {
                let text = format!("broker {addr} has no topic {topic}");
                return Err(ClientError::Invalid(text));
            };
            if queues.perm == self.perm {
                ctx.out.done("new perm equals to the old one!");
                continue;
            }
            let config = TopicConfig {
                topic_name: topic.into(),
                read_queue_nums: queues.read_queue_nums,
                write_queue_nums: queues.write_queue_nums,
                perm: self.perm,
                topic_sys_flag: queues.topic_sys_flag,
                ..TopicConfig::default()
            };
            ctx.admin.update_topic(&addr, &config).await?;
            let (old, new) = (queues.perm, self.perm);
            ctx.out.done(&format!(
                "update topic perm from {old} to {new} in {addr} success."
            ));
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct DeleteTopic {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Cluster.
    #[arg(short, long = "clusterName")]
    cluster_name: String,
}

impl DeleteTopic {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let (topic, cluster) = (self.topic.trim(), self.cluster_name.trim());
        for addr in ctx.admin.masters(cluster).await? {
            ctx.admin.delete_topic(&addr, topic).await?;
        }
        ctx.out.done(&format!(
            "delete topic [{topic}] from cluster [{cluster}] success."
        ));
        ctx.admin
            .delete_topic_in_namesrv(topic, Some(cluster))
            .await?;
        ctx.out
            .done(&format!("delete topic [{topic}] from NameServer success."));
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct TopicList {
    /// Shows clusters and consumer groups too.
    #[arg(short, long = "clusterModel")]
    cluster_model: bool,
}

impl TopicList {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let topics = ctx.admin.topics().await?.topic_list;
        if !self.cluster_model {
            ctx.out.show(&topics, || {
                topics.iter().for_each(|topic| println!("{topic}"))
            });
            return Ok(());
        }
        if !ctx.out.json {
            println!(
                "{:<20}  {:<48}  {:<48}",
                "#Cluster Name", "#Topic", "#Consumer Group"
            );
        }
        let mut rows = Vec::new();
        for topic in topics {
            if names::is_retry_topic(&topic) || names::is_dlq_topic(&topic) {
                continue;
            }
            let clusters = ctx.admin.topic_clusters(&topic).await.unwrap_or_default();
            let cluster = clusters.into_iter().next().unwrap_or_default();
            let groups = groups_of(ctx, &topic).await;
            rows.push(json!({ "cluster": cluster, "topic": topic, "groups": groups }));
            let blank = [String::new()];
            let shown = if groups.is_empty() {
                &blank[..]
            } else {
                &groups[..]
            };
            for group in shown.iter().filter(|_| !ctx.out.json) {
                println!(
                    "{:<20}  {:<64}  {:<64}",
                    cut(&cluster, 20),
                    cut(&topic, 64),
                    cut(group, 64)
                );
            }
        }
        ctx.out.show(&rows, || {});
        Ok(())
    }
}

/// The groups that consume a topic, from all its brokers.
pub(super) async fn groups_of(ctx: &Context, topic: &str) -> Vec<String> {
    let mut groups = Vec::new();
    for (_, addr) in ctx.admin.topic_brokers(topic).await.unwrap_or_default() {
        if let Ok(list) = ctx.admin.topic_groups(&addr, topic).await {
            groups.extend(list.group_list);
        }
    }
    groups.sort();
    groups.dedup();
    groups
}

#[derive(Debug, Args)]
pub(super) struct TopicRoute {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Columns instead of JSON.
    #[arg(short, long)]
    list: bool,
}

impl TopicRoute {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let route = ctx.admin.route(self.topic.trim()).await?;
        if ctx.out.json || !self.list {
            ctx.out.show(&route, || {
                let text = fastjson::to_vec_pretty(&route).unwrap_or_default();
                println!("{}", String::from_utf8_lossy(&text));
            });
            return Ok(());
        }
        let row = |cells: [&str; 6]| {
            let [cluster, broker, addrs, read, write, perm] = cells;
            println!("{cluster:<45} {broker:<32} {addrs:<50} {read:<10} {write:<11} {perm:<5}");
        };
        row([
            "#ClusterName",
            "#BrokerName",
            "#BrokerAddrs",
            "#ReadQueue",
            "#WriteQueue",
            "#Perm",
        ]);
        let (mut read, mut write, mut brokers) = (0, 0, 0);
        for broker in &route.broker_datas {
            let mut queues = route.queue_datas.iter();
            let Some(queue) = queues.find(|q| q.broker_name == broker.broker_name) else {
                continue;
            };
            let addrs = broker
                .broker_addrs
                .iter()
                .map(|(id, addr)| (id.to_string(), addr.clone()));
            read += queue.read_queue_nums;
            write += queue.write_queue_nums;
            brokers += 1;
            row([
                &broker.cluster,
                &broker.broker_name,
                &java_map(&addrs.collect()),
                &queue.read_queue_nums.to_string(),
                &queue.write_queue_nums.to_string(),
                &queue.perm.to_string(),
            ]);
        }
        println!("{}", "-".repeat(158));
        let (brokers, read, write) = (brokers.to_string(), read.to_string(), write.to_string());
        row(["Total:", &brokers, "", &read, &write, ""]);
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct TopicStatus {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Cluster, or parent topic, whose brokers are asked.
    #[arg(short, long)]
    cluster: Option<String>,
}

impl TopicStatus {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let topic = self.topic.trim();
        let found_by = self.cluster.as_deref().unwrap_or(topic).trim();
        let mut all = TopicStatsTable::default();
        for (_, addr) in ctx.admin.topic_brokers(found_by).await? {
            let stats = ctx.admin.topic_stats(&addr, topic).await?;
            all.offset_table.extend(stats.offset_table);
            all.topic_put_tps += stats.topic_put_tps;
        }
        if found_by == topic {
            let brokers = ctx.admin.static_topic(topic).await?;
            add_topic_stats(topic, &brokers, &mut all)?;
        }
        let (offsets, put_tps) = (all.offset_table, all.topic_put_tps);
        if offsets.is_empty() {
            return Err(ClientError::NoQueue(topic.to_owned()));
        }
        let rows: Vec<_> = offsets
            .iter()
            .map(|(queue, offset)| {
                json!({
                    "brokerName": queue.broker_name,
                    "queueId": queue.queue_id,
                    "minOffset": offset.min_offset,
                    "maxOffset": offset.max_offset,
                    "lastUpdateTimestamp": offset.last_update_timestamp,
                })
            })
            .collect();
        ctx.out.show(
            &json!({ "topic": topic, "putTps": put_tps, "queues": rows }),
            || {
                let (min, max) = ("#Min Offset", "#Max Offset");
                println!(
                    "{:<32}  {:<4}  {min:<20}  {max:<20}    #Last Updated",
                    "#Broker Name", "#QID"
                );
                for (queue, offset) in &offsets {
                    let updated = match offset.last_update_timestamp {
                        0 => String::new(),
                        ms => time::with_ms(ms),
                    };
                    println!(
                        "{:<32}  {:<4}  {:<20}  {:<20}    {updated}",
                        cut(&queue.broker_name, 32),
                        queue.queue_id,
                        offset.min_offset,
                        offset.max_offset
                    );
                }
                println!("\nTopic Put TPS: {put_tps:?}");
            },
        );
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct TopicClusterList {
    /// Topic.
    #[arg(short, long)]
    topic: String,
}

impl TopicClusterList {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let clusters = ctx.admin.topic_clusters(self.topic.trim()).await?;
        ctx.out.show(&clusters, || {
            clusters.iter().for_each(|name| println!("{name}"))
        });
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct AllocateMq {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Consumers, `,` between them.
    #[arg(short, long = "ipList")]
    ip_list: String,
}

impl AllocateMq {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let queues = ctx.admin.queues(self.topic.trim()).await?;
        let clients: Vec<String> = self.ip_list.trim().split(',').map(str::to_owned).collect();
        let result: BTreeMap<&String, Vec<MessageQueue>> = clients
            .iter()
            .map(|client| (client, Averagely.allocate(client, &queues, &clients)))
            .collect();
        let result = json!({ "result": result });
        ctx.out.show(&result, || println!("{result}"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_set_or_removed() {
        let map = parse_attributes("+message.type=FIFO, -queue.type").unwrap();
        assert_eq!(java_map(&map), "{+message.type=FIFO, -queue.type=}");
        assert!(parse_attributes("message.type=FIFO").is_err());
        assert!(parse_attributes("").unwrap().is_empty());
    }
}
