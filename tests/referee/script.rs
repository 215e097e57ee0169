//! Requests in an order that makes sense, with right arguments and with the usual wrong ones.

use crate::common::requests::properties;
use std::time::Duration;

/// One request.
pub struct Step {
    pub name: String,
    pub code: i32,
    pub ext: Vec<(String, String)>,
    pub body: Body,
    /// Kept of the answer: a name for it, and the header field.
    pub keeps: Vec<(String, String)>,
    /// How long nothing is sent before it.
    pub pause: Duration,
    /// Changes nothing, and is tried again this long until both agree.
    pub patience: Duration,
    /// Later steps need it.
    pub makes: bool,
    /// Only the names in the body are compared.
    pub names_only: bool,
    /// Ends of the names of fields, and of paths in the body, that may differ.
    pub ignores: Vec<String>,
}

/// A request's body; texts are filled in with what was kept.
pub enum Body {
    Bytes(Vec<u8>),
    Text(String),
}

impl Step {
    /// Fields as in `topic=T queueId=0`; `name=` is an empty value.
    pub fn new(name: &str, code: i32, fields: &str) -> Step {
        let field = |word: &str| {
            let (name, value) = word.split_once('=').expect("name=value");
            (name.to_owned(), value.to_owned())
        };
        Step {
            name: format!("{code} {name}"),
            code,
            ext: fields.split_whitespace().map(field).collect(),
            body: Body::Text(String::new()),
            keeps: Vec::new(),
            pause: Duration::ZERO,
            patience: Duration::ZERO,
            makes: false,
            names_only: false,
            ignores: Vec::new(),
        }
    }

    /// The same with these fields, each instead of the one of its name; `name=-` is none.
    pub fn changed(mut self, fields: &str) -> Step {
        for word in fields.split_whitespace() {
            let (name, value) = word.split_once('=').expect("name=value");
            self.ext.retain(|(known, _)| known != name);
            if value != "-" {
                self.ext.push((name.to_owned(), value.to_owned()));
            }
        }
        self
    }

    /// A field whose value has spaces.
    pub fn with(mut self, name: &str, value: &str) -> Step {
        self.ext.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, text: &str) -> Step {
        self.body = Body::Text(text.to_owned());
        self
    }

    pub fn bytes(mut self, bytes: Vec<u8>) -> Step {
        self.body = Body::Bytes(bytes);
        self
    }

    pub fn keep(mut self, name: &str, field: &str) -> Step {
        self.keeps.push((name.to_owned(), field.to_owned()));
        self
    }

    /// Sent only after a while in which times that an earlier step set run out.
    pub fn after(mut self, pause: Duration) -> Step {
        self.pause = pause;
        self
    }

    pub fn looks(self) -> Step {
        self.looks_for(Duration::from_secs(3))
    }

    pub fn looks_for(mut self, patience: Duration) -> Step {
        self.patience = patience;
        self
    }

    pub fn makes(mut self) -> Step {
        self.makes = true;
        self
    }

    pub fn names_only(mut self) -> Step {
        self.names_only = true;
        self
    }

    pub fn ignore(mut self, end: &str) -> Step {
        self.ignores.push(end.to_owned());
        self
    }
}

pub fn send(name: &str, fields: &str, pairs: &[(&str, &str)], body: &str) -> Step {
    let all = "a=referee_p c=TBW102 d=4 h=0 j=0 k=false m=false b=Ref e=0 f=0 g=1700000000000";
    let step = Step::new(name, 310, all).changed(fields);
    step.with("i", &properties(pairs)).body(body)
}

pub fn pull(name: &str, fields: &str) -> Step {
    let all = "consumerGroup=referee_g topic=Ref queueId=0 queueOffset=0 maxMsgNums=32 sysFlag=4 \
               commitOffset=0 suspendTimeoutMillis=0 subscription=* subVersion=0 expressionType=TAG";
    Step::new(name, 11, all).changed(fields).looks()
}

