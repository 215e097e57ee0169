//! What brokers keep: brokerConsumeStats, producer, haStatus, getConsumerConfig, queryCq.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::admin::output::cut;
use crate::admin::topic::Target;
use crate::admin::{Context, time};
use crate::client::ClientError;
use crate::protocol::FieldValue::{Bool, Int, Str as Text};
use crate::protocol::body::connection::ProducerTableInfo;
use crate::protocol::body::ha::HaRuntimeInfo;
use crate::protocol::body::query::QueryConsumeQueueResponseBody;
use crate::protocol::body::stats::ConsumeStatsList;
use crate::protocol::body::subscription_group::{
    SubscriptionGroupConfig, SubscriptionGroupWrapper,
};
use crate::protocol::language::version;
use crate::protocol::{RequestCode, fastjson};

#[derive(Debug, Args)]
pub(super) struct BrokerConsumeStats {
    /// Broker address.
    #[arg(short, long = "brokerAddr")]
    broker_addr: String,
    /// Accepted for RocketMQ's sake.
    #[arg(short, long = "timeoutMillis")]
    timeout_millis: Option<u64>,
    /// Only queues whose lag is at least this.
    #[arg(short, long, default_value_t = 0)]
    level: i64,
    /// Only groups that consume in order.
    #[arg(short, long)]
    order: Option<bool>,
}

