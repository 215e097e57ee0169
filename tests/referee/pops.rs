//! Pops, acknowledgements and their like. One queue, and the queue is named, for pops of all queues begin
//! at a random one.

use crate::script::{Step, send};
use std::time::Duration;

/// Which revive queue it is hangs on how many pops there were before, those that waited counted again.
fn pop(name: &str, fields: &str) -> Step {
    let all = "consumerGroup=referee_g topic=RefPop queueId=0 maxMsgNums=2 invisibleTime=600000 \
               pollTime=0 bornTime=0 initMode=0 expType=TAG exp=* order=false";
    Step::new(name, 200050, all)
        .changed(fields)
        .ignore("reviveQid")
}

fn ack(name: &str, fields: &str, receipt: &str) -> Step {
    let all = "consumerGroup=referee_g topic=RefPop queueId=0 offset=0";
    Step::new(name, 200051, all)
        .changed(fields)
        .with("extraInfo", receipt)
}

fn hide(name: &str, fields: &str, receipt: &str) -> Step {
    let mut step = ack(name, &format!("invisibleTime=500000 {fields}"), receipt);
    (step.code, step.name) = (200053, format!("200053 {name}"));
    step.ignore("reviveQid")
}

fn look(name: &str, code: i32, fields: &str) -> Step {
    let all = "consumerGroup=referee_g topic=RefPop queueId=0";
    Step::new(name, code, all).changed(fields)
}

pub fn steps() -> Vec<Step> {
    let receipt = "0 {popTime} 600000 {reviveQid} 0 broker-a 0";
    let first = format!("{receipt} 0");
    let ordered = "8 {orderTime} 600000 999 0 broker-a 0";
    let mut all = vec![
        Step::new(
            "topic to pop",
            17,
            "topic=RefPop defaultTopic=TBW102 readQueueNums=1 writeQueueNums=1 perm=6 \
             topicFilterType=SINGLE_TAG topicSysFlag=0 order=false",
        )
        .makes(),
        look("peek at nothing", 200052, "maxMsgNums=3"),
        look("pops that wait", 200055, ""),
        look("is there anything", 200054, "pollTime=0 bornTime=0"),
        pop("pop nothing", ""),
    ];
    for number in 0..12 {
        let tag = if number < 8 { "A" } else { "B" };
        let body = format!("pop {number}");
        all.push(
            send(
                "to pop",
                "b=RefPop",
                &[("TAGS", tag), ("UNIQ_KEY", &body)],
                &body,
            )
            .makes(),
        );
    }
    all.extend([
        look("peek", 200052, "maxMsgNums=3").looks(),
        look("peek at too many", 200052, "maxMsgNums=12").looks(),
        look("there is something", 200054, "pollTime=0 bornTime=0"),
        pop("pop two", "").keep("popTime", "popTime").keep("reviveQid", "reviveQid").makes(),
        pop("pop a tag", "exp=B maxMsgNums=1 queueId=0 consumerGroup=referee_tags"),
        pop("pop of a group that is not", "consumerGroup=NoSuchGroup"),
        pop("pop of a topic that is not", "topic=NoSuchTopic"),
        pop("pop of a queue that is not", "queueId=9"),
        pop("pop of 33", "maxMsgNums=33"),
        pop("pop of none", "maxMsgNums=0"),
        pop("pop that is late", "bornTime=1000000000000"),
        pop("pop with a bad expression", "exp=||"),
        pop("pop with a condition that is none", "expType=SQL92 exp=a>"),
        pop("pop of an expression type that is not", "expType=XPATH exp=a"),
        ack("ack", "", &first),
        ack("ack again", "", &first),
        ack("ack of a topic that is not", "topic=NoSuchTopic", &first),
        ack("ack of a queue that is not", "queueId=9", &first),
        ack("ack behind the end", "offset=99", &first),
        ack("ack before the start", "offset=-1", &first),
        ack("ack without a receipt", "", "x"),
        hide("hide", "offset=1", &format!("{receipt} 1")),
        hide("hide behind the end", "offset=12", &format!("{receipt} 12")),
        hide("hide in a topic that is not", "topic=NoSuchTopic", &first),
        hide("hide in a queue that is not", "queueId=-1", &first),
        Step::new("ack of several, without any", 200151, ""),
        Step::new("ack of several, an empty list", 200151, "").body("{\"acks\":[],\"brokerName\":\"broker-a\"}"),
        Step::new("ack of several", 200151, "").body(
            "{\"acks\":[{\"b\":\"AQ==\",\"c\":\"referee_g\",\"it\":600000,\"pt\":{popTime},\"q\":0,\
             \"r\":\"0\",\"rq\":{reviveQid},\"so\":1,\"t\":\"RefPop\"}],\"brokerName\":\"broker-a\"}",
        ),
        pop("pop up to the eighth", "maxMsgNums=6"),
        // RocketMQ's pops commit a little later, which would undo what an ordered one committed before.
        Step::new("progress of pops", 208, "consumerGroup=referee_g topic=RefPop")
            .ignore("consumeTps")
            .ignore("pullOffset")
            .looks(),
        pop("pop in order", "order=true attemptId=a").keep("orderTime", "popTime").makes(),
        pop("the same attempt", "order=true attemptId=a").keep("orderTime", "popTime").makes(),
        pop("another attempt", "order=true attemptId=b"),
        ack("ack in order", "offset=8", &format!("{ordered} 8")),
        ack("ack in order of what was not popped", "offset=11", &format!("{ordered} 11")),
        // The answer tells how much later than now it ends, in the ms that this took.
        hide("hide in order", "offset=9 invisibleTime=1", &format!("{ordered} 9"))
            .ignore("invisibleTime"),
        pop("pop again what is visible", "order=true attemptId=c maxMsgNums=1")
            .ignore("orderTime")
            .after(Duration::from_millis(100)),
        Step::new("progress", 208, "consumerGroup=referee_g topic=RefPop").ignore("consumeTps"),
    ]);
    all
}
