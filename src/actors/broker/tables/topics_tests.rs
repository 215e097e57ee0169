//! The table of topics with its actor.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use actix::{Arbiter, System};

use super::topics::{CreateForSend, TopicError, Topics};
use crate::{
    actors::kernel::{ActorError, Tree, lock},
    config::{BrokerConfig, Live, test_env},
    protocol::{
        ResponseCode,
        body::{
            topic_config::{TopicConfig, TopicConfigSerializeWrapper},
            topic_queue_mapping::{LogicQueueMappingItem, TopicQueueMappingDetail},
        },
        fastjson,
    },
    store::{fs::RealFs, tables::Tables},
};

fn start(tree: &Tree, dir: &Path, settings: &[(&str, &str)]) -> Topics {
    let mut all = vec![("listenPort", "20911"), ("brokerName", "broker-a")];
    all.extend(settings);
    let config = Live::new(BrokerConfig::load(None, &all, &test_env(dir)).unwrap());
    Topics::start(
        tree,
        "broker",
        &Arbiter::current(),
        &Tables::new(RealFs::shared(), dir.join("config")),
        config,
    )
    .unwrap()
}

fn send<'a>(topic: &'a str, queue_nums: i32) -> CreateForSend<'a> {
    CreateForSend {
        topic,
        default_topic: "TBW102",
        queue_nums,
        unit_mode: false,
    }
}

#[test]
fn a_topic_is_made_after_the_default_one_and_kept() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let topics = start(&Tree::new("t"), dir.path(), &[]);
        let told = Arc::new(Mutex::new(Vec::new()));
        let ears = told.clone();
        topics.on_change(move |changed| {
            lock(&ears).push(changed.clone());
            None
        });
        let made = topics.create_for_send(send("T", 4)).await.unwrap();
        assert_eq!(
            (made.read_queue_nums, made.write_queue_nums, made.perm),
            (4, 4, 6)
        );
        let many = topics.create_for_send(send("U", 40)).await.unwrap();
        assert_eq!(many.write_queue_nums, 8);
        assert_eq!(
            topics
                .create_for_send(send("U", 1))
                .await
                .unwrap()
                .write_queue_nums,
            8
        );
        let retry = topics.create_retry("%RETRY%G", 1, false, 0).await.unwrap();
        assert_eq!((retry.read_queue_nums, retry.perm), (1, 6));
        assert_eq!(topics.version().counter, 3);
        {
            let told = lock(&told);
            assert_eq!(told.len(), 3);
            assert_eq!(
                (told[0].version.counter, &*told[0].topics[0].topic_name),
                (1, "T")
            );
        }
        assert!(topics.delete("U").await.unwrap() && !topics.delete("U").await.unwrap());
        assert_eq!(lock(&told)[3].deleted, ["U"]);
        // Another broker process on the same folder.
        let again = start(&Tree::new("t2"), dir.path(), &[]);
        assert_eq!(again.version(), topics.version());
        assert!(again.contains("T") && !again.contains("U"));
        assert_eq!(again.len(), topics.len());
    });
}

#[test]
fn without_permission_the_answer_is_that_of_the_reference() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let topics = start(
            &Tree::new("t"),
            dir.path(),
            &[("autoCreateTopicEnable", "false")],
        );
        let refused = topics.create_for_send(send("T", 4)).await.unwrap_err();
        assert_eq!(refused.code(), ResponseCode::TopicNotExist);
        assert_eq!(
            refused.to_string(),
            "topic[T] not exist, apply first please!\nSee \
             https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
        );
        let not_inherited = CreateForSend {
            default_topic: "BenchmarkTest",
            ..send("T", 4)
        };
        assert!(topics.create_for_send(not_inherited).await.is_err());
        let retry = topics.create_for_send(send("%RETRY%G", 4)).await.unwrap();
        assert_eq!(retry.write_queue_nums, 1);
        let bad = topics.create_for_send(send("a b", 4)).await.unwrap_err();
        assert_eq!(bad.code(), ResponseCode::InvalidParameter);
    });
}

#[test]
fn updates_merge_attributes() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let topics = start(&Tree::new("t"), dir.path(), &[]);
        let with = |key: &str, value: &str| {
            let mut config = TopicConfig::new("T", 4, 6);
            config.attributes.insert(key.into(), value.into());
            vec![config]
        };
        topics.update(with("+message.type", "FIFO")).await.unwrap();
        assert_eq!(topics.get("T").unwrap().attributes["message.type"], "FIFO");
        let error = topics
            .update(with("+queue.type", "BatchCQ"))
            .await
            .unwrap_err();
        assert!(matches!(error, TopicError::Attribute(_)));
        assert_eq!(error.code(), ResponseCode::SystemError);
        topics
            .update(vec![TopicConfig::new("T", 8, 6)])
            .await
            .unwrap();
        let now = topics.get("T").unwrap();
        assert_eq!((now.write_queue_nums, now.attributes.len()), (8, 1));
        topics.mark_ordered(["T".to_owned(), "nowhere".to_owned()]);
        topics.shut_down().await.unwrap();
        assert!(topics.is_order("T") && !topics.contains("nowhere"));
        assert!(start(&Tree::new("t2"), dir.path(), &[]).is_order("T"));
    });
}

