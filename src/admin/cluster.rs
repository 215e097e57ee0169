//! clusterList.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::admin::Context;
use crate::client::{ClientError, now_ms};
use crate::protocol::body::route::ClusterInfo;

type Table = BTreeMap<String, String>;

#[derive(Debug, Args)]
pub(super) struct ClusterList {
    /// Messages of yesterday and today instead of rates.
    #[arg(short = 'm', long = "moreStats")]
    more_stats: bool,
    /// Prints again and again, so many seconds apart.
    #[arg(short, long)]
    interval: Option<u64>,
    /// One cluster only.
    #[arg(short, long = "clusterName")]
    cluster_name: Option<String>,
}

/// One broker of one cluster.
struct Row {
    cluster: String,
    broker: String,
    id: i64,
    addr: String,
    table: Table,
}

impl ClusterList {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        loop {
            let info = ctx.admin.cluster_info().await?;
            let rows = self.rows(ctx, &info).await;
            let values: Vec<_> = rows
                .iter()
                .map(|row| {
                    json!({
                        "cluster": row.cluster,
                        "brokerName": row.broker,
                        "brokerId": row.id,
                        "addr": row.addr,
                        "runtime": row.table,
                    })
                })
                .collect();
            ctx.out.show(&values, || {
                if self.more_stats {
                    print_more(&rows)
                } else {
                    print_base(&rows)
                }
            });
            let Some(seconds) = self.interval else {
                return Ok(());
            };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
    }

    async fn rows(&self, ctx: &Context, info: &ClusterInfo) -> Vec<Row> {
        let wanted = self
            .cluster_name
            .as_deref()
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let mut rows = Vec::new();
        for (cluster, names) in &info.cluster_addr_table {
            if wanted.is_some_and(|name| name != cluster) {
                continue;
            }
            let mut names = names.clone();
            names.sort();
            for name in names {
                let Some(broker) = info.broker_addr_table.get(&name) else {
                    continue;
                };
                for (id, addr) in &broker.broker_addrs {
                    let table = match ctx.admin.broker_runtime_info(addr).await {
                        Ok(table) => table.table,
                        Err(error) => {
                            eprintln!("mqadmin: {error}");
                            Table::new()
                        }
                    };
                    rows.push(Row {
                        cluster: cluster.clone(),
                        broker: name.clone(),
                        id: *id,
                        addr: addr.clone(),
                        table,
                    });
                }
            }
        }
        rows
    }
}

impl Row {
    fn text(&self, key: &str) -> &str {
        self.table.get(key).map_or("", String::as_str)
    }

    /// The first number of a value; 0 when there is none.
    fn number(&self, key: &str) -> f64 {
        let first = self.text(key).split_whitespace().next();
        first.and_then(|text| text.parse().ok()).unwrap_or(0.0)
    }
}

fn print_base(rows: &[Row]) {
    println!(
        "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {:>16}  {:>30}  {:<22}  {:<11}  {:<12}  {:<8}  {:<10}",
        "#Cluster Name",
        "#Broker Name",
        "#BID",
        "#Addr",
        "#Version",
        "#InTPS(LOAD)",
        "#OutTPS(LOAD)",
        "#Timer(Progress)",
        "#PCWait(ms)",
        "#Hour",
        "#SPACE",
        "#ACTIVATED"
    );
    for row in rows {
        let ack = |key| match row.text(key) {
            "" => "N",
            text => text,
        };
        let load_in = format!(
            "{:9.2}({},{}ms)",
            row.number("putTps"),
            row.text("sendThreadPoolQueueSize"),
            row.text("sendThreadPoolQueueHeadWaitTimeMills")
        );
        let load_out = format!(
            "{:9.2}({},{}ms|{},{}ms)",
            row.number("getTransferredTps"),
            row.text("pullThreadPoolQueueSize"),
            row.text("pullThreadPoolQueueHeadWaitTimeMills"),
            ack("ackThreadPoolQueueSize"),
            ack("ackThreadPoolQueueHeadWaitTimeMills")
        );
        let timer = format!(
            "{}-{}({:.1}w, {:.1}, {:.1})",
            row.number("timerReadBehind"),
            row.number("timerOffsetBehind"),
            row.number("timerCongestNum") / 10_000.0,
            row.number("timerEnqueueTps"),
            row.number("timerDequeueTps")
        );
        let hour = match row.text("earliestMessageTimeStamp").parse::<i64>() {
            Ok(ms) => now_ms().saturating_sub(ms) as f64 / 3_600_000.0,
            Err(_) => 0.0,
        };
        println!(
            "{:<22}  {:<22}  {:<4}  {:<22} {:<16}  {load_in:>16}  {load_out:>30}  {timer:<22}  \
             {:>11}  {:<12}  {:<8}  {:>10}",
            row.cluster,
            row.broker,
            row.id,
            row.addr,
            row.text("brokerVersionDesc"),
            row.text("pageCacheLockTimeMills"),
            format!("{hour:.2}"),
            format!("{:.4}", row.number("commitLogDiskRatio")),
            row.text("brokerActive") == "true",
        );
    }
}

fn print_more(rows: &[Row]) {
    println!(
        "{:<16}  {:<32} {:>14} {:>14} {:>14} {:>14}",
        "#Cluster Name",
        "#Broker Name",
        "#InTotalYest",
        "#OutTotalYest",
        "#InTotalToday",
        "#OutTotalToday"
    );
    for row in rows {
        let diff = |to: &str, from: &str| row.number(to) as i64 - row.number(from) as i64;
        println!(
            "{:<16}  {:<32} {:>14} {:>14} {:>14} {:>14}",
            row.cluster,
            row.broker,
            diff("msgPutTotalTodayMorning", "msgPutTotalYesterdayMorning"),
            diff("msgGetTotalTodayMorning", "msgGetTotalYesterdayMorning"),
            diff("msgPutTotalTodayNow", "msgPutTotalTodayMorning"),
            diff("msgGetTotalTodayNow", "msgGetTotalTodayMorning"),
        );
    }
}