/// One message of a wire batch.
pub fn batched(body: &[u8], pairs: &[(&str, &str)]) -> Vec<u8> {
    let properties = properties(pairs);
    let len = 4 + 4 + 4 + 4 + 4 + body.len() + 2 + properties.len();
    let mut out = Vec::new();
    for word in [len as i32, 0, 0, 0, body.len() as i32] {
        out.extend(word.to_be_bytes());
    }
    out.extend(body);
    out.extend((properties.len() as i16).to_be_bytes());
    out.extend(properties.as_bytes());
    out
}

pub fn steps() -> Vec<Step> {
    let mut all = Vec::new();
    all.extend(topics_and_groups());
    all.extend(sends());
    all.extend(transactions_and_replies());
    all.extend(pulls_and_queries());
    all.extend(offsets());
    all.extend(clients());
    all.extend(tables_and_figures());
    all
}

fn topics_and_groups() -> Vec<Step> {
    let topic = "defaultTopic=TBW102 readQueueNums=4 writeQueueNums=4 perm=6 \
                 topicFilterType=SINGLE_TAG topicSysFlag=0 order=false";
    let update = |name: &str, fields: &str| Step::new(name, 17, &format!("{fields} {topic}"));
    let group = |name: &str, fields: &str| {
        Step::new(name, 200, "").body(&format!("{{\"groupName\":\"{name}\"{fields}}}"))
    };
    let mut all = vec![
        update("makes a topic", "topic=Ref").makes(),
        update("makes a second topic", "topic=RefTwo").makes(),
        Step::new(
            "makes a topic that cannot be read",
            17,
            "topic=RefW defaultTopic=TBW102 readQueueNums=2 writeQueueNums=2 perm=2 \
             topicFilterType=SINGLE_TAG order=false",
        )
        .makes(),
        Step::new(
            "makes a topic that cannot be written",
            17,
            "topic=RefR defaultTopic=TBW102 readQueueNums=2 writeQueueNums=2 perm=4 \
             topicFilterType=SINGLE_TAG order=false",
        )
        .makes(),
        update("makes a topic for any queue", "topic=RefAny").makes(),
        update("a name with a space", "").with("topic", "a b"),
        update("a name of a system topic", "topic=SCHEDULE_TOPIC_XXXX"),
        update(
            "a name of 200 characters",
            &format!("topic={}", "t".repeat(200)),
        ),
        update("attributes", "topic=RefAttr").with("attributes", "+message.type=NORMAL"),
        update("an unknown attribute", "topic=RefAttr2").with("attributes", "+no.such=1"),
        update("an attribute without a sign", "topic=RefAttr3").with("attributes", "x=1"),
        Step::new(
            "permission 9",
            17,
            "topic=RefPerm defaultTopic=TBW102 readQueueNums=2 writeQueueNums=2 perm=9 \
             topicFilterType=SINGLE_TAG order=false",
        ),
        Step::new("a topic", 351, "topic=Ref").looks(),
        Step::new("no such topic", 351, "topic=NoSuch").looks(),
        Step::new("a topic with attributes", 351, "topic=RefAttr").looks(),
    ];
    for (name, fields) in [
        ("referee_g", ""),
        ("referee_broadcast", ",\"consumeBroadcastEnable\":false"),
        ("referee_off", ",\"consumeEnable\":false"),
        ("bad group", ""),
        (&*"g".repeat(200), ""),
    ] {
        all.push(group(name, fields).makes());
        all.push(
            Step::new(&format!("group {name}"), 352, "")
                .with("group", name)
                .looks(),
        );
    }
    all.extend([
        Step::new("a list of groups", 225, "")
            .body("{\"groupConfigList\":[{\"groupName\":\"referee_l\"}]}"),
        Step::new("a list of topics", 18, "").body(
            "{\"topicConfigList\":[{\"topicName\":\"RefList\",\"readQueueNums\":2,\
             \"writeQueueNums\":2,\"perm\":6}]}",
        ),
        Step::new("a listed topic", 351, "topic=RefList").looks(),
        Step::new(
            "forbids",
            353,
            "group=referee_g topic=RefTwo readable=false",
        ),
        Step::new("allows", 353, "group=referee_g topic=RefTwo readable=true"),
    ]);
    all
}

