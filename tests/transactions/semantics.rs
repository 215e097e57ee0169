//! One transaction at a time: how it is stored, ended, asked about and given up.

use crate::common::console;
use crate::common::remoting::Client;
use crate::common::requests::{self, create_topic, must, pull_all};
use crate::common::server::Cluster;
use crate::common::{PATIENCE, eventually};
use crate::load::settled;
use crate::producer::*;

/// So long that nobody is asked.
const NO_CHECKS: [(&str, &str); 1] = [("transactionCheckInterval", "3600000")];

/// As soon as possible.
const SOON: [(&str, &str); 3] = [
    ("transactionTimeOut", "300"),
    ("transactionCheckInterval", "100"),
    ("transactionCheckMax", "3"),
];

fn cluster(keys: &[(&str, &str)]) -> (Cluster, Client) {
    let cluster = Cluster::start(keys);
    let client = Client::connect(cluster.broker.address()).expect("connect");
    create_topic(&client, TOPIC, 4);
    (cluster, client)
}

fn producer(cluster: &Cluster, group: &str) -> Producer {
    Producer::connect(cluster.broker.address(), group).expect("connect")
}

#[test]
fn a_transaction_is_stored_and_ended_as_rocketmq_does() {
    let (mut cluster, client) = cluster(&NO_CHECKS);
    let producer = producer(&cluster, "tx_group");
    let sent = must(
        producer.try_half("one", 2, "TAGS\u{1}A\u{2}KEYS\u{1}k\u{2}"),
        "half",
    );
    assert_eq!(sent.ext_number("queueId"), 2);
    assert_eq!(sent.ext_text("transactionId"), "one");
    let one = half_of(&sent);
    assert!(bodies(&client, TOPIC, 4).is_empty());
    let stored = &pull_all(&client, HALF_TOPIC, 0, 0)[0];
    assert_eq!(stored.queue_offset, one.queue_offset);
    assert_eq!(stored.property("REAL_TOPIC"), Some(TOPIC));
    assert_eq!(stored.property("REAL_QID"), Some("2"));
    assert_eq!(stored.property("__transactionId__"), Some("one"));
    assert_eq!(stored.property("TRAN_MSG"), Some("true"));

    must(producer.end(&one, Outcome::Commit), "commit");
    // The same word again is no second message.
    must(producer.end(&one, Outcome::Commit), "commit again");
    must(producer.end(&one, Outcome::Rollback), "another word");
    let two = producer.half("two");
    must(producer.end(&two, Outcome::Rollback), "rollback");
    let delivered = eventually("the message", || {
        let all = pull_all(&client, TOPIC, 2, 0);
        (!all.is_empty()).then_some(all)
    });
    assert_eq!(delivered.len(), 1);
    let message = &delivered[0];
    assert_eq!((&*message.body, message.queue_id), (&b"one"[..], 2));
    assert_eq!(message.property("TAGS"), Some("A"));
    assert_eq!(message.property("__transactionId__"), Some("one"));
    assert_eq!(message.property("REAL_TOPIC"), None);
    assert_eq!(message.property("REAL_QID"), None);
    let raw = requests::view(&client, message.physical_offset).expect("the record");
    assert_eq!(raw.topic, TOPIC);
    eventually("the key is found", || {
        (requests::query_by_key(&client, TOPIC, "k").len() == 1).then_some(())
    });

    let marks = pull_all(&client, OP_TOPIC, 0, 0);
    let texts: Vec<_> = marks
        .iter()
        .map(|mark| String::from_utf8_lossy(&mark.body))
        .collect();
    assert_eq!(texts, ["0,", "1,"]);
    assert!(marks.iter().all(|mark| mark.property("TAGS") == Some("d")));

    drop(client);
    cluster.broker.stop();
    let path = cluster.broker.store().join("config/transactionMetrics");
    let text = std::fs::read_to_string(path).expect("transactionMetrics");
    let counts: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(counts["transactionCount"][TOPIC]["count"], 0);
    cluster.broker.restart();
    let client = Client::connect(cluster.broker.address()).expect("connect");
    assert_eq!(bodies(&client, TOPIC, 4), ["one"]);
}

