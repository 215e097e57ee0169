//! The slave's side of everything but the log: keeps topics, groups and offsets as its master has
//! them.
//!
//! Between our brokers the master holds the question until it has news: topics and groups are here as
//! soon as a round trip takes, commits within a few hundred milliseconds, and those that clients made
//! here while the master was away go to it first.
//! A Java master is asked for its tables, all of them, as RocketMQ's slaves do (`SlaveSynchronize`).
//! Nothing is owned here: a restart asks for everything once more.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, Supervised, WrapFuture,
    fut::ActorFutureExt,
};
use serde::de::DeserializeOwned;

use crate::{
    actors::{
        broker::{
            registrar::Registrars,
            tables::{offsets::Offsets, subscriptions::SubscriptionGroups, topics::Topics},
        },
        delivery::{schedule::DelayOffsets, timer::TimerMarks},
        kernel::{ActorCell, Shutdown, lock},
    },
    client::{ClientError, RemotingClient, RemotingConfig},
    crashable,
    protocol::{
        RemotingCommand, RequestCode, ResponseCode,
        body::{
            mirror::{self, COMMITS_PER_REQUEST_MAX, MirrorAnswer, MirrorRequest, MirroredOffset},
            offset::{ConsumerOffsetTable, DelayOffsetTable},
            subscription_group::SubscriptionGroupWrapper,
            topic_config::TopicConfigAndMappingSerializeWrapper,
        },
        fastjson,
        header::offset::UpdateConsumerOffsetRequestHeader,
    },
    store::{epoch::EpochFile, timer::checkpoint::TimerCheckpoint},
};

/// Pause while no master is known.
const PAUSE_WITHOUT_MASTER: Duration = Duration::from_millis(100);

/// Pause after a question that failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Tables come whole: after some came, the pause is so many times what taking them took, so that they
/// take a tenth of the time however often they change, unless that pause would be the longest.
const PAUSE_PER_TABLES: u32 = 9;

/// The shortest pause after tables.
const PAUSE_OF_TABLES_MIN: Duration = Duration::from_millis(10);

/// The longest.
const PAUSE_OF_TABLES_MAX: Duration = Duration::from_secs(1);

/// Pause between two copies of a Java master's tables (RocketMQ: 60 s).
const PAUSE_OF_JAVA: Duration = Duration::from_secs(10);

/// Pause between two copies of timermetrics, which changes with each timed message.
const PAUSE_OF_METRICS: Duration = Duration::from_secs(10);

/// How long an answer may take; longer than the master holds a question.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The tables that a slave keeps as its master has them.
#[derive(Clone)]
pub struct MirrorSource {
    /// Name the master.
    pub registrars: Registrars,
    /// Topics.
    pub topics: Topics,
    /// Groups and their modes.
    pub subscriptions: SubscriptionGroups,
    /// Consumer offsets.
    pub offsets: Offsets,
    /// Offsets of the delay levels.
    pub delay: Arc<DelayOffsets>,
    /// How far the master's timer is, unless there is none here.
    pub timer: Option<Arc<TimerMarks>>,
    /// The largest epoch that is known.
    pub epoch: Arc<Mutex<EpochFile>>,
}

#[derive(Clone)]
pub(super) struct MirrorParts {
    source: MirrorSource,
    client: RemotingClient,
}

impl MirrorParts {
    pub(super) fn new(source: MirrorSource) -> Self {
        Self {
            source,
            client: RemotingClient::new(RemotingConfig::default()),
        }
    }
}

/// How far a master was mirrored.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    epoch: u64,
    sequence: u64,
    /// Whether its tables were taken at all: versions are compared only after that.
    tables: bool,
}

/// The actor; see the module.
pub struct Mirror {
    cell: Arc<ActorCell>,
    parts: MirrorParts,
    position: Position,
    master: String,
    /// Failures since the last success: one log line for each series.
    failures: u64,
    /// When timermetrics were copied last.
    metrics_copied: Option<Instant>,
}

