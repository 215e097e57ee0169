//! Configuration of a broker: RocketMQ's `BrokerConfig` keys and the rules of its start.

use std::path::{Path, PathBuf};

use super::key::{Key, section};
use super::settings::Settings;
use super::store::BrokerRole;
use super::{
    Config, ConfigError, Env, OwnBrokerSection, OwnSection, ServerSection, StoreSection, kept,
};

fn host_name(env: &Env) -> String {
    env.host_name
        .clone()
        .unwrap_or_else(|| "DEFAULT_BROKER".to_owned())
}

fn address(env: &Env) -> String {
    env.address.to_string()
}

fn namesrv_addr(env: &Env) -> String {
    env.namesrv_addr.clone().unwrap_or_default()
}

section! {
    /// Keys of the broker itself.
    BrokerSection {
        /// Name of the cluster.
        broker_cluster_name: String = "brokerClusterName", Is("DefaultCluster"), Start;
        /// Name shared by a master and its slaves; the host name when not set.
        broker_name: String = "brokerName", From(host_name), Start;
        /// 0 is the master, higher numbers are slaves.
        broker_id: i64 = "brokerId", Is("0"), Start;
        /// Address that clients are told; the first one that is not loopback when not set.
        broker_ip1: String = "brokerIP1", From(address), Start;
        /// Address that slaves of this master are told.
        broker_ip2: String = "brokerIP2", From(address), Start;
        /// Port for clients; the fast port is two below it.
        listen_port: u16 = "listenPort", Is("10911"), Start;
        /// NameServers, `host:port` separated by `;`. Without it `NAMESRV_ADDR` is used.
        namesrv_addr: String = "namesrvAddr", From(namesrv_addr), Hot;
        /// 4 read + 2 write for the whole broker.
        broker_permission: i32 = "brokerPermission", Is("6"), Hot;
        /// File that updates are written to; the file given at start when not set.
        broker_config_path: Option<String> = "brokerConfigPath", Unset, Start;
        /// Keys that update requests may not touch, separated by `;`.
        config_black_list: String = "configBlackList", Is("configBlackList;brokerConfigPath"), Start;
        /// There is a topic named after the broker.
        broker_topic_enable: bool = "brokerTopicEnable", Is("true"), Start;
        /// There is a topic named after the cluster.
        cluster_topic_enable: bool = "clusterTopicEnable", Is("true"), Start;
        /// Queues of the template topic TBW102, and the most an auto-created topic gets.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums", Is("8"), Hot;
        /// Sending to a topic that does not exist creates it from the template.
        auto_create_topic_enable: bool = "autoCreateTopicEnable", Is("true"), Start;
        /// Unknown consumer groups are created at first use.
        auto_create_subscription_group: bool = "autoCreateSubscriptionGroup", Is("true"), Hot;
        /// Groups with a system prefix may be created.
        enable_create_sys_group: bool = "enableCreateSysGroup", Is("true"), Hot;
        /// The trace topic is created at start.
        trace_topic_enable: bool = "traceTopicEnable", Is("false"), Start;
        /// Name of the trace topic.
        msg_trace_topic_name: String = "msgTraceTopicName", Is("RMQ_SYS_TRACE_TOPIC"), Start;
        /// `TRACE_ON` of the answers to sends and pulls.
        trace_on: bool = "traceOn", Is("true"), Hot;
        /// `MSG_REGION` of the answers to sends and pulls.
        region_id: String = "regionId", Is("DefaultRegion"), Hot;
        /// Milliseconds between registrations, held within 10000 and 60000.
        register_name_server_period_ms: i64 = "registerNameServerPeriod", Is("30000"), Hot;
        /// Milliseconds a registration may take.
        register_broker_timeout_ms: i64 = "registerBrokerTimeoutMills", Is("24000"), Hot;
        /// Registers each time instead of asking first whether something changed.
        force_register: bool = "forceRegister", Is("true"), Hot;
        /// Registration bodies are zlib streams.
        compressed_register: bool = "compressedRegister", Is("false"), Hot;
        /// A changed topic is registered alone (code 217).
        enable_single_topic_register: bool = "enableSingleTopicRegister", Is("false"), Hot;
        /// Registrations are cut in pieces of `splitRegistrationSize` topics.
        enable_split_registration: bool = "enableSplitRegistration", Is("false"), Hot;
        /// Topics in one piece of a registration.
        split_registration_size: usize = "splitRegistrationSize", Is("800"), Hot;
        /// Tables for slaves and tools are handed out in pages.
        enable_split_metadata: bool = "enableSplitMetadata", Is("true"), Hot;
        /// Entries on one page of a table.
        split_metadata_size: usize = "splitMetadataSize", Is("2000"), Hot;
        /// Slaves act for a lost master; light heartbeats are sent.
        enable_slave_acting_master: bool = "enableSlaveActingMaster", Is("false"), Start;
        /// Milliseconds between light heartbeats.
        broker_heartbeat_interval_ms: i64 = "brokerHeartbeatInterval", Is("1000"), Start;
        /// Time-out sent with registrations when slaves act for masters.
        broker_not_active_timeout_ms: i64 = "brokerNotActiveTimeoutMillis", Is("10000"), Start;
        /// Milliseconds a light heartbeat may take.
        send_heartbeat_timeout_ms: i64 = "sendHeartbeatTimeoutMillis", Is("1000"), Start;
        /// Light heartbeats use code 322, which older NameServers know.
        compatible_with_old_name_srv: bool = "compatibleWithOldNameSrv", Is("true"), Start;
        /// Requests that waited too long are refused instead of served.
        broker_fast_failure_enable: bool = "brokerFastFailureEnable", Is("true"), Hot;
        /// Milliseconds a send may wait before it is refused.
        wait_time_in_send_queue_ms: i64 = "waitTimeMillsInSendQueue", Is("200"), Hot;
        /// Milliseconds a pull may wait before it is refused.
        wait_time_in_pull_queue_ms: i64 = "waitTimeMillsInPullQueue", Is("5000"), Hot;
        /// Milliseconds between writes of consumerOffset.json.
        flush_consumer_offset_interval_ms: i64 = "flushConsumerOffsetInterval", Is("5000"), Start;
        /// Commits after which the data version of the offsets moves.
        consumer_offset_update_version_step: i64 = "consumerOffsetUpdateVersionStep", Is("500"), Start;
        /// Advances after which the data version of the delay offsets moves.
        delay_offset_update_version_step: i64 = "delayOffsetUpdateVersionStep", Is("200"), Start;
        /// A pull that finds nothing waits for the time that it names.
        long_polling_enable: bool = "longPollingEnable", Is("true"), Hot;
        /// Milliseconds that a pull waits without long polling.
        short_polling_time_ms: i64 = "shortPollingTimeMills", Is("1000"), Hot;
        /// Consumers are told when their group changes (code 40).
        notify_consumer_ids_changed_enable: bool = "notifyConsumerIdsChangedEnable", Is("true"), Hot;
        /// Consumers that lag far behind are sent to a slave.
        slave_read_enable: bool = "slaveReadEnable", Is("false"), Hot;
        /// Groups that fell too far behind are switched off.
        disable_consume_if_consumer_read_slowly: bool =
            "disableConsumeIfConsumerReadSlowly", Is("false"), Hot;
        /// Bytes behind which a group counts as fallen too far.
        consumer_fallbehind_threshold_bytes: i64 =
            "consumerFallbehindThreshold", Is("17179869184"), Hot;
        /// Half messages are refused.
        reject_transaction_message: bool = "rejectTransactionMessage", Is("false"), Hot;
        /// Pull consumers may be refused.
        reject_pull_consumer_enable: bool = "rejectPullConsumerEnable", Is("false"), Hot;
        /// Milliseconds before a half message is first asked about.
        transaction_timeout_ms: i64 = "transactionTimeOut", Is("6000"), Hot;
        /// Checks after which a half message is given up.
        transaction_check_max: i32 = "transactionCheckMax", Is("15"), Hot;
        /// Milliseconds between rounds of checks.
        transaction_check_interval_ms: i64 = "transactionCheckInterval", Is("30000"), Hot;
        /// Bytes of finished offsets in one op message.
        transaction_op_msg_size_max: i32 = "transactionOpMsgMaxSize", Is("4096"), Hot;
        /// Milliseconds after which an op message is written though it is not full.
        transaction_op_batch_interval_ms: i64 = "transactionOpBatchInterval", Is("3000"), Hot;
        /// SQL92 filters are allowed.
        enable_property_filter: bool = "enablePropertyFilter", Is("false"), Hot;
        /// Filters work on retry topics too.
        filter_support_retry: bool = "filterSupportRetry", Is("false"), Hot;
        /// Milliseconds that filters of an absent consumer are kept.
        filter_data_clean_time_ms: i64 = "filterDataCleanTimeSpan", Is("86400000"), Start;
        /// Sends are refused before this time (milliseconds since 1970).
        start_accept_send_request_timestamp_ms: i64 = "startAcceptSendRequestTimeStamp", Is("0"), Hot;
        /// Replies of request and reply are stored.
        store_reply_message_enable: bool = "storeReplyMessageEnable", Is("true"), Hot;
        /// The broker assigns queues to consumers that ask for it.
        server_load_balancer_enable: bool = "serverLoadBalancerEnable", Is("true"), Start;
        /// How assigned consumers fetch: PULL or POP.
        default_message_request_mode: String = "defaultMessageRequestMode", Is("PULL"), Start;
        /// Queues shared by the pop consumers of a group; -1 is all.
        default_pop_share_queue_num: i32 = "defaultPopShareQueueNum", Is("-1"), Start;
        /// Waiting pops per queue.
        pop_polling_size: usize = "popPollingSize", Is("1024"), Hot;
        /// Queues with waiting pops.
        pop_polling_map_size: usize = "popPollingMapSize", Is("100000"), Start;
        /// Waiting pops of the broker.
        max_pop_polling_size: usize = "maxPopPollingSize", Is("100000"), Hot;
        /// Queues of the revive topic.
        revive_queue_num: i32 = "reviveQueueNum", Is("8"), Start;
        /// Milliseconds between looks for pops to bring back.
        revive_interval_ms: i64 = "reviveInterval", Is("1000"), Start;
        /// Milliseconds an ack without its check point is waited for.
        revive_ack_wait_ms: i64 = "reviveAckWaitMs", Is("180000"), Start;
        /// Percent of the pops that look at the retry topic first.
        pop_from_retry_probability: i32 = "popFromRetryProbability", Is("20"), Hot;
        /// Pop retry topics have names of the second form.
        enable_retry_topic_v2: bool = "enableRetryTopicV2", Is("false"), Start;
        /// Pop also reads retry topics of the first form.
        retrieve_message_from_pop_retry_topic_v1: bool =
            "retrieveMessageFromPopRetryTopicV1", Is("true"), Start;
        /// Popped retries carry the name of their retry topic.
        pop_response_return_actual_retry_topic: bool =
            "popResponseReturnActualRetryTopic", Is("false"), Hot;
        /// Resetting offsets does not need the consumers.
        use_server_side_reset_offset: bool = "useServerSideResetOffset", Is("true"), Hot;
        /// Offsets of broadcasting consumers behind a proxy are kept.
        enable_broadcast_offset_store: bool = "enableBroadcastOffsetStore", Is("true"), Hot;
        /// Topics for messages of all kinds may be created.
        enable_mixed_message_type: bool = "enableMixedMessageType", Is("false"), Start;
        /// Timed messages can be called back (code 370).
        recall_message_enable: bool = "recallMessageEnable", Is("false"), Hot;
        /// Milliseconds after which a silent client is forgotten.
        channel_expired_timeout_ms: i64 = "channelExpiredTimeout", Is("120000"), Start;
        /// Milliseconds after which an unused subscription is forgotten.
        subscription_expired_timeout_ms: i64 = "subscriptionExpiredTimeout", Is("600000"), Start;
        /// Queues are locked at a majority of the replicas.
        lock_in_strict_mode: bool = "lockInStrictMode", Is("false"), Hot;
        /// Consumers are told of group changes at once.
        real_time_notify_consumer_change: bool = "realTimeNotifyConsumerChange", Is("true"), Hot;
        /// Code 361 is served.
        lite_pull_message_enable: bool = "litePullMessageEnable", Is("true"), Start;
        /// Deleting a topic deletes its pop retry topics.
        clear_retry_topic_when_delete_topic: bool = "clearRetryTopicWhenDeleteTopic", Is("true"), Hot;
        /// System topics cannot be changed by requests.
        validate_system_topic_when_update_topic: bool =
            "validateSystemTopicWhenUpdateTopic", Is("true"), Hot;
        /// Producers are kept in a table.
        enable_register_producer: bool = "enableRegisterProducer", Is("true"), Hot;
        /// Statistics per queue and per group are counted.
        enable_detail_stat: bool = "enableDetailStat", Is("true"), Hot;
        /// Lag of filtered subscriptions is estimated by samples.
        estimate_accumulation: bool = "estimateAccumulation", Is("true"), Hot;
        /// Milliseconds between copies of tables by a slave.
        sync_broker_metadata_period_ms: i64 = "syncBrokerMetadataPeriod", Is("5000"), Start;
        /// Milliseconds between looks at the broker's group.
        sync_broker_member_group_period_ms: i64 = "syncBrokerMemberGroupPeriod", Is("1000"), Start;
        /// Messages can be called back while writing is not permitted.
        allow_recall_when_broker_not_writeable: bool =
            "allowRecallWhenBrokerNotWriteable", Is("true"), Hot;    }
}

