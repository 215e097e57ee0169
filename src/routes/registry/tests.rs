//! Tests of the rules, one per rule.

use crate::protocol::Str;
use crate::routes::model::*;
use crate::routes::registry::*;
use crate::routes::tables::{RouteTables, UnitTopics};

const NOW: u64 = 1_000_000;

fn queues(perm: i32) -> Queues {
    Queues {
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm,
        topic_sys_flag: 0,
    }
}

fn version(counter: i64) -> DataVersion {
    DataVersion {
        state_version: 0,
        timestamp: 7,
        counter,
    }
}

fn broker(name: &'static str, id: i64, addr: &'static str) -> Registration {
    Registration {
        cluster: "C".into(),
        broker_name: name.into(),
        broker_id: id,
        broker_addr: addr.into(),
        ha_server_addr: Str::from(format!("ha-{addr}")),
        enable_acting_master: Some(false),
        version: version(1),
        ..Registration::default()
    }
}

fn with(mut registration: Registration, topics: &[(&'static str, i32)]) -> Registration {
    let entry = |(name, perm): &(&'static str, i32)| RegisteredTopic {
        name: (*name).into(),
        queues: queues(*perm),
    };
    registration.topics = topics.iter().map(entry).collect();
    registration
}

fn accept(tables: &RouteTables, registration: &Registration) -> (Option<Str>, Option<Str>) {
    match register(tables, registration, false, NOW).0 {
        Registered::Accepted {
            ha_server_addr,
            master_addr,
        } => (ha_server_addr, master_addr),
        other => panic!("{other:?}"),
    }
}

fn perm(tables: &RouteTables, topic: &str, broker: &str) -> Option<i32> {
    let route = tables.route(topic, false)?;
    route
        .queues
        .iter()
        .find(|(name, _)| name == broker)
        .map(|(_, queues)| queues.perm)
}

fn leave(
    tables: &RouteTables,
    name: &'static str,
    id: i64,
    addr: &'static str,
) -> Vec<MinIdChange> {
    let identity = BrokerAddr {
        cluster: "C".into(),
        addr: addr.into(),
    };
    unregister(
        tables,
        &[Unregistration {
            broker_name: name.into(),
            broker_id: id,
            identity,
        }],
    )
}

#[test]
fn a_slave_is_told_its_master() {
    let tables = RouteTables::default();
    let master = with(broker("a", 0, "m:1"), &[("T", 6), ("U", 6)]);
    assert_eq!(accept(&tables, &master), (None, None));
    let told = accept(&tables, &with(broker("a", 1, "s:1"), &[("T", 6), ("U", 6)]));
    assert_eq!(told, (Some("ha-m:1".into()), Some("m:1".into())));
    let route = tables.route("T", false).expect("known");
    assert_eq!(route.groups.len(), 1);
    assert_eq!(route.groups[0].addrs.len(), 2);
    assert_eq!(tables.clusters().get("C").map(|names| names.len()), Some(1));
}

#[test]
fn a_single_topic_needs_a_registered_broker() {
    let tables = RouteTables::default();
    let one = with(broker("a", 0, "m:1"), &[("T", 6)]);
    assert_eq!(register(&tables, &one, false, NOW).0, Registered::Unknown);
    assert!(tables.group("a").is_none(), "nothing is left of it");
    accept(&tables, &with(broker("a", 0, "m:1"), &[("T", 6), ("U", 6)]));
    let mut one = with(broker("a", 0, "m:1"), &[("V", 6)]);
    one.version = version(2);
    accept(&tables, &one);
    assert_eq!(tables.topics(), ["T", "U", "V"]);
}

#[test]
fn a_topic_spreads_until_every_master_told_of_it_or_a_second_passed() {
    let tables = RouteTables::default();
    accept(&tables, &with(broker("a", 0, "m:1"), &[("T", 6), ("U", 6)]));
    assert!(!tables.is_spreading("T", NOW), "there is no other master");
    accept(&tables, &with(broker("b", 0, "m:2"), &[("U", 6), ("V", 6)]));
    accept(&tables, &with(broker("c", 1, "s:1"), &[("U", 6), ("V", 6)]));
    let mut elsewhere = with(broker("d", 0, "m:4"), &[("V", 6), ("W", 6)]);
    elsewhere.cluster = "D".into();
    accept(&tables, &elsewhere);
    assert!(tables.is_spreading("T", NOW), "b has not told of it");
    assert!(tables.is_spreading("T", NOW + 999));
    assert!(!tables.is_spreading("T", NOW + 1000));
    assert!(!tables.is_spreading("U", NOW), "c is a slave, d elsewhere");
    assert!(!tables.is_spreading("nowhere", NOW));
    let mut told = with(broker("b", 0, "m:2"), &[("T", 6)]);
    told.version = version(2);
    accept(&tables, &told);
    assert!(!tables.is_spreading("T", NOW));
}

#[test]
fn topics_change_with_the_version_only_and_stay() {
    let tables = RouteTables::default();
    accept(&tables, &with(broker("a", 0, "m:1"), &[("T", 6), ("U", 6)]));
    let mut again = with(broker("a", 0, "m:1"), &[("T", 4), ("W", 6)]);
    accept(&tables, &again);
    assert_eq!(perm(&tables, "T", "a"), Some(6), "the version is the same");
    assert_eq!(
        perm(&tables, "W", "a"),
        Some(6),
        "what was missing is added"
    );
    again.version = version(2);
    accept(&tables, &again);
    assert_eq!(perm(&tables, "T", "a"), Some(4));
    assert_eq!(
        perm(&tables, "U", "a"),
        Some(6),
        "topics that are gone stay by default"
    );
    again.version = version(3);
    register(&tables, &again, true, NOW);
    assert_eq!(
        tables.route("U", false),
        None,
        "unless deleteTopicWithBrokerRegistration"
    );
}

#[test]
fn an_address_moves_and_a_newer_holder_keeps_its_place() {
    let tables = RouteTables::default();
    accept(&tables, &with(broker("a", 1, "x:1"), &[]));
    accept(&tables, &with(broker("a", 0, "x:1"), &[]));
    let group = tables.group("a").expect("known");
    assert_eq!(
        group.addrs.iter().collect::<Vec<_>>(),
        [(&0, &Str::from("x:1"))]
    );
    let mut newer = broker("a", 0, "x:1");
    newer.version.state_version = 5;
    accept(&tables, &newer);
    assert_eq!(accept(&tables, &broker("a", 0, "y:1")), (None, None));
    let group = tables.group("a").expect("known");
    assert_eq!(group.addrs.get(&0), Some(&Str::from("x:1")), "ignored");
    let mut later = broker("a", 0, "y:1");
    later.version.state_version = 6;
    accept(&tables, &later);
    assert_eq!(
        tables.group("a").expect("known").addrs.get(&0),
        Some(&Str::from("y:1"))
    );
}

#[test]
fn the_smallest_slave_stands_in_for_a_lost_master() {
    let tables = RouteTables::default();
    for (id, addr) in [(0, "m:1"), (1, "s:1"), (2, "s:2")] {
        let mut one = with(broker("a", id, addr), &[("T", 6), ("U", 6)]);
        one.enable_acting_master = Some(true);
        accept(&tables, &one);
    }
    let changes = leave(&tables, "a", 0, "m:1");
    assert_eq!(
        perm(&tables, "T", "a"),
        Some(4),
        "nobody can write without a master"
    );
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].min_id, &*changes[0].min_addr), (1, "s:1"));
    assert_eq!(changes[0].tell, ["s:1", "s:2"]);
    let plain = tables.route("T", false).expect("known");
    assert!(plain.groups[0].lacks_master());
    let acting = tables.route("T", true).expect("known");
    assert_eq!(acting.groups[0].addrs.get(&0), Some(&Str::from("s:1")));
    assert_eq!(acting.groups[0].addrs.len(), 2);
    let mut slave = with(broker("a", 1, "s:1"), &[("T", 6), ("N", 6)]);
    slave.enable_acting_master = Some(true);
    slave.version = version(2);
    accept(&tables, &slave);
    assert_eq!(perm(&tables, "N", "a"), Some(4), "its topics are read-only");
    let mut master = with(broker("a", 0, "m:1"), &[("T", 6), ("U", 6)]);
    master.enable_acting_master = Some(true);
    let (_, change) = register(&tables, &master, false, NOW);
    let change = change.expect("the smallest id is another now");
    assert_eq!(change.tell, ["s:1", "s:2"]);
    assert_eq!(change.ha_addr.as_deref(), Some("ha-m:1"));
    assert_eq!(perm(&tables, "T", "a"), Some(6));
}

