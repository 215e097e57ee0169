//! Pop consumption: what is popped is hidden, what is acknowledged is gone, what is not comes back
//! in the retry topic; requests wait for messages; ordered pops block their queue.

mod common;

use common::pop::{
    NOTIFICATION, PEEK_MESSAGE, POLLING_INFO, POP_MESSAGE, Popped, Who, ack_ext, batch_ack,
    change_invisible, pop_ext, pop_now, pop_with, popped, try_ack, try_pop,
};
use common::record::parse_all;
use common::remoting::{Arrival, Client, Frame};
use common::requests::{
    Ext, PULL_MESSAGE, QUERY_CONSUMER_OFFSET, SEND_MESSAGE_V2, commit_ext, create_group,
    create_topic, must, pull_ext, send_ext, set, wait_dispatched,
};
use common::server::Cluster;
use common::{PATIENCE, eventually};
use std::collections::BTreeSet;
use std::sync::mpsc;

const GROUP: &str = "pop_group";

struct Bench {
    cluster: Cluster,
    client: Client,
    who: Who,
}

impl Bench {
    fn start(topic: &'static str, queues: i32, keys: &[(&str, &str)]) -> Bench {
        let cluster = Cluster::start(keys);
        let client = Client::connect(cluster.broker.address()).expect("connect");
        let who = Who {
            topic,
            group: GROUP,
        };
        create_topic(&client, topic, queues);
        create_group(&client, GROUP);
        Bench {
            cluster,
            client,
            who,
        }
    }

    fn send_to(&self, queue: i32, text: &str, properties: &str) {
        let ext = send_ext(self.who.topic, queue, properties);
        let sent = self
            .client
            .call(SEND_MESSAGE_V2, &ext, text.as_bytes(), PATIENCE);
        must(sent, "send");
        wait_dispatched(&self.client);
    }

    fn send(&self, texts: std::ops::Range<usize>, queues: i32) {
        for number in texts {
            self.send_to(number as i32 % queues, &format!("m{number}"), "");
        }
    }

    /// Pops without waiting until there is nothing more.
    fn pop_all(&self, hidden_ms: u64) -> Vec<Popped> {
        let mut all = Vec::new();
        loop {
            let some = pop_now(&self.client, self.who, 32, hidden_ms);
            if some.is_empty() {
                return all;
            }
            all.extend(some);
        }
    }

    /// Pops until so many have come.
    fn pop_until(&self, count: usize, hidden_ms: u64) -> Vec<Popped> {
        let mut all = Vec::new();
        eventually(&format!("{count} messages"), || {
            let ext = pop_ext(self.who, 32, hidden_ms, 1000, &[]);
            all.extend(pop_with(&self.client, self.who, &ext));
            (all.len() >= count).then_some(())
        });
        all
    }

    fn ack(&self, popped: &Popped) {
        must(try_ack(&self.client, self.who, popped), "ack");
    }

    fn restart(&mut self, kill: bool) {
        if kill {
            self.cluster.broker.kill9();
        } else {
            self.cluster.broker.stop();
        }
        self.cluster.broker.restart();
        self.client = Client::connect(self.cluster.broker.address()).expect("connect");
    }
}

fn texts(messages: &[Popped]) -> BTreeSet<String> {
    messages.iter().map(Popped::text).collect()
}

fn numbers(range: std::ops::Range<usize>) -> BTreeSet<String> {
    range.map(|number| format!("m{number}")).collect()
}

#[test]
fn what_is_not_acknowledged_comes_back_and_nothing_else() {
    let bench = Bench::start("PopTopic", 4, &[]);
    bench.send(0..40, 4);
    let first = bench.pop_all(3000);
    assert_eq!(texts(&first), numbers(0..40));
    assert!(bench.pop_all(3000).is_empty(), "they are hidden");
    let (lost, acked): (Vec<_>, Vec<_>) = first.iter().partition(|m| m.text().ends_with('7'));
    let (one_by_one, together) = acked.split_at(10);
    one_by_one.iter().for_each(|popped| bench.ack(popped));
    assert_eq!(batch_ack(&bench.client, bench.who, together).code, 0);
    // One is hidden for longer, and acknowledged with its new receipt.
    let longer = change_invisible(&bench.client, bench.who, lost[0], 60_000);
    bench.ack(&longer);
    let back = bench.pop_until(3, 3000);
    let expected: BTreeSet<String> = lost[1..].iter().map(|m| m.text()).collect();
    assert_eq!(texts(&back), expected);
    for message in &back {
        assert_eq!(message.part(4), "1", "they lie in the retry topic");
        assert!(message.property("1ST_POP_TIME").is_some());
        assert_eq!(message.property("ORIGIN_GROUP"), Some(GROUP));
        bench.ack(message);
    }
    assert!(bench.pop_all(3000).is_empty());
    // A later pop whose message comes back shows that the earlier ones have been settled.
    bench.send(90..91, 4);
    assert_eq!(texts(&bench.pop_until(1, 1000)), numbers(90..91));
    assert_eq!(texts(&bench.pop_until(1, 60_000)), numbers(90..91));
}

