//! Consumer groups: updateSubGroup, deleteSubGroup, consumerProgress.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::json;

use crate::admin::output::cut;
use crate::admin::topic::Target;
use crate::admin::{Context, time};
use crate::client::admin::ORDER_TOPIC_CONFIG;
use crate::client::{ClientError, MessageQueue};
use crate::protocol::body::connection::ConsumerConnection;
use crate::protocol::body::heartbeat::{ConsumeType, MessageModel};
use crate::protocol::body::stats::{ConsumeStats, OffsetWrapper};
use crate::protocol::body::subscription_group::SubscriptionGroupConfig;
use crate::protocol::language::version;
use crate::protocol::message::names;
use crate::protocol::static_topic::report;
use crate::protocol::{ResponseCode, fastjson};

#[derive(Debug, Args)]
pub(super) struct UpdateSubGroup {
    #[command(flatten)]
    target: Target,
    /// Group.
    #[arg(short, long = "groupName")]
    group_name: String,
    /// Whether the group may consume.
    #[arg(short = 's', long = "consumeEnable")]
    consume_enable: Option<bool>,
    /// Whether it may begin at the oldest message.
    #[arg(short = 'm', long = "consumeFromMinEnable")]
    consume_from_min_enable: Option<bool>,
    /// Whether it may broadcast.
    #[arg(short = 'd', long = "consumeBroadcastEnable")]
    consume_broadcast_enable: Option<bool>,
    /// Whether it consumes in order.
    #[arg(short = 'o', long = "consumeMessageOrderly")]
    consume_message_orderly: Option<bool>,
    /// Queues of the retry topic.
    #[arg(short = 'q', long = "retryQueueNums")]
    retry_queue_nums: Option<i32>,
    /// Tries before a message goes to the dead-letter topic.
    #[arg(short = 'r', long = "retryMaxTimes")]
    retry_max_times: Option<i32>,
    /// Retry policy as JSON.
    #[arg(short = 'p', long = "groupRetryPolicy")]
    group_retry_policy: Option<String>,
    /// Broker id to consume from.
    #[arg(short = 'i', long = "brokerId")]
    broker_id: Option<i64>,
    /// Broker id to consume from when it is slow.
    #[arg(short = 'w', long = "whichBrokerWhenConsumeSlowly")]
    which_broker_when_consume_slowly: Option<i64>,
    /// Whether members are told of changes.
    #[arg(short = 'a', long = "notifyConsumerIdsChanged")]
    notify_consumer_ids_changed: Option<bool>,
    /// Attributes: `+key=value,-key`.
    #[arg(long, allow_hyphen_values = true)]
    attributes: Option<String>,
}

impl UpdateSubGroup {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let addrs = self.target.addrs(ctx).await?;
        let config = self.config()?;
        for addr in &addrs {
            ctx.admin.update_group(addr, &config).await?;
            if !ctx.out.json {
                println!("create subscription group to {addr} success.");
            }
        }
        ctx.out
            .show(&json!({ "brokers": addrs, "group": config }), || {
                let text = fastjson::to_string(&config).unwrap_or_default();
                println!("SubscriptionGroupConfig{text}");
            });
        Ok(())
    }

    fn config(self) -> Result<SubscriptionGroupConfig, ClientError> {
        // What the tool sends when an option is absent, where it differs from a broker's default.
        let mut config = SubscriptionGroupConfig {
            consume_broadcast_enable: false,
            consume_from_min_enable: false,
            ..SubscriptionGroupConfig::new(self.group_name.trim())
        };
        let set = |field: &mut bool, value: Option<bool>| *field = value.unwrap_or(*field);
        set(&mut config.consume_enable, self.consume_enable);
        set(
            &mut config.consume_from_min_enable,
            self.consume_from_min_enable,
        );
        set(
            &mut config.consume_broadcast_enable,
            self.consume_broadcast_enable,
        );
        set(
            &mut config.consume_message_orderly,
            self.consume_message_orderly,
        );
        set(
            &mut config.notify_consumer_ids_changed_enable,
            self.notify_consumer_ids_changed,
        );
        config.retry_queue_nums = self.retry_queue_nums.unwrap_or(config.retry_queue_nums);
        config.retry_max_times = self.retry_max_times.unwrap_or(config.retry_max_times);
        config.broker_id = self.broker_id.unwrap_or(config.broker_id);
        if let Some(id) = self.which_broker_when_consume_slowly {
            config.which_broker_when_consume_slowly = id;
        }
        if let Some(text) = &self.group_retry_policy {
            config.group_retry_policy = fastjson::from_str(text)
                .map_err(|error| ClientError::Invalid(format!("groupRetryPolicy: {error}")))?;
        }
        if let Some(text) = &self.attributes {
            config.attributes = super::topic::parse_attributes(text)?;
        }
        Ok(config)
    }
}