/// How a round ended.
enum Round {
    NoMaster,
    /// Callboard's own way, and how long to pause.
    Mirrored(Position, Duration),
    /// RocketMQ's way.
    Copied,
}

impl Mirror {
    /// State for a first start and for every restart.
    pub(super) fn recover(cell: Arc<ActorCell>, parts: MirrorParts) -> Self {
        Self {
            cell,
            parts,
            position: Position::default(),
            master: String::new(),
            failures: 0,
            metrics_copied: None,
        }
    }

    fn round(&mut self, ctx: &mut Context<Self>) {
        let master = self.parts.source.registrars.master();
        let master = master
            .map(|master| master.master_addr.clone())
            .unwrap_or_default();
        if master != self.master {
            self.position = Position::default();
            self.master.clone_from(&master);
        }
        let (parts, position) = (self.parts.clone(), self.position);
        let copied = self.metrics_copied;
        let metrics = copied.is_none_or(|copied| copied.elapsed() >= PAUSE_OF_METRICS);
        if metrics {
            self.metrics_copied = Some(Instant::now());
        }
        let asked = async move {
            if let Some(timer) = &parts.source.timer {
                follow_timer(&parts, timer, &master, metrics).await?;
            }
            ask(&parts, &master, position).await
        }
        .into_actor(self);
        ctx.spawn(asked.map(|outcome, mirror, ctx| mirror.asked(outcome, ctx)));
    }

    fn asked(&mut self, outcome: Result<Round, String>, ctx: &mut Context<Self>) {
        self.cell.count_handled(1);
        let pause = match outcome {
            Ok(Round::NoMaster) => PAUSE_WITHOUT_MASTER,
            Ok(Round::Copied) => PAUSE_OF_JAVA,
            Ok(Round::Mirrored(position, pause)) => {
                self.position = position;
                pause
            }
            Err(error) => {
                if self.failures == 0 {
                    log::warn!(
                        "{} cannot copy from {}: {error}",
                        self.cell.path(),
                        self.master
                    );
                }
                self.failures += 1;
                self.cell.set_last_error(&error);
                ctx.run_later(PAUSE_AFTER_FAILURE, |mirror, ctx| mirror.round(ctx));
                return;
            }
        };
        if std::mem::take(&mut self.failures) > 0 {
            log::info!("{} copies from {} again", self.cell.path(), self.master);
        }
        ctx.run_later(pause, |mirror, ctx| mirror.round(ctx));
    }
}

async fn ask(parts: &MirrorParts, master: &str, position: Position) -> Result<Round, String> {
    if master.is_empty() {
        return Ok(Round::NoMaster);
    }
    let source = &parts.source;
    let commits = source.offsets.table().own_commits(COMMITS_PER_REQUEST_MAX);
    // The first question takes everything, whatever an earlier master left here.
    let (topics, groups) = if position.tables {
        (source.topics.version(), source.subscriptions.version())
    } else {
        Default::default()
    };
    let question = MirrorRequest {
        epoch: position.epoch,
        sequence: position.sequence,
        topics,
        groups,
        commits,
    };
    let request = RemotingCommand::request_without_header(RequestCode::CallboardMirror)
        .with_body(mirror::encode(&question)?);
    let answer = match call(parts, master, request).await {
        Err(error) if error.is(ResponseCode::RequestCodeNotSupported) => {
            copy(parts, master).await?;
            return Ok(Round::Copied);
        }
        answer => answer.map_err(text)?,
    };
    let begun = Instant::now();
    let answer: MirrorAnswer = mirror::decode(&answer.body)?;
    source.offsets.table().commits_taken(&question.commits);
    take(source, &answer).await?;
    let pause = match answer.topics.is_some() || answer.groups.is_some() {
        true => {
            let pause = begun.elapsed() * PAUSE_PER_TABLES;
            pause.clamp(PAUSE_OF_TABLES_MIN, PAUSE_OF_TABLES_MAX)
        }
        // The master gathers commits itself, and tells of tables meanwhile.
        false => Duration::ZERO,
    };
    let position = Position {
        epoch: answer.epoch,
        sequence: answer.sequence,
        tables: true,
    };
    Ok(Round::Mirrored(position, pause))
}

