//! Keys of the broker itself: RocketMQ's `BrokerConfig`.

use super::Env;
use super::key::section;

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
        default_topic_queue_nums: i32 = "defaultTopicQueueNums", Is("8"), Start;
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
        enable_single_topic_register: bool = "enableSingleTopicRegister", Is("false"), Kept;
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
        send_heartbeat_timeout_ms: i64 = "sendHeartbeatTimeoutMillis", Is("1000"), Kept;
        /// Light heartbeats use code 322, which older NameServers know.
        compatible_with_old_name_srv: bool = "compatibleWithOldNameSrv", Is("true"), Start;
        /// Sends that waited too long are refused instead of served, while more comes than is served.
        broker_fast_failure_enable: bool = "brokerFastFailureEnable", Is("true"), Hot;
        /// Milliseconds that a send may wait before it is refused then.
        wait_time_in_send_queue_ms: i64 = "waitTimeMillsInSendQueue", Is("200"), Hot;
        /// Milliseconds a pull may wait before it is refused.
        wait_time_in_pull_queue_ms: i64 = "waitTimeMillsInPullQueue", Is("5000"), Kept;
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
            "disableConsumeIfConsumerReadSlowly", Is("false"), Kept;
        /// Bytes behind which a group counts as fallen too far.
        consumer_fallbehind_threshold_bytes: i64 =
            "consumerFallbehindThreshold", Is("17179869184"), Kept;
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
        /// Milliseconds between writes of transactionMetrics.
        transaction_metric_flush_interval_ms: i64 =
            "transactionMetricFlushInterval", Is("10000"), Hot;
        /// Milliseconds after which an op message is written though it is not full.
        transaction_op_batch_interval_ms: i64 = "transactionOpBatchInterval", Is("3000"), Kept;
        /// SQL92 filters are allowed.
        enable_property_filter: bool = "enablePropertyFilter", Is("false"), Hot;
        /// Filters work on retry topics too.
        filter_support_retry: bool = "filterSupportRetry", Is("false"), Hot;
        /// Milliseconds that filters of an absent consumer are kept.
        filter_data_clean_time_ms: i64 = "filterDataCleanTimeSpan", Is("86400000"), Hot;
        /// The extensions of queue entries (`enableConsumeQueueExt`) tell by a bit map which groups'
        /// expressions are true for a message.
        enable_calc_filter_bit_map: bool = "enableCalcFilterBitMap", Is("false"), Hot;
        /// Percent of the messages that a bit map may pass although no filter matches.
        max_error_rate_of_bloom_filter: i32 = "maxErrorRateOfBloomFilter", Is("20"), Start;
        /// Groups with filters for one topic that bit maps are made for.
        expect_consumer_num_use_filter: i32 = "expectConsumerNumUseFilter", Is("32"), Start;
        /// Sends are refused before this time (milliseconds since 1970).
        start_accept_send_request_timestamp_ms: i64 = "startAcceptSendRequestTimeStamp", Is("0"), Hot;
        /// Replies of request and reply are stored.
        store_reply_message_enable: bool = "storeReplyMessageEnable", Is("true"), Hot;
        /// The broker assigns queues to consumers that ask for it.
        server_load_balancer_enable: bool = "serverLoadBalancerEnable", Is("true"), Start;
        /// How assigned consumers fetch: PULL or POP.
        default_message_request_mode: String = "defaultMessageRequestMode", Is("PULL"), Hot;
        /// Queues shared by the pop consumers of a group; -1 is all.
        default_pop_share_queue_num: i32 = "defaultPopShareQueueNum", Is("-1"), Hot;
        /// Waiting pops per queue.
        pop_polling_size: usize = "popPollingSize", Is("1024"), Hot;
        /// Queues with waiting pops.
        pop_polling_map_size: usize = "popPollingMapSize", Is("100000"), Hot;
        /// Waiting pops of the broker.
        max_pop_polling_size: usize = "maxPopPollingSize", Is("100000"), Hot;
        /// Queues of the revive topic.
        revive_queue_num: i32 = "reviveQueueNum", Is("8"), Start;
        /// Milliseconds between looks for pops to bring back.
        revive_interval_ms: i64 = "reviveInterval", Is("1000"), Start;
        /// Milliseconds an ack without its check point is waited for.
        revive_ack_wait_ms: i64 = "reviveAckWaitMs", Is("180000"), Kept;
        /// Percent of the pops that look at the retry topic first.
        pop_from_retry_probability: i32 = "popFromRetryProbability", Is("20"), Hot;
        /// Pop retry topics have names of the second form.
        enable_retry_topic_v2: bool = "enableRetryTopicV2", Is("false"), Hot;
        /// Pop also reads retry topics of the first form.
        retrieve_message_from_pop_retry_topic_v1: bool =
            "retrieveMessageFromPopRetryTopicV1", Is("true"), Hot;
        /// Groups that begin to pop near the end of a queue take its first message while it is in memory.
        init_pop_offset_by_check_msg_in_mem: bool =
            "initPopOffsetByCheckMsgInMem", Is("true"), Hot;
        /// A queue with too many popped messages that nobody acknowledged is not popped.
        enable_pop_message_threshold: bool = "enablePopMessageThreshold", Is("false"), Hot;
        /// How many those are.
        pop_inflight_message_threshold: i64 = "popInflightMessageThreshold", Is("10000"), Hot;
        /// Popped retries carry the name of their retry topic.
        pop_response_return_actual_retry_topic: bool =
            "popResponseReturnActualRetryTopic", Is("false"), Hot;
        /// Resetting offsets does not need the consumers.
        use_server_side_reset_offset: bool = "useServerSideResetOffset", Is("true"), Hot;
        /// Offsets of broadcasting consumers behind a proxy are kept.
        enable_broadcast_offset_store: bool = "enableBroadcastOffsetStore", Is("true"), Kept;
        /// Topics for messages of all kinds may be created.
        enable_mixed_message_type: bool = "enableMixedMessageType", Is("false"), Start;
        /// Milliseconds that another broker may take to answer for an older part of a static topic's queue.
        forward_timeout_ms: i64 = "forwardTimeout", Is("3000"), Hot;
        /// Timed messages can be called back (code 370).
        recall_message_enable: bool = "recallMessageEnable", Is("false"), Hot;
        /// Milliseconds after which a silent client is forgotten.
        channel_expired_timeout_ms: i64 = "channelExpiredTimeout", Is("120000"), Start;
        /// Milliseconds after which an unused subscription is forgotten.
        subscription_expired_timeout_ms: i64 = "subscriptionExpiredTimeout", Is("600000"), Start;
        /// Queues are locked at a majority of the replicas.
        lock_in_strict_mode: bool = "lockInStrictMode", Is("false"), Kept;
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
        enable_detail_stat: bool = "enableDetailStat", Is("true"), Kept;
        /// Lag of filtered subscriptions is estimated by samples.
        estimate_accumulation: bool = "estimateAccumulation", Is("true"), Kept;
        /// Milliseconds between copies of tables by a slave.
        sync_broker_metadata_period_ms: i64 = "syncBrokerMetadataPeriod", Is("5000"), Kept;
        /// Milliseconds between looks at the broker's group.
        sync_broker_member_group_period_ms: i64 = "syncBrokerMemberGroupPeriod", Is("1000"), Kept;
        /// Messages can be called back while writing is not permitted.
        allow_recall_when_broker_not_writeable: bool =
            "allowRecallWhenBrokerNotWriteable", Is("true"), Hot;    }
}