#[test]
fn receipts_in_flight_survive_a_stop_and_a_kill() {
    let keys = [
        ("enableRetryTopicV2", "true"),
        ("flushConsumerOffsetInterval", "200"),
    ];
    let mut bench = Bench::start("PopKill", 2, &keys);
    bench.send(0..20, 2);
    let first = bench.pop_all(6000);
    assert_eq!(texts(&first), numbers(0..20));
    for message in &first[..5] {
        bench.ack(message);
    }
    // What is in this file is what a killed broker knows of its groups' offsets.
    let offsets = bench
        .cluster
        .broker
        .store()
        .join("config/consumerOffset.json");
    eventually("the offsets are on disk", || {
        let text = std::fs::read_to_string(&offsets).unwrap_or_default();
        let own = text.split_once("PopKill@pop_group")?.1;
        (own.contains("0:10") && own.contains("1:10")).then_some(())
    });
    bench.restart(true);
    // These were popped before the kill; the receipts still count.
    for message in &first[5..10] {
        bench.ack(message);
    }
    bench.restart(false);
    let back = bench.pop_until(10, 60_000);
    let expected = texts(&first[10..]);
    let again = texts(&back);
    assert!(
        expected.is_subset(&again),
        "lost: {:?}",
        expected.difference(&again)
    );
    println!(
        "{} came back beside the {} expected",
        back.len() - expected.len(),
        expected.len()
    );
    assert!(
        back.iter().any(|m| m.part(4) == "2"),
        "in a retry topic of the second form"
    );
}

/// RocketMQ forgets offsets of the last five seconds, and gives to others at once what is in flight.
#[test]
fn a_kill_gives_nobody_what_is_in_flight() {
    let keys = [("flushConsumerOffsetInterval", "3600000")];
    let mut bench = Bench::start("PopForgotten", 2, &keys);
    bench.send(0..40, 2);
    let first = bench.pop_all(60_000);
    // In the revive topic at once: their time is over before they could wait for it.
    bench.send(40..41, 2);
    let short = pop_now(&bench.client, bench.who, 1, 500);
    assert_eq!((first.len(), short.len()), (40, 1));
    bench.restart(true);
    let others = bench.pop_until(1, 60_000);
    assert_eq!(
        texts(&others),
        numbers(40..41),
        "only what is visible again"
    );
    assert!(bench.pop_all(60_000).is_empty());
    first.iter().for_each(|message| bench.ack(message));
}

#[test]
fn pops_wait_for_messages() {
    let bench = Bench::start("PopWait", 3, &[]);
    let (to, answers) = mpsc::channel::<Arrival>();
    let wait = |ext: &Ext, code: i32| {
        bench.client.start(code, ext, b"", &to).expect("open");
    };
    wait(&pop_ext(bench.who, 8, 2000, 30_000, &[]), POP_MESSAGE);
    wait(
        &pop_ext(bench.who, 8, 2000, 30_000, &[("queueId", "2")]),
        POP_MESSAGE,
    );
    let mut notify: Ext = place(bench.who);
    notify.extend([
        ("pollTime", "30000".to_string()),
        ("bornTime", common::requests::now_ms().to_string()),
    ]);
    wait(&notify, NOTIFICATION);
    let waiting = |queue: &str| {
        let mut ext = place(bench.who);
        set(&mut ext, "queueId", queue);
        let answer = bench.client.call(POLLING_INFO, &ext, b"", PATIENCE);
        must(answer, "polling info").ext_number("pollingNum")
    };
    eventually("both wait", || {
        (waiting("-1") == 1 && waiting("2") == 1).then_some(())
    });
    bench.send_to(1, "a", "");
    let mut answered: Vec<Frame> = Vec::new();
    for _ in 0..2 {
        let arrival = answers.recv_timeout(PATIENCE).expect("an answer");
        answered.push(arrival.answer.expect("not closed"));
    }
    let told = answered
        .iter()
        .find(|frame| frame.ext_text("hasMsg") == "true");
    assert!(told.is_some_and(|frame| frame.code == 0), "{answered:?}");
    let pop = answered
        .iter()
        .find(|frame| !frame.body.is_empty())
        .expect("popped");
    assert_eq!(popped(bench.who, pop)[0].text(), "a");
    assert_eq!(waiting("2"), 1, "the queue of the other has nothing");
    bench.send_to(2, "b", "");
    let arrival = answers.recv_timeout(PATIENCE).expect("an answer");
    assert_eq!(
        popped(bench.who, &arrival.answer.expect("open"))[0].text(),
        "b"
    );
    // Woken by what comes back in the retry topic, too.
    let ext = pop_ext(bench.who, 1, 60_000, 30_000, &[]);
    let mut back: Vec<String> = (0..2)
        .flat_map(|_| pop_with(&bench.client, bench.who, &ext))
        .map(|message| message.text())
        .collect();
    back.sort();
    assert_eq!(back, ["a", "b"]);
    let none = try_pop(&bench.client, &pop_ext(bench.who, 1, 1000, 300, &[])).expect("answer");
    assert_eq!((none.code, &*none.remark), (210, "NO_MESSAGE_IN_QUEUE"));
    assert_eq!(
        (none.ext_text("startOffsetInfo"), none.ext_number("restNum")),
        ("", 0)
    );
}