/// Known keys of a broker, in the order in which they are looked up.
static TABLES: &[&[Key]] = &[
    BrokerSection::KEYS,
    StoreSection::KEYS,
    ServerSection::KEYS,
    OwnSection::KEYS,
    OwnBrokerSection::KEYS,
    kept::BROKER,
    kept::AUTH,
];

/// Configuration of a broker.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Keys of the broker.
    pub broker: BrokerSection,
    /// Keys of the store.
    pub store: StoreSection,
    /// Keys of the listening side.
    pub server: ServerSection,
    /// Keys that only Callboard has.
    pub own: OwnSection,
    /// Keys that only Callboard's broker has.
    pub own_broker: OwnBrokerSection,
    settings: Settings,
    file: PathBuf,
}

impl BrokerConfig {
    /// Reads `file` (if any), then `overrides` (key and value, as from the command line), over
    /// the defaults of `env`. Unknown keys are logged.
    pub fn load(
        file: Option<&Path>,
        overrides: &[(&str, &str)],
        env: &Env,
    ) -> Result<Self, ConfigError> {
        let mut settings = Settings::new(TABLES, env);
        if let Some(file) = file {
            for warning in settings.apply_file(file)? {
                log::warn!("config {warning}");
            }
        }
        for (key, value) in overrides {
            settings.set("command line", key, value)?;
        }
        let configured = settings
            .get("brokerConfigPath")
            .filter(|path| !path.is_empty());
        let updates_go_to = match (file, configured) {
            (Some(file), _) => file.to_owned(),
            (None, Some(path)) => PathBuf::from(path),
            (None, None) => env.home.join("store/config/broker.properties"),
        };
        Self::from_settings(settings, updates_go_to)
    }

