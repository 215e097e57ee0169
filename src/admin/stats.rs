//! statsAll.

use clap::Args;
use serde_json::json;

use crate::admin::Context;
use crate::admin::group::group_stats;
use crate::admin::output::cut;
use crate::admin::topic::groups_of;
use crate::client::ClientError;
use crate::protocol::body::stats::BrokerStatsData;
use crate::protocol::message::names;

#[derive(Debug, Args)]
pub(super) struct StatsAll {
    /// Only topics with messages today.
    #[arg(short = 'a', long = "activeTopic")]
    active_topic: bool,
    /// One topic only.
    #[arg(short, long)]
    topic: Option<String>,
}

/// Rate and number of messages of the last day.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    tps: f64,
    today: i64,
}

impl StatsAll {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let wanted = self
            .topic
            .as_deref()
            .map(str::trim)
            .filter(|topic| !topic.is_empty());
        if !ctx.out.json {
            println!(
                "{:<64}  {:<64} {:>12} {:>11} {:>11} {:>14} {:>14}",
                "#Topic",
                "#Consumer Group",
                "#Accumulation",
                "#InTPS",
                "#OutTPS",
                "#InMsg24Hour",
                "#OutMsg24Hour"
            );
        }
        let mut rows = Vec::new();
        for topic in ctx.admin.topics().await?.topic_list {
            if names::is_retry_topic(&topic) || names::is_dlq_topic(&topic) {
                continue;
            }
            if wanted.is_some_and(|wanted| wanted != topic) {
                continue;
            }
            self.topic(ctx, &topic, &mut rows).await;
        }
        ctx.out.show(&rows, || {});
        Ok(())
    }

    async fn topic(&self, ctx: &Context, topic: &str, rows: &mut Vec<serde_json::Value>) {
        let input = flow(ctx, topic, "TOPIC_PUT_NUMS", topic).await;
        let groups = groups_of(ctx, topic).await;
        if groups.is_empty() && (!self.active_topic || input.today > 0) {
            rows.push(json!({ "topic": topic, "inTps": input.tps, "inToday": input.today }));
            if !ctx.out.json {
                let (none, tps, today) = ("", input.tps, input.today);
                println!(
                    "{:<64}  {none:<64} {:>12} {tps:>11.2} {none:>11} {today:>14} {:>14}",
                    cut(topic, 64),
                    0,
                    "NO_CONSUMER"
                );
            }
        }
        for group in groups {
            let output = flow(ctx, topic, "GROUP_GET_NUMS", &format!("{topic}@{group}")).await;
            let stats = group_stats(ctx, &group, Some(topic), None).await;
            let lag = stats.map_or(0, |stats| stats.total_diff().max(0));
            if self.active_topic && input.today == 0 && output.today == 0 {
                continue;
            }
            rows.push(json!({
                "topic": topic,
                "group": group,
                "accumulation": lag,
                "inTps": input.tps,
                "outTps": output.tps,
                "inToday": input.today,
                "outToday": output.today,
            }));
            if !ctx.out.json {
                println!(
                    "{:<64}  {:<64} {lag:>12} {:>11.2} {:>11.2} {:>14} {:>14}",
                    cut(topic, 64),
                    cut(&group, 64),
                    input.tps,
                    output.tps,
                    input.today,
                    output.today
                );
            }
        }
    }
}

async fn flow(ctx: &Context, topic: &str, name: &str, key: &str) -> Flow {
    let mut flow = Flow::default();
    for (_, addr) in ctx.admin.topic_brokers(topic).await.unwrap_or_default() {
        if let Ok(Some(data)) = ctx.admin.broker_stats(&addr, name, key).await {
            flow.tps += data.stats_minute.tps;
            flow.today += last_day(&data);
        }
    }
    flow
}

/// The sum of the longest window that has one.
fn last_day(data: &BrokerStatsData) -> i64 {
    let sums = [
        data.stats_day.sum,
        data.stats_hour.sum,
        data.stats_minute.sum,
    ];
    sums.into_iter().find(|sum| *sum != 0).unwrap_or(0)
}