#[test]
fn the_last_address_takes_the_group_with_it() {
    let tables = RouteTables::default();
    accept(&tables, &with(broker("a", 0, "m:1"), &[("T", 6), ("U", 6)]));
    accept(&tables, &with(broker("a", 1, "s:1"), &[]));
    accept(&tables, &with(broker("b", 0, "m:2"), &[("T", 6), ("B", 6)]));
    leave(&tables, "a", 0, "m:1");
    assert_eq!(
        perm(&tables, "T", "a"),
        Some(6),
        "the group does not want acting masters"
    );
    leave(&tables, "a", 1, "s:1");
    assert_eq!(tables.topics(), ["B", "T"]);
    assert_eq!(perm(&tables, "T", "a"), None);
    assert_eq!(tables.clusters().get("C").map(|names| names.len()), Some(1));
    leave(&tables, "b", 0, "m:2");
    assert_eq!(tables.counts(), (0, 0, 0));
    assert!(tables.clusters().is_empty());
}

#[test]
fn a_group_leaves_as_a_whole_in_one_batch() {
    let tables = RouteTables::default();
    accept(&tables, &with(broker("a", 0, "m:1"), &[("T", 6), ("U", 6)]));
    accept(&tables, &with(broker("a", 1, "s:1"), &[]));
    let one = |id, addr: &'static str| Unregistration {
        broker_name: "a".into(),
        broker_id: id,
        identity: BrokerAddr {
            cluster: "C".into(),
            addr: addr.into(),
        },
    };
    let changes = unregister(&tables, &[one(0, "m:1"), one(1, "s:1"), one(1, "s:1")]);
    assert!(changes.is_empty());
    assert_eq!(tables.counts(), (0, 0, 0));
}