fn sends() -> Vec<Step> {
    let kept = send(
        "a message",
        "",
        &[("KEYS", "k1"), ("TAGS", "A"), ("own", "ä")],
        "one",
    );
    let batch = |name: &str, fields: &str, pairs: &[(&str, &str)]| {
        let mut step = send(name, fields, &[], "");
        step.name = format!("320 {name}");
        step.code = 320;
        step.ext.retain(|(field, _)| field != "m");
        let messages = [&b"b1"[..], b"b2"]
            .map(|body| batched(body, pairs))
            .concat();
        step.with("m", "true").bytes(messages)
    };
    let long = "x".repeat(300);
    vec![
        kept.makes().keep("msgId", "msgId"),
        send("another tag", "", &[("TAGS", "B")], "two").makes(),
        send("a tag of two words", "", &[("TAGS", "A B")], "three").makes(),
        send("with an id", "", &[("UNIQ_KEY", "7F00000100002A9F4B3C5D6E7F800001")], "four").makes(),
        send("without properties", "", &[], "five").makes(),
        send("any queue", "e=-1 b=RefAny", &[], "x").ignore("queueId").ignore("queueOffset"),
        send("queue 4 of 4", "e=4", &[], "x"),
        send("an empty body", "", &[], ""),
        send("no such topic", "b=NoSuchSend c=NoSuchDefault", &[], "x"),
        send("a topic made by sending", "b=RefAuto", &[], "x").makes(),
        Step::new("the topic made by sending", 351, "topic=RefAuto").looks(),
        send("a topic that cannot be written", "b=RefR", &[], "x"),
        send("a system topic", "b=SCHEDULE_TOPIC_XXXX", &[], "x"),
        send("the default topic", "b=TBW102", &[], "x"),
        send("a topic named as a dash", "b=-", &[], "x").with("b", "-"),
        send("a topic's name with a space", "b=-", &[], "x").with("b", "a b"),
        send("a long topic", &format!("b={long}"), &[], "x"),
        send("a long property", "", &[("p", &"y".repeat(33_000))], "x"),
        send("a property that is reserved", "", &[("MIN_OFFSET", "1")], "x").makes(),
        send("delayed", "", &[("DELAY", "1")], "x"),
        send("delayed for a level that is not", "", &[("DELAY", "99")], "x"),
        send("delayed for no number", "", &[("DELAY", "x")], "x"),
        send("to a retry topic of no group", "b=%RETRY%no_such_group j=1", &[], "x"),
        send("to a retry topic", "b=%RETRY%referee_g j=1 l=16", &[("RETRY_TOPIC", "Ref")], "x"),
        send("to a retry topic too often", "b=%RETRY%referee_g j=17 l=16", &[], "x"),
        batch("a batch", "b=RefTwo", &[("KEYS", "bk")]).makes(),
        batch("a batch to a retry topic", "b=%RETRY%referee_g", &[]),
        batch("a batch with a delay", "b=RefTwo", &[("DELAY", "1")]),
        batch("a batch cut short", "b=RefTwo", &[]).bytes(vec![0, 0, 0, 50, 0, 0]),
        Step::new(
            "long names",
            10,
            "producerGroup=referee_p topic=Ref defaultTopic=TBW102 defaultTopicQueueNums=4 queueId=1 \
             sysFlag=0 bornTimestamp=1700000000000 flag=7",
        )
        .body("six")
        .makes(),
        Step::new("without a topic", 10, "producerGroup=p queueId=0"),
        Step::new("without anything", 310, ""),
        Step::new(
            "back",
            36,
            "offset=0 group=referee_g delayLevel=0 originTopic=Ref unitMode=false \
             maxReconsumeTimes=16",
        ),
        Step::new("back of no such group", 36, "offset=0 group=no_group delayLevel=0"),
        Step::new("back of what is not there", 36, "offset=99999999 group=referee_g delayLevel=0"),
    ]
}

