//! The tables of groups with their actor.

use std::path::Path;

use actix::{Arbiter, System};

use super::*;
use crate::{config::test_env, protocol::body::assignment::MessageRequestMode, store::fs::RealFs};

fn start(tree: &Tree, dir: &Path, auto_create: &str) -> SubscriptionGroups {
    let settings = [
        ("listenPort", "20911"),
        ("autoCreateSubscriptionGroup", auto_create),
    ];
    let config = BrokerConfig::load(None, &settings, &test_env(dir)).unwrap();
    let tables = Tables::new(RealFs::shared(), dir.join("config"));
    let arbiter = Arbiter::current();
    SubscriptionGroups::start(tree, "broker", &arbiter, &tables, Live::new(config)).unwrap()
}

#[test]
fn a_lookup_makes_a_group_where_that_is_allowed() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let groups = start(&Tree::new("t"), dir.path(), "true");
        assert_eq!(groups.len(), 8);
        assert!(groups.get("G").is_none());
        assert_eq!(groups.find("G").await.unwrap().retry_max_times, 16);
        assert!(groups.find("a b").await.is_none());
        assert_eq!(groups.version().counter, 1);
        groups.delete("G").await.unwrap();
        assert!(matches!(
            groups.delete("G").await,
            Err(GroupError::NotExist(_))
        ));
        groups.find("H").await.unwrap();
        let strict = start(&Tree::new("t2"), dir.path(), "false");
        assert!(strict.contains("H") && !strict.contains("G"));
        assert!(strict.find("G").await.is_none());
        assert!(strict.find("CID_RMQ_SYS_X").await.is_some());
    });
}

#[test]
fn updates_and_forbidden_topics_are_kept() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new("t");
        let groups = start(&tree, dir.path(), "true");
        let mut config = SubscriptionGroupConfig::new("G");
        config.retry_max_times = 3;
        groups.update(vec![config.clone()]).await.unwrap();
        config.attributes.insert("+a".into(), "b".into());
        let refused = groups.update(vec![config]).await.unwrap_err();
        assert_eq!(refused.to_string(), "unsupported key: a");
        groups
            .set_forbidden("G", "T", FORBIDDEN_READ, true)
            .await
            .unwrap();
        groups
            .set_forbidden("G", "U", FORBIDDEN_READ, true)
            .await
            .unwrap();
        groups
            .set_forbidden("G", "U", FORBIDDEN_READ, false)
            .await
            .unwrap();
        tree.get("broker/subscriptions")
            .unwrap()
            .arm("after_change");
        assert!(groups.find("lost").await.is_none());
        groups.shut_down().await.unwrap();
        let again = start(&Tree::new("t2"), dir.path(), "true");
        assert_eq!(again.get("G").unwrap().retry_max_times, 3);
        assert!(again.is_read_forbidden("G", "T") && !again.is_read_forbidden("G", "U"));
        assert!(again.contains("lost"));
        again.delete("G").await.unwrap();
        assert!(!again.is_read_forbidden("G", "T"));
    });
}

#[test]
fn modes_have_a_file_of_their_own() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let groups = start(&Tree::new("t"), dir.path(), "true");
        let mode = SetMessageRequestModeRequestBody {
            topic: "T".into(),
            consumer_group: "G".into(),
            mode: MessageRequestMode::Pop,
            pop_share_queue_num: 2,
        };
        groups.set_request_mode(mode.clone()).await.unwrap();
        let again = start(&Tree::new("t2"), dir.path(), "true");
        assert_eq!(again.request_mode("T", "G"), Some(mode));
        assert_eq!(again.request_mode("T", "H"), None);
    });
}
