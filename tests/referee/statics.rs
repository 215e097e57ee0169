//! A static topic whose queues are of all kinds that one broker can have: whole, moved within the broker,
//! led by another broker, led here and without a place yet.

use crate::script::{Step, pull, send};
use serde_json::{Map, Value, json};

/// A stretch: broker, generation, physical queue, logic offset.
type Stretch = (&'static str, i32, i32, i64);

const HERE: &str = "broker-a";
const ELSEWHERE: &str = "broker-z";

const QUEUES: &[(i32, &[Stretch])] = &[
    (0, &[(HERE, 0, 1, 0)]),
    (1, &[(HERE, 0, 0, 0), (HERE, 1, 2, 10_000)]),
    (2, &[(HERE, 0, 3, 0), (ELSEWHERE, 1, 0, 500)]),
    (3, &[(HERE, 0, 4, 0), (HERE, 1, 5, -1)]),
];

fn mapping(epoch: i64, queues: &[(i32, &[Stretch])]) -> Value {
    let item = |&(bname, generation, queue, logic): &Stretch| {
        json!({
            "bname": bname, "endOffset": -1, "gen": generation, "logicOffset": logic,
            "queueId": queue, "startOffset": 0, "timeOfEnd": -1, "timeOfStart": -1,
        })
    };
    let hosted = queues.iter().map(|(queue, stretches)| {
        let items: Vec<Value> = stretches.iter().map(item).collect();
        (queue.to_string(), Value::from(items))
    });
    json!({
        "bname": HERE, "currIdMap": {}, "dirty": false, "epoch": epoch,
        "hostedQueues": Map::from_iter(hosted), "scope": "__global__", "topic": "RefStatic",
        "totalQueues": 4,
    })
}

fn map(name: &str, mapping: &Value) -> Step {
    let all = "topic=RefStatic defaultTopic=TBW102 readQueueNums=6 writeQueueNums=6 perm=6 \
               topicFilterType=SINGLE_TAG topicSysFlag=0 order=false force=false";
    Step::new(name, 513, all).body(&mapping.to_string())
}

fn queue(name: &str, code: i32, fields: &str) -> Step {
    Step::new(name, code, &format!("topic=RefStatic {fields}")).looks()
}

fn read(name: &str, fields: &str) -> Step {
    pull(name, &format!("topic=RefStatic {fields}"))
}

fn offset(name: &str, code: i32, fields: &str) -> Step {
    let all = "topic=RefStatic consumerGroup=referee_g";
    Step::new(name, code, all).changed(fields)
}

/// A send to a logic queue.
fn to(name: &str, fields: &str) -> Step {
    send(
        name,
        &format!("b=RefStatic {fields}"),
        &[("TAGS", "A")],
        "to a logic queue",
    )
}

/// A send to a physical queue, as no client makes it: it fills a stretch that takes no more.
fn into(queue: i32) -> Step {
    let fields = format!(
        "producerGroup=referee_p topic=RefStatic defaultTopic=TBW102 defaultTopicQueueNums=4 \
         queueId={queue} sysFlag=0 bornTimestamp=1700000000000 flag=0 reconsumeTimes=0 lo=false"
    );
    let step = Step::new("into a physical queue", 10, &fields).body("into an old stretch");
    step.makes()
}

fn maps() -> Vec<Step> {
    let with = |epoch: i64, queue: i32, stretches: &'static [Stretch]| {
        let others = QUEUES.iter().filter(|(known, _)| *known != queue);
        let mut all: Vec<_> = others.copied().collect();
        all.push((queue, stretches));
        mapping(epoch, &all)
    };
    let mut scoped = mapping(5, QUEUES);
    scoped["scope"] = "zone".into();
    vec![
        map("maps a topic", &mapping(5, QUEUES)).makes(),
        map("maps it again", &mapping(5, QUEUES)),
        map("maps it as before", &mapping(4, QUEUES)),
        map("maps it without a queue", &mapping(5, &QUEUES[1..])),
        map(
            "maps it elsewhere",
            &with(5, 0, &[(HERE, 0, 1, 0), (ELSEWHERE, 1, 0, -1)]),
        ),
        map("maps a queue to nothing", &with(6, 0, &[])),
        map("maps to a negative queue", &with(6, 0, &[(HERE, 0, -1, 0)])),
        map(
            "maps generations that fall",
            &with(6, 0, &[(HERE, 1, 1, 0), (HERE, 0, 2, 9)]),
        ),
        map(
            "maps offsets that fall",
            &with(6, 0, &[(HERE, 0, 1, 9), (HERE, 1, 2, 9)]),
        ),
        map(
            "maps a row without a place",
            &with(6, 0, &[(HERE, 0, 1, -1), (HERE, 1, 2, 9)]),
        ),
        map("maps another scope", &scoped),
        map("maps a system topic", &mapping(5, QUEUES)).changed("topic=TBW102"),
        map("maps another topic", &mapping(5, QUEUES)).changed("topic=RefOther"),
        map("maps half a body", &mapping(5, QUEUES)).body("{\"a\":"),
        queue("of a mapped topic", 351, "lo=true"),
        queue("of a mapped topic, plain", 351, "lo=false"),
        queue("of a mapped topic, as ever", 351, ""),
    ]
}

pub fn steps() -> Vec<Step> {
    let mut all = maps();
    for _ in 0..3 {
        all.push(into(0));
        all.push(into(4));
        all.push(to("to a whole queue", "e=0").makes());
        all.push(to("to a moved queue", "e=1").makes());
        all.push(to("to a queue without a place", "e=3").makes());
    }
    all.extend([
        to("to another broker's queue", "e=2"),
        to("to no queue", "e=9"),
        to("to any queue", "e=-1"),
    ]);
    for (name, at) in [
        ("whole", "queueId=0"),
        ("moved", "queueId=1"),
        ("elsewhere", "queueId=2"),
        ("without a place", "queueId=3"),
        ("none", "queueId=9"),
        ("negative", "queueId=-1"),
    ] {
        for offset in [
            "0", "2", "3", "7", "9999", "10000", "10002", "10003", "10077", "-5",
        ] {
            let name = format!("{name} from {offset}");
            all.push(read(&name, &format!("{at} queueOffset={offset}")));
        }
        for code in [30, 31] {
            all.push(queue(name, code, at));
            all.push(queue(
                &format!("{name}, physical"),
                code,
                &format!("{at} lo=false"),
            ));
        }
        all.push(offset(&format!("{name} of no offset"), 14, at));
        for committed in ["2", "10001"] {
            let fields = format!("{at} commitOffset={committed}");
            all.push(offset(&format!("{name} to {committed}"), 15, &fields));
            all.push(offset(&format!("{name} after {committed}"), 14, at));
        }
        all.push(queue(name, 29, &format!("{at} timestamp=5")));
        all.push(queue(name, 29, &format!("{at} timestamp=9999999999999")));
        all.push(queue(name, 32, at).ignore("timestamp"));
    }
    all.extend([
        queue("a static topic", 202, "")
            .ignore("lastUpdateTimestamp")
            .ignore("topicPutTps"),
        queue("a static topic", 208, "consumerGroup=referee_g")
            .ignore("lastTimestamp")
            .ignore("consumeTps"),
        Step::new("deletes a static topic", 215, "topic=RefStatic"),
        queue("a deleted static topic", 351, "lo=true"),
        queue("an offset of it", 30, "queueId=1"),
    ]);
    all
}
