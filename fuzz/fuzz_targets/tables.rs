//! Tables and their backups that hold anything: what is read can be written and read again.
#![no_main]

use callboard::protocol::fastjson::Style;
use callboard::store::fs::RealFs;
use callboard::store::tables::ConfigFile;
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use std::path::Path;

fn check<T: Serialize + DeserializeOwned>(path: &Path) {
    let load = || ConfigFile::<T>::load(RealFs::shared(), path, Style::Pretty);
    let Ok((mut file, Some(table))) = load() else {
        return;
    };
    let bytes = file.encode(&table).expect("what was read can be written");
    file.save(&table).expect("writable");
    let (again, table) = load().expect("what was written can be read");
    let table = table.expect("it is there");
    assert_eq!(again.encode(&table).expect("a table"), bytes);
}

fuzz_target!(|input: (&[u8], &[u8])| {
    use callboard::protocol::body::{
        offset::ConsumerOffsetTable, subscription_group::SubscriptionGroupWrapper,
        topic_config::TopicConfigSerializeWrapper,
    };
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("table.json");
    let prepare = || {
        std::fs::write(&path, input.0).expect("file");
        std::fs::write(dir.path().join("table.json.bak"), input.1).expect("file");
    };
    prepare();
    check::<TopicConfigSerializeWrapper>(&path);
    prepare();
    check::<SubscriptionGroupWrapper>(&path);
    prepare();
    check::<ConsumerOffsetTable>(&path);
});