#[derive(Debug, Args)]
pub(super) struct DeleteSubGroup {
    #[command(flatten)]
    target: Target,
    /// Group.
    #[arg(short, long = "groupName")]
    group_name: String,
    /// Whether the group's offsets are deleted too.
    #[arg(short, long = "removeOffset")]
    remove_offset: Option<bool>,
}

impl DeleteSubGroup {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let group = self.group_name.trim();
        let clean = self.remove_offset.unwrap_or(false);
        let cluster = self.target.cluster_name.as_deref().map(str::trim);
        let addrs = self.target.addrs(ctx).await?;
        for addr in &addrs {
            ctx.admin.delete_group(addr, group, clean).await?;
            let place = cluster
                .map(|name| format!(" in cluster [{name}]"))
                .unwrap_or_default();
            let text =
                format!("delete subscription group [{group}] from broker [{addr}]{place} success.");
            ctx.out.done(&text);
        }
        let Some(cluster) = cluster else {
            return Ok(());
        };
        // With a cluster the group's own topics go too; a group may well have none.
        for topic in [names::retry_topic(group), names::dlq_topic(group)] {
            let mut result = Ok(());
            for addr in &addrs {
                result = result.and(ctx.admin.delete_topic(addr, &topic).await);
            }
            result = result.and(
                ctx.admin
                    .delete_topic_in_namesrv(&topic, Some(cluster))
                    .await,
            );
            let _ = ctx.admin.delete_kv(ORDER_TOPIC_CONFIG, &topic).await;
            match result {
                Ok(()) => {
                    ctx.out.done(&format!(
                        "delete topic [{topic}] from cluster [{cluster}] success."
                    ));
                    ctx.out
                        .done(&format!("delete topic [{topic}] from NameServer success."));
                }
                Err(error) => eprintln!("mqadmin: topic {topic} not deleted: {error}"),
            }
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct ConsumerProgress {
    /// Group; without it all groups are listed.
    #[arg(short, long = "groupName")]
    group_name: Option<String>,
    /// Topic.
    #[arg(short, long = "topicName")]
    topic_name: Option<String>,
    /// Shows which client has which queue.
    #[arg(short = 's', long = "showClientIP")]
    show_client_ip: Option<bool>,
    /// Cluster, or parent topic, whose brokers are asked.
    #[arg(short, long)]
    cluster: Option<String>,
}

impl ConsumerProgress {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        match &self.group_name {
            Some(group) => self.one(ctx, group.trim()).await,
            None => all(ctx).await,
        }
    }

    async fn one(&self, ctx: &Context, group: &str) -> Result<(), ClientError> {
        let topic = self.topic_name.as_deref().map(str::trim);
        let found_by = self.cluster.as_deref().map(str::trim);
        let stats = group_stats(ctx, group, topic, found_by).await?;
        let owners = match self.show_client_ip {
            Some(true) => owners(ctx, group).await,
            _ => BTreeMap::new(),
        };
        let mut queues: Vec<(&MessageQueue, &OffsetWrapper)> = stats.offset_table.iter().collect();
        queues.sort_by_key(|(q, _)| (q.topic.as_str(), q.broker_name.as_str(), q.queue_id));
        let diff = |o: &OffsetWrapper| o.broker_offset - o.consumer_offset;
        let inflight = |o: &OffsetWrapper| o.pull_offset - o.consumer_offset;
        let diff_total: i64 = queues.iter().map(|(_, offset)| diff(offset)).sum();
        let inflight_total: i64 = queues.iter().map(|(_, offset)| inflight(offset)).sum();
        let rows: Vec<_> = queues
            .iter()
            .map(|(queue, offset)| {
                json!({
                    "topic": queue.topic,
                    "brokerName": queue.broker_name,
                    "queueId": queue.queue_id,
                    "brokerOffset": offset.broker_offset,
                    "consumerOffset": offset.consumer_offset,
                    "diff": diff(offset),
                    "inflight": inflight(offset),
                    "lastTimestamp": offset.last_timestamp,
                    "clientIp": owners.get(*queue),
                })
            })
            .collect();
        let value = json!({
            "group": group,
            "consumeTps": stats.consume_tps,
            "diffTotal": diff_total,
            "inflightTotal": inflight_total,
            "queues": rows,
        });
        ctx.out.show(&value, || {
            let with_ip = self.show_client_ip == Some(true);
            let row = |c: [&str; 9]| {
                let ip = if with_ip {
                    format!("{:<20} ", c[5])
                } else {
                    String::new()
                };
                println!(
                    "{:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {ip}{:<20} {:<20} {}",
                    c[0], c[1], c[2], c[3], c[4], c[6], c[7], c[8]
                );
            };
            row([
                "#Topic",
                "#Broker Name",
                "#QID",
                "#Broker Offset",
                "#Consumer Offset",
                "#Client IP",
                "#Diff",
                "#Inflight",
                "#LastTime",
            ]);
            for (queue, offset) in &queues {
                let last = match offset.last_timestamp {
                    0 => "N/A".to_owned(),
                    ms => time::with_seconds(ms),
                };
                row([
                    cut(&queue.topic, 64),
                    cut(&queue.broker_name, 32),
                    &queue.queue_id.to_string(),
                    &offset.broker_offset.to_string(),
                    &offset.consumer_offset.to_string(),
                    owners.get(*queue).map_or("N/A", String::as_str),
                    &diff(offset).to_string(),
                    &inflight(offset).to_string(),
                    &last,
                ]);
            }
            println!("\nConsume TPS: {:.2}", stats.consume_tps);
            println!("Consume Diff Total: {diff_total}");
            println!("Consume Inflight Total: {inflight_total}");
        });
        Ok(())
    }
}

/// A group's offsets from all brokers that have its retry topic (or the topic `found_by`); those of static
/// topics by logic queue.
pub(super) async fn group_stats(
    ctx: &Context,
    group: &str,
    topic: Option<&str>,
    found_by: Option<&str>,
) -> Result<ConsumeStats, ClientError> {
    let retry = names::retry_topic(group);
    let mut sum = ConsumeStats::default();
    for (_, addr) in ctx.admin.topic_brokers(found_by.unwrap_or(&retry)).await? {
        let stats = ctx.admin.consume_stats(&addr, group, topic).await?;
        sum.offset_table.extend(stats.offset_table);
        sum.consume_tps += stats.consume_tps;
    }
    if found_by.is_none() {
        static_topics_by_logic_queue(ctx, &mut sum).await?;
    }
    if sum.offset_table.is_empty() {
        let text = format!("Not found the consumer group consume stats of {group}");
        return Err(ClientError::Invalid(text));
    }
    Ok(sum)
}

async fn static_topics_by_logic_queue(
    ctx: &Context,
    stats: &mut ConsumeStats,
) -> Result<(), ClientError> {
    let queues = stats.offset_table.keys();
    let topics: BTreeSet<String> = queues.map(|queue| queue.topic.clone()).collect();
    for topic in topics {
        let brokers = match ctx.admin.static_topic(&topic).await {
            Ok(brokers) if brokers.is_empty() => continue,
            Ok(brokers) => brokers,
            // Deleted, and its offsets are still there.
            Err(ClientError::NoRoute(_)) => continue,
            Err(error) => return Err(error),
        };
        let by_logic_queue = report::consume_stats(&topic, &brokers, stats)?;
        stats.offset_table.retain(|queue, _| queue.topic != topic);
        stats.offset_table.extend(by_logic_queue.offset_table);
    }
    Ok(())
}

/// The group's connections, from the first broker that knows any.
pub(super) async fn group_connection(
    ctx: &Context,
    group: &str,
) -> Result<(String, ConsumerConnection), ClientError> {
    let mut last = ClientError::NoRoute(names::retry_topic(group));
    for (_, addr) in ctx.admin.topic_brokers(&names::retry_topic(group)).await? {
        match ctx.admin.consumer_connection(&addr, group).await {
            Ok(connection) => return Ok((addr, connection)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn owners(ctx: &Context, group: &str) -> BTreeMap<MessageQueue, String> {
    let mut owners = BTreeMap::new();
    let Ok((addr, connection)) = group_connection(ctx, group).await else {
        return owners;
    };
    for client in connection.connection_set {
        let id = &client.client_id;
        let Ok(info) = ctx
            .admin
            .consumer_running_info(&addr, group, id, false)
            .await
        else {
            continue;
        };
        let ip = id.split('@').next().unwrap_or_default();
        owners.extend(
            info.mq_table
                .into_keys()
                .map(|queue| (queue, ip.to_owned())),
        );
    }
    owners
}

async fn all(ctx: &Context) -> Result<(), ClientError> {
    let topics = ctx.admin.topics().await?.topic_list;
    let groups = topics
        .iter()
        .filter_map(|topic| topic.strip_prefix(names::RETRY_PREFIX));
    let mut rows = Vec::new();
    for group in groups {
        let stats = group_stats(ctx, group, None, None)
            .await
            .unwrap_or_default();
        let diff: i64 = stats
            .offset_table
            .values()
            .map(|o| o.broker_offset - o.consumer_offset)
            .sum();
        let connection = match group_connection(ctx, group).await {
            Ok((_, connection)) => Some(connection),
            Err(error) if error.is(ResponseCode::ConsumerNotOnline) => None,
            Err(_) => None,
        };
        rows.push((group, stats.consume_tps, diff, connection));
    }
    let values: Vec<_> = rows
        .iter()
        .map(|(group, tps, diff, connection)| {
            json!({
                "group": group,
                "count": connection.as_ref().map_or(0, |c| c.connection_set.len()),
                "version": version_text(connection.as_ref()),
                "type": connection.as_ref().map(|c| c.consume_type),
                "model": connection.as_ref().map(|c| c.message_model),
                "tps": tps,
                "diffTotal": diff,
            })
        })
        .collect();
    ctx.out.show(&values, || {
        let head = [
            "#Group",
            "#Count",
            "#Version",
            "#Type",
            "#Model",
            "#TPS",
            "#Diff Total",
        ];
        print_group(head);
        for (group, tps, diff, connection) in &rows {
            let connection = connection.as_ref();
            let count = connection.map_or(0, |c| c.connection_set.len()).to_string();
            let kind = match connection.map(|c| c.consume_type) {
                Some(ConsumeType::ConsumePassively) => "PUSH",
                Some(_) => "PULL",
                None => "",
            };
            let model = match connection.map(|c| c.message_model) {
                Some(MessageModel::Broadcasting) => "BROADCASTING",
                Some(MessageModel::Clustering) => "CLUSTERING",
                None => "",
            };
            let (tps, diff) = ((*tps as i64).to_string(), diff.to_string());
            let version = version_text(connection);
            print_group([cut(group, 64), &count, &version, kind, model, &tps, &diff]);
        }
    });
    Ok(())
}

fn print_group(cells: [&str; 7]) {
    let [group, count, version, kind, model, tps, diff] = cells;
    println!("{group:<64}  {count:<6}  {version:<24} {kind:<5}  {model:<14}  {tps:<7}  {diff}");
}

/// The lowest version among the clients.
fn version_text(connection: Option<&ConsumerConnection>) -> String {
    let lowest = connection.and_then(|c| c.connection_set.iter().map(|one| one.version).min());
    lowest.map_or_else(|| "OFFLINE".to_owned(), version::describe)
}
