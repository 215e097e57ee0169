//! Registration against small servers.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use actix::{Arbiter, System};

use super::*;
use crate::{
    actors::{
        broker::tables::topics::CreateForSend,
        net::{ConnectionHandle, Net, NetConfig, Service, ServiceFactory},
    },
    config::test_env,
    protocol::{
        RemotingCommand, RequestCode, ResponseCode,
        body::{
            register_broker::{RegisterBrokerBody, body_crc32},
            route::{QueueData, TopicRouteData},
        },
        fastjson,
        header::namesrv::RegisterBrokerRequestHeader,
    },
    store::{fs::RealFs, tables::Tables},
};

type Seen = Arc<Mutex<Vec<RemotingCommand>>>;

/// Remembers requests and answers all of them.
struct FakeNamesrv {
    seen: Seen,
}

impl Service for FakeNamesrv {
    fn frames(&mut self, frames: &mut Vec<RemotingCommand>, conn: &Arc<ConnectionHandle>) {
        for request in frames.drain(..) {
            let mut answer = RemotingCommand::response(&request, ResponseCode::Success);
            match request.request_code() {
                Some(RequestCode::RegisterBroker) => {
                    answer.body = r#"{"table":{"ordered":"broker-a:4"}}"#.into();
                    answer.ext_fields.insert("haServerAddr", "192.0.2.1:1");
                    answer.ext_fields.insert("masterAddr", "192.0.2.1:2");
                }
                Some(RequestCode::GetRouteinfoByTopic) => {
                    let data = |name: &str, perm| QueueData {
                        broker_name: name.into(),
                        perm,
                        read_queue_nums: 2,
                        ..QueueData::default()
                    };
                    let route = TopicRouteData {
                        queue_datas: vec![data("b", 6), data("a", 4), data("c", 2)],
                        ..TopicRouteData::default()
                    };
                    answer.body = fastjson::to_vec(&route).unwrap().into();
                }
                _ => {}
            }
            lock(&self.seen).push(request);
            conn.reply(&answer);
        }
    }
}

fn namesrv(tree: &Tree) -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let own = seen.clone();
    let factory: ServiceFactory = Arc::new(move |_| Box::new(FakeNamesrv { seen: own.clone() }));
    let config = NetConfig::default();
    let net = Net::start(tree, "namesrv", vec![Arbiter::current()], config);
    let addr = net
        .listen(SocketAddr::from(([127, 0, 0, 1], 0)), factory)
        .unwrap();
    std::mem::forget(net);
    (addr, seen)
}

fn start(tree: &Tree, dir: &Path, namesrvs: &str) -> Registrars {
    let settings = [
        ("listenPort", "20911"),
        ("brokerName", "broker-a"),
        ("namesrvAddr", namesrvs),
    ];
    let config = Live::new(BrokerConfig::load(None, &settings, &test_env(dir)).unwrap());
    let here = Arbiter::current();
    let tables = Tables::new(RealFs::shared(), dir.join("config"));
    let topics = Topics::start(tree, "broker", &here, &tables, config.clone()).unwrap();
    Registrars::new(tree, "broker", &here, config, topics)
}

/// The topics of a registration.
fn registered(request: &RemotingCommand) -> Vec<String> {
    assert_eq!(request.code, RequestCode::RegisterBroker.code());
    let header: RegisterBrokerRequestHeader = request.decode_header().unwrap();
    assert_eq!(header.body_crc32, body_crc32(&request.body));
    assert_eq!(&*header.broker_addr, "192.0.2.2:20911");
    let body = RegisterBrokerBody::decode(&request.body, false, request.version).unwrap();
    let wrapper = body.topic_config_serialize_wrapper;
    assert!(wrapper.mapping_data_version.is_some());
    wrapper.topic_config_table.into_keys().collect()
}

#[test]
fn a_dead_namesrv_delays_nobody() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new("t");
        let (addr, seen) = namesrv(&tree);
        // Nobody listens on a port that was just given back.
        let dead = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let registrars = start(&tree, dir.path(), &format!("{dead};{addr}"));
        registrars.start();
        assert_eq!(registrars.register_all().await, (1, 2));
        assert!(tree.contains(&format!("broker/registrar/{addr}")));
        let topics = registrars.0.topics.clone();
        let request = CreateForSend {
            topic: "ordered",
            default_topic: "TBW102",
            queue_nums: 4,
            unit_mode: false,
        };
        topics.create_for_send(request).await.unwrap();
        // Whoever asked for it is answered when the NameServer that is up knows.
        assert_eq!(registered(lock(&seen).last().unwrap()), ["ordered"]);
        assert_eq!(registrars.register_all().await, (1, 2));
        {
            let seen = lock(&seen);
            assert!(registered(&seen[0]).len() > 10);
            let alone = seen
                .iter()
                .filter(|request| registered(request) == ["ordered"]);
            assert_eq!(alone.count(), 1);
            assert!(registered(seen.last().unwrap()).contains(&"ordered".to_owned()));
        }
        // The NameServer's answer says that the topic is ordered.
        topics.create_retry("%RETRY%G", 1, false, 0).await.unwrap();
        assert!(topics.is_order("ordered"));
        assert_eq!(registrars.master().unwrap().master_addr, "192.0.2.1:2");
        registrars.unregister().await;
        assert_eq!(
            lock(&seen).last().unwrap().code,
            RequestCode::UnregisterBroker.code()
        );
    });
}

#[test]
fn a_restart_registers_again() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new("t");
        let (addr, seen) = namesrv(&tree);
        let registrars = start(&tree, dir.path(), &addr.to_string());
        registrars.start();
        registrars.register_all().await;
        let before = lock(&seen).len();
        let cell = tree.get(&format!("broker/registrar/{addr}")).unwrap();
        cell.crash();
        assert_eq!(registrars.register_all().await, (1, 1));
        assert_eq!(cell.restarts(), 1);
        assert!(lock(&seen).len() > before);
        registrars.unregister().await;
    });
}

#[test]
fn queues_are_those_of_all_brokers_that_can_be_read() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new("t");
        let (addr, seen) = namesrv(&tree);
        let registrars = start(&tree, dir.path(), &addr.to_string());
        let own = registrars.readable_queues("SELF_TEST_TOPIC").await.unwrap();
        assert_eq!(own.len(), 1);
        registrars.start();
        registrars.register_all().await;
        let queues = registrars.readable_queues("T").await.unwrap();
        let names: Vec<_> = queues
            .iter()
            .map(|q| (&*q.broker_name, q.queue_id))
            .collect();
        assert_eq!(names, [("a", 0), ("a", 1), ("b", 0), ("b", 1)]);
        registrars.readable_queues("T").await.unwrap();
        let asked =
            |request: &&RemotingCommand| request.code == RequestCode::GetRouteinfoByTopic.code();
        assert_eq!(lock(&seen).iter().filter(asked).count(), 1);
        registrars.unregister().await;
    });
}