/// Asks how far the master's timer is, and how much waits there, as RocketMQ's slaves do
/// (`syncTimerCheckPoint`, `syncTimerMetrics`). A master without a timer refuses; then there is nothing
/// to follow.
async fn follow_timer(
    parts: &MirrorParts,
    timer: &TimerMarks,
    master: &str,
    metrics: bool,
) -> Result<(), String> {
    if master.is_empty() {
        return Ok(());
    }
    let ask = async |code| {
        let request = RemotingCommand::request_without_header(code);
        match call(parts, master, request).await {
            Ok(answer) => Ok(Some(answer)),
            Err(ClientError::Refused { .. }) => Ok(None),
            Err(error) => Err(text(error)),
        }
    };
    let Some(answer) = ask(RequestCode::GetTimerCheckPoint).await? else {
        return Ok(());
    };
    if let Some(checkpoint) = TimerCheckpoint::decode(&answer.body) {
        timer.follow(checkpoint);
    }
    if metrics && let Some(answer) = ask(RequestCode::GetTimerMetrics).await? {
        timer.mirror_metrics(json(&answer.body)?);
    }
    Ok(())
}

/// Takes what the master told. An answer of an older master than was seen before is refused, for its
/// tables are of before.
async fn take(source: &MirrorSource, answer: &MirrorAnswer) -> Result<(), String> {
    let known = lock(&source.epoch).epoch();
    if answer.epoch < known {
        return Err(format!(
            "the master's epoch is {}, a later one, {known}, was seen already",
            answer.epoch
        ));
    }
    if answer.epoch > known {
        let raised = lock(&source.epoch).raise(answer.epoch);
        raised.map_err(|error| error.to_string())?;
    }
    if let Some(topics) = &answer.topics {
        take_topics(source, json(topics.as_bytes())?).await?;
    }
    if let Some(groups) = &answer.groups {
        take_groups(source, json(groups.as_bytes())?).await?;
    }
    if let Some(modes) = &answer.modes {
        let taken = source
            .subscriptions
            .mirror_modes(json(modes.as_bytes())?)
            .await;
        taken.map_err(|error| error.to_string())?;
    }
    if let Some(delay) = &answer.delay {
        source.delay.mirror(&json(delay.as_bytes())?);
    }
    for offset in &answer.offsets {
        source.offsets.table().mirror(offset);
    }
    Ok(())
}

async fn take_topics(
    source: &MirrorSource,
    tables: TopicConfigAndMappingSerializeWrapper,
) -> Result<(), String> {
    let gone = source
        .topics
        .names_but(|name| tables.topic_config_table.contains_key(name));
    let taken = source.topics.mirror(tables).await;
    taken.map_err(|error| error.to_string())?;
    for topic in gone {
        source.offsets.table().remove_topic(&topic);
    }
    Ok(())
}

async fn take_groups(source: &MirrorSource, table: SubscriptionGroupWrapper) -> Result<(), String> {
    let names = &table.subscription_group_table;
    let gone = source
        .subscriptions
        .names_but(|name| names.contains_key(name));
    let taken = source.subscriptions.mirror(table).await;
    taken.map_err(|error| error.to_string())?;
    for group in gone {
        source.offsets.table().remove_group(&group);
    }
    Ok(())
}

