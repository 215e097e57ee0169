//! What a master asks of its slaves before it serves: the offsets that clients committed there while
//! it was away. Without them it would answer with what it had when it went, and consumers would read
//! again what they had read from a slave.

use std::time::Duration;

use super::context::BrokerContext;
use crate::{
    client::RemotingClient,
    protocol::{
        RemotingCommand, RequestCode, ResponseCode,
        body::{
            mirror::{self, OwnCommits},
            route::ClusterInfo,
        },
        fastjson,
    },
};

/// How long a start waits for NameServers and slaves altogether.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks all slaves of this broker's name that the NameServers know. Who does not answer in time is
/// passed over: its commits come with its first question as a slave.
pub async fn take_back_offsets(ctx: &BrokerContext) {
    if actix_rt::time::timeout(PATIENCE, ask_slaves(ctx))
        .await
        .is_err()
    {
        log::info!("broker starts without having heard all NameServers or slaves");
    }
}

async fn ask_slaves(ctx: &BrokerContext) {
    let client = ctx.registrars.client();
    for addr in slaves(ctx, client).await {
        let question = RemotingCommand::request_without_header(RequestCode::CallboardOwnCommits);
        let Some(own) = call(client, &addr, question).await else {
            continue;
        };
        let Ok(OwnCommits { commits }) = mirror::decode(&own.body) else {
            continue;
        };
        if !commits.is_empty() {
            log::info!(
                "broker takes offsets back slave={addr} commits={}",
                commits.len()
            );
        }
        for commit in &commits {
            ctx.offsets.table().take_back(commit);
        }
    }
}

async fn slaves(ctx: &BrokerContext, client: &RemotingClient) -> Vec<String> {
    for namesrv in ctx.config.load_full().namesrv_addrs() {
        let question = RemotingCommand::request_without_header(RequestCode::GetBrokerClusterInfo);
        let Some(answer) = call(client, &namesrv, question).await else {
            continue;
        };
        let Ok(cluster) = fastjson::from_slice::<ClusterInfo>(&answer.body) else {
            continue;
        };
        let group = cluster.broker_addr_table.get(&ctx.identity.broker_name);
        let addrs = group
            .map(|group| group.broker_addrs.clone())
            .unwrap_or_default();
        return addrs
            .into_iter()
            .filter(|(id, _)| *id > 0)
            .map(|(_, addr)| addr)
            .collect();
    }
    Vec::new()
}

/// The answer, if there is one and it is a success.
async fn call(
    client: &RemotingClient,
    addr: &str,
    question: RemotingCommand,
) -> Option<RemotingCommand> {
    let answer = client.call(addr, question, PATIENCE).await.ok()?;
    (answer.code == ResponseCode::Success.code()).then_some(answer)
}
