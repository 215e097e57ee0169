//! A store that RocketMQ 5.4.0 wrote: one transaction committed, one rolled back, two open.

use crate::common::console;
use crate::common::eventually;
use crate::common::remoting::Client;
use crate::common::requests::{GET_MAX_OFFSET, create_group, must, offset_of, pull_all};
use crate::common::server::{Broker, Folder, Namesrv};
use crate::producer::*;
use crate::support;

const GOLDEN_TOPIC: &str = "GoldTx";

#[test]
fn open_transactions_of_rocketmq_are_asked_about() {
    let Some(golden) = support::golden_stores() else {
        return;
    };
    let folder = Folder::new();
    let namesrv = Namesrv::start(&folder.0);
    let dir = folder.0.join("broker");
    std::fs::create_dir_all(&dir).expect("a folder");
    support::unpack(&golden, "c-clean.tar.gz", &dir);
    let mut broker = Broker::start_in(
        &dir,
        namesrv.address(),
        &[
            ("mappedFileSizeCommitLog", "65536"),
            ("mappedFileSizeConsumeQueue", "2000"),
            ("maxHashSlotNum", "100"),
            ("maxIndexNum", "400"),
            // However old it is by now.
            ("fileReservedTime", "500000"),
            ("transactionTimeOut", "300"),
            ("transactionCheckInterval", "200"),
        ],
    );
    let client = Client::connect(broker.address()).expect("connect");
    create_group(&client, "test_group");
    let producer = Producer::connect(broker.address(), "GoldTxProducer").expect("connect");
    let checks = producer.checks();
    let mut asked = Vec::new();
    while asked.len() < 2 {
        let check = checks.next();
        let body = String::from_utf8(check.message.body.clone()).expect("text");
        let outcome = match body.as_str() {
            "tx-unknown-1" => Outcome::Commit,
            "tx-unknown-2" => Outcome::Rollback,
            other => panic!("asked about {other}"),
        };
        assert_eq!(check.message.topic, GOLDEN_TOPIC);
        must(producer.end(&check.half, outcome), "end");
        if !asked.contains(&body) {
            asked.push(body);
        }
    }
    let bodies = || {
        let all = pull_all(&client, GOLDEN_TOPIC, 0, 0);
        let text =
            |record: crate::common::record::Record| String::from_utf8(record.body).expect("text");
        all.into_iter().map(text).collect::<Vec<_>>()
    };
    eventually("both are there", || {
        (bodies() == ["tx-commit", "tx-unknown-1"]).then_some(())
    });
    // RocketMQ counted two open ones.
    let path = "/actors/broker/delivery/transactions";
    let detail = || {
        let answer = console::get(broker.console(), path).expect("an answer");
        answer.json()["detail"].clone()
    };
    assert_eq!(detail()["open"], 0);
    let max = offset_of(&client, GET_MAX_OFFSET, HALF_TOPIC, 0);
    eventually("everything is passed", || {
        (detail()["half_offset"] == max).then_some(())
    });
    broker.stop();
    broker.restart();
    let client = Client::connect(broker.address()).expect("connect");
    assert_eq!(pull_all(&client, GOLDEN_TOPIC, 0, 0).len(), 2);
}
