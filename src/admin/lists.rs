//! Many topics or groups at once, and how a group consumes: updateTopicList, updateSubGroupList,
//! setConsumeMode.

use std::path::PathBuf;

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::admin::Context;
use crate::admin::topic::Target;
use crate::client::ClientError;
use crate::protocol::body::assignment::{MessageRequestMode, SetMessageRequestModeRequestBody};
use crate::protocol::body::subscription_group::{SubscriptionGroupConfig, SubscriptionGroupList};
use crate::protocol::body::topic_config::{CreateTopicListRequestBody, TopicConfig};
use crate::protocol::{RequestCode, fastjson};

/// Reads a file with a JSON array.
fn read_list<T: DeserializeOwned>(path: &PathBuf) -> Result<Vec<T>, ClientError> {
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|source| ClientError::File {
        path: name.clone(),
        source,
    })?;
    let list: Vec<T> = fastjson::from_slice(&text)
        .map_err(|error| ClientError::Invalid(format!("{name}: {error}")))?;
    if list.is_empty() {
        return Err(ClientError::Invalid(format!("{name} is empty")));
    }
    Ok(list)
}

#[derive(Debug, Args)]
pub(super) struct UpdateTopicList {
    #[command(flatten)]
    target: Target,
    /// File with a JSON array of topics.
    #[arg(short, long)]
    filename: PathBuf,
}

impl UpdateTopicList {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let topic_config_list: Vec<TopicConfig> = read_list(&self.filename)?;
        let body = CreateTopicListRequestBody { topic_config_list };
        for addr in self.target.addrs(ctx).await? {
            ctx.admin
                .tell_json(&addr, RequestCode::UpdateAndCreateTopicList, &body)
                .await?;
            let text = format!(
                "submit batch of topic config to {addr} success, please check the result later."
            );
            ctx.out.done(&text);
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct UpdateSubGroupList {
    #[command(flatten)]
    target: Target,
    /// File with a JSON array of groups.
    #[arg(short, long)]
    filename: PathBuf,
}

impl UpdateSubGroupList {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let group_config_list: Vec<SubscriptionGroupConfig> = read_list(&self.filename)?;
        let body = SubscriptionGroupList { group_config_list };
        let code = RequestCode::UpdateAndCreateSubscriptiongroupList;
        for addr in self.target.addrs(ctx).await? {
            ctx.admin.tell_json(&addr, code, &body).await?;
            let text = format!(
                "submit batch of subscription group config to {addr} success, please check the result later."
            );
            ctx.out.done(&text);
        }
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct SetConsumeMode {
    #[command(flatten)]
    target: Target,
    /// Topic.
    #[arg(short, long = "topicName")]
    topic_name: String,
    /// Group.
    #[arg(short, long = "groupName")]
    group_name: String,
    /// `PULL` or `POP`.
    #[arg(short, long, value_parser = mode)]
    mode: MessageRequestMode,
    /// Queues that a consumer shares when it pops.
    #[arg(short = 'q', long = "popShareQueueNum", default_value_t = 0)]
    pop_share_queue_num: i32,
}

fn mode(text: &str) -> Result<MessageRequestMode, String> {
    MessageRequestMode::from_name(&text.to_ascii_uppercase()).ok_or_else(|| "PULL or POP".into())
}

impl SetConsumeMode {
    pub(super) async fn run(self, ctx: &Context) -> Result<(), ClientError> {
        let body = SetMessageRequestModeRequestBody {
            topic: self.topic_name.trim().to_owned(),
            consumer_group: self.group_name.trim().to_owned(),
            mode: self.mode,
            pop_share_queue_num: self.pop_share_queue_num,
        };
        for addr in self.target.addrs(ctx).await? {
            ctx.admin
                .tell_json(&addr, RequestCode::SetMessageRequestMode, &body)
                .await?;
            if !ctx.out.json {
                println!("set consume mode to {addr} success.");
            }
        }
        ctx.out.show(&json!(body), || {
            println!(
                "topic[{}] group[{}] consume mode[{}] popShareQueueNum[{}]",
                body.topic, body.consumer_group, body.mode, body.pop_share_queue_num
            );
        });
        Ok(())
    }
}
