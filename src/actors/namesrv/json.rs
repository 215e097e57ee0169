//! Bodies of answers, written in the two forms of JSON that RocketMQ's NameServer uses.
//!
//! The old form is fastjson's: whole numbers as keys stand without quotes, text as it is. The
//! standard form quotes them and escapes everything beyond ASCII; clients from 4.9.4 on, and those
//! that ask for it, get it in routes. Keys of objects come in alphabetical order in both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};
use std::sync::Arc;

use super::model::{BrokerGroup, DataVersion, QueueMapping, Queues};
use super::tables::{Route, RouteTables};
use crate::protocol::Str;

/// Which form is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As fastjson writes by default.
    Fastjson,
    /// Standard JSON, ASCII only.
    Standard,
}

/// A route (`TopicRouteData`), with the order configuration of its topic.
pub fn route(route: &Route, order_topic_conf: Option<&str>, form: Form) -> String {
    let mut out = Writer::new(form);
    out.object(|out| {
        out.key("brokerDatas");
        out.array(&route.groups, Writer::group);
        out.key("filterServerTable");
        out.map(&route.filter_servers, |out, servers| {
            out.array(servers, |out, one| out.text(one))
        });
        if let Some(conf) = order_topic_conf {
            out.key("orderTopicConf");
            out.text(conf);
        }
        out.key("queueDatas");
        out.array(&route.queues, |out, (name, queues)| {
            out.queues(name, queues)
        });
        if let Some(mappings) = &route.mappings {
            out.key("topicQueueMappingByBroker");
            out.map(mappings, Writer::mapping);
        }
    });
    out.text
}

/// All groups and clusters (`ClusterInfo`), in the old form always.
pub fn cluster_info(tables: &RouteTables) -> String {
    let (groups, clusters) = (tables.groups(), tables.clusters());
    let mut out = Writer::new(Form::Fastjson);
    out.object(|out| {
        out.key("brokerAddrTable");
        out.map(&groups, |out, group: &Arc<BrokerGroup>| out.group(group));
        out.key("clusterAddrTable");
        out.map(&clusters, |out, names: &BTreeSet<Str>| {
            out.array(names, |out, one| out.text(one))
        });
    });
    out.text
}

/// A list of topics (`TopicList`).
pub fn topic_list(topics: &[Str], broker_addr: Option<&str>) -> String {
    let mut out = Writer::new(Form::Fastjson);
    out.object(|out| {
        if let Some(addr) = broker_addr {
            out.key("brokerAddr");
            out.text(addr);
        }
        out.key("topicList");
        out.array(topics, |out, topic| out.text(topic));
    });
    out.text
}

/// The brokers of one name (`GetBrokerMemberGroupResponseBody`).
pub fn member_group(cluster: &str, name: &str, group: Option<&BrokerGroup>) -> String {
    let none = BTreeMap::new();
    let mut out = Writer::new(Form::Fastjson);
    out.object(|out| {
        out.key("brokerMemberGroup");
        out.object(|out| {
            out.key("brokerAddrs");
            out.numbered(group.map_or(&none, |group| &group.addrs), |out, addr| {
                out.text(addr)
            });
            out.key("brokerName");
            out.text(name);
            out.key("cluster");
            out.text(cluster);
        });
    });
    out.text
}