#[test]
fn what_does_not_fit_is_refused_in_rocketmqs_words() {
    let (cluster, client) = cluster(&NO_CHECKS);
    let producer = producer(&cluster, "tx_group");
    let half = producer.half("one");
    let refusal = |name: &str, value: String| {
        let mut ext = end_ext(&producer.group, &half, Outcome::Commit as i32);
        requests::set(&mut ext, name, value);
        let answer = producer.end_with(&ext).expect("an answer");
        (answer.code, answer.remark)
    };
    let wrong = |remark: &str| (1, remark.to_owned());
    assert_eq!(
        refusal("producerGroup", "other".into()),
        wrong("The producer group wrong")
    );
    assert_eq!(
        refusal("tranStateTableOffset", "7".into()),
        wrong("The transaction state table offset wrong")
    );
    let not_found = wrong("Find prepared transaction message failed");
    for offset in [-1, 1, half.physical_offset + 1, i64::MAX] {
        assert_eq!(refusal("commitLogOffset", offset.to_string()), not_found);
    }
    assert_eq!(refusal("commitOrRollback", "4".into()).0, 1);
    // "Not known yet" changes nothing.
    assert_eq!(refusal("commitOrRollback", "0".into()).0, 0);
    // An ordinary message is no half message.
    let properties = format!("PGROUP\u{1}{}\u{2}", producer.group);
    let ext = requests::send_ext(TOPIC, 0, &properties);
    let sent = must(client.call(310, &ext, b"plain", PATIENCE), "send");
    let plain = producer
        .end(&half_of(&sent), Outcome::Commit)
        .expect("an answer");
    assert_eq!((plain.code, plain.remark), not_found);
    assert!(pull_all(&client, OP_TOPIC, 0, 0).is_empty());
    // Half messages may be refused, at any time.
    let reject = |value: &str| {
        requests::update_config(&client, &format!("rejectTransactionMessage={value}"));
    };
    reject("true");
    let refused = producer.try_half("two", 1, "").expect("an answer");
    assert_eq!(refused.code, 16);
    assert!(refused.remark.contains("transaction message is forbidden"));
    reject("false");
    must(producer.try_half("two", 1, ""), "half");
    must(producer.end(&half, Outcome::Commit), "commit");
    // Nobody but the broker sends to its own topics.
    for topic in [HALF_TOPIC, OP_TOPIC, MAX_TIME_TOPIC] {
        let ext = requests::send_ext(topic, 0, "");
        let refused = client.call(310, &ext, b"x", PATIENCE).expect("an answer");
        assert_ne!(refused.code, 0, "{topic}");
    }
}

#[test]
fn producers_that_say_nothing_are_asked_in_turns_and_then_no_more() {
    let (cluster, client) = cluster(&SOON);
    let (one, other) = (
        producer(&cluster, "tx_group"),
        producer(&cluster, "tx_group"),
    );
    let (at_one, at_other) = (one.checks(), other.checks());
    let half = one.half_with("slow", "KEYS\u{1}k\u{2}");
    let checks = [at_one.next(), at_other.next()];
    for check in &checks {
        assert_eq!(check.frame.flag & 2, 2, "oneway");
        assert_eq!(check.frame.ext_text("topic"), HALF_TOPIC);
        assert_eq!(check.frame.ext_text("bname"), "broker-a");
        assert_eq!((&*check.message.topic, check.message.queue_id), (TOPIC, 1));
        assert_eq!(check.message.body, b"slow");
        assert!(check.half.queue_offset > half.queue_offset);
    }
    let times = |check: &Check| {
        check
            .message
            .property("TRANSACTION_CHECK_TIMES")
            .map(str::to_owned)
    };
    let mut asked: Vec<_> = checks.iter().filter_map(times).collect();
    asked.sort();
    assert_eq!(asked, ["1", "2"]);
    // A third question, then it is given up.
    let given_up = eventually("given up", || {
        let ext = [("topic", MAX_TIME_TOPIC.to_string())];
        let topic = client.call(requests::GET_TOPIC_CONFIG, &ext, b"", PATIENCE);
        let all = (topic.ok()?.code == 0).then(|| pull_all(&client, MAX_TIME_TOPIC, 0, 0))?;
        (!all.is_empty()).then_some(all)
    });
    assert_eq!(given_up.len(), 1);
    assert_eq!(given_up[0].property("REAL_TOPIC"), Some(TOPIC));
    let left = [&at_one, &at_other]
        .iter()
        .filter(|checks| checks.waiting().is_some())
        .count();
    assert_eq!(left, 1);
    // It is asked about anew when somebody wants that.
    let id = format!(
        "7F000001{:08X}{:016X}",
        cluster.broker.port, given_up[0].physical_offset
    );
    let ext = [("msgId", id)];
    must(
        client.call(RESUME_CHECK_HALF_MESSAGE, &ext, b"", PATIENCE),
        "resume",
    );
    let check = eventually("a check", || {
        at_one.waiting().or_else(|| at_other.waiting())
    });
    must(one.end(&check.half, Outcome::Commit), "commit");
    eventually("the message", || {
        (bodies(&client, TOPIC, 4) == ["slow"]).then_some(())
    });
    let bad = client.call(
        RESUME_CHECK_HALF_MESSAGE,
        &[("msgId", "x".into())],
        b"",
        PATIENCE,
    );
    assert_eq!(bad.expect("an answer").code, 1);
    // Consumers of these positions are a slave, a restart, and a Java broker.
    eventually("everything is settled", || settled(&client).then_some(()));
    let path = "/actors/broker/delivery/transactions";
    let answer = console::get(cluster.broker.console(), path).expect("an answer");
    let detail = &answer.json()["detail"];
    assert_eq!(
        (&detail["commits"], &detail["open"]),
        (&1.into(), &0.into())
    );
}