fn place(who: Who) -> Ext {
    vec![
        ("consumerGroup", who.group.to_string()),
        ("topic", who.topic.to_string()),
        ("queueId", "-1".to_string()),
    ]
}

#[test]
fn ordered_pops_block_their_queue() {
    let mut bench = Bench::start("PopOrder", 1, &[]);
    bench.send(0..6, 1);
    let order = |attempt: &str, hidden_ms: u64, poll_ms: u64| {
        let change = [("order", "true"), ("attemptId", attempt)];
        pop_ext(bench.who, 3, hidden_ms, poll_ms, &change)
    };
    let first_ext = order("a1", 60_000, 0);
    let first = pop_with(&bench.client, bench.who, &first_ext);
    assert_eq!(texts(&first), numbers(0..3));
    assert_eq!(first[0].part(3), "999");
    assert!(
        pop_with(&bench.client, bench.who, &order("a2", 60_000, 0)).is_empty(),
        "blocked"
    );
    let again = pop_with(&bench.client, bench.who, &order("a1", 60_000, 0));
    assert_eq!(
        texts(&again),
        numbers(0..3),
        "the same attempt gets them again"
    );
    assert_eq!(
        try_ack(&bench.client, bench.who, &first[0])
            .expect("answer")
            .code,
        0,
        "stale: passed over"
    );
    for message in &again[..2] {
        bench.ack(message);
    }
    assert_eq!(committed(&bench), 2);
    // The third is visible again at once, and counted.
    change_invisible(&bench.client, bench.who, &again[2], 1);
    let frame = eventually("the queue is free", || {
        let frame = try_pop(&bench.client, &order("a3", 60_000, 1000)).expect("answer");
        (frame.code == 0).then_some(frame)
    });
    let third = popped(bench.who, &frame);
    assert_eq!(texts(&third), numbers(2..5));
    assert!(
        frame.ext_text("orderCountInfo").contains("0 qo0%2 1"),
        "{:?}",
        frame.ext
    );
    let last_ext = order("a4", 60_000, 20_000);
    // Locks live through a restart.
    bench.restart(false);
    assert!(
        pop_with(&bench.client, bench.who, &{
            let mut ext = last_ext.clone();
            set(&mut ext, "pollTime", "0");
            ext
        })
        .is_empty()
    );
    let (to, answers) = mpsc::channel::<Arrival>();
    let mut waits = last_ext;
    set(&mut waits, "bornTime", "0");
    bench
        .client
        .start(POP_MESSAGE, &waits, b"", &to)
        .expect("open");
    for message in &third {
        bench.ack(message);
    }
    let woken = answers
        .recv_timeout(PATIENCE)
        .expect("an answer")
        .answer
        .expect("open");
    assert_eq!(
        texts(&popped(bench.who, &woken)),
        numbers(5..6),
        "woken by the last ack"
    );
    let illegal = {
        let mut ext = ack_ext(bench.who, &popped(bench.who, &woken)[0]);
        set(&mut ext, "offset", "6");
        bench
            .client
            .call(common::pop::ACK_MESSAGE, &ext, b"", PATIENCE)
            .expect("answer")
    };
    assert_eq!(illegal.code, 13, "{}", illegal.remark);
}

fn committed(bench: &Bench) -> i64 {
    let mut ext = commit_ext(GROUP, bench.who.topic, 0, 0);
    ext.pop();
    let answer = bench
        .client
        .call(QUERY_CONSUMER_OFFSET, &ext, b"", PATIENCE);
    must(answer, "query offset").ext_number("offset")
}