/// A `DataVersion`.
pub fn data_version(version: &DataVersion) -> String {
    let DataVersion {
        counter,
        state_version,
        timestamp,
    } = version;
    format!(r#"{{"counter":{counter},"stateVersion":{state_version},"timestamp":{timestamp}}}"#)
}

struct Writer {
    text: String,
    form: Form,
    /// Whether the object or array being written has a member already.
    begun: bool,
}

impl Writer {
    fn new(form: Form) -> Self {
        Self {
            text: String::with_capacity(512),
            form,
            begun: false,
        }
    }

    fn group(&mut self, group: &BrokerGroup) {
        self.object(|out| {
            out.key("brokerAddrs");
            out.numbered(&group.addrs, |out, addr| out.text(addr));
            out.key("brokerName");
            out.text(&group.name);
            out.key("cluster");
            out.text(&group.cluster);
            out.field("enableActingMaster", group.enable_acting_master);
            if let Some(zone) = &group.zone {
                out.key("zoneName");
                out.text(zone);
            }
        });
    }

    fn queues(&mut self, name: &str, queues: &Queues) {
        self.object(|out| {
            out.key("brokerName");
            out.text(name);
            out.field("perm", queues.perm);
            out.field("readQueueNums", queues.read_queue_nums);
            out.field("topicSysFlag", queues.topic_sys_flag);
            out.field("writeQueueNums", queues.write_queue_nums);
        });
    }

    fn mapping(&mut self, mapping: &QueueMapping) {
        self.object(|out| {
            out.key("bname");
            out.text(&mapping.bname);
            out.key("currIdMap");
            out.numbered(&mapping.curr_id_map, |out, id| out.plain(id));
            out.field("dirty", mapping.dirty);
            out.field("epoch", mapping.epoch);
            out.key("scope");
            out.text(&mapping.scope);
            out.key("topic");
            out.text(&mapping.topic);
            out.field("totalQueues", mapping.total_queues);
        });
    }

    fn object(&mut self, members: impl FnOnce(&mut Self)) {
        self.enclosed('{', '}', members);
    }

    fn array<T>(&mut self, items: impl IntoIterator<Item = T>, item: impl Fn(&mut Self, T)) {
        self.enclosed('[', ']', |out| {
            for one in items {
                out.comma();
                item(out, one);
            }
        });
    }

    fn map<T>(&mut self, map: &BTreeMap<Str, T>, value: impl Fn(&mut Self, &T)) {
        self.object(|out| {
            for (key, one) in map {
                out.comma();
                out.text(key);
                out.text.push(':');
                value(out, one);
            }
        });
    }

    fn numbered<K: Display, T>(&mut self, map: &BTreeMap<K, T>, value: impl Fn(&mut Self, &T)) {
        self.object(|out| {
            for (key, one) in map {
                out.comma();
                match out.form {
                    Form::Fastjson => out.plain(key),
                    Form::Standard => out.text(&key.to_string()),
                }
                out.text.push(':');
                value(out, one);
            }
        });
    }

    fn enclosed(&mut self, open: char, close: char, inside: impl FnOnce(&mut Self)) {
        self.text.push(open);
        self.begun = false;
        inside(self);
        self.text.push(close);
        self.begun = true;
    }

    fn comma(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            self.text.push(',');
        }
    }

    fn key(&mut self, name: &str) {
        self.comma();
        let _ = write!(self.text, "\"{name}\":");
    }

    fn field(&mut self, name: &str, value: impl Display) {
        self.key(name);
        self.plain(value);
    }

    fn plain(&mut self, value: impl Display) {
        let _ = write!(self.text, "{value}");
    }

    fn text(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                c if c < ' ' || (self.form == Form::Standard && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.text, "\\u{unit:04X}");
                    }
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Route {
        let group = BrokerGroup {
            cluster: "DefaultCluster".into(),
            name: "broker-a".into(),
            addrs: BTreeMap::from([(0, "127.0.0.1:49111".into()), (1, "127.0.0.1:49151".into())]),
            ..BrokerGroup::default()
        };
        let queues = Queues {
            read_queue_nums: 8,
            write_queue_nums: 4,
            perm: 6,
            topic_sys_flag: 0,
        };
        Route {
            queues: vec![("broker-a".into(), queues)],
            groups: vec![group],
            ..Route::default()
        }
    }

    #[test]
    fn both_forms_of_a_route() {
        let text = route(&sample(), None, Form::Fastjson);
        let expected = concat!(
            r#"{"brokerDatas":[{"brokerAddrs":{0:"127.0.0.1:49111",1:"127.0.0.1:49151"},"#,
            r#""brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"#,
            r#""filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"#,
            r#""readQueueNums":8,"topicSysFlag":0,"writeQueueNums":4}]}"#,
        );
        assert_eq!(text, expected);
        let text = route(&sample(), None, Form::Standard);
        assert_eq!(
            text,
            expected.replace("{0:", "{\"0\":").replace(",1:", ",\"1\":")
        );
    }

    #[test]
    fn mappings_orders_zones_and_escapes() {
        let mut full = sample();
        full.groups[0].zone = Some("zürich\"".into());
        full.filter_servers
            .insert("127.0.0.1:49111".into(), vec!["f:1".into(), "f:2".into()]);
        let mapping = QueueMapping {
            topic: "T".into(),
            scope: "__global__".into(),
            total_queues: 4,
            bname: "broker-a".into(),
            epoch: 1_795_389_468_443,
            dirty: false,
            curr_id_map: BTreeMap::from([(0, 0), (1, 1)]),
        };
        full.mappings = Some(Arc::new(BTreeMap::from([("broker-a".into(), mapping)])));
        let text = route(&full, Some("broker-a:4"), Form::Standard);
        assert!(text.is_ascii());
        let value: serde_json::Value = serde_json::from_str(&text).expect("standard JSON");
        assert_eq!(value["brokerDatas"][0]["zoneName"], "zürich\"");
        assert_eq!(value["orderTopicConf"], "broker-a:4");
        assert_eq!(value["filterServerTable"]["127.0.0.1:49111"][1], "f:2");
        let mapping = &value["topicQueueMappingByBroker"]["broker-a"];
        assert_eq!(mapping["currIdMap"]["1"], 1);
        assert_eq!(mapping["epoch"], 1_795_389_468_443_i64);
        let text = route(&full, None, Form::Fastjson);
        assert!(text.contains("\"currIdMap\":{0:0,1:1}"), "{text}");
        assert!(text.contains("zürich\\\""), "{text}");
    }

    #[test]
    fn lists_and_groups() {
        assert_eq!(topic_list(&[], None), r#"{"topicList":[]}"#);
        let text = topic_list(&["a".into(), "b".into()], Some("x:1"));
        assert_eq!(text, r#"{"brokerAddr":"x:1","topicList":["a","b"]}"#);
        let text = cluster_info(&RouteTables::default());
        assert_eq!(text, r#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#);
        let text = member_group("C", "b", Some(&sample().groups[0]));
        assert!(
            text.starts_with(r#"{"brokerMemberGroup":{"brokerAddrs":{0:"#),
            "{text}"
        );
        let text = member_group("C", "b", None);
        assert_eq!(
            text,
            r#"{"brokerMemberGroup":{"brokerAddrs":{},"brokerName":"b","cluster":"C"}}"#
        );
    }
}