#[test]
fn a_crash_leaves_the_table_and_writes_it_down() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new("t");
        let topics = start(&tree, dir.path(), &[]);
        let cell = tree.get("broker/topics").unwrap();
        cell.arm("after_change");
        let lost = topics.create_for_send(send("T", 4)).await.unwrap_err();
        assert!(matches!(lost, TopicError::Actor(ActorError::Gone)));
        assert!(topics.contains("T"));
        topics.create_for_send(send("U", 4)).await.unwrap();
        assert_eq!(cell.restarts(), 1);
        let again = start(&Tree::new("t2"), dir.path(), &[]);
        assert!(again.contains("T") && again.contains("U"));
    });
}

#[test]
fn what_a_newer_broker_wrote_survives_our_changes() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config/topics.json");
        std::fs::create_dir(dir.path().join("config")).unwrap();
        let text = r#"{"dataVersion":{"counter":1,"stateVersion":0,"timestamp":2},"future":{"a":1},
            "topicConfigTable":{"T":{"perm":6,"topicName":"T","new":[{1:2}]},"U":{"topicName":"U"}}}"#;
        std::fs::write(&file, text).unwrap();
        let topics = start(&Tree::new("t"), dir.path(), &[]);
        topics.create_for_send(send("V", 4)).await.unwrap();
        topics
            .update(vec![TopicConfig::new("T", 3, 6)])
            .await
            .unwrap();
        let written: fastjson::Value =
            fastjson::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let known: fastjson::Value = fastjson::from_str(text).unwrap();
        let of = |value: &fastjson::Value, topic: &str, key: &str| {
            let topics = value.get("topicConfigTable").unwrap();
            topics.get(topic).and_then(|topic| topic.get(key)).cloned()
        };
        assert_eq!(written.get("future"), known.get("future"));
        assert_eq!(of(&written, "T", "new"), of(&known, "T", "new"));
        assert!(of(&written, "T", "new").is_some() && of(&written, "V", "new").is_none());
        assert_eq!(
            of(&written, "T", "writeQueueNums"),
            Some(fastjson::Value::Int(3))
        );
    });
}

#[test]
fn a_file_of_the_reference_is_read_and_wins_over_the_defaults() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("config")).unwrap();
        let text = "{\n\t\"dataVersion\":{\n\t\t\"counter\":13,\n\t\t\"stateVersion\":0,\n\t\t\
            \"timestamp\":1795389402859\n\t},\n\t\"topicConfigTable\":{\n\t\t\"TBW102\":{\n\t\t\t\
            \"attributes\":{\n\t\t\t\t\n\t\t\t},\n\t\t\t\"order\":false,\n\t\t\t\"perm\":7,\n\t\t\t\
            \"readQueueNums\":3,\n\t\t\t\"topicFilterType\":\"SINGLE_TAG\",\n\t\t\t\
            \"topicName\":\"TBW102\",\n\t\t\t\"topicSysFlag\":0,\n\t\t\t\"writeQueueNums\":3\n\t\t}\
            \n\t}\n}";
        std::fs::write(dir.path().join("config/topics.json"), text).unwrap();
        let topics = start(&Tree::new("t"), dir.path(), &[]);
        assert_eq!(topics.version().counter, 13);
        assert_eq!(topics.get("TBW102").unwrap().write_queue_nums, 3);
        assert!(topics.contains("BenchmarkTest") && topics.is_system("broker-a"));
        let all = topics.snapshot();
        let mut one = TopicConfigSerializeWrapper {
            data_version: all.data_version,
            topic_config_table: all.topic_config_table,
        };
        one.topic_config_table.retain(|name, _| name == "TBW102");
        let written = fastjson::to_vec_pretty(&one).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), text);
    });
}

fn mapping(topic: &str, epoch: i64, queues: &[i32]) -> TopicQueueMappingDetail {
    let stretch = |queue: &i32| {
        let item = LogicQueueMappingItem {
            bname: "broker-a".into(),
            queue_id: *queue,
            ..LogicQueueMappingItem::default()
        };
        (*queue, vec![item])
    };
    TopicQueueMappingDetail {
        topic: topic.into(),
        bname: "broker-a".into(),
        epoch,
        total_queues: 2,
        hosted_queues: queues.iter().map(stretch).collect(),
        ..TopicQueueMappingDetail::default()
    }
}

