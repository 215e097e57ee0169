//! The shipped configuration files: the references say what the program knows, and every folder
//! starts.

use std::path::{Path, PathBuf};

use callboard::cluster::{Folder, Layout, Role};
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

/// The folders that the generator writes, and what was asked of it.
fn generated() -> Vec<(&'static str, Layout)> {
    let layout = |masters, slaves, sync| Layout {
        masters,
        slaves,
        sync,
        ..Layout::default()
    };
    vec![
        ("1m-1s-async", layout(1, 1, false)),
        ("1m-1s-sync", layout(1, 1, true)),
        ("2m-noslave", layout(2, 0, false)),
        ("2m-2s-async", layout(2, 1, false)),
        ("2m-2s-sync", layout(2, 1, true)),
    ]
}

/// A folder that people copy and one that they generate do not differ.
#[test]
fn the_folders_are_what_the_generator_writes() {
    for (name, layout) in generated() {
        let files = layout.files().expect("a layout");
        for (file, text) in &files {
            compare(&format!("{name}/{file}"), text);
        }
        let shipped = std::fs::read_dir(folder().join(name)).expect("a folder");
        assert_eq!(shipped.count(), files.len(), "{name} has other files, too");
    }
}

/// Every key of every file, and every folder as a cluster.
#[test]
fn every_folder_starts() {
    let mut folders: Vec<_> = generated()
        .into_iter()
        .map(|(name, layout)| (name, layout.masters, layout.slaves, layout.sync))
        .collect();
    folders.push(("standalone", 1, 0, false));
    for (name, masters, slaves, sync) in folders {
        let dir = folder().join(name);
        let env = Env::of_process();
        let cluster = Folder::read(&dir, Path::new("data"), &env);
        let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(cluster.warnings, Vec::<String>::new(), "{name}");
        let count = |role| cluster.members.iter().filter(|m| m.role == role).count();
        let counts = [Role::Namesrv, Role::Master, Role::Slave].map(count);
        let slaves = usize::from(masters * slaves);
        assert_eq!(counts, [1, usize::from(masters), slaves], "{name}");
        for member in &cluster.members {
            check_keys(&member.file);
            if member.role == Role::Namesrv {
                continue;
            }
            let config = BrokerConfig::load(Some(&member.file), &[], &env).expect("valid");
            let (role, replicas) = match (member.role, sync) {
                (Role::Slave, _) => (BrokerRole::Slave, 1),
                (_, true) => (BrokerRole::SyncMaster, 2),
                (_, false) => (BrokerRole::AsyncMaster, 1),
            };
            let file = member.file.display();
            assert_eq!(config.store.broker_role, role, "{file}");
            assert_eq!(config.store.in_sync_replicas, replicas, "{file}");
            assert_eq!(config.broker.slave_read_enable, slaves > 0, "{file}");
            assert_eq!(config.broker.broker_cluster_name, "DefaultCluster");
            assert_eq!(config.namesrv_addrs(), ["127.0.0.1:9876"], "{file}");
        }
    }
}

/// A shipped file sets known keys only, each with a comment above it.
fn check_keys(file: &Path) {
    let text = std::fs::read_to_string(file).expect("shipped");
    let sections = [
        BrokerSection::KEYS,
        StoreSection::KEYS,
        NamesrvSection::KEYS,
    ];
    let mut before = "";
    for line in text.lines() {
        if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let known = sections.into_iter().flatten().any(|one| one.name == key);
            assert!(known, "{}: {key} is not known", file.display());
            assert!(before.starts_with("# "), "{}: {line}", file.display());
        }
        before = line;
    }
}
