//! Saving and loading, and what is left when that fails.

use std::{collections::BTreeMap, fs};

use proptest::prelude::*;

use super::*;
use crate::{
    protocol::{
        body::{offset::ConsumerOffsetTable, topic_config::TopicConfig},
        fastjson::from_slice,
    },
    store::fs::RealFs,
};

struct Bench {
    dir: tempfile::TempDir,
    tables: Tables,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tables = Tables::new(RealFs::shared(), dir.path().join("config"));
        Self { dir, tables }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("config").join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

fn offsets(offset: i64) -> ConsumerOffsetTable {
    let queues = BTreeMap::from([(0, offset), (12, 7)]);
    ConsumerOffsetTable {
        offset_table: BTreeMap::from([("T@G".to_owned(), queues)]),
        ..ConsumerOffsetTable::default()
    }
}

#[test]
fn a_saved_table_is_loaded_and_the_one_before_is_kept() {
    let bench = Bench::new();
    let (mut file, none) = bench.tables.consumer_offsets().unwrap();
    assert_eq!(none, None);
    assert!(file.save(&offsets(1)).unwrap());
    assert!(!file.save(&offsets(1)).unwrap());
    assert!(!bench.path("consumerOffset.json.bak").exists());
    assert!(file.save(&offsets(2)).unwrap());
    let (mut file, table) = bench.tables.consumer_offsets().unwrap();
    assert_eq!(table, Some(offsets(2)));
    assert!(!file.save(&offsets(2)).unwrap());
    let before: ConsumerOffsetTable =
        from_slice(bench.read("consumerOffset.json.bak").as_bytes()).unwrap();
    assert_eq!(before, offsets(1));
    assert!(!bench.path("consumerOffset.json.tmp").exists());
    let text = "{\n\t\"dataVersion\":{\n\t\t\"counter\":0,\n\t\t\"stateVersion\":0,\n\t\t\"timestamp\":0\n\t},\n\
                \t\"groupTopicMap\":{\n\t\t\n\t},\n\
                \t\"offsetTable\":{\n\t\t\"T@G\":{\n\t\t\t0:2,\n\t\t\t12:7\n\t\t}\n\t}\n}";
    assert_eq!(bench.read("consumerOffset.json"), text);
}

/// Written by RocketMQ 5.4.0's broker-b in `tests/static_topics.rs` with `CALLBOARD_TEST_BROKER=java`: it
/// has taken a queue of broker-a over.
const MAPPINGS: &str = include_str!("topicQueueMapping.golden.json");

#[test]
fn mappings_of_static_topics_are_written_as_rocketmq_writes_them() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("")).unwrap();
    fs::write(bench.path("topicQueueMapping.json"), MAPPINGS).unwrap();
    let (file, table) = bench.tables.topic_queue_mapping().unwrap();
    let table = table.unwrap();
    let mapping = &table.topic_queue_mapping_info_map["StaticTopic"];
    assert_eq!((mapping.total_queues, mapping.hosted_queues.len()), (3, 2));
    assert_eq!(mapping.led(0).unwrap().logic_offset, 20_000);
    let text = file.encode(&table).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), MAPPINGS);
}

