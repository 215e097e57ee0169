//! A slave ends nothing and asks nobody; when it takes its master's place it goes on where that was.

use crate::common::console;
use crate::common::eventually;
use crate::common::pair::Pair;
use crate::common::remoting::Client;
use crate::common::requests::{create_topic, must};
use crate::producer::*;

#[test]
fn a_slave_goes_on_when_it_becomes_the_master() {
    let mut pair = Pair::start(&[
        ("transactionTimeOut", "300"),
        ("transactionCheckInterval", "100"),
        ("transactionCheckMax", "100000"),
    ]);
    let client = Client::connect(pair.master.address()).expect("connect");
    create_topic(&client, TOPIC, 4);
    pair.wait_mirrored(TOPIC);
    let producer = Producer::connect(pair.master.address(), "tx_group").expect("connect");
    let checks = producer.checks();
    let committed = producer.half("committed");
    must(producer.end(&committed, Outcome::Commit), "commit");
    let rolled_back = producer.half("rolled back");
    must(producer.end(&rolled_back, Outcome::Rollback), "rollback");
    let open = producer.half("open");
    assert_eq!(checks.next().half.key, open.key);
    pair.wait_in_sync();

    let at_slave = Producer::connect(pair.slave().address(), "tx_group").expect("connect");
    let refused = at_slave.end(&open, Outcome::Commit).expect("an answer");
    assert_eq!(refused.code, 11);
    let asked_by_slave = at_slave.checks();
    let refused = at_slave.try_half("at the slave", 1, "").expect("an answer");
    assert_eq!(refused.code, 2);
    // Its master is asked about the transaction meanwhile, again and again.
    checks.next();
    checks.next();
    assert!(asked_by_slave.waiting().is_none(), "a slave asks");
    let path = "/actors/broker/delivery/transactions";
    let detail = console::get(pair.slave().console(), path)
        .expect("an answer")
        .json();
    assert_eq!(detail["detail"]["checks"], 0);
    pair.wait_in_sync();
    pair.master.kill9();
    let slave = pair.slave();
    slave.become_master();
    let producer = Producer::connect(slave.address(), "tx_group").expect("connect");
    let checks = producer.checks();
    let check = checks.next();
    assert_eq!(check.half.key, "open");
    must(producer.end(&check.half, Outcome::Commit), "commit");
    let client = Client::connect(slave.address()).expect("connect");
    eventually("the message", || {
        let mut bodies = bodies(&client, TOPIC, 4);
        bodies.sort();
        (bodies == ["committed", "open"]).then_some(())
    });
}
