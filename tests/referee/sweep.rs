//! Every request that our broker answers, with arguments that are missing, of the wrong type, and of
//! things that are not there.

use crate::script::Step;

/// Header fields by code, as RocketMQ declares them: `n:` a number, `b:` true or false, else a text.
const HEADERS: &[(i32, &str)] = &[
    (
        10,
        "producerGroup topic defaultTopic n:defaultTopicQueueNums n:queueId n:sysFlag n:bornTimestamp n:flag",
    ),
    (
        11,
        "consumerGroup topic n:queueId n:queueOffset n:maxMsgNums n:sysFlag n:commitOffset n:suspendTimeoutMillis subscription n:subVersion",
    ),
    (12, "topic key n:maxNum n:beginTimestamp n:endTimestamp"),
    (14, "consumerGroup topic n:queueId"),
    (15, "consumerGroup topic n:queueId n:commitOffset"),
    (
        17,
        "topic defaultTopic n:readQueueNums n:writeQueueNums n:perm topicFilterType b:order",
    ),
    (18, ""),
    (21, ""),
    (25, ""),
    (26, ""),
    (28, ""),
    (29, "topic n:queueId n:timestamp"),
    (30, "topic n:queueId"),
    (31, "topic n:queueId"),
    (32, "topic n:queueId"),
    (33, "n:offset"),
    (34, ""),
    (35, "clientID producerGroup consumerGroup"),
    (36, "n:offset group n:delayLevel originMsgId originTopic"),
    (
        37,
        "producerGroup n:tranStateTableOffset n:commitLogOffset n:commitOrRollback msgId",
    ),
    (38, "consumerGroup"),
    (41, ""),
    (42, ""),
    (43, ""),
    (45, ""),
    (46, ""),
    (200, ""),
    (201, ""),
    (202, "topic"),
    (203, "consumerGroup"),
    (204, "producerGroup"),
    (207, "groupName"),
    (208, "consumerGroup topic"),
    (215, "topic"),
    (222, "topic group n:timestamp b:isForce"),
    (223, "topic group clientAddr"),
    (225, ""),
    (300, "topic"),
    (303, "topic group"),
    (305, ""),
    (307, "consumerGroup clientId b:jstackEnable"),
    (309, "consumerGroup clientId msgId brokerName"),
    (310, "a b c n:d n:e n:f n:g n:h"),
    (314, "srcGroup destGroup topic b:offline"),
    (315, "statsName statsKey"),
    (317, "b:isOrder"),
    (320, "a b c n:d n:e n:f n:g n:h b:m"),
    (321, "topic n:queueId n:index n:count consumerGroup"),
    (
        324,
        "producerGroup topic defaultTopic n:defaultTopicQueueNums n:queueId n:sysFlag n:bornTimestamp n:flag",
    ),
    (325, "a b c n:d n:e n:f n:g n:h"),
    (343, "group"),
    (345, "group topic"),
    (351, "topic"),
    (352, "group"),
    (353, "group topic b:readable"),
    (
        361,
        "consumerGroup topic n:queueId n:queueOffset n:maxMsgNums n:sysFlag n:commitOffset n:suspendTimeoutMillis subscription n:subVersion",
    ),
    (370, "producerGroup topic recallHandle"),
    (400, ""),
    (401, ""),
    (402, ""),
    (
        513,
        "topic defaultTopic n:readQueueNums n:writeQueueNums n:perm topicFilterType",
    ),
    (907, ""),
    (
        200_050,
        "consumerGroup topic n:queueId n:maxMsgNums n:invisibleTime n:pollTime n:bornTime n:initMode",
    ),
    (200_051, "consumerGroup topic n:queueId extraInfo n:offset"),
    (200_052, "topic n:queueId n:maxMsgNums consumerGroup"),
    (
        200_053,
        "consumerGroup topic n:queueId extraInfo n:offset n:invisibleTime",
    ),
    (
        200_054,
        "consumerGroup topic n:queueId n:pollTime n:bornTime",
    ),
    (200_055, "consumerGroup topic n:queueId"),
    (200_151, ""),
];

/// The body of these is the answer's only content, and full of figures: `script` looks into them.
const BODIES_DIFFER: [i32; 8] = [21, 26, 28, 43, 45, 201, 317, 907];

pub fn steps() -> Vec<Step> {
    let mut all = Vec::new();
    for &(code, header) in HEADERS {
        let is_number = |field: &str| field.starts_with("n:");
        let is_flag = |field: &str| field.starts_with("b:");
        let plain = |field: &str| {
            field
                .trim_start_matches("n:")
                .trim_start_matches("b:")
                .to_owned()
        };
        let filled = |name: &str, value: &dyn Fn(&str) -> &'static str| {
            let mut step = Step::new(name, code, "");
            for field in header.split_whitespace() {
                step.ext.push((plain(field), value(field).to_owned()));
            }
            step
        };
        let unknown = |field: &str| match field {
            field if is_number(field) => "0",
            field if is_flag(field) => "false",
            "defaultTopic" | "c" => "no_default",
            _ => "no_such",
        };
        let mut variants = vec![Step::new("nothing", code, "")];
        if !header.is_empty() {
            variants.push(filled("of what is not there", &unknown));
            variants.push(filled("texts for numbers", &|field| {
                if is_number(field) || is_flag(field) {
                    "x"
                } else {
                    unknown(field)
                }
            }));
            variants.push(filled("empty texts", &|field| {
                if is_number(field) || is_flag(field) {
                    unknown(field)
                } else {
                    ""
                }
            }));
            variants.push(filled("negative numbers", &|field| {
                if is_number(field) {
                    "-7"
                } else {
                    unknown(field)
                }
            }));
        }
        variants.push(Step::new("half a body", code, "").body("{\"a\":"));
        for mut step in variants {
            step.names_only |= BODIES_DIFFER.contains(&code);
            if BODIES_DIFFER.contains(&code) {
                step.ignores.push(String::new());
            }
            all.push(step);
        }
    }
    all
}