fn transactions_and_replies() -> Vec<Step> {
    let half = |name: &str, fields: &str, more: &[(&str, &str)]| {
        let own = [
            ("TRAN_MSG", "true"),
            ("PGROUP", "referee_p"),
            ("UNIQ_KEY", "half"),
        ];
        let all: Vec<_> = own.iter().chain(more).copied().collect();
        send(name, fields, &all, "half")
    };
    let end = |name: &str, fields: &str| {
        let all = format!("producerGroup=referee_p tranStateTableOffset=0 msgId=x {fields}");
        Step::new(name, 37, &all)
    };
    let reply = |name: &str, fields: &str, pairs: &[(&str, &str)]| {
        let fields = format!("b=DefaultCluster_REPLY_TOPIC {fields}");
        let mut step = send(name, &fields, pairs, "reply");
        (step.code, step.name) = (325, format!("325 {name}"));
        step
    };
    let to_nobody = [("REPLY_TO_CLIENT", "nobody"), ("CORRELATION_ID", "c")];
    vec![
        half("half message", "", &[]),
        half("half message in queue 2", "e=2", &[]),
        half("half message with a sysFlag", "f=4", &[]),
        half("half message that was retried", "j=1", &[("DELAY", "1")]),
        end(
            "commits nothing",
            "commitLogOffset=999999999 commitOrRollback=8",
        ),
        end(
            "rolls nothing back",
            "commitLogOffset=-1 commitOrRollback=12",
        ),
        Step::new(
            "resumes nothing",
            323,
            "msgId=7F00000100002A9F00000000FFFFFFFF",
        ),
        Step::new("resumes no id", 323, "msgId=x"),
        reply("reply to nobody", "", &to_nobody),
        reply("reply in a queue that is not", "e=9", &to_nobody),
        reply("reply without an asker", "", &[]),
        reply(
            "reply to a system topic",
            "b=SCHEDULE_TOPIC_XXXX",
            &to_nobody,
        ),
        reply("reply to an ordinary topic", "b=Ref e=3", &to_nobody),
    ]
}

