//! Offsets of groups: resetOffsetByTime, skipAccumulatedMessage, cloneGroupOffset.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use crate::admin::group::group_stats;
use crate::admin::output::cut;
use crate::admin::{Context, time};
use crate::client::admin::OffsetReset;
use crate::client::{ClientError, MessageQueue, now_ms};
use crate::protocol::ResponseCode;
use crate::protocol::static_topic::is_mock_broker;

#[derive(Debug, Args)]
pub(super) struct ResetOffsetByTime {
    /// Group.
    #[arg(short, long)]
    group: String,
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// `now`, ms since 1970 or `yyyy-MM-dd#HH:mm:ss:SSS`; -1 is the end.
    #[arg(short = 's', long, allow_hyphen_values = true)]
    timestamp: String,
    /// Also forwards; RocketMQ's default is true.
    #[arg(short, long)]
    force: Option<bool>,
    /// Broker address, for one queue.
    #[arg(short, long, requires = "queue")]
    broker: Option<String>,
    /// Queue id.
    #[arg(short, long, requires = "broker")]
    queue: Option<i32>,
    /// Offset for that queue instead of a time.
    #[arg(short, long, requires = "queue")]
    offset: Option<i64>,
    /// Cluster, or parent topic, whose brokers are asked.
    #[arg(short, long)]
    cluster: Option<String>,
}

impl ResetOffsetByTime {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let timestamp_ms = time::parse(&self.timestamp, now_ms())?;
        if let (Some(addr), Some(queue_id)) = (&self.broker, self.queue) {
            return self
                .one_queue(ctx, addr.trim(), queue_id, timestamp_ms)
                .await;
        }
        let reset = OffsetReset {
            group: self.group.trim(),
            topic: self.topic.trim(),
            timestamp_ms,
            force: self.force.unwrap_or(true),
            queue_id: -1,
            offset: None,
        };
        let found_by = self.cluster.as_deref().map(str::trim);
        reset_everywhere(ctx, &reset, found_by, self.timestamp.trim()).await
    }

    async fn one_queue(
        &self,
        ctx: &Context,
        addr: &str,
        queue_id: i32,
        timestamp_ms: i64,
    ) -> Result<(), ClientError> {
        let (group, topic) = (self.group.trim(), self.topic.trim());
        let text = self.timestamp.trim();
        if !ctx.out.json {
            println!(
                "start reset consumer offset by specified, group[{group}], topic[{topic}], \
                 queueId[{queue_id}], broker[{addr}], timestamp(string)[{text}], \
                 timestamp(long)[{timestamp_ms}]"
            );
        }
        let offset = match self.offset {
            Some(offset) => offset,
            None => {
                let queue = MessageQueue::new(topic, "", queue_id);
                ctx.admin
                    .search_offset_at(addr, &queue, timestamp_ms)
                    .await?
            }
        };
        if !ctx.out.json {
            println!("reset consumer offset to {offset}");
        }
        if offset > 0 {
            let reset = OffsetReset {
                group,
                topic,
                timestamp_ms: 0,
                force: true,
                queue_id,
                offset: Some(offset),
            };
            ctx.admin.reset_offset(addr, &reset).await?;
        }
        ctx.out
            .show(&json!({ "queueId": queue_id, "offset": offset }), || {});
        Ok(())
    }
}

async fn reset_everywhere(
    ctx: &Context,
    reset: &OffsetReset<'_>,
    found_by: Option<&str>,
    text: &str,
) -> Result<(), ClientError> {
    let mut table = BTreeMap::new();
    for (broker, addr) in ctx
        .admin
        .topic_brokers(found_by.unwrap_or(reset.topic))
        .await?
    {
        match ctx.admin.reset_offset(&addr, reset).await {
            Ok(offsets) => table.extend(offsets),
            // An old broker resets through online consumers only; without one its offsets are
            // set directly.
            Err(error) if error.is(ResponseCode::ConsumerNotOnline) => {
                table.extend(reset_offline(ctx, reset, &broker, &addr).await?);
            }
            Err(error) => return Err(error),
        }
    }
    let rows: Vec<_> = table
        .iter()
        .map(|(queue, offset)| {
            json!({ "brokerName": queue.broker_name, "queueId": queue.queue_id, "offset": offset })
        })
        .collect();
    ctx.out.show(&rows, || {
        let OffsetReset {
            group,
            topic,
            force,
            timestamp_ms,
            ..
        } = reset;
        println!(
            "start reset consumer offset by specified, group[{group}], topic[{topic}], \
             force[{force}], timestamp(string)[{text}], timestamp(long)[{timestamp_ms}]"
        );
        println!(
            "{:<40}  {:<40}  {:<40}",
            "#brokerName", "#queueId", "#offset"
        );
        for (queue, offset) in &table {
            let broker = cut(&queue.broker_name, 32);
            println!("{broker:<40}  {:<40}  {offset:<40}", queue.queue_id);
        }
    });
    Ok(())
}

async fn reset_offline(
    ctx: &Context,
    reset: &OffsetReset<'_>,
    broker: &str,
    addr: &str,
) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
    let mut table = BTreeMap::new();
    let queues = ctx.admin.queues(reset.topic).await?;
    for queue in queues
        .into_iter()
        .filter(|queue| queue.broker_name == broker)
    {
        let offset = match reset.timestamp_ms {
            -1 => ctx.admin.max_offset(&queue).await?,
            ms => ctx.admin.search_offset(&queue, ms).await?,
        };
        ctx.admin
            .update_offset(addr, reset.group, &queue, offset)
            .await?;
        table.insert(queue, offset);
    }
    Ok(table)
}

#[derive(Debug, Args)]
pub(super) struct SkipAccumulatedMessage {
    /// Group.
    #[arg(short, long)]
    group: String,
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Also backwards.
    #[arg(short, long)]
    force: Option<bool>,
    /// Cluster, or parent topic, whose brokers are asked.
    #[arg(short, long)]
    cluster: Option<String>,
}

impl SkipAccumulatedMessage {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let reset = OffsetReset {
            group: self.group.trim(),
            topic: self.topic.trim(),
            timestamp_ms: -1,
            force: self.force.unwrap_or(true),
            queue_id: -1,
            offset: None,
        };
        reset_everywhere(ctx, &reset, self.cluster.as_deref().map(str::trim), "-1").await
    }
}

#[derive(Debug, Args)]
pub(super) struct CloneGroupOffset {
    /// Group to copy from.
    #[arg(short = 's', long = "srcGroup")]
    src_group: String,
    /// Group to copy to.
    #[arg(short = 'd', long = "destGroup")]
    dest_group: String,
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// Accepted for RocketMQ's sake.
    #[arg(short, long)]
    offline: Option<bool>,
}

impl CloneGroupOffset {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let (from, to) = (self.src_group.trim(), self.dest_group.trim());
        let topic = self.topic.trim();
        let stats = group_stats(ctx, from, Some(topic), None).await?;
        for (queue, offset) in stats
            .offset_table
            .iter()
            .filter(|(queue, _)| queue.topic == topic)
        {
            let offset = offset.consumer_offset;
            if is_mock_broker(&queue.broker_name) {
                ctx.admin.commit_offset(to, queue, offset).await?;
                continue;
            }
            let addr = ctx.admin.broker_addr(&queue.broker_name).await?;
            ctx.admin.update_offset(&addr, to, queue, offset).await?;
        }
        let text = format!(
            "clone group offset success. srcGroup[{from}], destGroup=[{to}], topic[{topic}]"
        );
        ctx.out.done(&text);
        Ok(())
    }
}