    /// The commit log's first directory: RocketMQ allows several, separated by `,`.
    pub fn commit_log_dir(&self) -> PathBuf {
        let paths = &self.store.store_path_commit_log;
        PathBuf::from(paths.split(',').next().unwrap_or_default().trim())
    }

    /// NameServer addresses, `host:port` each.
    pub fn namesrv_addrs(&self) -> Vec<String> {
        let list = self.broker.namesrv_addr.split(';').map(str::trim);
        list.filter(|addr| !addr.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Address registered for clients.
    pub fn broker_addr(&self) -> String {
        host_port(&self.broker.broker_ip1, self.broker.listen_port)
    }

    /// Address registered for slaves.
    pub fn ha_server_addr(&self) -> String {
        host_port(&self.broker.broker_ip2, self.store.ha_listen_port)
    }

    /// Whether this broker starts as a master.
    pub fn is_master(&self) -> bool {
        self.store.broker_role != BrokerRole::Slave
    }
}

/// `host:port` as RocketMQ writes it: also IPv6 addresses stand without brackets there.
fn host_port(host: &str, port: u16) -> String {
    format!("{host}:{port}")
}

impl Config for BrokerConfig {
    const ALWAYS_REFUSED: &'static [&'static str] =
        &["brokerConfigPath", "rocketmqHome", "configBlackList"];

    fn from_settings(mut settings: Settings, file: PathBuf) -> Result<Self, ConfigError> {
        sanitize(&mut settings)?;
        Ok(Self {
            broker: BrokerSection::read(&settings)?,
            store: StoreSection::read(&settings)?,
            server: ServerSection::read(&settings)?,
            own: OwnSection::read(&settings)?,
            own_broker: OwnBrokerSection::read(&settings)?,
            settings,
            file,
        })
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn file(&self) -> &Path {
        &self.file
    }

    fn black_list(&self) -> &str {
        &self.broker.config_black_list
    }
}

/// Rules between keys: defaults that follow from others, values that are forced or held within
/// bounds, and what is refused (RocketMQ's `BrokerStartup` and the getters of its configs).
fn sanitize(settings: &mut Settings) -> Result<(), ConfigError> {
    let port: u16 = settings.read("listenPort")?;
    if !(3..=u16::MAX - 2).contains(&port) {
        return Err(settings.refused("listenPort", "a port from 3 to 65533 is wanted"));
    }
    if !settings.is_set("haListenPort") || settings.get("haListenPort") == Some("0") {
        settings.force("haListenPort", (port + 1).to_string());
    }
    settings.fill_absent("debugListenAddr", format!("127.0.0.1:{}", port + 2));
    let root = PathBuf::from(settings.read::<String>("storePathRootDir")?);
    settings.fill(
        "storePathCommitLog",
        root.join("commitlog").display().to_string(),
    );
    let is_master = settings.read::<BrokerRole>("brokerRole")? != BrokerRole::Slave;
    if is_master && settings.get("brokerId") != Some("0") {
        log::warn!("config brokerId is set to 0, as brokerRole is a master's");
        settings.force("brokerId", "0");
    }
    if !is_master && settings.read::<i64>("brokerId")? <= 0 {
        return Err(settings.refused("brokerId", "a slave's number must be above 0"));
    }
    bound(settings, "diskMaxUsedSpaceRatio", 10, 95)?;
    bound(settings, "registerNameServerPeriod", 10_000, 60_000)?;
    let entries: u64 = settings.read("mappedFileSizeConsumeQueue")?;
    let whole = entries.clamp(20, i32::MAX as u64 - 20).div_ceil(20) * 20;
    settings.force("mappedFileSizeConsumeQueue", whole.to_string());
    refuse_outside(
        settings,
        "mappedFileSizeCommitLog",
        4096,
        i64::from(i32::MAX),
    )?;
    refuse_outside(
        settings,
        "mappedFileSizeTimerLog",
        4096,
        i64::from(i32::MAX),
    )?;
    refuse_outside(settings, "maxHashSlotNum", 1, 1 << 28)?;
    refuse_outside(settings, "maxIndexNum", 2, 100_000_000)?;
    refuse_outside(settings, "maxMessageSize", 1, 1 << 30)?;
    refuse_outside(settings, "maxTopicLength", 1, 1023)?;
    refuse_outside(settings, "defaultTopicQueueNums", 1, 1 << 20)?;
    refuse_outside(settings, "brokerPermission", 0, 7)?;
    refuse_outside(settings, "inSyncReplicas", 1, 1 << 16)?;
    refuse_outside(settings, "reviveQueueNum", 1, 1 << 10)?;
    let precision: i64 = settings.read("timerPrecisionMs")?;
    if ![1000, 500, 200, 100].contains(&precision) {
        settings.force("timerPrecisionMs", "1000");
    }
    let hours = settings.read::<String>("deleteWhen")?;
    if !hours
        .split(';')
        .all(|hour| hour.trim().parse::<u8>().is_ok_and(|hour| hour < 24))
    {
        return Err(settings.refused("deleteWhen", "hours from 00 to 23 are wanted"));
    }
    Ok(())
}

/// Holds a value within bounds.
fn bound(
    settings: &mut Settings,
    key: &'static str,
    min: i64,
    max: i64,
) -> Result<(), ConfigError> {
    let value: i64 = settings.read(key)?;
    if !(min..=max).contains(&value) {
        settings.force(key, value.clamp(min, max).to_string());
    }
    Ok(())
}

/// Refuses a value out of bounds.
fn refuse_outside(
    settings: &Settings,
    key: &'static str,
    min: i64,
    max: i64,
) -> Result<(), ConfigError> {
    let value: i64 = settings.read(key)?;
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(settings.refused(key, format!("a whole number from {min} to {max} is wanted")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FlushDiskType, Live, key::Scope, test_env};

    fn load(text: &str) -> Result<BrokerConfig, ConfigError> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("broker.conf");
        std::fs::write(&file, text).expect("written");
        BrokerConfig::load(Some(&file), &[], &test_env(dir.path()))
    }

    #[test]
    fn defaults_follow_the_machine() {
        let env = test_env(Path::new("/home/u"));
        let config = BrokerConfig::load(None, &[("listenPort", "20911")], &env).expect("valid");
        assert_eq!(config.broker.broker_name, "host-a");
        assert_eq!(config.broker_addr(), "192.0.2.2:20911");
        assert_eq!(config.ha_server_addr(), "192.0.2.2:20912");
        assert_eq!(
            config.commit_log_dir(),
            Path::new("/home/u/store/commitlog")
        );
        assert_eq!(
            config.own.debug_listen_addr.as_deref(),
            Some("127.0.0.1:20913")
        );
        assert_eq!(
            config.file(),
            Path::new("/home/u/store/config/broker.properties")
        );
        assert_eq!(config.store.mapped_file_size_consume_queue, 6_000_000);
    }

    #[test]
    fn every_key_is_in_one_table_and_its_default_fits() {
        let mut seen = std::collections::BTreeSet::new();
        let env = test_env(Path::new("/home/u"));
        for key in TABLES.iter().copied().flatten() {
            assert!(seen.insert(key.name), "{} is there twice", key.name);
            assert_eq!(key.doc.is_empty(), key.scope == Scope::Kept, "{}", key.name);
            let text = match key.default {
                crate::config::key::Preset::Is(text) => text.to_owned(),
                crate::config::key::Preset::From(make) => make(&env),
                crate::config::key::Preset::Unset => continue,
            };
            assert_eq!(key.kind.complaint(&text), None, "{}={text}", key.name);
        }
    }

    #[test]
    fn a_real_file_moves_over() {
        let config = load(
            "brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 1\n\
             deleteWhen = 04\nfileReservedTime = 48\nbrokerRole = SLAVE\n\
             flushDiskType = SYNC_FLUSH\nbrokerName=broker-b\nnotAKey=1\n\
             namesrvAddr=a:1; b:2;\nautoCreateTopicEnable=FALSE\ndebugListenAddr=\n",
        )
        .expect("valid");
        assert_eq!(
            config.broker.broker_name, "broker-b",
            "the last of two equal keys wins"
        );
        assert_eq!(config.broker.broker_id, 1);
        assert_eq!(config.store.flush_disk_type, FlushDiskType::Sync);
        assert_eq!(config.store.broker_role, BrokerRole::Slave);
        assert_eq!(config.namesrv_addrs(), ["a:1", "b:2"]);
        assert!(!config.broker.auto_create_topic_enable);
        assert_eq!(config.own.debug_listen_addr, None);
        assert!(
            config.to_properties().contains("\nnotAKey=1\n"),
            "unknown keys are kept"
        );
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let error = load("brokerName=a\n\nlistenPort=4G\n").expect_err("not a number");
        let text = error.to_string();
        assert!(
            text.ends_with("broker.conf:3: listenPort=4G: a whole number is wanted"),
            "{text}"
        );
        let error = load("\nbrokerRole=SLAVE\n").expect_err("a slave without a number");
        assert!(error.to_string().contains("brokerId=0"), "{error}");
        load("flushDiskType=SOMETIMES\n").expect_err("not a word of this key");
        load("deleteWhen=04;25\n").expect_err("not an hour");
    }

    #[test]
    fn rules_repair() {
        let config = load(
            "brokerId=7\ndiskMaxUsedSpaceRatio=99\nregisterNameServerPeriod=1\n\
             mappedFileSizeConsumeQueue=2001\ntimerPrecisionMs=7\n",
        )
        .expect("repaired");
        assert_eq!(config.broker.broker_id, 0, "a master's number is 0");
        assert_eq!(config.store.disk_max_used_space_ratio, 95);
        assert_eq!(config.broker.register_name_server_period_ms, 10_000);
        assert_eq!(config.store.mapped_file_size_consume_queue, 2020);
        assert_eq!(config.store.timer_precision_ms, 1000);
    }

    #[test]
    fn updates_are_hot_refused_or_wait_for_a_restart() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("broker.conf");
        std::fs::write(&file, "# mine\nbrokerName=broker-a\nmaxMessageSize=100\n")
            .expect("written");
        let env = test_env(dir.path());
        let live = Live::new(BrokerConfig::load(Some(&file), &[], &env).expect("valid"));
        let updated = live.update(b"maxMessageSize=200\nlistenPort=5000\nnoSuchKey=1\n");
        let updated = updated.expect("accepted");
        assert_eq!(updated.after_restart, ["listenPort"]);
        assert_eq!(live.load().store.max_message_size, 200);
        assert_eq!(
            live.load().broker.listen_port,
            10911,
            "a port needs a restart"
        );
        assert!(live.to_properties().contains("listenPort=5000\n"));
        assert_eq!(live.version().0, 1);
        let text = std::fs::read_to_string(&file).expect("readable");
        assert_eq!(
            text,
            "# mine\nbrokerName=broker-a\nmaxMessageSize=200\nlistenPort=5000\n"
        );
        for refused in ["rocketmqHome=/x", "brokerConfigPath=/x", "configBlackList="] {
            let error = live.update(refused.as_bytes()).expect_err("black list");
            assert!(matches!(error, ConfigError::BlackListed { .. }), "{error}");
        }
        live.update(b"maxMessageSize=1\ntraceOn=maybe")
            .expect_err("not a truth value");
        assert_eq!(live.load().store.max_message_size, 200, "all or nothing");
    }
}
