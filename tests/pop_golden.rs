//! A store that RocketMQ 5.4.0 wrote with pops in flight: our broker goes on with it. What was
//! acknowledged there stays away, all the rest comes back, and what had come back is popped.

mod common;
mod support;

use common::eventually;
use common::pop::{Popped, Who, pop_ext, pop_with, try_ack};
use common::remoting::Client;
use common::requests::must;
use common::server::{Broker, Folder, Namesrv};
use std::collections::BTreeSet;
use std::path::Path;

/// The sizes that the golden stores were made with, and no deletion of what is some years old.
const KEYS: [(&str, &str); 7] = [
    ("mappedFileSizeCommitLog", "65536"),
    ("mappedFileSizeConsumeQueue", "2000"),
    ("mappedFileSizeTimerLog", "65536"),
    ("maxHashSlotNum", "100"),
    ("maxIndexNum", "400"),
    ("fileReservedTime", "876000"),
    ("flushConsumerOffsetInterval", "200"),
];

const POPPED: Who = Who {
    topic: "GoldPop",
    group: "GoldPopG",
};

/// Queue and offset in the topic, by the number of the key: sends went to the two queues in turns.
fn origin(message: &Popped) -> (i64, i64) {
    let key = message.property("KEYS").expect("KEYS");
    let number: i64 = key
        .strip_prefix("pk")
        .expect("pk")
        .parse()
        .expect("a number");
    (number % 2, number / 2)
}

fn pop_until(client: &Client, who: Who, count: usize) -> Vec<Popped> {
    let mut all = Vec::new();
    eventually(&format!("{count} messages of {}", who.group), || {
        let ext = pop_ext(who, 32, 600_000, 1000, &[]);
        for popped in pop_with(client, who, &ext) {
            must(try_ack(client, who, &popped), "ack");
            all.push(popped);
        }
        (all.len() >= count).then_some(())
    });
    all
}

fn goes_on_with(archive: &str, folder: &Path) {
    let dir = Folder::new();
    let place = dir.0.join("broker");
    std::fs::create_dir_all(&place).expect("folder");
    support::unpack(folder, archive, &place);
    let namesrv = Namesrv::start(&dir.0);
    let broker = Broker::start(&dir.0, namesrv.address(), &KEYS);
    let client = Client::connect(broker.address()).expect("connect");
    // Four of each queue had been popped: two of queue 0 were acknowledged, one of queue 1 was hidden
    // again. All of their times are over by now. Six of each were never popped.
    let all = pop_until(&client, POPPED, 18);
    let (back, fresh): (Vec<_>, Vec<_>) = all.iter().partition(|m| m.part(4) == "1");
    let places = |messages: &[&Popped]| -> BTreeSet<_> {
        messages.iter().map(|message| origin(message)).collect()
    };
    let never_popped = (4..10).flat_map(|offset| [(0, offset), (1, offset)]);
    assert_eq!(places(&fresh), never_popped.collect(), "{archive}");
    let unacknowledged = [(0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)];
    assert_eq!(places(&back), unacknowledged.into(), "{archive}");
    assert_eq!(back.len(), 6, "{archive}: none twice");
    for message in back {
        assert_eq!(message.property("ORIGIN_GROUP"), Some("GoldPopG"));
        assert!(message.property("1ST_POP_TIME").is_some());
    }
    // Two that RocketMQ itself had brought back, to a topic with a long name.
    let group: String = format!("GoldLongGroup_{}", "x".repeat(106));
    let who = Who {
        topic: "GoldPop",
        group: group.leak(),
    };
    // Of queue 1 it had popped two, of queue 0 nothing.
    let long = pop_until(&client, who, 10 + 8 + 2);
    let (back, _): (Vec<_>, Vec<_>) = long.iter().partition(|m| m.part(4) == "1");
    assert_eq!(places(&back), [(1, 0), (1, 1)].into(), "{archive}");
}

#[test]
fn a_store_that_was_closed() {
    if let Some(folder) = support::golden_stores() {
        goes_on_with("c-clean.tar.gz", &folder);
    }
}

#[test]
fn a_store_of_a_killed_broker() {
    if let Some(folder) = support::golden_stores() {
        goes_on_with("d-special-kill9.tar.gz", &folder);
    }
}