#[test]
fn a_late_word_ends_the_copy_that_was_asked_about() {
    let (cluster, client) = cluster(&SOON);
    let producer = producer(&cluster, "tx_group");
    let checks = producer.checks();
    let half = producer.half("late");
    checks.next();
    // By the offset that the producer knew first.
    must(producer.end(&half, Outcome::Commit), "commit");
    let settled = requests::offset_of(&client, requests::GET_MAX_OFFSET, HALF_TOPIC, 0);
    while checks.waiting().is_some() {}
    let other = producer.half("other");
    assert_eq!(
        checks.next().half.key,
        other.key,
        "asked about a committed message"
    );
    assert!(settled <= other.queue_offset);
    assert_eq!(bodies(&client, TOPIC, 4), ["late"]);
}

#[test]
fn a_wish_for_time_is_heard() {
    let (cluster, client) = cluster(&SOON);
    let producer = producer(&cluster, "tx_group");
    let checks = producer.checks();
    let patient = producer.half_with("patient", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}3600\u{2}");
    let hasty = producer.half_with("hasty", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}1\u{2}");
    let check = checks.next();
    assert_eq!(check.half.key, hasty.key);
    // Too late, but as the answer to a question.
    let late = producer.end(&hasty, Outcome::Commit).expect("an answer");
    assert_eq!(late.code, 604);
    let mut ext = end_ext(&producer.group, &check.half, Outcome::Rollback as i32);
    requests::set(&mut ext, "fromTransactionCheck", "true");
    must(producer.end_with(&ext), "rollback");
    // It was moved on meanwhile; its producer knows the first place only.
    must(producer.end(&patient, Outcome::Commit), "commit");
    assert_eq!(bodies(&client, TOPIC, 4), ["patient"]);
    let max = requests::offset_of(&client, requests::GET_MAX_OFFSET, HALF_TOPIC, 0);
    let last = producer.half("last");
    eventually("the next check", || {
        let check = checks.waiting()?;
        (check.half.key == last.key).then_some(())
    });
    assert!(last.queue_offset >= max);
}

#[test]
fn a_deleted_topic_takes_its_open_transactions_along() {
    let (cluster, client) = cluster(&SOON);
    let producer = producer(&cluster, "tx_group");
    let wish = "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}3600\u{2}";
    let (one, two) = (
        producer.half_with("one", wish),
        producer.half_with("two", wish),
    );
    let delete = [("topic", TOPIC.to_owned())];
    let code = requests::DELETE_TOPIC_IN_BROKER;
    must(client.call(code, &delete, b"", PATIENCE), "delete");
    let refused = producer.end(&one, Outcome::Commit).expect("an answer");
    assert_eq!(refused.code, 17);
    must(producer.end(&one, Outcome::Rollback), "rollback");
    create_topic(&client, TOPIC, 4);
    let refused = producer.end(&two, Outcome::Commit).expect("an answer");
    assert_eq!(refused.code, 17);
    assert!(bodies(&client, TOPIC, 4).is_empty());
    let three = producer.half("three");
    must(producer.end(&three, Outcome::Commit), "commit");
    assert_eq!(bodies(&client, TOPIC, 4), ["three"]);
}