impl BrokerConsumeStats {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let fields = [("isOrder", Bool(self.order.unwrap_or(false)))];
        let code = RequestCode::GetBrokerConsumeStats;
        let list: ConsumeStatsList = ctx
            .admin
            .ask_json(self.broker_addr.trim(), code, &fields)
            .await?;
        let groups = list.consume_stats_list.iter().flatten();
        let mut rows = Vec::new();
        for (group, stats) in groups {
            for (queue, offset) in stats.iter().flat_map(|stats| &stats.offset_table) {
                let diff = offset.broker_offset - offset.consumer_offset;
                if diff >= self.level {
                    rows.push((group, queue, offset, diff));
                }
            }
        }
        let values: Vec<_> = rows
            .iter()
            .map(|(group, queue, offset, diff)| {
                json!({
                    "topic": queue.topic,
                    "group": group,
                    "brokerName": queue.broker_name,
                    "queueId": queue.queue_id,
                    "brokerOffset": offset.broker_offset,
                    "consumerOffset": offset.consumer_offset,
                    "diff": diff,
                    "lastTimestamp": offset.last_timestamp,
                })
            })
            .collect();
        let value = json!({ "totalDiff": list.total_diff, "queues": values });
        ctx.out.show(&value, || {
            let row = |c: [&str; 8]| {
                println!(
                    "{:<64}  {:<64}  {:<32}  {:<4}  {:<20}  {:<20}  {:<20}  {}",
                    c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
                );
            };
            row([
                "#Topic",
                "#Group",
                "#Broker Name",
                "#QID",
                "#Broker Offset",
                "#Consumer Offset",
                "#Diff",
                "#LastTime",
            ]);
            for (group, queue, offset, diff) in &rows {
                let last = match offset.last_timestamp {
                    ms if ms > 0 => time::with_seconds(ms),
                    _ => "-".to_owned(),
                };
                row([
                    cut(&queue.topic, 64),
                    group,
                    cut(&queue.broker_name, 32),
                    &queue.queue_id.to_string(),
                    &offset.broker_offset.to_string(),
                    &offset.consumer_offset.to_string(),
                    &diff.to_string(),
                    &last,
                ]);
            }
            println!("\nDiff Total: {}", list.total_diff);
        });
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct Producer {
    /// Broker address.
    #[arg(short, long)]
    broker: String,
}

impl Producer {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let code = RequestCode::GetAllProducerInfo;
        let info: ProducerTableInfo = ctx.admin.ask_json(self.broker.trim(), code, &[]).await?;
        ctx.out.show(&info, || {
            for (group, producers) in &info.data {
                if producers.is_empty() {
                    println!("producer group ({group}) instances are empty");
                }
                for one in producers {
                    println!(
                        "producer group ({group}) instance : clientId={},remoteIP={}, language={}, \
                         version={}, lastUpdateTimestamp={}",
                        one.client_id,
                        one.remote_ip,
                        one.language,
                        version::describe(one.version),
                        one.last_update_timestamp
                    );
                }
            }
        });
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct HaStatus {
    #[command(flatten)]
    target: Target,
    /// Prints again and again, so many seconds apart.
    #[arg(short, long)]
    interval: Option<u64>,
}

impl HaStatus {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        loop {
            for addr in self.target.addrs(ctx).await? {
                let code = RequestCode::GetBrokerHaStatus;
                let info: HaRuntimeInfo = ctx.admin.ask_json(&addr, code, &[]).await?;
                ctx.out.show(&info, || print_ha(&addr, &info));
            }
            let Some(seconds) = self.interval else {
                return Ok(());
            };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }
}

fn print_ha(addr: &str, info: &HaRuntimeInfo) {
    if !info.master {
        let slave = &info.ha_client_runtime_info;
        println!(
            "\n#MasterAddr\t{}",
            slave.master_addr.as_deref().unwrap_or("null")
        );
        println!("#CommitLogMaxOffset\t{}", slave.max_offset);
        println!(
            "#TransferSpeed(KB/s)\t{:.2}",
            slave.transferred_byte_in_second as f64 / 1024.0
        );
        println!(
            "#LastReadTime\t{}",
            time::with_ms(slave.last_read_timestamp)
        );
        println!(
            "#LastWriteTime\t{}",
            time::with_ms(slave.last_write_timestamp)
        );
        println!("#MasterFlushOffset\t{}", slave.master_flush_offset);
        return;
    }
    println!("\n#MasterAddr\t{addr}");
    println!(
        "#MasterCommitLogMaxOffset\t{}",
        info.master_commit_log_max_offset
    );
    println!("#SlaveNum\t{}", info.ha_connection_info.len());
    println!("#InSyncSlaveNum\t{}", info.in_sync_slave_nums);
    println!(
        "{:<32}  {:<16} {:>16} {:>16} {:>16} {:>16}",
        "#SlaveAddr",
        "#SlaveAckOffset",
        "#Diff",
        "#TransferSpeed(KB/s)",
        "#Status",
        "#TransferFromWhere"
    );
    for slave in &info.ha_connection_info {
        println!(
            "{:<32}  {:<16} {:>16} {:>16.2} {:>16} {:>16}",
            slave.addr,
            slave.slave_ack_offset,
            slave.diff,
            slave.transferred_byte_in_second as f64 / 1024.0,
            if slave.in_sync { "OK" } else { "Fall Behind" },
            slave.transfer_from_where
        );
    }
}

#[derive(Debug, Args)]
pub(super) struct GetConsumerConfig {
    /// Group.
    #[arg(short, long = "groupName")]
    group_name: String,
}

impl GetConsumerConfig {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let group = self.group_name.trim();
        let info = ctx.admin.cluster_info().await?;
        let mut found: BTreeMap<String, SubscriptionGroupConfig> = BTreeMap::new();
        for (name, broker) in &info.broker_addr_table {
            let Some(addr) = broker.select_addr() else {
                continue;
            };
            let code = RequestCode::GetAllSubscriptiongroupConfig;
            let all: SubscriptionGroupWrapper = ctx.admin.ask_json(addr, code, &[]).await?;
            if let Some(config) = all.subscription_group_table.get(group) {
                found.insert(format!("{}:{name}", broker.cluster), config.clone());
            }
        }
        if found.is_empty() {
            return Err(ClientError::Invalid(format!(
                "no broker has the group {group}"
            )));
        }
        ctx.out.show(&found, || {
            for (place, config) in &found {
                println!("============================={place}=============================");
                let fields = serde_json::to_value(config).unwrap_or_default();
                for (key, value) in fields.as_object().into_iter().flatten() {
                    println!(
                        "{key:<40}=  {}",
                        value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned)
                    );
                }
            }
        });
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct QueryCq {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Queue id.
    #[arg(short, long)]
    queue: i32,
    /// First index.
    #[arg(short, long)]
    index: i64,
    /// Entries.
    #[arg(short, long, default_value_t = 10)]
    count: i32,
    /// Broker address; any broker of the topic without it.
    #[arg(short, long)]
    broker: Option<String>,
    /// Group whose filter is applied.
    #[arg(short = 'g', long)]
    consumer: Option<String>,
}

impl QueryCq {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let topic = self.topic.trim();
        let addr = match &self.broker {
            Some(addr) => addr.trim().to_owned(),
            None => {
                let brokers = ctx.admin.topic_brokers(topic).await?;
                let none = || ClientError::NoRoute(topic.to_owned());
                brokers.into_iter().next().ok_or_else(none)?.1
            }
        };
        let mut fields = vec![
            ("topic", Text(topic)),
            ("queueId", Int(self.queue.into())),
            ("index", Int(self.index)),
            ("count", Int(self.count.into())),
        ];
        fields.extend(
            self.consumer
                .as_deref()
                .map(|group| ("consumerGroup", Text(group))),
        );
        let code = RequestCode::QueryConsumeQueue;
        let body: QueryConsumeQueueResponseBody = ctx.admin.ask_json(&addr, code, &fields).await?;
        ctx.out.show(&body, || self.print(&body));
        Ok(())
    }

    fn print(&self, body: &QueryConsumeQueueResponseBody) {
        let line = "======================================";
        if let Some(data) = &body.subscription_data {
            println!(
                "Subscription data: \n{}\n{line}",
                fastjson::to_string(data).unwrap_or_default()
            );
        }
        if let Some(data) = &body.filter_data {
            println!("Filter data: \n{data}\n{line}");
        }
        let (max, min) = (body.max_queue_index, body.min_queue_index);
        println!("Queue data: \nmax: {max}, min: {min}\n{line}");
        for (index, entry) in (self.index..).zip(body.queue_data.iter().flatten()) {
            println!("idx: {index}");
            println!("phyOffset: {}", entry.physic_offset);
            println!("physicSize: {}", entry.physic_size);
            println!("tagsCode: {}", entry.tags_code);
            for (name, text) in [
                ("extend", &entry.extend_data_json),
                ("bitMap", &entry.bit_map),
                ("msg", &entry.msg),
            ] {
                if let Some(text) = text {
                    println!("{name}: {text}");
                }
            }
            println!("{line}");
        }
    }
}
