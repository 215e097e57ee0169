//! Batches as one record, on a topic of their own with `queue.type=BatchCQ`.

use crate::script::{Step, batched, pull, send};

/// A batch of so many messages; `id` is its own.
fn batch(name: &str, fields: &str, count: usize, id: &[(&str, &str)]) -> Step {
    let mut step = send(name, "b=RefBatch e=0", id, "").changed(fields);
    step.name = format!("320 {name}");
    step.code = 320;
    step.ext.retain(|(field, _)| field != "m");
    let one = |number: usize| {
        let own = format!("own{number}");
        batched(format!("body {number}").as_bytes(), &[("UNIQ_KEY", &own)])
    };
    let messages: Vec<_> = (0..count).map(one).collect();
    step.with("m", "true").bytes(messages.concat())
}

fn read(name: &str, fields: &str) -> Step {
    pull(name, &format!("topic=RefBatch {fields}"))
}

fn queue(name: &str, code: i32, fields: &str) -> Step {
    Step::new(name, code, &format!("topic=RefBatch queueId=0 {fields}")).looks()
}

pub fn steps() -> Vec<Step> {
    let id = |id: &'static str| [("UNIQ_KEY", id), ("KEYS", id), ("TAGS", "A")];
    let marked = [("UNIQ_KEY", "u"), ("INNER_NUM", "2")];
    let mut all = vec![
        Step::new(
            "makes a topic for batches",
            17,
            "topic=RefBatch defaultTopic=TBW102 readQueueNums=1 writeQueueNums=1 perm=6 \
             topicFilterType=SINGLE_TAG topicSysFlag=0 order=false",
        )
        .with("attributes", "+queue.type=BatchCQ")
        .makes(),
        Step::new("a topic for batches", 351, "topic=RefBatch").looks(),
        queue("of no batches", 30, ""),
        queue("of no batches", 31, ""),
        queue("of no batches", 29, "timestamp=5"),
        queue("of no batches", 32, ""),
        read("of no batches", ""),
        read("behind no batches", "queueOffset=5"),
        batch("five in one", "", 5, &id("five")).makes(),
        send(
            "one for batches",
            "b=RefBatch e=0",
            &[("TAGS", "B")],
            "single",
        )
        .makes(),
        batch("three without an id", "", 3, &[]).makes(),
        batch("twenty in one", "", 20, &id("twenty")).makes(),
        batch("one in one", "", 1, &id("alone")).makes(),
        batch("two to an ordinary topic", "b=RefTwo", 2, &id("ordinary")).makes(),
        batch("two marked by their sender", "", 2, &marked)
            .changed("f=192")
            .makes(),
        send("a number without a batch", "b=RefBatch e=0", &marked, "x"),
        send("a mark in an ordinary topic", "b=Ref f=192", &marked, "x"),
        batch("to queue 1 of 1", "e=1", 2, &id("elsewhere")),
        send(
            "one for batches, delayed",
            "b=RefBatch e=0",
            &[("DELAY", "1")],
            "x",
        ),
    ];
    for offset in [0, 3, 4, 5, 6, 8, 9, 20, 28, 29, 31, 32, 99] {
        for max in [1, 32] {
            let name = format!("{max} batches from {offset}");
            all.push(read(
                &name,
                &format!("queueOffset={offset} maxMsgNums={max}"),
            ));
        }
    }
    all.extend([
        read("batches by their tag", "subscription=A"),
        read("batches by another tag", "subscription=B"),
        read("batches by no tag of theirs", "subscription=C"),
        queue("of batches", 30, ""),
        queue("of batches", 31, ""),
        queue("of batches", 29, "timestamp=5"),
        queue("of batches, late", 29, "timestamp=99999999999999"),
        queue(
            "of batches, late",
            29,
            "timestamp=99999999999999 boundaryType=upper",
        ),
        Step::new("statistics of batches", 202, "topic=RefBatch")
            .looks()
            .ignore("lastUpdateTimestamp")
            .ignore("topicPutTps"),
    ]);
    // Each answered with one entry at most: lists are compared without an order.
    for (index, count) in [(0, 5), (3, 2), (8, 1), (9, 20), (31, 1), (99, 5)] {
        let name = format!("{count} entries of batches from {index}");
        let step = queue(&name, 321, &format!("index={index} count={count}"));
        all.push(step.ignore("physicOffset").ignore("physicSize"));
    }
    all
}