fn pulls_and_queries() -> Vec<Step> {
    vec![
        pull("from the start", ""),
        pull("a tag", "subscription=A"),
        pull("two tags", "subscription=A||B"),
        pull("no such tag", "subscription=Z"),
        pull("one message", "maxMsgNums=1"),
        pull("no message", "maxMsgNums=0"),
        pull("at the end", "queueOffset=5"),
        pull("behind the end", "queueOffset=500"),
        pull("before the start", "queueOffset=-3"),
        pull("an empty queue", "queueId=3"),
        pull("an empty queue, too far", "queueId=3 queueOffset=7"),
        pull("queue 4 of 4", "queueId=4"),
        pull("queue -1", "queueId=-1"),
        pull("no such topic", "topic=NoSuch"),
        pull("a topic that cannot be read", "topic=RefW"),
        pull("no such group", "consumerGroup=no_group"),
        pull("a group that may not", "consumerGroup=referee_off"),
        pull("without a subscription", "sysFlag=0"),
        pull("a subscription of no type", "expressionType=-"),
        pull("an unknown type", "expressionType=NOSUCH"),
        pull(
            "a wrong SQL expression",
            "expressionType=SQL92 subscription=a>>>",
        ),
        pull("no topic", "topic=-"),
        pull("no number", "queueOffset=abc"),
        Step::new(
            "the default topic",
            12,
            "topic=TBW102 key=k maxNum=10 beginTimestamp=0 endTimestamp=9",
        )
        .looks(),
        Step::new(
            "a key",
            12,
            "topic=Ref key=k1 maxNum=32 beginTimestamp=0 endTimestamp=99999999999999",
        )
        .looks()
        .ignore("indexLastUpdatePhyoffset"),
        Step::new(
            "no such key",
            12,
            "topic=Ref key=k0 maxNum=32 beginTimestamp=0 endTimestamp=99999999999999",
        )
        .looks()
        .ignore("indexLastUpdatePhyoffset"),
        Step::new(
            "an id",
            12,
            "topic=Ref key=7F00000100002A9F4B3C5D6E7F800001 maxNum=32 beginTimestamp=0 \
             endTimestamp=99999999999999 _UNIQUE_KEY_QUERY=true",
        )
        .looks()
        .ignore("indexLastUpdatePhyoffset"),
        Step::new("no message there", 33, "offset=99999999").looks(),
        Step::new("in the middle of one", 33, "offset=3").looks(),
        Step::new("the first", 33, "offset=0").looks(),
        Step::new("consume queue", 321, "topic=Ref queueId=0 index=0 count=3")
            .looks()
            .ignore("physicOffset")
            .ignore("physicSize"),
        Step::new(
            "consume queue of a group",
            321,
            "topic=Ref queueId=0 index=0 count=3 consumerGroup=referee_g",
        )
        .looks()
        .ignore("physicOffset")
        .ignore("physicSize"),
        Step::new(
            "no such consume queue",
            321,
            "topic=NoSuch queueId=0 index=0 count=3",
        )
        .looks(),
        Step::new(
            "consume queue, too far",
            321,
            "topic=Ref queueId=0 index=900 count=3",
        )
        .looks(),
    ]
}

