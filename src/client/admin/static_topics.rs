//! Static topics: what the brokers have, and the order in which a plan is written to them
//! (RocketMQ's MQAdminUtils). The plans themselves are `protocol::static_topic::plan`.

use std::collections::{BTreeMap, BTreeSet};

use super::{AdminClient, master};
use crate::client::api::request;
use crate::client::error::ClientError;
use crate::client::read_json;
use crate::protocol::FieldValue::{Bool, Int, Str as Text};
use crate::protocol::body::MessageQueue;
use crate::protocol::body::topic_config::TopicConfigAndQueueMapping;
use crate::protocol::body::topic_remapping::TopicRemappingDetailWrapper;
use crate::protocol::static_topic::{BrokerConfigs, plan};
use crate::protocol::{RequestCode, ResponseCode, fastjson};

impl AdminClient {
    /// The configuration of a topic on a broker, with its mapping if it is a static one; none where it
    /// has no such topic.
    pub async fn topic_config(
        &self,
        addr: &str,
        topic: &str,
    ) -> Result<Option<TopicConfigAndQueueMapping>, ClientError> {
        let fields = [("topic", Text(topic)), ("lo", Bool(true))];
        let request = request(RequestCode::GetTopicConfig, &fields);
        match self.broker(addr, request).await {
            Ok(answer) => read_json(addr, "a topic's configuration", &answer.body).map(Some),
            Err(error) if error.is(ResponseCode::TopicNotExist) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The configuration of a topic on all masters that the NameServer knows.
    pub async fn topic_config_everywhere(&self, topic: &str) -> Result<BrokerConfigs, ClientError> {
        let info = self.cluster_info().await?;
        let mut configs = BrokerConfigs::new();
        for broker in info.broker_addr_table.keys() {
            let addr = master(&info, broker)?;
            if let Some(config) = self.topic_config(addr, topic).await? {
                configs.insert(broker.clone(), config);
            }
        }
        Ok(configs)
    }

    /// The configuration of a static topic on the brokers of its route; none of another topic.
    pub async fn static_topic(&self, topic: &str) -> Result<BrokerConfigs, ClientError> {
        let mut configs = BrokerConfigs::new();
        if !self.topic_route(topic).await?.is_static() {
            return Ok(configs);
        }
        for (broker, addr) in self.topic_brokers(topic).await? {
            if let Some(config) = self.topic_config(&addr, topic).await? {
                configs.insert(broker, config);
            }
        }
        Ok(configs)
    }

    /// Writes one broker's part of a static topic. With `force` the broker takes it even if what it has
    /// is newer.
    pub async fn put_static_topic(
        &self,
        addr: &str,
        config: &TopicConfigAndQueueMapping,
        force: bool,
    ) -> Result<(), ClientError> {
        let request = request(
            RequestCode::UpdateAndCreateStaticTopic,
            &[
                ("topic", Text(&config.topic_name)),
                ("defaultTopic", Text("TBW102")),
                ("readQueueNums", Int(config.read_queue_nums.into())),
                ("writeQueueNums", Int(config.write_queue_nums.into())),
                ("perm", Int(config.perm.into())),
                ("topicFilterType", Text(&config.topic_filter_type)),
                ("topicSysFlag", Int(config.topic_sys_flag.into())),
                ("order", Bool(config.order)),
                ("force", Bool(force)),
            ],
        );
        let body = fastjson::to_vec(&config.mapping_detail)
            .map_err(|error| ClientError::Invalid(error.to_string()))?;
        self.broker(addr, request.with_body(body)).await.map(|_| ())
    }

    /// Writes a static topic that was planned with `plan::create` to all brokers of its clusters. When one
    /// of them fails the others may have it: write the same plan again.
    pub async fn create_static_topic(
        &self,
        plan: &mut TopicRemappingDetailWrapper,
        force: bool,
    ) -> Result<(), ClientError> {
        let addrs = self.complete(plan).await?;
        self.put_all(plan, &addrs, addrs.keys(), force).await
    }

    /// Moves queues as planned with `plan::remap`, while messages are sent and consumed: first the new
    /// leaders take messages, then the old ones take none any more, then it is decided where the new
    /// stretches begin, and the new leaders are told.
    pub async fn remap_static_topic(
        &self,
        plan: &mut TopicRemappingDetailWrapper,
        force: bool,
    ) -> Result<(), ClientError> {
        let addrs = self.complete(plan).await?;
        let (ins, outs) = (
            plan.broker_to_map_in.clone(),
            plan.broker_to_map_out.clone(),
        );
        self.put_all(plan, &addrs, &ins, force).await?;
        self.put_all(plan, &addrs, &outs, force).await?;
        for broker in &outs {
            let addr = addr_of(&addrs, broker)?;
            let stats = self.topic_stats(addr, &plan.topic).await?;
            let topic = plan.topic.clone();
            plan::decide_logic_offsets(plan, broker, |item| {
                let queue = MessageQueue::new(&topic, &item.bname, item.queue_id);
                stats
                    .offset_table
                    .get(&queue)
                    .map(|offset| offset.max_offset)
            })?;
        }
        self.put_all(plan, &addrs, &ins, force).await?;
        let rest = addrs.keys();
        let rest = rest.filter(|broker| !ins.contains(*broker) && !outs.contains(*broker));
        self.put_all(plan, &addrs, rest, force).await
    }

    /// Gives the other brokers of the clusters their part of a plan; yields the masters' addresses of all.
    async fn complete(
        &self,
        plan: &mut TopicRemappingDetailWrapper,
    ) -> Result<BTreeMap<String, String>, ClientError> {
        let info = self.cluster_info().await?;
        let of_plan = |names: &&Vec<String>| {
            let mut names = names.iter();
            names.any(|name| plan.broker_config_map.contains_key(name))
        };
        let clusters = info.cluster_addr_table.values().filter(of_plan);
        let all: BTreeSet<String> = clusters.flatten().cloned().collect();
        plan::complete(plan, &all);
        let brokers = plan.broker_config_map.keys();
        brokers
            .map(|broker| Ok((broker.clone(), master(&info, broker)?.to_owned())))
            .collect()
    }

    async fn put_all(
        &self,
        plan: &TopicRemappingDetailWrapper,
        addrs: &BTreeMap<String, String>,
        brokers: impl IntoIterator<Item = &String>,
        force: bool,
    ) -> Result<(), ClientError> {
        for broker in brokers {
            let addr = addr_of(addrs, broker)?;
            if let Some(config) = plan.broker_config_map.get(broker) {
                self.put_static_topic(addr, config, force).await?;
            }
        }
        Ok(())
    }
}

fn addr_of<'a>(addrs: &'a BTreeMap<String, String>, broker: &str) -> Result<&'a str, ClientError> {
    let addr = addrs.get(broker).map(String::as_str);
    addr.ok_or_else(|| ClientError::UnknownBroker(broker.to_owned()))
}
