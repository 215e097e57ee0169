//! Consumer groups with their actors.

use std::{path::Path, sync::Arc};

use actix::{Arbiter, System};

use super::{
    consumers::ConsumerGroups,
    locks::LockKey,
    member::Member,
    producers::ProducerGroups,
    rebalancer::Register,
    scanner::{Groups, Scan},
};
use crate::{
    actors::{
        kernel::{ActorRef, Crash, Tree},
        net::ConnectionHandle,
    },
    config::{BrokerConfig, Live, test_env},
    protocol::{
        LanguageCode, RemotingCommand, RequestCode,
        body::heartbeat::{ConsumerData, MessageModel, SubscriptionData},
    },
    store::{fs::RealFs, queue_locks::QueueLocksFile},
};

struct World {
    tree: Tree,
    groups: ConsumerGroups,
    scanner: ActorRef<Groups>,
}

impl World {
    fn new() -> Self {
        let config =
            BrokerConfig::load(None, &[("listenPort", "20911")], &test_env(Path::new("/h")));
        let config = Live::new(config.unwrap());
        let tree = Tree::new("t");
        let groups = ConsumerGroups::new(&tree, "broker", Arbiter::current(), config);
        let scanner = groups.start(ProducerGroups::default());
        Self {
            tree,
            groups,
            scanner,
        }
    }

    async fn beat(&self, conn: &Arc<ConnectionHandle>, topics: &[&str], now_ms: u64) -> bool {
        self.beat_with(conn, topics, now_ms, MessageModel::Clustering)
            .await
    }

    async fn beat_with(
        &self,
        conn: &Arc<ConnectionHandle>,
        topics: &[&str],
        now_ms: u64,
        message_model: MessageModel,
    ) -> bool {
        let subs = topics
            .iter()
            .map(|topic| SubscriptionData::of_tags(topic, "*", 1).unwrap());
        let data = ConsumerData {
            group_name: "G".into(),
            message_model,
            subscription_data_set: subs.collect(),
            ..ConsumerData::default()
        };
        let client = format!("client-{}", conn.id);
        let member = Member::new(&client, conn, LanguageCode::JAVA, 493, now_ms);
        let heartbeat = Register {
            member,
            data: Arc::new(data),
            with_sub: !topics.is_empty(),
            notify: true,
            now_ms,
        };
        self.groups.register(heartbeat).await.unwrap()
    }
}

fn connection(id: u64) -> Arc<ConnectionHandle> {
    let mut conn = ConnectionHandle::detached();
    Arc::get_mut(&mut conn).unwrap().id = id;
    conn
}

/// The notices that a client got since the last call.
async fn notices(conn: &ConnectionHandle) -> usize {
    // Notices leave after the drain that answered the request.
    actix_rt::task::yield_now().await;
    let mut bytes = conn.sent();
    let mut count = 0;
    while !bytes.is_empty() {
        let len = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        let notice = RemotingCommand::decode(bytes.split_to(len + 4)).unwrap();
        assert_eq!(notice.code, RequestCode::NotifyConsumerIdsChanged.code());
        assert_eq!(notice.ext_fields.get("consumerGroup"), Some("G"));
        assert!(notice.is_oneway());
        count += 1;
    }
    count
}

