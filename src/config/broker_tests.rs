//! Tests of a broker's configuration.

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
fn important_keys_are_known() {
    let env = test_env(Path::new("/home/u"));
    let config = BrokerConfig::load(None, &[], &env).expect("valid");
    for name in IMPORTANT {
        assert!(config.settings.key(name).is_some(), "{name}");
    }
    assert!(
        config
            .important()
            .starts_with("brokerClusterName=DefaultCluster\n")
    );
}

#[test]
fn every_key_is_in_one_table_and_its_default_fits() {
    let mut seen = std::collections::BTreeSet::new();
    let env = test_env(Path::new("/home/u"));
    for key in TABLES.iter().copied().flatten() {
        assert!(seen.insert(key.name), "{} is there twice", key.name);
        assert_eq!(key.doc.is_empty(), key.field.is_empty(), "{}", key.name);
        let is_kept = key.scope == Scope::Kept;
        assert!(is_kept || !key.field.is_empty(), "{}", key.name);
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
fn keys_without_effect_are_told_when_they_are_set() {
    let config =
        load("brokerName=a\nbitMapLengthConsumeQueueExt=16\nsendMessageThreadPoolNums=9\n");
    let config = config.expect("valid");
    assert_eq!(
        config.settings.without_effect(),
        ["bitMapLengthConsumeQueueExt", "sendMessageThreadPoolNums"]
    );
}

#[test]
fn what_is_derived_follows_updates() {
    let dir = tempfile::tempdir().expect("a folder");
    let env = test_env(dir.path());
    let live = Live::new(BrokerConfig::load(None, &[], &env).expect("valid"));
    let size = live.derive(|config| config.store.max_message_size);
    let port = live.derive(|config| config.broker.listen_port);
    assert_eq!((**size.load(), **port.load()), (4_194_304, 10911));
    live.update(b"maxMessageSize=200\nlistenPort=5000\n")
        .expect("accepted");
    assert_eq!((**size.load(), **port.load()), (200, 10911));
    live.update(b"maxMessageSize=0\n").expect_err("too small");
    assert_eq!(**size.load(), 200);
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
    std::fs::write(&file, "# mine\nbrokerName=broker-a\nmaxMessageSize=100\n").expect("written");
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
