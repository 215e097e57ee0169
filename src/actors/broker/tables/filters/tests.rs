use std::path::Path;

use actix::{Arbiter, System};

use super::{actor::Round, *};
use crate::{config::test_env, store::fs::RealFs};

fn start(tree: &Tree, dir: &Path, keys: &[(&str, &str)]) -> Filters {
    let mut settings = vec![("listenPort", "20911")];
    settings.extend_from_slice(keys);
    let config = BrokerConfig::load(None, &settings, &test_env(dir)).unwrap();
    let config = Live::new(config);
    let tables = Tables::new(RealFs::shared(), dir.join("config"));
    let arbiter = Arbiter::current();
    let consumers = ConsumerGroups::new(tree, "broker", arbiter.clone(), config.clone());
    Filters::start(tree, "broker", &arbiter, &tables, config, consumers).unwrap()
}

fn sub(topic: &str, text: &str, version: i64) -> SubscriptionData {
    SubscriptionData::build(topic, text, Some(EXPRESSION_SQL92), version).unwrap()
}

fn known(filters: &Filters, topic: &str) -> Option<(String, i64, bool)> {
    let entry = filters.get(topic, "G")?;
    let data = &entry.data;
    Some((data.expression.clone(), data.client_version, data.dead))
}

#[test]
fn versions_decide() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let filters = start(&Tree::new("t"), dir.path(), &[]);
        let tags = SubscriptionData::of_tags("Tags", "A", 1).unwrap();
        filters.register("G", &[sub("T", "a = 1", 5), tags]);
        let first = Some(("a = 1".to_owned(), 5, false));
        assert_eq!(known(&filters, "T"), first);
        assert_eq!(known(&filters, "Tags"), None);
        filters.register("G", &[sub("T", "a = 2", 4)]);
        filters.register("G", &[sub("T", "a = 2", 5)]);
        assert_eq!(known(&filters, "T"), first);
        let born = filters.get("T", "G").unwrap().data.born_time;
        filters.register("G", &[sub("T", "a = 1", 6)]);
        assert_eq!(known(&filters, "T"), Some(("a = 1".to_owned(), 6, false)));
        assert_eq!(filters.get("T", "G").unwrap().data.born_time, born);
        filters.register("G", &[sub("T", "a = 2", 7)]);
        assert_eq!(known(&filters, "T"), Some(("a = 2".to_owned(), 7, false)));
        // A topic that is dropped is dead, and lives again with the same version.
        filters.register("G", &[]);
        assert_eq!(known(&filters, "T"), Some(("a = 2".to_owned(), 7, true)));
        filters.register("G", &[sub("T", "a = 2", 7)]);
        assert_eq!(known(&filters, "T"), Some(("a = 2".to_owned(), 7, false)));
        // A new one that is bad takes the old one with it.
        filters.register("G", &[sub("T", "a =", 8)]);
        assert_eq!(known(&filters, "T"), None);
    });
}

#[test]
fn the_table_comes_back_from_disk_with_its_groups_dead() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new("t");
        let filters = start(&tree, dir.path(), &[]);
        filters.register("G", &[sub("T", "a = 1", 5)]);
        tree.get("broker/filters").unwrap().arm("before_save");
        filters.actor.ask(Round).await.unwrap_err();
        // Nobody of the group is online.
        filters.actor.ask(Round).await.unwrap();
        assert!(filters.get("T", "G").unwrap().data.dead);
        filters.register("G", &[sub("T", "a = 1", 5)]);
        filters.shut_down().await.unwrap();

        let again = start(&Tree::new("t2"), dir.path(), &[]);
        let (old, new) = (filters.get("T", "G").unwrap(), again.get("T", "G").unwrap());
        assert!(new.data.dead && new.data.dead_time >= old.data.born_time);
        assert_eq!(new.data.bloom_filter_data, old.data.bloom_filter_data);
        assert_eq!(new.data.born_time, old.data.born_time);
        assert!(new.filter.as_ref().unwrap().matches(b"a\x011\x02"));
        again.register("G", &[sub("T", "a = 1", 5)]);
        assert!(!again.get("T", "G").unwrap().data.dead);
        again.shut_down().await.unwrap();

        // Bits of other dimensions are made anew; who is dead for too long is forgotten.
        let keys = [
            ("expectConsumerNumUseFilter", "64"),
            ("filterDataCleanTimeSpan", "0"),
        ];
        let other = start(&Tree::new("t3"), dir.path(), &keys);
        let entry = other.get("T", "G").unwrap();
        assert_ne!(entry.data.bloom_filter_data, old.data.bloom_filter_data);
        other.actor.ask(Round).await.unwrap();
        assert!(other.get("T", "G").is_none());
    });
}

#[test]
fn the_expressions_of_pulls_are_parsed_once() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let filters = start(&Tree::new("t"), dir.path(), &[]);
        let first = filters.parsed(EXPRESSION_SQL92, "a = 1").unwrap();
        let again = filters.parsed(EXPRESSION_SQL92, "a = 1").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        for number in 0..PARSED_MAX {
            let text = format!("a = {number} OR b = 2");
            filters.parsed(EXPRESSION_SQL92, &text).unwrap();
        }
        assert!(lock(&filters.shared.parsed).len() <= PARSED_MAX);
        let again = filters.parsed(EXPRESSION_SQL92, "a = 1").unwrap();
        assert!(!Arc::ptr_eq(&first, &again));
        for (kind, text) in [("SQL", "a = 1"), (EXPRESSION_SQL92, "a =")] {
            assert!(filters.parsed(kind, text).is_err());
        }
    });
}
