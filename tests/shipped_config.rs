//! The shipped configuration files: the references say what the program knows, and every folder
//! starts.

use std::path::{Path, PathBuf};

use callboard::config::{BrokerConfig, BrokerRole, Config, Env, NamesrvConfig};

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
