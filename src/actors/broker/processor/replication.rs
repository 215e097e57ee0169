//! Requests between a master and its slaves, and those that show how replication is.

use std::time::{Duration, Instant};

use super::{answer, json};
use crate::{
    actors::{
        broker::{context::BrokerContext, refusal::Refusal},
        kernel::lock,
    },
    protocol::{
        RemotingCommand, ResponseCode,
        body::mirror::{
            self, COMMITS_PER_REQUEST_MAX, MirrorAnswer, MirrorRequest, OFFSETS_PER_ANSWER_MAX,
            OffsetsAnswer, OffsetsRequest,
        },
        fastjson,
    },
};

/// How long a slave's question is held while there is no news.
const HOLD_MAX: Duration = Duration::from_secs(3);

/// How often news of offsets are looked for; changed tables tell.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long commits are gathered before they are told, so that many go with one answer.
const GATHER: Duration = Duration::from_millis(100);

/// GET_BROKER_HA_STATUS (907).
pub fn ha_status(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    json(request, &ctx.ha_status())
}

/// CALLBOARD_MIRROR (20101): what changed since a slave asked last; held while nothing did. Topics and
/// groups are told at once, for clients at the slave miss them when this broker is lost.
pub async fn mirror(
    ctx: &BrokerContext,
    request: &RemotingCommand,
) -> Result<RemotingCommand, Refusal> {
    let question: MirrorRequest = mirror::decode(&request.body).map_err(wrong)?;
    if !ctx.is_master() {
        return Err(wrong("this broker is a slave itself".to_owned()));
    }
    for commit in question.commits.iter().take(COMMITS_PER_REQUEST_MAX) {
        ctx.offsets.table().take_back(commit);
    }
    let epoch = lock(&ctx.epoch).epoch();
    let since = if question.epoch == epoch {
        question.sequence
    } else {
        0
    };
    let begun = Instant::now();
    loop {
        // Before the look: what changes after it is not missed.
        let next_topics = ctx.topics.next_change();
        let next_groups = ctx.subscriptions.next_change();
        let topics = ctx.topics.version() != question.topics;
        let groups = ctx.subscriptions.version() != question.groups;
        let offsets = ctx.offsets.table().sequence() != since && begun.elapsed() >= GATHER;
        let is_first = question.epoch != epoch;
        if topics || groups || offsets || is_first || begun.elapsed() >= HOLD_MAX {
            let (offsets, sequence) = ctx
                .offsets
                .table()
                .changed_since(since, OFFSETS_PER_ANSWER_MAX);
            let news = MirrorAnswer {
                epoch,
                sequence,
                topics: text(topics, || ctx.topics.snapshot())?,
                groups: text(groups, || ctx.subscriptions.snapshot())?,
                modes: text(groups, || (*ctx.subscriptions.request_modes()).clone())?,
                delay: text(true, || ctx.schedule.offsets.table())?,
                offsets,
            };
            return Ok(answer(request).with_body(mirror::encode(&news).map_err(wrong)?));
        }
        tokio::select! {
            () = next_topics => {}
            () = next_groups => {}
            () = actix_rt::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// CALLBOARD_OFFSETS (20102): what a slave knows, for a master that starts.
pub fn offsets(ctx: &BrokerContext, request: &RemotingCommand) -> Result<RemotingCommand, Refusal> {
    let question: OffsetsRequest = mirror::decode(&request.body).map_err(wrong)?;
    let table = ctx.offsets.table();
    let (offsets, sequence) = table.changed_since(question.since, OFFSETS_PER_ANSWER_MAX);
    let commits = if question.since == 0 {
        table.own_commits(COMMITS_PER_REQUEST_MAX)
    } else {
        Vec::new()
    };
    let known = OffsetsAnswer {
        epoch: lock(&ctx.epoch).epoch(),
        sequence,
        more: offsets.len() == OFFSETS_PER_ANSWER_MAX,
        offsets,
        commits,
    };
    Ok(answer(request).with_body(mirror::encode(&known).map_err(wrong)?))
}

fn text<T: serde::Serialize>(
    wanted: bool,
    table: impl FnOnce() -> T,
) -> Result<Option<String>, Refusal> {
    if !wanted {
        return Ok(None);
    }
    let text = fastjson::to_string(&table()).map_err(|error| wrong(error.to_string()))?;
    Ok(Some(text))
}

fn wrong(what: String) -> Refusal {
    Refusal::new(ResponseCode::SystemError, what)
}
