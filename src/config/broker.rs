//! Configuration of a broker: RocketMQ's `BrokerConfig` keys and the rules of its start.

use std::path::{Path, PathBuf};

use super::broker_keys::BrokerSection;
use super::key::Key;
use super::settings::Settings;
use super::store::BrokerRole;
use super::{
    Config, ConfigError, Env, OwnBrokerSection, OwnSection, ServerSection, StoreSection, kept,
    reference,
};

const REFERENCE_HEAD: &str = "\
# Every key of a broker that does something, with its default. Take away the # in front of a key
# to set it. Keys marked [start] take effect at the next start, the others also at once through
# mqadmin updateBrokerConfig. RocketMQ's other keys are accepted and shown, and do nothing.
";

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

/// Keys that `-m` prints: those that people set.
const IMPORTANT: &[&str] = &[
    "brokerClusterName",
    "brokerName",
    "brokerId",
    "brokerIP1",
    "brokerIP2",
    "listenPort",
    "namesrvAddr",
    "brokerPermission",
    "autoCreateTopicEnable",
    "clusterTopicEnable",
    "autoCreateSubscriptionGroup",
    "traceTopicEnable",
    "msgTraceTopicName",
    "rejectTransactionMessage",
    "transactionTimeOut",
    "transactionCheckMax",
    "transactionCheckInterval",
    "storeReplyMessageEnable",
    "storePathRootDir",
    "storePathCommitLog",
    "flushIntervalCommitLog",
    "flushCommitLogTimed",
    "maxRecoveryCommitlogFiles",
    "flushIntervalConsumeQueue",
    "deleteWhen",
    "diskMaxUsedSpaceRatio",
    "fileReservedTime",
    "deleteFileBatchMax",
    "maxTransferBytesOnMessageInMemory",
    "maxTransferCountOnMessageInMemory",
    "maxTransferBytesOnMessageInDisk",
    "maxTransferCountOnMessageInDisk",
    "accessMessageInMemoryMaxRatio",
    "messageIndexEnable",
    "messageIndexSafe",
    "maxHashSlotNum",
    "maxIndexNum",
    "haListenPort",
    "haMasterAddress",
    "haSendHeartbeatInterval",
    "haMaxGapNotInSync",
    "brokerRole",
    "flushDiskType",
    "syncFlushTimeout",
    "cleanFileForciblyEnable",
    "offsetCheckInSlave",
    "timerStopEnqueue",
    "totalReplicas",
    "inSyncReplicas",
    "minInSyncReplicas",
    "allAckInSyncStateSet",
    "enableAutoInSyncReplicas",
    "haFlowControlEnable",
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
        settings.warn_of_keys_without_effect();
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

    /// The reference file `config/broker.conf`: every key that does something.
    pub fn reference() -> String {
        let mut out = String::from(REFERENCE_HEAD);
        reference::section(&mut out, "broker", BrokerSection::KEYS);
        reference::section(&mut out, "store", StoreSection::KEYS);
        reference::section(&mut out, "server", ServerSection::KEYS);
        reference::section(&mut out, "Callboard's own", OwnSection::KEYS);
        reference::section(
            &mut out,
            "Callboard's own, brokers only",
            OwnBrokerSection::KEYS,
        );
        out
    }

    /// The keys that people set, one a line with their values: what `-m` prints.
    pub fn important(&self) -> String {
        let line = |key: &&str| {
            let value = self.settings.get(key)?;
            Some(format!("{key}={value}\n"))
        };
        IMPORTANT.iter().filter_map(line).collect()
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
/// Rounds the length of queue files up to whole units of so many bytes.
fn whole_units(settings: &mut Settings, key: &'static str, unit: u64) -> Result<(), ConfigError> {
    let bytes: u64 = settings.read(key)?;
    let whole = bytes.clamp(unit, i32::MAX as u64 - unit).div_ceil(unit) * unit;
    settings.force(key, whole.to_string());
    Ok(())
}

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
    whole_units(settings, "mappedFileSizeConsumeQueue", 20)?;
    whole_units(settings, "mapperFileSizeBatchConsumeQueue", 46)?;
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
#[path = "broker_tests.rs"]
mod tests;