#[test]
fn a_broken_file_is_replaced_by_its_backup_and_never_becomes_one() {
    let bench = Bench::new();
    let (mut file, _) = bench.tables.consumer_offsets().unwrap();
    file.save(&offsets(1)).unwrap();
    file.save(&offsets(2)).unwrap();
    for broken in [
        "",
        " \n",
        "{\"offsetTable\":{\"T@G\"",
        "\0\0\0",
        "{\"offsetTable\":5}",
    ] {
        fs::write(bench.path("consumerOffset.json"), broken).unwrap();
        let (mut file, table) = bench.tables.consumer_offsets().unwrap();
        assert_eq!(table, Some(offsets(1)), "{broken:?}");
        assert!(file.save(&offsets(3)).unwrap());
        let backup = bench.read("consumerOffset.json.bak");
        assert!(backup.contains("0:1"), "{backup}");
        assert!(bench.read("consumerOffset.json").contains("0:3"));
    }
    fs::remove_file(bench.path("consumerOffset.json")).unwrap();
    let (_, table) = bench.tables.consumer_offsets().unwrap();
    assert_eq!(table, Some(offsets(1)));
    // It exists and cannot be read.
    fs::create_dir(bench.path("consumerOffset.json")).unwrap();
    let (_, table) = bench.tables.consumer_offsets().unwrap();
    assert_eq!(table, Some(offsets(1)));
    fs::remove_dir(bench.path("consumerOffset.json")).unwrap();
    fs::write(bench.path("consumerOffset.json"), "x").unwrap();
    fs::write(bench.path("consumerOffset.json.bak"), "y").unwrap();
    let error = bench.tables.consumer_offsets().unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn what_a_newer_broker_wrote_is_kept() {
    let bench = Bench::new();
    fs::create_dir_all(bench.tables.dir()).unwrap();
    let text = "{\n\t\"dataVersion\":{\n\t\t\"counter\":3,\n\t\t\"newer\":\"x\",\n\t\t\"stateVersion\":0,\n\
                \t\t\"timestamp\":9\n\t},\n\t\"topicConfigTable\":{\n\t\t\"T\":{\n\t\t\t\"attributes\":{\n\
                \t\t\t\t\n\t\t\t},\n\t\t\t\"future\":{\n\t\t\t\t1:true\n\t\t\t},\n\t\t\t\"order\":false,\n\
                \t\t\t\"perm\":6,\n\t\t\t\"readQueueNums\":8,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\
                \t\t\t\"topicName\":\"T\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":8\n\t\t}\n\t}\n}";
    fs::write(bench.path("topics.json"), text).unwrap();
    let (mut file, table) = bench.tables.topics().unwrap();
    let mut table = table.unwrap();
    assert_eq!(
        String::from_utf8(file.encode(&table).unwrap()).unwrap(),
        text
    );
    assert!(!file.save(&table).unwrap());
    let other = TopicConfig::new("U", 4, 6);
    table.topic_config_table.insert("U".to_owned(), other);
    assert!(file.save(&table).unwrap());
    let saved = bench.read("topics.json");
    assert!(
        saved.contains("\"future\":{") && saved.contains("\"newer\":\"x\""),
        "{saved}"
    );
    let known = table.topic_config_table.remove("T").unwrap();
    file.save(&table).unwrap();
    assert!(!bench.read("topics.json").contains("future"));
    // A new topic of the old name.
    table.topic_config_table.insert("T".to_owned(), known);
    file.save(&table).unwrap();
    let saved = bench.read("topics.json");
    assert!(!saved.contains("future") && saved.contains("\"newer\""));
}

#[test]
fn the_key_value_file_is_on_one_line() {
    let bench = Bench::new();
    let (mut file, _) = load_kv_config(RealFs::shared(), bench.path("kvConfig.json")).unwrap();
    let values = BTreeMap::from([("k".to_owned(), "v/ü".to_owned())]);
    let config_table = BTreeMap::from([("NS".to_owned(), values)]);
    file.save(&KvConfigTable { config_table }).unwrap();
    assert_eq!(
        bench.read("kvConfig.json"),
        r#"{"configTable":{"NS":{"k":"v/ü"}}}"#
    );
}

#[test]
fn order_info_has_the_short_names_of_rocketmq() {
    let bench = Bench::new();
    let (mut file, _) = bench.tables.consumer_order_info().unwrap();
    let info = OrderInfo {
        attempt_id: Some("x".to_owned()),
        commit_offset_bit: 1,
        invisible_time: Some(2),
        last_consume_timestamp: 3,
        offsets: Some(vec![4, 1]),
        offset_consumed_count: Some(BTreeMap::from([(4, 1)])),
        offset_next_visible_time: None,
        pop_time: 5,
    };
    let mut table = ConsumerOrderInfo::default();
    table
        .table
        .insert("T@G".to_owned(), BTreeMap::from([(0, info)]));
    file.save(&table).unwrap();
    let text = bench.read("consumerOrderInfo.json");
    let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    assert_eq!(
        compact,
        "{\"orderedConsumptionLevel\":\"QUEUE\",\"table\":{\"T@G\":{0:{\"a\":\"x\",\"cm\":1,\"i\":2,\
         \"l\":3,\"o\":[4,1],\"oc\":{4:1},\"popTime\":5}}}}"
    );
    assert_eq!(bench.tables.consumer_order_info().unwrap().1, Some(table));
}

proptest! {
    #[test]
    fn what_was_read_can_be_written_and_read_again(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut: prop::sample::Index,
    ) {
        let bench = Bench::new();
        fs::create_dir_all(bench.tables.dir()).unwrap();
        let (file, _) = bench.tables.consumer_offsets().unwrap();
        let mut bytes = file.encode(&offsets(5)).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(2 * bytes.len()).max(20));
        fs::write(bench.path("consumerOffset.json"), bytes).unwrap();
        if let Ok((mut file, Some(table))) = bench.tables.consumer_offsets() {
            let written = file.encode(&table).unwrap();
            file.save(&table).unwrap();
            let (file, again) = bench.tables.consumer_offsets().unwrap();
            prop_assert_eq!(again.as_ref(), Some(&table));
            prop_assert_eq!(file.encode(&table).unwrap(), written);
        }
    }
}
