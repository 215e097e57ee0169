//! `mqadmin`: RocketMQ's admin tool with its subcommands, options and columns.
//!
//! One file per family of subcommands; each subcommand is a struct of its options with a `run`.
//! With `--json` the same facts come as one JSON value instead of columns.

/// `println!` that does not panic when nobody reads any more, as in `mqadmin printMsg ... | head`.
macro_rules! println {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}

mod broker;
mod cluster;
mod connection;
mod group;
mod inspect;
mod lists;
mod message;
mod namesrv;
mod offset;
mod output;
mod print;
mod static_topic;
mod stats;
mod store;
mod time;
mod topic;
mod trace;

use std::ffi::OsString;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::client::{AdminClient, ClientConfig, ClientError, MqClient};
use crate::protocol::message::names;

pub(crate) use output::Output;

/// Time for one request of the tool, as in RocketMQ's.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Administers a RocketMQ cluster.
#[derive(Debug, Parser)]
#[command(
    name = "mqadmin",
    version,
    disable_help_flag = false,
    arg_required_else_help = true
)]
pub struct Cli {
    /// NameServer addresses, `;` between them.
    #[arg(short = 'n', long = "namesrvAddr", global = true, env = "NAMESRV_ADDR")]
    namesrv_addr: Option<String>,
    /// Prints JSON instead of columns.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// RocketMQ's options of two letters behind one dash, which clap takes for two options.
const TWO_LETTERS: [&str; 3] = ["-qn", "-mf", "-fr"];

impl Cli {
    /// Reads the arguments of the program; ends it where they are none of the tool's.
    pub fn of_program() -> Self {
        Self::parse_from(std::env::args_os().map(two_dashes))
    }
}

fn two_dashes(arg: OsString) -> OsString {
    match arg.to_str() {
        Some(text) if TWO_LETTERS.contains(&text) => format!("-{text}").into(),
        _ => arg,
    }
}

macro_rules! commands {
    ($($(#[$doc:meta])* $variant:ident($args:ty) = $name:literal,)+) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($(#[$doc])* #[command(name = $name)] $variant($args),)+
        }

        impl Command {
            async fn run(self, ctx: &Context) -> Result<(), ClientError> {
                match self {
                    $(Command::$variant(args) => args.run(ctx).await,)+
                }
            }
        }
    };
}

commands! {
    /// Creates or changes a topic.
    UpdateTopic(topic::UpdateTopic) = "updateTopic",
    /// Creates a static topic, or gives it more queues.
    UpdateStaticTopic(static_topic::UpdateStaticTopic) = "updateStaticTopic",
    /// Moves the queues of a static topic to other brokers.
    RemappingStaticTopic(static_topic::RemappingStaticTopic) = "remappingStaticTopic",
    /// Changes the permission of a topic.
    UpdateTopicPerm(topic::UpdateTopicPerm) = "updateTopicPerm",
    /// Deletes a topic from brokers and NameServers.
    DeleteTopic(topic::DeleteTopic) = "deleteTopic",
    /// Lists topics.
    TopicList(topic::TopicList) = "topicList",
    /// Shows the route of a topic.
    TopicRoute(topic::TopicRoute) = "topicRoute",
    /// Shows the offsets of a topic's queues.
    TopicStatus(topic::TopicStatus) = "topicStatus",
    /// Shows the clusters of a topic.
    TopicClusterList(topic::TopicClusterList) = "topicClusterList",
    /// Shows how queues would be divided among consumers.
    AllocateMq(topic::AllocateMq) = "allocateMQ",
    /// Creates or changes a subscription group.
    UpdateSubGroup(group::UpdateSubGroup) = "updateSubGroup",
    /// Deletes a subscription group.
    DeleteSubGroup(group::DeleteSubGroup) = "deleteSubGroup",
    /// Shows how far consumer groups are.
    ConsumerProgress(group::ConsumerProgress) = "consumerProgress",
    /// Shows what consumers say about themselves.
    ConsumerStatus(connection::ConsumerStatus) = "consumerStatus",
    /// Shows the clients of a consumer group.
    ConsumerConnection(connection::ConsumerConnection) = "consumerConnection",
    /// Shows the clients of a producer group.
    ProducerConnection(connection::ProducerConnection) = "producerConnection",
    /// Lists the brokers of the clusters.
    ClusterList(cluster::ClusterList) = "clusterList",
    /// Shows the run-time numbers of a broker.
    BrokerStatus(broker::BrokerStatus) = "brokerStatus",
    /// Shows how far all groups of a broker are.
    BrokerConsumeStats(inspect::BrokerConsumeStats) = "brokerConsumeStats",
    /// Shows all producers of a broker.
    Producer(inspect::Producer) = "producer",
    /// Shows the replication of a broker.
    HaStatus(inspect::HaStatus) = "haStatus",
    /// Shows the configuration of a group on every broker.
    GetConsumerConfig(inspect::GetConsumerConfig) = "getConsumerConfig",
    /// Shows entries of a consume queue.
    QueryCq(inspect::QueryCq) = "queryCq",
    /// Creates or changes the topics of a file.
    UpdateTopicList(lists::UpdateTopicList) = "updateTopicList",
    /// Creates or changes the subscription groups of a file.
    UpdateSubGroupList(lists::UpdateSubGroupList) = "updateSubGroupList",
    /// Lets a group pull or pop a topic.
    SetConsumeMode(lists::SetConsumeMode) = "setConsumeMode",
    /// Shows the configuration of a broker.
    GetBrokerConfig(broker::GetBrokerConfig) = "getBrokerConfig",
    /// Changes the configuration of a broker.
    UpdateBrokerConfig(broker::UpdateBrokerConfig) = "updateBrokerConfig",
    /// Deletes consume queues that lost their messages.
    CleanExpiredCq(broker::CleanExpiredCq) = "cleanExpiredCQ",
    /// Deletes commit-log files that are out of date.
    DeleteExpiredCommitLog(broker::DeleteExpiredCommitLog) = "deleteExpiredCommitLog",
    /// Deletes the queues of topics that are no longer configured.
    CleanUnusedTopic(broker::CleanUnusedTopic) = "cleanUnusedTopic",
    /// Sends a message.
    SendMessage(message::SendMessage) = "sendMessage",
    /// Pulls and prints messages.
    ConsumeMessage(print::ConsumeMessage) = "consumeMessage",
    /// Finds a message by its offset id.
    QueryMsgById(message::QueryMsgById) = "queryMsgById",
    /// Finds messages by key.
    QueryMsgByKey(message::QueryMsgByKey) = "queryMsgByKey",
    /// Finds a message by its unique key.
    QueryMsgByUniqueKey(message::QueryMsgByUniqueKey) = "queryMsgByUniqueKey",
    /// Shows what clients told about a message.
    QueryMsgTraceById(trace::QueryMsgTraceById) = "queryMsgTraceById",
    /// Finds a message by queue and offset.
    QueryMsgByOffset(message::QueryMsgByOffset) = "queryMsgByOffset",
    /// Prints the messages of a topic.
    PrintMsg(print::PrintMsg) = "printMsg",
    /// Prints the messages of a queue, or counts them by tag.
    PrintMsgByQueue(print::PrintMsgByQueue) = "printMsgByQueue",
    /// Sends messages to a broker and shows how long each took.
    SendMsgStatus(message::SendMsgStatus) = "sendMsgStatus",
    /// Takes the write permission of a broker's topics at the NameServers.
    WipeWritePerm(namesrv::WipeWritePerm) = "wipeWritePerm",
    /// Gives the write permission back.
    AddWritePerm(namesrv::AddWritePerm) = "addWritePerm",
    /// Shows the configuration of the NameServers.
    GetNamesrvConfig(namesrv::GetNamesrvConfig) = "getNamesrvConfig",
    /// Changes the configuration of the NameServers.
    UpdateNamesrvConfig(namesrv::UpdateNamesrvConfig) = "updateNamesrvConfig",
    /// Sets a key of the NameServers.
    UpdateKvConfig(namesrv::UpdateKvConfig) = "updateKvConfig",
    /// Removes a key of the NameServers.
    DeleteKvConfig(namesrv::DeleteKvConfig) = "deleteKvConfig",
    /// Sets, shows or removes the order configuration of a topic.
    UpdateOrderConf(namesrv::UpdateOrderConf) = "updateOrderConf",
    /// Shows topics with rates and lag.
    StatsAll(stats::StatsAll) = "statsAll",
    /// Sets a group's offsets to a time.
    ResetOffsetByTime(offset::ResetOffsetByTime) = "resetOffsetByTime",
    /// Sets a group's offsets to the end.
    SkipAccumulatedMessage(offset::SkipAccumulatedMessage) = "skipAccumulatedMessage",
    /// Ends the log of a stopped broker at an offset: for a slave whose log is not its master's.
    TruncateLog(store::TruncateLog) = "truncateLog",
    /// Copies a group's offsets to another.
    CloneGroupOffset(offset::CloneGroupOffset) = "cloneGroupOffset",
}

/// What every subcommand works with.
pub(crate) struct Context {
    pub(crate) client: MqClient,
    pub(crate) admin: AdminClient,
    pub(crate) out: Output,
}

/// Runs the tool; the error is for people.
pub async fn run(cli: Cli) -> Result<(), ClientError> {
    let mut config = ClientConfig::new(cli.namesrv_addr.as_deref().unwrap_or_default());
    if config.namesrv_addrs.is_empty() {
        // Subcommands that only talk to `-b` never ask it.
        config.namesrv_addrs.push("127.0.0.1:9876".to_owned());
    }
    config.api_timeout = TIMEOUT;
    if let Command::SendMessage(args) = &cli.command
        && args.msg_trace_enable == Some(true)
    {
        config.trace_topic = Some(names::TRACE_TOPIC.into());
    }
    let client = MqClient::start(config)?;
    let admin = AdminClient::new(&client);
    let ctx = Context {
        client,
        admin,
        out: Output { json: cli.json },
    };
    let result = cli.command.run(&ctx).await;
    ctx.client.shut_down().await;
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_do_not_collide() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_unknown_subcommand_is_named() {
        let error = Cli::try_parse_from(["mqadmin", "updateTopics"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("updateTopics") && error.contains("updateTopic"),
            "{error}"
        );
    }

    #[test]
    fn options_are_rocketmqs() {
        let line = "mqadmin updateTopic -n a:1 -c DefaultCluster -t T -r 8 -w 8 -p 6 -o true";
        Cli::try_parse_from(line.split(' ')).unwrap();
        let line = "mqadmin consumerProgress --groupName G --namesrvAddr a:1 --json";
        Cli::try_parse_from(line.split(' ')).unwrap();
        assert!(Cli::try_parse_from(["mqadmin", "updateTopic", "-t", "T"]).is_err());
        let parse = |line: &str| {
            let args = line.split(' ').map(|arg| two_dashes(arg.into()));
            Cli::try_parse_from(args.collect::<Vec<_>>())
        };
        parse("mqadmin updateStaticTopic -b a,b -t T -qn 10 -fr true").unwrap();
        parse("mqadmin remappingStaticTopic -t T -mf file").unwrap();
        assert!(parse("mqadmin updateStaticTopic -b a -t T").is_err());
        assert!(parse("mqadmin remappingStaticTopic -t T").is_err());
        assert!(parse("mqadmin remappingStaticTopic -t T -b a -c C").is_err());
    }
}