fn offsets() -> Vec<Step> {
    let ask = |name: &str, fields: &str| Step::new(name, 14, fields).looks();
    let of = "consumerGroup=referee_g topic=RefTwo queueId=0";
    vec![
        Step::new("max", 30, "topic=Ref queueId=0").looks(),
        Step::new(
            "max, not committed",
            30,
            "topic=Ref queueId=0 committed=false",
        )
        .looks(),
        Step::new("max of an empty queue", 30, "topic=Ref queueId=3").looks(),
        Step::new("max of no topic", 30, "topic=NoSuch queueId=0").looks(),
        Step::new("min", 31, "topic=Ref queueId=0").looks(),
        Step::new("min of an empty queue", 31, "topic=Ref queueId=3").looks(),
        Step::new("min of no topic", 31, "topic=NoSuch queueId=0").looks(),
        Step::new("the first store time", 32, "topic=Ref queueId=0").looks(),
        Step::new(
            "the first store time of an empty queue",
            32,
            "topic=Ref queueId=3",
        )
        .looks(),
        Step::new("offset by time 0", 29, "topic=Ref queueId=0 timestamp=0").looks(),
        Step::new(
            "offset by a late time",
            29,
            "topic=Ref queueId=0 timestamp=99999999999999",
        )
        .looks(),
        Step::new(
            "offset by time, upper",
            29,
            "topic=Ref queueId=0 timestamp=99999999999999 boundaryType=UPPER",
        )
        .looks(),
        Step::new(
            "offset by time in an empty queue",
            29,
            "topic=Ref queueId=3 timestamp=0",
        )
        .looks(),
        Step::new(
            "offset by time of no topic",
            29,
            "topic=NoSuch queueId=0 timestamp=0",
        )
        .looks(),
        ask(
            "none, but the first is in memory",
            "consumerGroup=referee_new topic=Ref queueId=0",
        ),
        ask(
            "none, not 0",
            "consumerGroup=referee_new topic=Ref queueId=0 setZeroIfNotFound=false",
        ),
        ask(
            "none, empty queue",
            "consumerGroup=referee_new topic=Ref queueId=3",
        ),
        ask(
            "of no topic",
            "consumerGroup=referee_new topic=NoSuch queueId=0",
        ),
        Step::new("commits", 15, &format!("{of} commitOffset=1")).makes(),
        ask("committed", of),
        Step::new("commits less", 15, &format!("{of} commitOffset=0")).makes(),
        ask("committed less", of),
        Step::new("commits -1", 15, &format!("{of} commitOffset=-1")),
        ask("committed -1", of),
        Step::new("commits too much", 15, &format!("{of} commitOffset=999")).makes(),
        ask("committed too much", of),
        Step::new(
            "commits for no group",
            15,
            "consumerGroup=no_group topic=Ref queueId=0 commitOffset=1",
        ),
        Step::new(
            "commits for no topic",
            15,
            "consumerGroup=referee_g topic=NoSuch queueId=0 commitOffset=1",
        ),
        Step::new("commits without an offset", 15, of),
        Step::new(
            "clones",
            314,
            "srcGroup=referee_g destGroup=referee_l topic=RefTwo offline=false",
        ),
        ask("cloned", "consumerGroup=referee_l topic=RefTwo queueId=0"),
        Step::new(
            "clones from no group",
            314,
            "srcGroup=no_group destGroup=referee_l topic=RefTwo offline=false",
        ),
        Step::new(
            "resets",
            222,
            "topic=RefTwo group=referee_g timestamp=0 isForce=true",
        )
        .looks(),
        Step::new(
            "resets to an offset",
            222,
            "topic=RefTwo group=referee_g timestamp=0 isForce=true queueId=0 offset=1",
        ),
        Step::new(
            "resets to an offset that is not there",
            222,
            "topic=RefTwo group=referee_g timestamp=0 isForce=true queueId=0 offset=77",
        ),
        Step::new(
            "resets no topic",
            222,
            "topic=NoSuch group=referee_g timestamp=0 isForce=true",
        ),
        Step::new(
            "resets no group",
            222,
            "topic=RefTwo group=no_group timestamp=0 isForce=true",
        ),
        Step::new(
            "corrects",
            308,
            "filterGroups= compareGroup=referee_g topic=RefTwo",
        )
        .looks(),
    ]
}