#[test]
fn members_are_told_of_each_other() {
    System::new().block_on(async {
        let world = World::new();
        let (a, b) = (connection(1), connection(2));
        assert!(world.beat(&a, &["T"], 0).await);
        assert_eq!(notices(&a).await, 1);
        assert!(!world.beat(&a, &["T"], 1).await);
        assert_eq!(notices(&a).await, 0);
        assert!(world.beat(&b, &["T"], 2).await);
        assert_eq!((notices(&a).await, notices(&b).await), (1, 1));
        let info = world.groups.get("G").unwrap();
        assert_eq!(info.client_ids(), ["client-1", "client-2"]);
        assert!(world.groups.find("G", "client-2").is_some());
        assert!(world.groups.subscription("G", "T").is_some());
        assert_eq!(world.groups.groups_of("T"), ["G".into()].into());
        // Another topic is a change, a heartbeat without subscriptions is none.
        assert!(world.beat(&b, &["T", "U"], 3).await);
        assert!(!world.beat(&b, &[], 4).await);
        assert_eq!(world.groups.get("G").unwrap().subscriptions.len(), 2);
        assert!(world.beat(&b, &["U"], 5).await);
        assert!(world.groups.subscription("G", "T").is_none());
        notices(&a).await;
        world.groups.closed(&b);
        world.groups.unregister("X", 7, true).await.unwrap();
        world.scanner.ask(Scan { now_ms: 5 }).await.unwrap();
        assert_eq!(notices(&a).await, 1);
        world.groups.unregister("G", 1, true).await.unwrap();
        assert!(world.groups.get("G").is_none());
    });
}

#[test]
fn broadcasting_clients_are_not_told() {
    System::new().block_on(async {
        let world = World::new();
        let a = connection(1);
        assert!(
            world
                .beat_with(&a, &["T"], 0, MessageModel::Broadcasting)
                .await
        );
        assert_eq!(notices(&a).await, 0);
    });
}

#[test]
fn the_silent_go_and_an_empty_group_ends() {
    System::new().block_on(async {
        let world = World::new();
        let (a, b) = (connection(1), connection(2));
        world.beat(&a, &["T"], 0).await;
        world.beat(&b, &["T"], 100).await;
        world.scanner.ask(Scan { now_ms: 120_001 }).await.unwrap();
        actix_rt::task::yield_now().await;
        assert!(a.is_closed() && !b.is_closed());
        assert_eq!(world.groups.get("G").unwrap().client_ids(), ["client-2"]);
        world.groups.closed(&b);
        actix_rt::task::yield_now().await;
        assert!(world.groups.get("G").is_none());
        assert!(world.tree.contains("broker/groups/rebalancer/G"));
        world.scanner.ask(Scan { now_ms: 120_002 }).await.unwrap();
        while world.tree.contains("broker/groups/rebalancer/G") {
            actix_rt::task::yield_now().await;
        }
        assert!(world.beat(&connection(3), &["T"], 1).await);
    });
}

#[test]
fn a_restart_keeps_members_and_locks() {
    System::new().block_on(async {
        let world = World::new();
        let a = connection(1);
        world.beat(&a, &["T"], 0).await;
        let queue = LockKey {
            topic: "T".into(),
            broker_name: "b".into(),
            queue_id: 0,
        };
        let lock = |client: &str| {
            world
                .groups
                .lock("G", client.to_owned().into(), vec![queue.clone()])
        };
        assert_eq!(lock("client-1").await.unwrap().len(), 1);
        notices(&a).await;
        let cell = world.tree.get("broker/groups/rebalancer/G").unwrap();
        cell.crash();
        assert!(lock("client-2").await.unwrap().is_empty());
        assert_eq!(cell.restarts(), 1);
        assert_eq!(world.groups.get("G").unwrap().members.len(), 1);
        assert_eq!(notices(&a).await, 1);
        assert_eq!(
            world.groups.lock_holder("G", &queue).as_deref(),
            Some("client-1")
        );
        world
            .groups
            .unlock("G", "client-1".into(), vec![queue.clone()])
            .await
            .unwrap();
        assert_eq!(lock("client-2").await.unwrap().len(), 1);
        world.scanner.addr().send(Crash).await.unwrap_err();
        world.scanner.ask(Scan { now_ms: 1 }).await.unwrap();
    });
}

