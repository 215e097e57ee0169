//! Configuration of a NameServer: RocketMQ's `NamesrvConfig`.

use std::path::{Path, PathBuf};

use super::key::{Key, section};
use super::settings::Settings;
use super::{
    Config, ConfigError, Env, OwnNamesrvSection, OwnSection, ServerSection, kept, reference,
};

fn kv_config(env: &Env) -> String {
    env.home.join("namesrv/kvConfig.json").display().to_string()
}

fn properties(env: &Env) -> String {
    env.home
        .join("namesrv/namesrv.properties")
        .display()
        .to_string()
}

section! {
    /// Keys of the NameServer itself.
    NamesrvSection {
        /// Port to listen on.
        listen_port: u16 = "listenPort", Is("9876"), Start;
        /// File of the key-value store.
        kv_config_path: PathBuf = "kvConfigPath", From(kv_config), Start;
        /// File that configuration updates are written to.
        config_store_path: PathBuf = "configStorePath", From(properties), Start;
        /// Keys that update requests may not touch, separated by `;`.
        config_black_list: String =
            "configBlackList", Is("configBlackList;configStorePath;kvConfigPath"), Start;
        /// Routes carry the order configuration of their topic.
        order_message_enable: bool = "orderMessageEnable", Is("false"), Hot;
        /// Brokers are told the order configurations when they register.
        return_order_topic_config_to_broker: bool =
            "returnOrderTopicConfigToBroker", Is("true"), Hot;
        /// Routes of groups without a master name a slave in its place.
        support_acting_master: bool = "supportActingMaster", Is("false"), Hot;
        /// Milliseconds between looks for brokers that fell silent.
        scan_not_active_broker_interval_ms: u64 = "scanNotActiveBrokerInterval", Is("5000"), Start;
        /// Brokers are told when the smallest id of their group changes (code 905).
        notify_min_broker_id_changed: bool = "notifyMinBrokerIdChanged", Is("false"), Hot;
        /// The list of all topics (code 206) is given out.
        enable_all_topic_list: bool = "enableAllTopicList", Is("true"), Hot;
        /// The other topic lists (224, 311 to 313) are given out.
        enable_topic_list: bool = "enableTopicList", Is("true"), Hot;
        /// A topic that a broker no longer registers loses that broker's queues.
        delete_topic_with_broker_registration: bool =
            "deleteTopicWithBrokerRegistration", Is("false"), Hot;
        /// Routes are refused for the first `waitSecondsForService` seconds.
        need_wait_for_service: bool = "needWaitForService", Is("false"), Start;
        /// See `needWaitForService`.
        wait_seconds_for_service: u64 = "waitSecondsForService", Is("45"), Start;
        /// Brokers waiting to be unregistered.
        un_register_broker_queue_capacity: usize = "unRegisterBrokerQueueCapacity", Is("3000"), Start;
    }
}

const REFERENCE_HEAD: &str = "\
# Every key of a NameServer that does something, with its default. Take away the # in front of a
# key to set it. Keys marked [start] take effect at the next start, the others also at once
# through mqadmin updateNamesrvConfig. RocketMQ's other keys are accepted and shown, and do nothing.
";

/// Known keys of a NameServer.
static TABLES: &[&[Key]] = &[
    NamesrvSection::KEYS,
    ServerSection::KEYS,
    OwnSection::KEYS,
    OwnNamesrvSection::KEYS,
    kept::NAMESRV,
];

/// Configuration of a NameServer.
#[derive(Debug, Clone)]
pub struct NamesrvConfig {
    /// Keys of the NameServer.
    pub namesrv: NamesrvSection,
    /// Keys of the listening side.
    pub server: ServerSection,
    /// Keys that only Callboard has.
    pub own: OwnSection,
    /// Keys that only Callboard's NameServer has.
    pub own_namesrv: OwnNamesrvSection,
    settings: Settings,
    file: PathBuf,
}

impl NamesrvConfig {
    /// Reads `file` (if any), then `overrides` (key and value, as from the command line), over
    /// the defaults of `env`. Unknown keys are logged. Updates go to `file`, or without one to
    /// `configStorePath`.
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
            // As RocketMQ: a namesrv started with `-c FILE` writes updates back to it.
            settings.force("configStorePath", file.display().to_string());
        }
        for (key, value) in overrides {
            settings.set("command line", key, value)?;
        }
        settings.warn_of_keys_without_effect();
        let store = PathBuf::from(settings.read::<String>("configStorePath")?);
        Self::from_settings(settings, store)
    }

    /// The reference file `config/namesrv.conf`: every key that does something.
    pub fn reference() -> String {
        let mut out = String::from(REFERENCE_HEAD);
        reference::section(&mut out, "NameServer", NamesrvSection::KEYS);
        reference::section(&mut out, "server", ServerSection::KEYS);
        reference::section(&mut out, "Callboard's own", OwnSection::KEYS);
        reference::section(
            &mut out,
            "Callboard's own, NameServers only",
            OwnNamesrvSection::KEYS,
        );
        out
    }

    /// The route snapshot's file, if there is to be one.
    pub fn route_snapshot_path(&self) -> Option<PathBuf> {
        self.own_namesrv
            .route_snapshot_path
            .as_ref()
            .map(PathBuf::from)
    }
}

impl Config for NamesrvConfig {
    const ALWAYS_REFUSED: &'static [&'static str] = &[
        "configBlackList",
        "configStorePath",
        "kvConfigPath",
        "rocketmqHome",
    ];

    fn from_settings(mut settings: Settings, file: PathBuf) -> Result<Self, ConfigError> {
        let port: u16 = settings.read("listenPort")?;
        let debug = port.checked_add(1).filter(|_| port != 0).unwrap_or(0);
        settings.fill_absent("debugListenAddr", format!("127.0.0.1:{debug}"));
        let kv = PathBuf::from(settings.read::<String>("kvConfigPath")?);
        let snapshot = kv.with_file_name("routes.mp");
        settings.fill_absent("routeSnapshotPath", snapshot.display().to_string());
        Ok(Self {
            namesrv: NamesrvSection::read(&settings)?,
            server: ServerSection::read(&settings)?,
            own: OwnSection::read(&settings)?,
            own_namesrv: OwnNamesrvSection::read(&settings)?,
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
        &self.namesrv.config_black_list
    }
}
