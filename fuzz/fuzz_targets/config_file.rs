//! Configuration files: an error that names the line, or settings that can be written out.
#![no_main]

use callboard::config::{BrokerConfig, Config, Env, NamesrvConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().expect("folder");
    let file = dir.path().join("fuzz.conf");
    std::fs::write(&file, bytes).expect("file");
    let env = Env {
        home: dir.path().to_path_buf(),
        host_name: None,
        address: std::net::IpAddr::from([127, 0, 0, 1]),
        namesrv_addr: None,
        rocketmq_home: None,
        cores: 2,
    };
    if let Ok(config) = BrokerConfig::load(Some(&file), &[], &env) {
        let _ = config.to_properties();
        let _ = config.namesrv_addrs();
    }
    if let Ok(config) = NamesrvConfig::load(Some(&file), &[], &env) {
        let _ = config.to_properties();
    }
});
