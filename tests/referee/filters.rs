//! Filters by properties, on a topic of their own with `enablePropertyFilter=true`.

use crate::script::{Step, pull, send};

fn heartbeat(name: &str, group: &str, text: &str, version: u32) -> Step {
    Step::new(name, 34, "").body(&format!(
        "{{\"clientID\":\"c3\",\"consumerDataSet\":[{{\"consumeFromWhere\":\
         \"CONSUME_FROM_LAST_OFFSET\",\"consumeType\":\"CONSUME_PASSIVELY\",\"groupName\":\"{group}\",\
         \"messageModel\":\"CLUSTERING\",\"subscriptionDataSet\":[{{\"classFilterMode\":false,\
         \"codeSet\":[],\"expressionType\":\"SQL92\",\"subString\":\"{text}\",\"subVersion\":{version},\
         \"tagsSet\":[],\"topic\":\"RefSql\"}}],\"unitMode\":false}}],\"heartbeatFingerprint\":0,\
         \"producerDataSet\":[],\"withoutSub\":false}}"
    ))
}

fn check(name: &str, text: &str) -> Step {
    Step::new(name, 46, "").body(&format!(
        "{{\"clientId\":\"c3\",\"group\":\"referee_sql\",\"subscriptionData\":{{\"expressionType\":\"SQL92\",\
         \"subString\":\"{text}\",\"subVersion\":1,\"topic\":\"RefSql\"}}}}"
    ))
}

fn switch(name: &str, on: bool) -> Step {
    let step = Step::new(name, 25, "").body(&format!("enablePropertyFilter={on}\n"));
    step.makes()
}

/// A pull with an expression of its own.
fn own(name: &str, text: &str) -> Step {
    let group = "consumerGroup=referee_sql topic=RefSql expressionType=SQL92 subscription=-";
    pull(name, group).with("subscription", text).looks()
}

/// A pull by the expression of the group's heartbeats.
fn of_group(name: &str, version: u32) -> Step {
    let fields = format!(
        "consumerGroup=referee_sql topic=RefSql sysFlag=0 subscription=- expressionType=- \
         subVersion={version}"
    );
    pull(name, &fields).looks()
}

pub fn steps() -> Vec<Step> {
    let mut all = vec![
        Step::new(
            "makes a topic for filters",
            17,
            "topic=RefSql defaultTopic=TBW102 readQueueNums=1 writeQueueNums=1 perm=6 \
             topicFilterType=SINGLE_TAG topicSysFlag=0 order=false",
        )
        .makes(),
        Step::new("makes a group for filters", 200, "")
            .body("{\"groupName\":\"referee_sql\"}")
            .makes(),
    ];
    for (name, value) in [("one", "1"), ("two", "2"), ("text", "x")] {
        let pairs = [("a", value)];
        all.push(send(&format!("{name} to filter"), "b=RefSql e=0", &pairs, name).makes());
    }
    all.extend([
        own("SQL while it is off", "a > 1"),
        heartbeat("subscribes by SQL", "referee_sql", "a > 1", 5).makes(),
        of_group("SQL of the group while it is off", 5),
        switch("switches SQL on", true),
        check("SQL that is on", "a > 1"),
        check("wrong SQL that is on", "a >"),
        own("SQL of a pull", "a > 1"),
        own("SQL that nothing matches", "a > 7"),
        own("SQL on what is missing", "b IS NULL AND a IN ('1', 'x')"),
        of_group("SQL of the group", 5),
        of_group("SQL of the group, newer", 6),
        heartbeat("subscribes by wrong SQL", "referee_sql", "a >", 7).makes(),
        of_group("wrong SQL of the group", 7),
        heartbeat("subscribes by other SQL", "referee_sql", "a = 1", 8).makes(),
        of_group("other SQL of the group", 8),
        Step::new(
            "consume queue of a group with SQL",
            321,
            "topic=RefSql queueId=0 index=0 count=3 consumerGroup=referee_sql",
        )
        .looks()
        .ignore("physicOffset")
        .ignore("physicSize")
        .ignore("filterData"),
        switch("switches SQL off", false),
    ]);
    all
}
