//! NameServers: permissions, configuration, key-value tables.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::admin::Context;
use crate::admin::broker::print_config;
use crate::client::ClientError;
use crate::client::admin::ORDER_TOPIC_CONFIG;

#[derive(Debug, Args)]
pub(super) struct WipeWritePerm {
    /// Broker name.
    #[arg(short, long = "brokerName")]
    broker_name: String,
}

impl WipeWritePerm {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        change_permission(ctx, self.broker_name.trim(), false).await
    }
}

#[derive(Debug, Args)]
pub(super) struct AddWritePerm {
    /// Broker name.
    #[arg(short, long = "brokerName")]
    broker_name: String,
}

impl AddWritePerm {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        change_permission(ctx, self.broker_name.trim(), true).await
    }
}

async fn change_permission(ctx: &Context, broker: &str, give: bool) -> Result<(), ClientError> {
    let verb = if give { "add" } else { "wipe" };
    let mut rows = Vec::new();
    let mut failure = None;
    for (addr, result) in ctx.admin.write_permission(broker, give).await {
        let text = format!("{verb} write perm of broker[{broker}] in name server[{addr}]");
        let shown = match &result {
            Ok(count) => format!("{text} OK, {count}"),
            Err(_) => format!("{text} Failed"),
        };
        if !ctx.out.json {
            println!("{shown}");
        }
        rows.push(json!({ "namesrv": addr, "topics": result.as_ref().ok() }));
        failure = failure.or(result.err());
    }
    ctx.out.show(&rows, || {});
    failure.map_or(Ok(()), Err)
}

#[derive(Debug, Args)]
pub(super) struct GetNamesrvConfig {}

impl GetNamesrvConfig {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let all: BTreeMap<_, _> = ctx.admin.namesrv_config().await?.into_iter().collect();
        ctx.out.show(&all, || {
            for (addr, config) in &all {
                println!("============{addr}============");
                print_config(config);
            }
        });
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct UpdateNamesrvConfig {
    /// Key.
    #[arg(short, long)]
    key: String,
    /// Value.
    #[arg(short, long, allow_hyphen_values = true)]
    value: String,
}

impl UpdateNamesrvConfig {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let (key, value) = (self.key.trim(), self.value.trim());
        ctx.admin.update_namesrv_config(key, value).await?;
        ctx.out.done(&format!(
            "update name server config success!\n{key} : {value}"
        ));
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct UpdateKvConfig {
    /// Namespace.
    #[arg(short = 's', long)]
    namespace: String,
    /// Key.
    #[arg(short, long)]
    key: String,
    /// Value.
    #[arg(short, long, allow_hyphen_values = true)]
    value: String,
}

impl UpdateKvConfig {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let (namespace, key) = (self.namespace.trim(), self.key.trim());
        ctx.admin.put_kv(namespace, key, self.value.trim()).await?;
        ctx.out
            .done("create or update kv config to namespace success.");
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct DeleteKvConfig {
    /// Namespace.
    #[arg(short = 's', long)]
    namespace: String,
    /// Key.
    #[arg(short, long)]
    key: String,
}

impl DeleteKvConfig {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        ctx.admin
            .delete_kv(self.namespace.trim(), self.key.trim())
            .await?;
        ctx.out.done("delete kv config from namespace success.");
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Method {
    Put,
    Get,
    Delete,
}

#[derive(Debug, Args)]
pub(super) struct UpdateOrderConf {
    /// Topic.
    #[arg(short, long)]
    topic: String,
    /// `broker:queues;...`, to put.
    #[arg(short = 'v', long = "orderConf")]
    order_conf: Option<String>,
    /// What to do.
    #[arg(short, long, value_enum)]
    method: Method,
}

impl UpdateOrderConf {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let topic = self.topic.trim();
        match self.method {
            Method::Get => {
                let conf = ctx.admin.get_kv(ORDER_TOPIC_CONFIG, topic).await?;
                let value = json!({ "topic": topic, "orderConf": conf });
                let shown = conf.unwrap_or_default();
                ctx.out.show(&value, || {
                    println!("get orderConf success. topic=[{topic}], orderConf=[{shown}] ")
                });
            }
            Method::Put => {
                let conf = self.order_conf.as_deref().unwrap_or_default().trim();
                if conf.is_empty() {
                    return Err(ClientError::Invalid(
                        "please set orderConf with option -v.".into(),
                    ));
                }
                ctx.admin.put_kv(ORDER_TOPIC_CONFIG, topic, conf).await?;
                ctx.out.done(&format!(
                    "update orderConf success. topic=[{topic}], orderConf=[{conf}]"
                ));
            }
            Method::Delete => {
                ctx.admin.delete_kv(ORDER_TOPIC_CONFIG, topic).await?;
                ctx.out
                    .done(&format!("delete orderConf success. topic=[{topic}]"));
            }
        }
        Ok(())
    }
}