/// Copies the tables of a Java master (`SlaveSynchronize.syncAll`), in its order.
async fn copy(parts: &MirrorParts, master: &str) -> Result<(), String> {
    let source = &parts.source;
    let topics: TopicConfigAndMappingSerializeWrapper =
        table(parts, master, RequestCode::GetAllTopicConfig).await?;
    let known = source.topics.mappings().version();
    let is_mapped_anew = topics
        .mapping_data_version
        .is_some_and(|version| version != known);
    if topics.data_version != source.topics.version() || is_mapped_anew {
        take_topics(source, topics).await?;
    }
    let mut offsets: ConsumerOffsetTable =
        table(parts, master, RequestCode::GetAllConsumerOffset).await?;
    hand_back(parts, master, &mut offsets).await?;
    for (key, queues) in offsets.offset_table {
        let Some((topic, group)) = key.split_once('@') else {
            continue;
        };
        for (queue_id, offset) in queues {
            source.offsets.table().mirror(&MirroredOffset {
                topic: topic.to_owned(),
                group: group.to_owned(),
                queue_id,
                offset,
            });
        }
    }
    let delay: DelayOffsetTable = table(parts, master, RequestCode::GetAllDelayOffset).await?;
    source.delay.mirror(&delay);
    let groups: SubscriptionGroupWrapper =
        table(parts, master, RequestCode::GetAllSubscriptiongroupConfig).await?;
    if groups.data_version != source.subscriptions.version() {
        take_groups(source, groups).await?;
    }
    let modes = table(parts, master, RequestCode::GetAllMessageRequestMode).await?;
    let taken = source.subscriptions.mirror_modes(modes).await;
    taken.map_err(|error| error.to_string())
}

/// Commits at a Java master what clients committed here while it was away, unless they went further
/// there since; in its table as well, which was asked for before. What it does not take, as it does not know
/// the group yet, is tried again with the next copy.
async fn hand_back(
    parts: &MirrorParts,
    master: &str,
    theirs: &mut ConsumerOffsetTable,
) -> Result<(), String> {
    let table = parts.source.offsets.table();
    let mut taken = Vec::new();
    for commit in table.own_commits(COMMITS_PER_REQUEST_MAX) {
        let offset = &commit.offset;
        let key = format!("{}@{}", offset.topic, offset.group);
        let queues = theirs.offset_table.entry(key).or_default();
        if commit.outranks(queues.get(&offset.queue_id).copied().unwrap_or(-1)) {
            let header = UpdateConsumerOffsetRequestHeader {
                consumer_group: offset.group.as_str().into(),
                topic: offset.topic.as_str().into(),
                queue_id: offset.queue_id,
                commit_offset: offset.offset,
            };
            let request = RemotingCommand::request(RequestCode::UpdateConsumerOffset, &header);
            match call(parts, master, request).await {
                Ok(_) => {}
                Err(ClientError::Refused { .. }) => continue,
                Err(error) => return Err(text(error)),
            }
            queues.insert(offset.queue_id, offset.offset);
        }
        taken.push(commit);
    }
    table.commits_taken(&taken);
    Ok(())
}

async fn table<T: DeserializeOwned>(
    parts: &MirrorParts,
    master: &str,
    code: RequestCode,
) -> Result<T, String> {
    let request = RemotingCommand::request_without_header(code);
    let answer = call(parts, master, request).await.map_err(text)?;
    json(&answer.body)
}

async fn call(
    parts: &MirrorParts,
    master: &str,
    request: RemotingCommand,
) -> Result<RemotingCommand, ClientError> {
    parts.client.ask(master, request, ANSWER_MAX).await
}

fn text(error: ClientError) -> String {
    error.to_string()
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    fastjson::from_slice(bytes).map_err(|error| error.to_string())
}

impl Actor for Mirror {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.round(ctx);
    }
}

impl Supervised for Mirror {
    fn restarting(&mut self, _: &mut Self::Context) {
        *self = Self::recover(self.cell.clone(), self.parts.clone());
    }
}

crashable!(Mirror);

impl Handler<Shutdown> for Mirror {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        self.parts.client.shut_down();
        ctx.stop();
    }
}