#[test]
fn pops_and_pulls_share_their_offsets() {
    let bench = Bench::start("PopPull", 1, &[]);
    bench.send(0..10, 1);
    let popped = pop_now(&bench.client, bench.who, 4, 60_000);
    assert_eq!((popped.len(), committed(&bench)), (4, 4));
    // A pulling consumer of the group goes on where pops ended, and pops where it ended.
    let pulled = bench.client.call(
        PULL_MESSAGE,
        &pull_ext(bench.who.topic, 0, 4, 0),
        b"",
        PATIENCE,
    );
    assert_eq!(parse_all(&must(pulled, "pull").body).len(), 6);
    let commit = commit_ext(GROUP, bench.who.topic, 0, 7);
    must(bench.client.call(15, &commit, b"", PATIENCE), "commit");
    assert_eq!(texts(&bench.pop_all(60_000)), numbers(7..10));
}

#[test]
fn filters_and_peeks() {
    let bench = Bench::start("PopTags", 1, &[]);
    for number in 0..12 {
        let tag = if number % 3 == 0 { "A" } else { "B" };
        bench.send_to(0, &format!("m{number}"), &format!("TAGS\u{1}{tag}\u{2}"));
    }
    let mut ext = place(bench.who);
    ext.push(("maxMsgNums", "5".to_string()));
    let peek = must(bench.client.call(PEEK_MESSAGE, &ext, b"", PATIENCE), "peek");
    assert_eq!((parse_all(&peek.body).len(), &*peek.remark), (5, "FOUND"));
    let tagged = pop_ext(bench.who, 32, 60_000, 0, &[("exp", "A")]);
    let some = pop_with(&bench.client, bench.who, &tagged);
    let expected: BTreeSet<String> = ["m0", "m3", "m6", "m9"].map(String::from).into();
    assert_eq!(texts(&some), expected);
    let rest = pop_with(&bench.client, bench.who, &tagged);
    assert!(rest.is_empty());
    assert_eq!(committed(&bench), 12, "what does not match is passed over");
    some.iter().for_each(|message| bench.ack(message));
    for number in 0..4 {
        bench.send_to(0, &format!("n{number}"), &format!("n\u{1}{number}\u{2}"));
    }
    let sql = [("expType", "SQL92"), ("exp", "n > 1")];
    let some = pop_with(
        &bench.client,
        bench.who,
        &pop_ext(bench.who, 32, 60_000, 0, &sql),
    );
    assert_eq!(texts(&some), ["n2", "n3"].map(String::from).into());
    assert_eq!(committed(&bench), 16);
    let none = bench
        .client
        .call(PEEK_MESSAGE, &ext, b"", PATIENCE)
        .expect("answer");
    assert_eq!((none.code, &*none.remark), (19, "NO_MESSAGE_IN_QUEUE"));
}

#[test]
fn refusals_are_those_of_the_reference() {
    let bench = Bench::start("PopRefused", 2, &[]);
    let refused = |change: &[(&'static str, &str)]| {
        let frame = try_pop(&bench.client, &pop_ext(bench.who, 1, 1000, 0, change));
        let frame = frame.expect("answer");
        (frame.code, frame.remark)
    };
    let too_many = "the broker[127.0.0.1] pop message's num is greater than 32";
    assert_eq!(refused(&[("maxMsgNums", "33")]), (29, too_many.to_string()));
    let late = "the broker[127.0.0.1] pop message is timeout too much";
    assert_eq!(refused(&[("bornTime", "1")]), (210, late.to_string()));
    assert_eq!(refused(&[("topic", "NoSuchTopic")]).0, 17);
    assert_eq!(refused(&[("invisibleTime", "9223372036854775807")]).0, 29);
    let (code, remark) = refused(&[("queueId", "2")]);
    assert_eq!(code, 29);
    assert!(remark.starts_with(
        "queueId[2] is illegal, topic:[PopRefused] topicConfig.readQueueNums:[2] consumer:["
    ));
    bench.send(0..2, 2);
    let message = &pop_now(&bench.client, bench.who, 1, 60_000)[0];
    let ack = |change: &[(&'static str, &str)]| {
        let mut ext = ack_ext(bench.who, message);
        for (name, value) in change {
            set(&mut ext, name, *value);
        }
        bench
            .client
            .call(common::pop::ACK_MESSAGE, &ext, b"", PATIENCE)
            .expect("answer")
            .code
    };
    assert_eq!(ack(&[("topic", "NoSuchTopic")]), 17);
    assert_eq!(ack(&[("queueId", "7")]), 13);
    assert_eq!(ack(&[("offset", "100")]), 208);
    assert_eq!(ack(&[("extraInfo", "no receipt")]), 1);
    assert_eq!(
        ack(&[("extraInfo", "0 1 1 77 0 broker-a 0 0")]),
        13,
        "no such revive queue"
    );
    assert_eq!(ack(&[]), 0);
    assert_eq!(ack(&[]), 0, "once more is no error");
    let empty = bench
        .client
        .call(common::pop::BATCH_ACK_MESSAGE, &[], b"", PATIENCE);
    assert_eq!(empty.expect("answer").code, 208);
}