#[test]
fn silence_is_measured_by_the_given_clock() {
    let tables = RouteTables::default();
    accept(&tables, &with(broker("a", 0, "m:1"), &[]));
    let mut short = broker("b", 0, "m:2");
    short.timeout_ms = Some(10_000);
    accept(&tables, &short);
    assert!(missed(&tables, NOW + 10_000).is_empty());
    assert_eq!(missed(&tables, NOW + 10_001).len(), 1);
    assert_eq!(missed(&tables, NOW + BROKER_TIMEOUT_MS + 1).len(), 2);
    let identity = BrokerAddr {
        cluster: "C".into(),
        addr: "m:2".into(),
    };
    tables.heartbeat(&identity, NOW + 10_000);
    assert!(missed(&tables, NOW + 10_001).is_empty());
    assert_eq!(
        tables.query_version(&identity, version(1), NOW + 20_000).1,
        Some(version(1))
    );
    assert!(missed(&tables, NOW + 30_000).is_empty());
}

#[test]
fn write_permission_is_wiped_and_comes_back() {
    let tables = RouteTables::default();
    let master = with(broker("a", 0, "m:1"), &[("T", 7), ("U", 6)]);
    accept(&tables, &master);
    assert_eq!(set_write_permission(&tables, "a", false), 2);
    assert_eq!(perm(&tables, "T", "a"), Some(5));
    accept(&tables, &master);
    assert_eq!(
        perm(&tables, "T", "a"),
        Some(5),
        "the same version leaves it"
    );
    assert_eq!(set_write_permission(&tables, "a", true), 2);
    assert_eq!(perm(&tables, "T", "a"), Some(6));
    assert_eq!(set_write_permission(&tables, "nobody", false), 0);
    set_write_permission(&tables, "a", false);
    accept(
        &tables,
        &Registration {
            version: version(2),
            ..master
        },
    );
    assert_eq!(
        perm(&tables, "T", "a"),
        Some(7),
        "another version brings its own"
    );
}

#[test]
fn topics_are_deleted_everywhere_or_from_a_cluster() {
    let tables = RouteTables::default();
    accept(&tables, &with(broker("a", 0, "m:1"), &[("T", 6), ("U", 6)]));
    let mut other = with(broker("b", 0, "m:2"), &[("T", 6), ("U", 6)]);
    other.cluster = "D".into();
    accept(&tables, &other);
    delete_topic(&tables, "T", Some("C"));
    assert_eq!(perm(&tables, "T", "a"), None);
    assert_eq!(perm(&tables, "T", "b"), Some(6));
    delete_topic(&tables, "T", Some("none"));
    delete_topic(&tables, "T", Some("D"));
    delete_topic(&tables, "U", None);
    assert!(tables.topics().is_empty());
}