#[test]
fn a_mapping_comes_and_goes_with_its_topic() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config/topicQueueMapping.json");
        let topics = start(&Tree::new("t"), dir.path(), &[]);
        assert!(topics.mapping("S").is_none() && topics.mappings().is_empty());
        let config = TopicConfig::new("S", 2, 6);
        for epoch in [1, 2] {
            let put = topics.update_static(config.clone(), mapping("S", epoch, &[0, 1]), false);
            put.await.unwrap();
        }
        let kept = topics.mapping("S").unwrap();
        assert_eq!(
            (kept.detail().epoch, topics.mappings().version().counter),
            (2, 2)
        );
        // What is refused changes neither the topic nor the mapping.
        let wider = TopicConfig::new("S", 9, 6);
        let older = topics.update_static(wider, mapping("S", 1, &[0, 1]), false);
        let error = older.await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Can't accept data with small epoch 1 < 2"
        );
        assert_eq!(error.code(), ResponseCode::SystemError);
        let mut odd = TopicConfig::new("N", 1, 6);
        odd.attributes.insert("no sign".into(), "x".into());
        let new = topics.update_static(odd, mapping("N", 1, &[0]), false);
        assert!(matches!(new.await, Err(TopicError::Attribute(_))));
        assert!(topics.mapping("N").is_none() && !topics.contains("N"));
        assert_eq!(topics.get("S").unwrap().write_queue_nums, 2);
        assert!(Arc::ptr_eq(
            topics.mapping("S").unwrap().detail(),
            kept.detail()
        ));
        // Nobody else has it any more once it was replaced.
        assert!(!kept.is_left());
        let put = topics.update_static(config, mapping("S", 3, &[0, 1]), false);
        put.await.unwrap();
        assert!(kept.is_left());
        // Another process on the same folder, and one that finds a mapping without its topic.
        let again = start(&Tree::new("u"), dir.path(), &[]);
        assert_eq!(again.snapshot(), topics.snapshot());
        std::fs::remove_file(dir.path().join("config/topics.json")).unwrap();
        let _ = std::fs::remove_file(dir.path().join("config/topics.json.bak"));
        assert!(
            start(&Tree::new("v"), dir.path(), &[])
                .mappings()
                .is_empty()
        );
        assert!(topics.delete("S").await.unwrap());
        assert!(topics.mapping("S").is_none());
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("\"S\""), "{text}");
    });
}

#[test]
fn no_static_topic_is_written_without_its_mapping() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        let topics = start(&Tree::new("t"), dir.path(), &[]);
        // A folder that is not empty cannot be replaced by a file.
        let in_the_way = config.join("topicQueueMapping.json/x");
        std::fs::create_dir_all(&in_the_way).unwrap();
        let put = topics.update_static(TopicConfig::new("S", 2, 6), mapping("S", 1, &[0]), false);
        put.await.unwrap();
        let written = |file: &str| std::fs::read_to_string(config.join(file)).unwrap_or_default();
        assert!(!written("topics.json").contains("\"S\""));
        std::fs::remove_dir_all(config.join("topicQueueMapping.json")).unwrap();
        topics
            .update(vec![TopicConfig::new("T", 1, 6)])
            .await
            .unwrap();
        for file in ["topics.json", "topicQueueMapping.json"] {
            assert!(written(file).contains("\"S\""), "{file}");
        }
    });
}

#[test]
fn mappings_follow_a_master_and_only_the_known_one_is_replaced() {
    System::new().block_on(async {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let master = start(&Tree::new("m"), one.path(), &[]);
        let slave = start(&Tree::new("s"), other.path(), &[]);
        let config = TopicConfig::new("S", 2, 6);
        let put = master.update_static(config, mapping("S", 1, &[0, 1]), false);
        put.await.unwrap();
        slave.mirror(master.snapshot()).await.unwrap();
        assert_eq!(slave.snapshot(), master.snapshot());
        let known = master.mappings().detail("S").unwrap();
        let left = mapping("S", 1, &[1]);
        let replaced = master.replace_mapping(known.clone(), left.clone());
        replaced.await.unwrap();
        assert_eq!(*master.mappings().detail("S").unwrap(), left);
        // It was looked at before the last change.
        let late = master.replace_mapping(known, mapping("S", 1, &[]));
        late.await.unwrap();
        assert_eq!(*master.mappings().detail("S").unwrap(), left);
        assert_ne!(slave.version(), master.version());
        slave.mirror(master.snapshot()).await.unwrap();
        assert_eq!(slave.snapshot(), master.snapshot());
        master.delete("S").await.unwrap();
        slave.mirror(master.snapshot()).await.unwrap();
        assert!(slave.mappings().is_empty());
    });
}
