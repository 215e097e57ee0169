//! Brokers: brokerStatus, getBrokerConfig, updateBrokerConfig and the cleaning orders.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use crate::admin::Context;
use crate::admin::topic::Target;
use crate::client::ClientError;
use crate::protocol::RequestCode;

#[derive(Debug, Args)]
pub(super) struct BrokerStatus {
    #[command(flatten)]
    target: Target,
}

impl BrokerStatus {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let with_addr = self.target.cluster_name.is_some();
        let mut all = BTreeMap::new();
        for addr in self.target.addrs(ctx).await? {
            let table = ctx.admin.broker_runtime_info(&addr).await?.table;
            for (key, value) in table.iter().filter(|_| !ctx.out.json) {
                if with_addr {
                    println!("{addr:<24} {key:<32}: {value}");
                } else {
                    println!("{key:<32}: {value}");
                }
            }
            all.insert(addr, table);
        }
        ctx.out.show(&all, || {});
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct GetBrokerConfig {
    #[command(flatten)]
    target: Target,
}

impl GetBrokerConfig {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let masters = self.target.addrs(ctx).await?;
        let mut all = BTreeMap::new();
        for addr in self.target.all_addrs(ctx).await? {
            let config = ctx.admin.broker_config(&addr).await?;
            if !ctx.out.json {
                match (&self.target.cluster_name, masters.contains(&addr)) {
                    (Some(_), true) => println!("============Master: {addr}============"),
                    (Some(_), false) => println!("============Slave: {addr}============"),
                    (None, _) => println!("============{addr}============"),
                }
                print_config(&config);
                println!();
            }
            all.insert(addr, config);
        }
        ctx.out.show(&all, || {});
        Ok(())
    }
}

/// Keys and values in RocketMQ's columns.
pub(super) fn print_config(config: &BTreeMap<String, String>) {
    for (key, value) in config {
        println!("{key:<50}=  {value}");
    }
}

#[derive(Debug, Args)]
pub(super) struct UpdateBrokerConfig {
    #[command(flatten)]
    target: Target,
    /// Slaves too.
    #[arg(short = 'a', long = "updateAllBroker")]
    update_all_broker: Option<bool>,
    /// Key.
    #[arg(short, long)]
    key: String,
    /// Value.
    #[arg(short, long, allow_hyphen_values = true)]
    value: String,
}

impl UpdateBrokerConfig {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let addrs = match self.update_all_broker {
            Some(true) => self.target.all_addrs(ctx).await?,
            _ => self.target.addrs(ctx).await?,
        };
        for addr in addrs {
            ctx.admin
                .update_broker_config(&addr, self.key.trim(), self.value.trim())
                .await?;
            ctx.out
                .done(&format!("update broker config success, {addr}"));
        }
        Ok(())
    }
}

/// Which brokers an order goes to: one, those of a cluster, or all.
#[derive(Debug, Args)]
struct OrderTarget {
    /// Broker address.
    #[arg(short = 'b', long = "brokerAddr")]
    broker_addr: Option<String>,
    /// Cluster.
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

impl OrderTarget {
    async fn give(&self, ctx: &Context, code: RequestCode) -> Result<(), ClientError> {
        let mut addrs = Vec::new();
        match (&self.broker_addr, &self.cluster) {
            (Some(addr), _) => addrs.push(addr.trim().to_owned()),
            (None, Some(cluster)) => addrs.extend(ctx.admin.masters(cluster.trim()).await?),
            (None, None) => {
                for cluster in ctx.admin.cluster_info().await?.cluster_addr_table.keys() {
                    addrs.extend(ctx.admin.masters(cluster).await?);
                }
            }
        }
        let mut failed = false;
        for addr in addrs {
            if let Err(error) = ctx.admin.order(&addr, code).await {
                eprintln!("mqadmin: {error}");
                failed = true;
            }
        }
        let text = if failed { "fail" } else { "success" };
        ctx.out
            .show(&json!({ "result": text }), || println!("{text}"));
        Ok(())
    }
}

macro_rules! orders {
    ($($name:ident => $code:ident,)+) => {
        $(
            #[derive(Debug, Args)]
            pub(super) struct $name {
                #[command(flatten)]
                target: OrderTarget,
            }

            impl $name {
                pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
                    self.target.give(ctx, RequestCode::$code).await
                }
            }
        )+
    };
}

orders! {
    CleanExpiredCq => CleanExpiredConsumequeue,
    DeleteExpiredCommitLog => DeleteExpiredCommitlog,
    CleanUnusedTopic => CleanUnusedTopic,
}
