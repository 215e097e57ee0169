//! What a master asks of its slaves before it serves: the offsets that clients committed there while
//! it was away. Without them it would answer with what it had when it went, and consumers would read
//! again what they had read from a slave.

use std::time::Duration;

use super::context::BrokerContext;
use crate::{
    client::RemotingClient,
    protocol::{
        RemotingCommand, RequestCode,
        body::{
            mirror::{self, OffsetsAnswer, OffsetsRequest},
            route::ClusterInfo,
        },
        fastjson,
    },
};

/// How long a start waits for NameServers and slaves altogether.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks all slaves of this broker's name that the NameServers know. Who does not answer in time is
/// passed over: its commits come with its first question as a slave.
///
/// After a kill (`was_killed`) a slave that followed the life before, `last_epoch`, knows commits that
/// never came to this broker's disk, and is believed; after a clean stop the disk knows best.
pub async fn take_back_offsets(ctx: &BrokerContext, was_killed: bool, last_epoch: u64) {
    let asked = ask_slaves(ctx, was_killed, last_epoch);
    if actix_rt::time::timeout(PATIENCE, asked).await.is_err() {
        log::info!("broker starts without having heard all NameServers or slaves");
    }
}

async fn ask_slaves(ctx: &BrokerContext, was_killed: bool, last_epoch: u64) {
    let client = ctx.registrars.client();
    for addr in slaves(ctx, client).await {
        let mut since = 0;
        while let Some(known) = ask(client, &addr, since).await {
            let (offsets, commits) = (known.offsets.len(), known.commits.len());
            if was_killed && known.epoch == last_epoch {
                for offset in &known.offsets {
                    ctx.offsets.table().mirror(offset);
                }
                log::info!("broker takes offsets back slave={addr} offsets={offsets}");
            }
            for commit in &known.commits {
                ctx.offsets.table().take_back(commit);
            }
            if commits > 0 {
                log::info!("broker takes commits of clients back slave={addr} commits={commits}");
            }
            if !known.more {
                break;
            }
            since = known.sequence;
        }
    }
}

async fn ask(client: &RemotingClient, addr: &str, since: u64) -> Option<OffsetsAnswer> {
    let question = mirror::encode(&OffsetsRequest { since }).ok()?;
    let request = RemotingCommand::request_without_header(RequestCode::CallboardOffsets);
    let answer = client
        .ask(addr, request.with_body(question), PATIENCE)
        .await
        .ok()?;
    mirror::decode(&answer.body).ok()
}

async fn slaves(ctx: &BrokerContext, client: &RemotingClient) -> Vec<String> {
    for namesrv in ctx.config.load_full().namesrv_addrs() {
        let question = RemotingCommand::request_without_header(RequestCode::GetBrokerClusterInfo);
        let Ok(answer) = client.ask(&namesrv, question, PATIENCE).await else {
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
