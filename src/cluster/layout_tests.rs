use super::*;
use crate::{
    cluster::{Folder, Role},
    config::{BrokerConfig, BrokerRole, Config, FlushDiskType, test_env},
};

#[test]
fn names_go_on_after_z() {
    let names: Vec<_> = [0, 25, 26, 27, 701, 702].map(letters).into();
    assert_eq!(names, ["a", "z", "aa", "ab", "zz", "aaa"]);
}

#[test]
fn a_written_layout_is_a_cluster() {
    let dir = tempfile::tempdir().expect("a folder");
    let env = test_env(dir.path());
    let layout = Layout {
        masters: 3,
        slaves: 2,
        sync: true,
        sync_flush: true,
        namesrvs: 2,
        host_pattern: "10.0.0.{i}".to_owned(),
        cluster_name: "C1".to_owned(),
    };
    let written = layout.write(dir.path()).expect("written");
    assert_eq!(written.len(), 2 + 3 * 3);
    let folder = Folder::read(dir.path(), dir.path(), &env).expect("a cluster");
    assert_eq!(folder.warnings, Vec::<String>::new());
    let roles = |role| folder.members.iter().filter(|m| m.role == role).count();
    assert_eq!(
        [Role::Namesrv, Role::Master, Role::Slave].map(roles),
        [2, 3, 6]
    );
    let file = dir.path().join("broker-b-s2.properties");
    let config = BrokerConfig::load(Some(&file), &[], &env).expect("valid");
    assert_eq!(config.broker.broker_name, "broker-b");
    assert_eq!(config.broker.broker_id, 2);
    assert_eq!(config.broker_addr(), "10.0.0.10:10981");
    assert_eq!(config.ha_server_addr(), "10.0.0.10:10982");
    assert_eq!(config.namesrv_addrs(), ["10.0.0.1:9876", "10.0.0.2:9886"]);
    assert_eq!(config.store.broker_role, BrokerRole::Slave);
    assert_eq!(config.store.flush_disk_type, FlushDiskType::Sync);
    assert!(config.broker.slave_read_enable);
    let file = dir.path().join("broker-c.properties");
    let config = BrokerConfig::load(Some(&file), &[], &env).expect("valid");
    assert_eq!(config.store.broker_role, BrokerRole::SyncMaster);
    assert_eq!(config.store.in_sync_replicas, 2);
    // Nothing that is there is overwritten.
    let error = layout.write(dir.path()).expect_err("there already");
    assert!(error.to_string().contains("cannot write"), "{error}");
}

/// Each server takes its port, two below it, and up to two above it.
#[test]
fn ports_are_apart() {
    let layout = Layout {
        masters: 5,
        slaves: 3,
        namesrvs: NAMESRVS_MAX,
        ..Layout::default()
    };
    let files = layout.files().expect("a layout");
    let port = |(_, text): &(String, String)| -> i32 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("listenPort="));
        line.and_then(|port| port.parse().ok()).expect("a port")
    };
    let mut ports: Vec<_> = files.iter().map(port).collect();
    ports.sort_unstable();
    assert_eq!(ports.len(), usize::from(NAMESRVS_MAX) + 20);
    assert!(
        ports.windows(2).all(|two| two[1] - two[0] >= 5),
        "{ports:?}"
    );
}

#[test]
fn every_key_is_known_and_has_a_comment() {
    let dir = tempfile::tempdir().expect("a folder");
    let layout = Layout {
        slaves: 1,
        sync: true,
        ..Layout::default()
    };
    for path in layout.write(dir.path()).expect("written") {
        let text = std::fs::read_to_string(&path).expect("readable");
        let lines: Vec<_> = text.lines().collect();
        for two in lines
            .windows(2)
            .filter(|two| two[1].contains('=') && !two[1].starts_with('#'))
        {
            assert!(two[0].starts_with("# "), "{}: {}", path.display(), two[1]);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("broker") {
            let config = BrokerConfig::load(Some(&path), &[], &test_env(dir.path()));
            let config = config.expect("valid");
            for entry in crate::config::parse(&name, text.as_bytes()).expect("well formed") {
                assert!(config.settings().key(&entry.key).is_some(), "{}", entry.key);
            }
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let wrong = [
        Layout {
            sync: true,
            ..Layout::default()
        },
        Layout {
            masters: 0,
            ..Layout::default()
        },
        Layout {
            masters: 6000,
            ..Layout::default()
        },
        Layout {
            masters: u16::MAX,
            slaves: u16::MAX,
            ..Layout::default()
        },
        Layout {
            namesrvs: NAMESRVS_MAX + 1,
            ..Layout::default()
        },
        Layout {
            host_pattern: "host-{i}".to_owned(),
            ..Layout::default()
        },
        Layout {
            host_pattern: "10.0.0.25{i}".to_owned(),
            masters: 9,
            ..Layout::default()
        },
        Layout {
            cluster_name: "a\nb=c".to_owned(),
            ..Layout::default()
        },
    ];
    for layout in wrong {
        assert!(layout.files().is_err(), "{layout:?}");
    }
}