#[test]
fn single_topics_are_registered_up_to_the_first_unknown_broker() {
    let tables = RouteTables::default();
    accept(&tables, &with(broker("a", 0, "m:1"), &[("T", 6), ("U", 6)]));
    let list = [("a".into(), queues(4)), ("x".into(), queues(6))];
    register_topic(&tables, &"New".into(), &list);
    assert_eq!(tables.topics(), ["T", "U"]);
    register_topic(&tables, &"T".into(), &list);
    assert_eq!(perm(&tables, "T", "a"), Some(4));
    register_topic(&tables, &"New".into(), &list[..1]);
    assert_eq!(perm(&tables, "New", "a"), Some(4));
}

#[test]
fn other_zones_are_left_out_while_their_master_lives() {
    let tables = RouteTables::default();
    for (name, id, addr, zone) in [
        ("a", 0, "m:1", "East"),
        ("b", 0, "m:2", "w"),
        ("c", 1, "s:3", "w"),
    ] {
        let mut one = with(broker(name, id, addr), &[("T", 6), ("U", 6)]);
        one.zone = Some(zone.into());
        accept(&tables, &one);
    }
    let mut route = tables.route("T", false).expect("known");
    route.keep_zone("east");
    let names: Vec<&str> = route.groups.iter().map(|group| &*group.name).collect();
    assert_eq!(names, ["a", "c"]);
    assert!(route.queues.iter().all(|(name, _)| name != "b"));
}

#[test]
fn lists_by_cluster_and_unit() {
    let tables = RouteTables::default();
    let mut master = with(broker("a", 0, "m:1"), &[("T", 6), ("U", 6), ("V", 6)]);
    master.topics[1].queues.topic_sys_flag = 3;
    master.topics[2].queues.topic_sys_flag = 2;
    accept(&tables, &master);
    assert_eq!(tables.topics_of_cluster("C"), ["T", "U", "V"]);
    assert!(tables.topics_of_cluster("D").is_empty());
    assert_eq!(tables.unit_topics(UnitTopics::Unit), ["U"]);
    assert_eq!(tables.unit_topics(UnitTopics::UnitSub), ["U", "V"]);
    assert_eq!(tables.unit_topics(UnitTopics::UnitSubNotUnit), ["V"]);
    assert_eq!(
        tables.system_topics(),
        (vec!["C".into(), "a".into()], Some("m:1".into()))
    );
}

#[test]
fn reconciling_drops_what_hangs_in_the_air() {
    let tables = RouteTables::default();
    accept(&tables, &with(broker("a", 0, "m:1"), &[("T", 6), ("U", 6)]));
    accept(&tables, &with(broker("b", 0, "m:2"), &[("T", 6), ("B", 6)]));
    // As a panic in the middle of an unregistration leaves it.
    tables.groups.remove("b");
    reconcile(&tables);
    assert_eq!(tables.topics(), ["T", "U"]);
    assert_eq!(tables.counts(), (2, 1, 1));
    assert_eq!(tables.clusters().get("C").map(|names| names.len()), Some(1));
}

proptest::proptest! {
    /// Whatever comes and goes, in whatever order: no queues without their group, no cluster
    /// without its brokers. `reconcile` finds nothing to do.
    #[test]
    fn tables_stay_in_line(ops in proptest::collection::vec((0u8..3, 0u8..3, 0i64..3, 0u8..4, 0i64..3), 1..40)) {
        let tables = RouteTables::default();
        let names = ["a", "b", "c"];
        let addrs = ["x:1", "x:2", "x:3", "x:4"];
        for (op, name, id, addr, counter) in ops {
            let (name, addr) = (names[usize::from(name)], addrs[usize::from(addr)]);
            match op {
                0 | 1 => {
                    let mut one = with(broker(name, id, addr), &[("T", 6), ("U", 4)]);
                    one.topics.truncate(usize::from(op) + 1);
                    one.version = version(counter);
                    one.version.state_version = counter;
                    one.enable_acting_master = Some(counter == 0);
                    register(&tables, &one, counter == 1, NOW);
                }
                _ => drop(leave(&tables, name, id, addr)),
            }
            let image = |tables: &RouteTables| {
                let routes: Vec<_> = tables.topics().iter().map(|t| tables.route(t, true)).collect();
                (tables.topics(), routes, tables.groups(), tables.clusters())
            };
            let before = image(&tables);
            proptest::prop_assert!(before.1.iter().all(Option::is_some));
            reconcile(&tables);
            proptest::prop_assert_eq!(image(&tables), before);
        }
    }
}