fn clients() -> Vec<Step> {
    let heartbeat = |name: &str, id: &str, consumers: &str| {
        Step::new(name, 34, "").body(&format!(
            "{{\"clientID\":\"{id}\",\"consumerDataSet\":[{consumers}],\"heartbeatFingerprint\":0,\
             \"producerDataSet\":[{{\"groupName\":\"referee_p\"}}],\"withoutSub\":false}}"
        ))
    };
    let consumer = |group: &str, subscriptions: &str| {
        format!(
            "{{\"consumeFromWhere\":\"CONSUME_FROM_LAST_OFFSET\",\"consumeType\":\"CONSUME_PASSIVELY\",\
             \"groupName\":\"{group}\",\"messageModel\":\"CLUSTERING\",\"subscriptionDataSet\":\
             [{subscriptions}],\"unitMode\":false}}"
        )
    };
    let subscription = |topic: &str, text: &str, kind: &str| {
        format!(
            "{{\"classFilterMode\":false,\"codeSet\":[],\"expressionType\":\"{kind}\",\"subString\":\
             \"{text}\",\"subVersion\":1700000000000,\"tagsSet\":[],\"topic\":\"{topic}\"}}"
        )
    };
    let check = |name: &str, text: &str, kind: &str| {
        Step::new(name, 46, "").body(&format!(
            "{{\"clientId\":\"c1\",\"group\":\"referee_g\",\"subscriptionData\":{}}}",
            subscription("Ref", text, kind)
        ))
    };
    let lock = |name: &str, code: i32, client: &str, queues: &str| {
        Step::new(name, code, "").body(&format!(
            "{{\"clientId\":\"{client}\",\"consumerGroup\":\"referee_g\",\"mqSet\":[{queues}],\
             \"onlyThisBroker\":true}}"
        ))
    };
    let queue = "{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"Ref\"}";
    let all_of = consumer("referee_g", &subscription("Ref", "*", "TAG"));
    vec![
        Step::new("nobody's consumers", 38, "consumerGroup=referee_g").looks(),
        Step::new("nobody's connections", 203, "consumerGroup=referee_g").looks(),
        Step::new("nobody's producers", 204, "producerGroup=no_producers").looks(),
        heartbeat("lives", "c1", &all_of).makes(),
        heartbeat("lives again", "c1", &all_of).makes(),
        heartbeat("lives with no group's name", "c1", "{}"),
        heartbeat("lives without an id", "", ""),
        heartbeat(
            "lives with a wrong expression",
            "c1",
            &consumer("referee_g", &subscription("Ref", "a >", "SQL92")),
        ),
        heartbeat("lives as before", "c1", &all_of).makes(),
        Step::new("consumers", 38, "consumerGroup=referee_g").looks(),
        Step::new("connections", 203, "consumerGroup=referee_g")
            .looks()
            .ignore("clientAddr")
            .ignore("subVersion"),
        Step::new("producers", 204, "producerGroup=referee_p")
            .looks()
            .ignore("clientAddr"),
        Step::new("all producers", 328, "")
            .looks()
            .ignore("remoteIP")
            .ignore("lastUpdateTimestamp"),
        check("a tag", "A", "TAG"),
        check("SQL", "a > 1", "SQL92"),
        check("wrong SQL", "a >>> 1", "SQL92"),
        check("an unknown type", "a", "NOSUCH"),
        Step::new("no subscription", 46, "").body("{\"clientId\":\"c1\",\"group\":\"g\"}"),
        lock("a queue", 41, "c1", queue),
        lock("another's queue", 41, "c2", queue),
        lock("gives back another's queue", 42, "c2", queue),
        lock("still another's queue", 41, "c2", queue),
        lock("gives back a queue", 42, "c1", queue),
        lock("a queue that was given back", 41, "c2", queue),
        lock("no queue", 41, "c1", ""),
        // RocketMQ asks its NameServer, which may first hear of the topic with the next registration.
        Step::new("assigned queues", 400, "").looks_for(Duration::from_secs(45)).body(
            "{\"clientId\":\"c1\",\"consumerGroup\":\"referee_g\",\"messageModel\":\"CLUSTERING\",\
             \"strategyName\":\"AVG\",\"topic\":\"Ref\"}",
        ),
        Step::new("an unknown strategy", 400, "").body(
            "{\"clientId\":\"c1\",\"consumerGroup\":\"referee_g\",\"messageModel\":\"CLUSTERING\",\
             \"strategyName\":\"NOSUCH\",\"topic\":\"Ref\"}",
        ),
        Step::new("assigned queues of nobody", 400, "").looks().body(
            "{\"clientId\":\"c9\",\"consumerGroup\":\"referee_g\",\"messageModel\":\"CLUSTERING\",\
             \"strategyName\":\"AVG\",\"topic\":\"Ref\"}",
        ),
        Step::new("modes", 402, "").looks(),
        Step::new(
            "running info of nobody",
            307,
            "consumerGroup=referee_g clientId=c9 jstackEnable=false",
        ),
        Step::new(
            "running info of no group",
            307,
            "consumerGroup=no_group clientId=c9 jstackEnable=false",
        ),
        Step::new(
            "consumes directly at nobody",
            309,
            "consumerGroup=referee_g clientId=c9 topic=Ref msgId={msgId}",
        ),
        Step::new("status of no group", 223, "topic=Ref group=no_group"),
        Step::new(
            "leaves",
            35,
            "clientID=c1 producerGroup=referee_p consumerGroup=referee_g",
        )
        .makes(),
        Step::new(
            "leaves no group",
            35,
            "clientID=c1 producerGroup=no_p consumerGroup=no_g",
        ),
        Step::new("nobody is left", 38, "consumerGroup=referee_g").looks(),
    ]
}