#[test]
fn locks_are_given_once_the_file_has_them() {
    System::new().block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let file = QueueLocksFile::new(&RealFs::shared(), dir.path());
        let queue = LockKey {
            topic: "T".into(),
            broker_name: "b".into(),
            queue_id: 0,
        };
        let lock = async |world: &World, client: &'static str| {
            let queues = vec![queue.clone()];
            let given = world.groups.lock("G", client.into(), queues).await;
            given.map(|given| given.len())
        };
        let world = World::new();
        world.groups.keep_locks(&Arbiter::current(), file.clone());
        let writer = world.tree.get("broker/queue_locks").unwrap();
        writer.arm("before_write");
        lock(&world, "client-1").await.unwrap_err();
        assert_eq!(file.load().groups, []);
        assert_eq!(lock(&world, "client-1").await, Ok(1));
        assert_eq!((writer.restarts(), file.load().groups.len()), (1, 1));
        // Another process: nobody but the holder gets the queue.
        let again = World::new();
        again.groups.keep_locks(&Arbiter::current(), file.clone());
        assert_eq!(lock(&again, "client-2").await, Ok(0));
        assert_eq!(lock(&again, "client-1").await, Ok(1));
        let queues = vec![queue.clone()];
        again
            .groups
            .unlock("G", "client-1".into(), queues)
            .await
            .unwrap();
        assert_eq!(file.load().groups, []);
        assert_eq!(lock(&again, "client-2").await, Ok(1));
        again.groups.shut_down_locks().await.unwrap();
    });
}

#[test]
fn locks_are_given_while_the_file_cannot_be_written() {
    System::new().block_on(async {
        let file = QueueLocksFile::new(&RealFs::shared(), Path::new("/proc/no such folder"));
        let world = World::new();
        world.groups.keep_locks(&Arbiter::current(), file);
        let queue = LockKey {
            topic: "T".into(),
            broker_name: "b".into(),
            queue_id: 0,
        };
        let given = world.groups.lock("G", "c".into(), vec![queue]).await;
        assert_eq!(given.map(|given| given.len()), Ok(1));
        let writer = world.tree.get("broker/queue_locks").unwrap();
        assert_eq!(writer.restarts(), 0);
        world.groups.shut_down_locks().await.unwrap();
    });
}

#[test]
fn an_actor_that_gave_up_is_replaced() {
    System::new().block_on(async {
        let world = World::new();
        let a = connection(1);
        world.beat(&a, &["T"], 0).await;
        let queue = LockKey {
            topic: "T".into(),
            broker_name: "b".into(),
            queue_id: 0,
        };
        let locked = world.groups.lock("G", "a".into(), vec![queue.clone()]);
        assert_eq!(locked.await.map(|given| given.len()), Ok(1));
        let cell = world.tree.get("broker/groups/rebalancer/G").unwrap();
        while world.tree.contains("broker/groups/rebalancer/G") {
            cell.crash();
            actix_rt::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        world.scanner.ask(Scan { now_ms: 1 }).await.unwrap();
        assert!(world.groups.get("G").is_none());
        assert_eq!(world.groups.lock_holder("G", &queue).as_deref(), Some("a"));
        assert!(world.beat(&a, &["T"], 2).await);
    });
}

#[test]
fn subscriptions_of_pulls_are_kept_for_a_while() {
    System::new().block_on(async {
        let world = World::new();
        let sub = |text: &'static str| move || SubscriptionData::of_tags("T", text, 0).unwrap();
        world.groups.note_pull("P", "T", "a", sub("a"));
        world
            .groups
            .note_pull("P", "T", "a", || unreachable!("it is known"));
        world.groups.note_pull("P", "T", "b", sub("b"));
        assert!(world.groups.subscription("P", "T").is_none());
        assert_eq!(
            world.groups.last_subscription("P", "T").unwrap().sub_string,
            "b"
        );
        world
            .scanner
            .ask(Scan {
                now_ms: u64::MAX / 4,
            })
            .await
            .unwrap();
        assert!(world.groups.last_subscription("P", "T").is_none());
    });
}
