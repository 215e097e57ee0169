//! Whoever makes a topic finds its route once that is answered: a broker tells the NameServers before
//! it answers, as RocketMQ's does (`TopicConfigManager.registerBrokerData`). A client that asked too
//! early would ask again half a minute later.

mod common;

use std::time::Duration;

use callboard::protocol::body::route::TopicRouteData;
use callboard::protocol::fastjson;
use common::remoting::Client;
use common::requests::{
    GET_ROUTEINFO_BY_TOPIC, HEART_BEAT, SEND_MESSAGE_V2, create_topic, heartbeat_body, must,
    send_ext, update_config,
};
use common::server::{Cluster, is_java};
use common::{PATIENCE, eventually};

fn route(namesrv: &Client, topic: &str) -> Option<TopicRouteData> {
    let ext = [("topic", topic.to_owned())];
    let answer = namesrv.call(GET_ROUTEINFO_BY_TOPIC, &ext, b"", PATIENCE);
    let answer = answer.expect("an answer");
    (answer.code == 0).then(|| fastjson::from_slice(&answer.body).expect("a route"))
}

fn permission(namesrv: &Client, topic: &str) -> Option<i32> {
    route(namesrv, topic).map(|route| route.queue_datas[0].perm)
}

#[test]
fn what_was_made_has_a_route_when_that_is_answered() {
    let cluster = Cluster::start(&[]);
    let broker = Client::connect(cluster.broker.address()).expect("connect");
    let namesrv = Client::connect(cluster.namesrv.address()).expect("connect");
    // Many, for the broker could be the faster one by chance.
    for round in 0..20 {
        let made = format!("MadeByTool{round}");
        create_topic(&broker, &made, 2);
        let read = |route: TopicRouteData| route.queue_datas[0].read_queue_nums;
        assert_eq!(route(&namesrv, &made).map(read), Some(2), "{made}");

        let sent = format!("MadeBySend{round}");
        let ext = send_ext(&sent, 0, "");
        must(
            broker.call(SEND_MESSAGE_V2, &ext, b"body", PATIENCE),
            "send",
        );
        assert_eq!(permission(&namesrv, &sent), Some(6), "{sent}");

        let group = format!("group{round}");
        let body = heartbeat_body("a client", &group, &made);
        must(broker.call(HEART_BEAT, &[], &body, PATIENCE), "a heartbeat");
        let retry = format!("%RETRY%{group}");
        assert_eq!(permission(&namesrv, &retry), Some(6), "{retry}");
    }
}

#[test]
fn a_broker_that_says_it_started_has_routes() {
    let mut cluster = Cluster::start(&[]);
    let namesrv = Client::connect(cluster.namesrv.address()).expect("connect");
    cluster.broker.stop();
    assert_eq!(permission(&namesrv, "TBW102"), None);
    cluster.namesrv.pause();
    cluster.broker.respawn();
    // It asks for its slaves' offsets first, and waits a second for that.
    std::thread::sleep(Duration::from_millis(1800));
    let said = cluster.broker.log_text();
    let gave_up = said.contains("a NameServer does not answer");
    assert!(!said.contains("boot success") || gave_up, "{said}");
    cluster.namesrv.resume();
    cluster.broker.wait_ready();
    assert!(permission(&namesrv, "TBW102").is_some() || gave_up);
}

#[test]
fn a_changed_permission_of_the_broker_is_known_when_that_is_answered() {
    let cluster = Cluster::start(&[]);
    let broker = Client::connect(cluster.broker.address()).expect("connect");
    let namesrv = Client::connect(cluster.namesrv.address()).expect("connect");
    create_topic(&broker, "T", 2);
    for wanted in [4, 6, 2, 6] {
        update_config(&broker, &format!("brokerPermission={wanted}"));
        assert_eq!(permission(&namesrv, "T"), Some(wanted));
    }
}

#[test]
fn a_namesrv_that_hangs_does_not_hang_the_broker() {
    if is_java() {
        println!("SKIP: RocketMQ waits longer than its clients do");
        return;
    }
    let cluster = Cluster::start(&[]);
    let broker = Client::connect(cluster.broker.address()).expect("connect");
    let namesrv = Client::connect(cluster.namesrv.address()).expect("connect");
    create_topic(&broker, "Before", 2);
    cluster.namesrv.pause();
    create_topic(&broker, "Meanwhile", 2);
    let ext = send_ext("MeanwhileSent", 0, "");
    must(
        broker.call(SEND_MESSAGE_V2, &ext, b"body", PATIENCE),
        "send",
    );
    cluster.namesrv.resume();
    for topic in ["Meanwhile", "MeanwhileSent"] {
        eventually("the NameServer hears of it", || route(&namesrv, topic));
    }
}