fn tables_and_figures() -> Vec<Step> {
    let figures = |step: Step| {
        step.looks()
            .ignore("Timestamp")
            .ignore("Tps")
            .ignore("timestamp")
            .ignore("counter")
    };
    vec![
        figures(Step::new("topic's figures", 202, "topic=Ref")),
        figures(Step::new("no topic's figures", 202, "topic=NoSuch")),
        figures(Step::new("consumption", 208, "consumerGroup=referee_g")),
        figures(Step::new(
            "consumption of a topic",
            208,
            "consumerGroup=referee_g topic=RefTwo",
        )),
        figures(Step::new(
            "consumption of no group",
            208,
            "consumerGroup=no_group",
        )),
        figures(Step::new("who consumes", 300, "topic=RefTwo")),
        figures(Step::new("who consumes nothing", 300, "topic=NoSuch")),
        figures(Step::new("what is consumed", 343, "group=referee_g")),
        figures(Step::new("what no group consumes", 343, "group=no_group")),
        figures(Step::new("subscription", 345, "group=referee_g topic=Ref")),
        figures(Step::new("time span", 303, "topic=RefTwo group=referee_g"))
            .ignore("Str")
            .ignore("delayTime"),
        figures(Step::new(
            "time span of no topic",
            303,
            "topic=NoSuch group=referee_g",
        )),
        figures(Step::new("all groups' consumption", 317, "isOrder=false")),
        figures(Step::new(
            "statistics",
            315,
            "statsName=TOPIC_PUT_NUMS statsKey=Ref",
        ))
        .names_only(),
        figures(Step::new(
            "no statistics",
            315,
            "statsName=NOSUCH statsKey=x",
        )),
        figures(Step::new("all topics", 21, "")).names_only(),
        figures(Step::new("all groups", 201, "")).names_only(),
        figures(Step::new("all offsets", 43, "")),
        figures(Step::new("delay offsets", 45, "")),
        figures(Step::new("system topics", 305, "")),
        figures(Step::new("runtime info", 28, ""))
            .names_only()
            .ignore("/commitlog"),
        figures(Step::new("replication", 907, "")).ignore("masterCommitLogMaxOffset"),
        Step::new("configuration", 26, "")
            .looks()
            .names_only()
            .ignore("version"),
        Step::new("changes nothing", 25, ""),
        Step::new("changes an unknown key", 25, "").body("noSuchKey=1\n"),
        Step::new("changes a key", 25, "").body("longPollingEnable=true\n"),
        Step::new("changes a key that may not", 25, "").body("brokerConfigPath=/x\n"),
        Step::new("changes a key to no number", 25, "").body("maxMessageSize=abc\n"),
        Step::new("cleans queues", 306, ""),
        Step::new("cleans topics", 316, ""),
        Step::new("deletes expired files", 329, ""),
        Step::new(
            "deletes a group",
            207,
            "groupName=referee_l cleanOffset=true",
        ),
        Step::new(
            "deletes no group",
            207,
            "groupName=no_group cleanOffset=true",
        ),
        Step::new("deletes a topic", 215, "topic=RefAuto"),
        Step::new("deletes a system topic", 215, "topic=SCHEDULE_TOPIC_XXXX"),
        Step::new("deletes no topic", 215, "topic=NoSuch"),
        Step::new("deletes a topic without a name", 215, "topic="),
        Step::new("a deleted topic", 351, "topic=RefAuto").looks(),
        Step::new("no such code", 19_999, ""),
        Step::new("a negative code", -5, ""),
    ]
}
