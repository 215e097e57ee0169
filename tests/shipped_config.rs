//! The shipped configuration files: the references say what the program knows, and every folder
//! starts.

use std::path::{Path, PathBuf};

use callboard::config::{
    BrokerConfig, BrokerRole, BrokerSection, Config, Env, NamesrvConfig, NamesrvSection,
    OwnBrokerSection, OwnNamesrvSection, OwnSection, ServerSection, StoreSection,
    key::{Key, Scope},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// With `CALLBOARD_WRITE_REFERENCE=1` the files are written instead of compared.
fn compare(name: &str, text: &str) {
    let path = folder().join(name);
    if std::env::var_os("CALLBOARD_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let shipped = std::fs::read_to_string(&path).expect("shipped");
    assert!(
        shipped == text,
        "{name} is old: run this test once with CALLBOARD_WRITE_REFERENCE=1"
    );
}

#[test]
fn the_references_have_every_key() {
    compare("broker.conf", &BrokerConfig::reference());
    compare("namesrv.conf", &NamesrvConfig::reference());
    let env = Env::of_process();
    let plain = NamesrvConfig::load(None, &[], &env).expect("valid");
    let file = folder().join("namesrv.conf");
    let shipped = NamesrvConfig::load(Some(&file), &[], &env).expect("valid");
    let without_store = |text: String| -> Vec<String> {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("configStorePath="));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(
        without_store(shipped.to_properties()),
        without_store(plain.to_properties()),
        "the reference sets nothing"
    );
}

/// All Rust text below a folder, without the files that only list keys.
fn sources(dir: &Path, text: &mut String) {
    const LISTS: &[&str] = &[
        "broker_keys.rs",
        "store.rs",
        "server.rs",
        "own.rs",
        "kept.rs",
    ];
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_list = dir.ends_with("config") && LISTS.contains(&name.as_str());
        let is_test = name.ends_with("tests.rs");
        if path.is_dir() {
            sources(&path, text);
        } else if name.ends_with(".rs") && !is_list && !is_test {
            text.push_str(&std::fs::read_to_string(&path).expect("readable"));
        }
    }
}

/// A key that nobody reads misleads whoever sets it: it has to say so by its scope, by which the
/// program warns and the reference leaves it out. And one that is read must not say so.
#[test]
fn keys_do_something_or_say_that_they_do_not() {
    // By their names, before there are typed values.
    const READ_BY_NAME: &[&str] = &["brokerConfigPath", "configStorePath"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    sources(&root.join("src"), &mut text);
    sources(&root.join("bin"), &mut text);
    let is_read = |key: &Key| {
        let access = format!(".{}", key.field);
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        READ_BY_NAME.contains(&key.name)
            || text
                .match_indices(&access)
                .any(|(at, found)| ends(&text[at + found.len()..]))
    };
    let sections = [
        BrokerSection::KEYS,
        StoreSection::KEYS,
        ServerSection::KEYS,
        OwnSection::KEYS,
        OwnBrokerSection::KEYS,
        OwnNamesrvSection::KEYS,
        NamesrvSection::KEYS,
    ];
    let wrong = |key: &&Key| is_read(key) != (key.scope != Scope::Kept);
    let wrong: Vec<_> = sections.into_iter().flatten().filter(wrong).collect();
    let shown: Vec<_> = wrong.iter().map(|key| (key.name, key.scope)).collect();
    assert!(wrong.is_empty(), "{shown:?}");
}

#[test]
fn every_folder_starts() {
    let roles = [
        ("standalone/broker.conf", BrokerRole::AsyncMaster, 0),
        ("2m-noslave/broker-a.properties", BrokerRole::AsyncMaster, 0),
        ("2m-noslave/broker-b.properties", BrokerRole::AsyncMaster, 0),
        (
            "2m-2s-async/broker-a.properties",
            BrokerRole::AsyncMaster,
            0,
        ),
        ("2m-2s-async/broker-a-s.properties", BrokerRole::Slave, 1),
        (
            "2m-2s-async/broker-b.properties",
            BrokerRole::AsyncMaster,
            0,
        ),
        ("2m-2s-async/broker-b-s.properties", BrokerRole::Slave, 1),
        ("2m-2s-sync/broker-a.properties", BrokerRole::SyncMaster, 0),
        ("2m-2s-sync/broker-a-s.properties", BrokerRole::Slave, 1),
        ("2m-2s-sync/broker-b.properties", BrokerRole::SyncMaster, 0),
        ("2m-2s-sync/broker-b-s.properties", BrokerRole::Slave, 1),
    ];
    for (file, role, id) in roles {
        let config = BrokerConfig::load(Some(&folder().join(file)), &[], &Env::of_process());
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            (config.store.broker_role, config.broker.broker_id),
            (role, id),
            "{file}"
        );
        assert_eq!(
            config.broker.broker_cluster_name, "DefaultCluster",
            "{file}"
        );
        let replicas = if role == BrokerRole::SyncMaster { 2 } else { 1 };
        assert_eq!(config.store.in_sync_replicas, replicas, "{file}");
        assert!(!config.namesrv_addrs().is_empty(), "{file}");
    }
}
