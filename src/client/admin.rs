//! The admin client: what mqadmin asks of NameServers and brokers (RocketMQ's MQAdminExt).

use std::collections::{BTreeMap, BTreeSet};

use crate::client::api::{KeyQuery, number, request, success};
use crate::client::error::ClientError;
use crate::client::instance::{Inner, MqClient};
use crate::client::message::MessageExt;
use crate::client::read_json;
use crate::client::route::{MASTER_ID, TopicRoute};
use crate::protocol::FieldValue::{Bool, Int, Str as Text};
use crate::protocol::body::MessageQueue;
use crate::protocol::body::connection::{ConsumerConnection, ProducerConnection};
use crate::protocol::body::list::{GroupList, TopicList};
use crate::protocol::body::offset::ResetOffsetBody;
use crate::protocol::body::route::{ClusterInfo, TopicRouteData};
use crate::protocol::body::running_info::{ConsumeMessageDirectlyResult, ConsumerRunningInfo};
use crate::protocol::body::stats::{BrokerStatsData, ConsumeStats, KvTable, TopicStatsTable};
use crate::protocol::body::subscription_group::SubscriptionGroupConfig;
use crate::protocol::body::topic_config::TopicConfig;
use crate::protocol::message::{id, properties};
use crate::protocol::{FieldValue, RemotingCommand, RequestCode, ResponseCode, fastjson};

/// Namespace of the NameServer's order configuration.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Asks about and changes a cluster. All functions talk to the address or to the NameServers
/// directly and answer once; none of them caches.
#[derive(Clone)]
pub struct AdminClient {
    client: MqClient,
}

impl AdminClient {
    /// An admin client on a client.
    pub fn new(client: &MqClient) -> Self {
        AdminClient {
            client: client.clone(),
        }
    }

    /// The client underneath.
    pub fn client(&self) -> &MqClient {
        &self.client
    }

    fn inner(&self) -> &Inner {
        &self.client.inner
    }

    async fn namesrv(&self, request: RemotingCommand) -> Result<RemotingCommand, ClientError> {
        let (addr, answer) = self.inner().ask_namesrv(request).await?;
        success(&addr, answer)
    }

    async fn broker(
        &self,
        addr: &str,
        request: RemotingCommand,
    ) -> Result<RemotingCommand, ClientError> {
        self.inner().api.ask(addr, request).await
    }

    /// Sends one request to every NameServer; fails when any of them fails.
    async fn all_namesrvs(
        &self,
        request: &RemotingCommand,
    ) -> Result<Vec<(String, RemotingCommand)>, ClientError> {
        let mut answers = Vec::new();
        for addr in &self.inner().config.namesrv_addrs {
            answers.push((
                addr.clone(),
                self.inner().api.ask(addr, request.clone()).await?,
            ));
        }
        Ok(answers)
    }

    // ---- cluster and routes

    /// All brokers by name and cluster.
    pub async fn cluster_info(&self) -> Result<ClusterInfo, ClientError> {
        let answer = self
            .namesrv(request(RequestCode::GetBrokerClusterInfo, &[]))
            .await?;
        read_json("the NameServer", "cluster info", &answer.body)
    }

    /// Addresses of the masters of a cluster.
    pub async fn masters(&self, cluster: &str) -> Result<BTreeSet<String>, ClientError> {
        self.addrs(cluster, true).await
    }

    /// Addresses of the brokers of a cluster.
    pub async fn addrs(
        &self,
        cluster: &str,
        masters_only: bool,
    ) -> Result<BTreeSet<String>, ClientError> {
        let info = self.cluster_info().await?;
        let names = info.cluster_addr_table.get(cluster).ok_or_else(|| {
            let known: Vec<&str> = info.cluster_addr_table.keys().map(String::as_str).collect();
            let text = format!("no cluster {cluster}; there is: {}", known.join(", "));
            ClientError::Invalid(text)
        })?;
        let brokers = names
            .iter()
            .filter_map(|name| info.broker_addr_table.get(name));
        let addrs = brokers.flat_map(|broker| &broker.broker_addrs);
        let wanted = addrs.filter(|(id, _)| !masters_only || **id == MASTER_ID);
        Ok(wanted.map(|(_, addr)| addr.clone()).collect())
    }

    /// The NameServer's route of a topic, asked anew.
    pub async fn route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        Ok(self.topic_route(topic).await?.data.clone())
    }

    async fn topic_route(&self, topic: &str) -> Result<std::sync::Arc<TopicRoute>, ClientError> {
        self.inner().fetch_route(&topic.into(), None).await
    }

    /// Queues of a topic that can be read.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(self.topic_route(topic).await?.read_queues.clone())
    }

    /// Addresses of one broker of each name that has the topic: the master, or a slave of it.
    pub async fn topic_brokers(&self, topic: &str) -> Result<Vec<(String, String)>, ClientError> {
        let route = self.topic_route(topic).await?;
        let brokers = route.broker_addrs();
        Ok(brokers
            .filter_map(|(name, addrs)| {
                let addr = addrs.get(&MASTER_ID).or_else(|| addrs.values().next())?;
                Some((name.clone(), addr.clone()))
            })
            .collect())
    }

    /// The master's address of a broker name, from the NameServers' cluster info.
    pub async fn broker_addr(&self, name: &str) -> Result<String, ClientError> {
        let info = self.cluster_info().await?;
        let broker = info.broker_addr_table.get(name);
        let addr = broker.and_then(|broker| broker.broker_addrs.get(&MASTER_ID));
        addr.cloned()
            .ok_or_else(|| ClientError::UnknownBroker(name.to_owned()))
    }

    /// All topics that the NameServer knows.
    pub async fn topics(&self) -> Result<TopicList, ClientError> {
        let request = request(RequestCode::GetAllTopicListFromNameserver, &[]);
        let answer = self.namesrv(request).await?;
        read_json("the NameServer", "a topic list", &answer.body)
    }

    /// Names of the clusters that have a topic.
    pub async fn topic_clusters(&self, topic: &str) -> Result<BTreeSet<String>, ClientError> {
        let (info, route) = (self.cluster_info().await?, self.route(topic).await?);
        let brokers: BTreeSet<&String> =
            route.broker_datas.iter().map(|b| &b.broker_name).collect();
        let clusters = info.cluster_addr_table.iter();
        let ours = clusters.filter(|(_, names)| names.iter().any(|name| brokers.contains(name)));
        Ok(ours.map(|(cluster, _)| cluster.clone()).collect())
    }

    // ---- topics

    /// Creates or changes a topic on a broker.
    pub async fn update_topic(&self, addr: &str, topic: &TopicConfig) -> Result<(), ClientError> {
        let attributes: Vec<String> = topic
            .attributes
            .iter()
            .map(|(key, value)| match &**value {
                "" => key.to_string(),
                value => format!("{key}={value}"),
            })
            .collect();
        let request = request(
            RequestCode::UpdateAndCreateTopic,
            &[
                ("topic", Text(&topic.topic_name)),
                ("defaultTopic", Text("TBW102")),
                ("readQueueNums", Int(topic.read_queue_nums.into())),
                ("writeQueueNums", Int(topic.write_queue_nums.into())),
                ("perm", Int(topic.perm.into())),
                ("topicFilterType", Text("SINGLE_TAG")),
                ("topicSysFlag", Int(topic.topic_sys_flag.into())),
                ("order", Bool(topic.order)),
                ("attributes", Text(&attributes.join(","))),
            ],
        );
        self.broker(addr, request).await.map(|_| ())
    }

    /// Deletes a topic on a broker.
    pub async fn delete_topic(&self, addr: &str, topic: &str) -> Result<(), ClientError> {
        let request = request(RequestCode::DeleteTopicInBroker, &[("topic", Text(topic))]);
        self.broker(addr, request).await.map(|_| ())
    }

    /// Deletes a topic at every NameServer.
    pub async fn delete_topic_in_namesrv(
        &self,
        topic: &str,
        cluster: Option<&str>,
    ) -> Result<(), ClientError> {
        let mut fields = vec![("topic", Text(topic))];
        fields.extend(cluster.map(|cluster| ("clusterName", Text(cluster))));
        let request = request(RequestCode::DeleteTopicInNamesrv, &fields);
        self.all_namesrvs(&request).await.map(|_| ())
    }

    /// Offsets of a topic's queues on a broker.
    pub async fn topic_stats(
        &self,
        addr: &str,
        topic: &str,
    ) -> Result<TopicStatsTable, ClientError> {
        let request = request(RequestCode::GetTopicStatsInfo, &[("topic", Text(topic))]);
        let answer = self.broker(addr, request).await?;
        read_json(addr, "topic stats", &answer.body)
    }

    /// Groups that consume a topic, as a broker knows.
    pub async fn topic_groups(&self, addr: &str, topic: &str) -> Result<GroupList, ClientError> {
        let request = request(
            RequestCode::QueryTopicConsumeByWho,
            &[("topic", Text(topic))],
        );
        let answer = self.broker(addr, request).await?;
        read_json(addr, "a group list", &answer.body)
    }

    // ---- groups

    /// Creates or changes a subscription group on a broker.
    pub async fn update_group(
        &self,
        addr: &str,
        group: &SubscriptionGroupConfig,
    ) -> Result<(), ClientError> {
        self.tell_json(addr, RequestCode::UpdateAndCreateSubscriptiongroup, group)
            .await
    }

    /// Deletes a subscription group on a broker.
    pub async fn delete_group(
        &self,
        addr: &str,
        group: &str,
        clean_offset: bool,
    ) -> Result<(), ClientError> {
        let fields = [
            ("groupName", Text(group)),
            ("cleanOffset", Bool(clean_offset)),
        ];
        let request = request(RequestCode::DeleteSubscriptiongroup, &fields);
        self.broker(addr, request).await.map(|_| ())
    }

    /// How far a group is, on a broker; of one topic or of all.
    pub async fn consume_stats(
        &self,
        addr: &str,
        group: &str,
        topic: Option<&str>,
    ) -> Result<ConsumeStats, ClientError> {
        let mut fields = vec![("consumerGroup", Text(group))];
        fields.extend(topic.map(|topic| ("topic", Text(topic))));
        let request = request(RequestCode::GetConsumeStats, &fields);
        let answer = self.broker(addr, request).await?;
        read_json(addr, "consume stats", &answer.body)
    }

    /// The clients of a consumer group on a broker.
    pub async fn consumer_connection(
        &self,
        addr: &str,
        group: &str,
    ) -> Result<ConsumerConnection, ClientError> {
        let fields = [("consumerGroup", Text(group))];
        let request = request(RequestCode::GetConsumerConnectionList, &fields);
        let answer = self.broker(addr, request).await?;
        read_json(addr, "a consumer connection", &answer.body)
    }

    /// The clients of a producer group on a broker.
    pub async fn producer_connection(
        &self,
        addr: &str,
        group: &str,
    ) -> Result<ProducerConnection, ClientError> {
        let fields = [("producerGroup", Text(group))];
        let request = request(RequestCode::GetProducerConnectionList, &fields);
        let answer = self.broker(addr, request).await?;
        read_json(addr, "a producer connection", &answer.body)
    }

    /// What a consumer says about itself, asked through its broker.
    pub async fn consumer_running_info(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        jstack: bool,
    ) -> Result<ConsumerRunningInfo, ClientError> {
        let fields = [
            ("consumerGroup", Text(group)),
            ("clientId", Text(client_id)),
            ("jstackEnable", Bool(jstack)),
        ];
        let answer = self
            .broker(addr, request(RequestCode::GetConsumerRunningInfo, &fields))
            .await?;
        read_json(addr, "consumer running info", &answer.body)
    }

    /// Lets a consumer consume one stored message at once.
    pub async fn consume_directly(
        &self,
        addr: &str,
        group: &str,
        client_id: &str,
        message: &MessageExt,
    ) -> Result<ConsumeMessageDirectlyResult, ClientError> {
        let id = message.offset_id();
        let fields = [
            ("consumerGroup", Text(group)),
            ("clientId", Text(client_id)),
            ("msgId", Text(&id)),
            ("topic", Text(&message.topic)),
        ];
        let answer = self
            .broker(addr, request(RequestCode::ConsumeMessageDirectly, &fields))
            .await?;
        read_json(addr, "the result of consuming", &answer.body)
    }

    // ---- offsets

    /// Sets a group's offsets to a time (ms; -1 = the end), or one queue to an offset.
    pub async fn reset_offset(
        &self,
        addr: &str,
        reset: &OffsetReset<'_>,
    ) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
        let mut fields = vec![
            ("group", Text(reset.group)),
            ("topic", Text(reset.topic)),
            ("timestamp", Int(reset.timestamp_ms)),
            ("isForce", Bool(reset.force)),
            ("queueId", Int(reset.queue_id.into())),
        ];
        fields.extend(reset.offset.map(|offset| ("offset", Int(offset))));
        let request = request(RequestCode::InvokeBrokerToResetOffset, &fields);
        let answer = self.broker(addr, request).await?;
        if answer.body.is_empty() {
            return Ok(BTreeMap::new());
        }
        let body: ResetOffsetBody = read_json(addr, "reset offsets", &answer.body)?;
        Ok(body.offset_table)
    }

    /// Commits an offset for a group.
    pub async fn update_offset(
        &self,
        addr: &str,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        self.inner()
            .api
            .update_offset(addr, group, queue, offset, false)
            .await
    }

    /// First offset of a queue.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        let addr = self.inner().queue_addr(queue).await?;
        self.inner().api.min_offset(&addr, queue).await
    }

    /// One behind the last offset of a queue.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        let addr = self.inner().queue_addr(queue).await?;
        self.inner().api.max_offset(&addr, queue).await
    }

    /// Offset of the first message stored at a time (ms) or later.
    pub async fn search_offset(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        let addr = self.inner().queue_addr(queue).await?;
        self.inner()
            .api
            .search_offset(&addr, queue, timestamp_ms)
            .await
    }

    /// As [`AdminClient::search_offset`], asking this address.
    pub async fn search_offset_at(
        &self,
        addr: &str,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        self.inner()
            .api
            .search_offset(addr, queue, timestamp_ms)
            .await
    }

    // ---- messages

    /// The message that an offset id names, from the broker that the id names.
    pub async fn message_by_offset_id(
        &self,
        topic: &str,
        message_id: &str,
    ) -> Result<MessageExt, ClientError> {
        let (host, offset) = id::parse_offset_id(message_id)
            .ok_or_else(|| ClientError::Invalid(format!("{message_id} is not an offset id")))?;
        let record = self
            .inner()
            .api
            .view_message(&host.to_string(), topic, offset)
            .await?;
        Ok(MessageExt::decode(&record)?.0)
    }

    /// Messages with a key, from every broker of the topic.
    pub async fn messages_by_key(
        &self,
        topic: &str,
        key: &str,
        messages_max: i32,
        begin_ms: i64,
        end_ms: i64,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let query = KeyQuery {
            topic,
            key,
            messages_max,
            begin_ms,
            end_ms,
            unique: false,
        };
        let found = self.query(&query).await?;
        // The index knows hashes only.
        let has_key = |message: &MessageExt| {
            message
                .keys()
                .is_some_and(|keys| keys.split(' ').any(|known| known == key))
        };
        Ok(found.into_iter().filter(has_key).collect())
    }

    /// Messages with a unique key (usually one), from every broker of the topic.
    pub async fn messages_by_unique_key(
        &self,
        topic: &str,
        key: &str,
    ) -> Result<Vec<MessageExt>, ClientError> {
        let made = crate::client::unique_id::creation_time_ms(key, crate::client::now_ms());
        let begin_ms = made.map_or(0, |made| made.saturating_sub(1_000));
        let query = KeyQuery {
            topic,
            key,
            messages_max: 32,
            begin_ms,
            end_ms: i64::MAX,
            unique: true,
        };
        let found = self.query(&query).await?;
        let is_it = |message: &MessageExt| message.property(properties::UNIQ_KEY) == Some(key);
        Ok(found.into_iter().filter(is_it).collect())
    }

    async fn query(&self, query: &KeyQuery<'_>) -> Result<Vec<MessageExt>, ClientError> {
        let mut found = Vec::new();
        for (broker, addr) in self.topic_brokers(query.topic).await? {
            let records = self.inner().api.query_messages(&addr, query).await?;
            found.extend(MessageExt::decode_all(records, &broker.as_str().into())?);
        }
        found.sort_by_key(|message| message.store_timestamp);
        Ok(found)
    }

    // ---- brokers

    /// Run-time numbers of a broker.
    pub async fn broker_runtime_info(&self, addr: &str) -> Result<KvTable, ClientError> {
        let answer = self
            .broker(addr, request(RequestCode::GetBrokerRuntimeInfo, &[]))
            .await?;
        read_json(addr, "runtime info", &answer.body)
    }

    /// A broker's configuration as properties.
    pub async fn broker_config(&self, addr: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let answer = self
            .broker(addr, request(RequestCode::GetBrokerConfig, &[]))
            .await?;
        read_properties(addr, &answer.body)
    }

    /// Changes one key of a broker's configuration.
    pub async fn update_broker_config(
        &self,
        addr: &str,
        key: &str,
        value: &str,
    ) -> Result<(), ClientError> {
        let body = format!("{key}={value}\n").into_bytes();
        let request = request(RequestCode::UpdateBrokerConfig, &[]).with_body(body);
        self.broker(addr, request).await.map(|_| ())
    }

    /// One statistic of a broker; None when the broker counts no such thing.
    pub async fn broker_stats(
        &self,
        addr: &str,
        name: &str,
        key: &str,
    ) -> Result<Option<BrokerStatsData>, ClientError> {
        let fields = [("statsName", Text(name)), ("statsKey", Text(key))];
        match self
            .broker(addr, request(RequestCode::ViewBrokerStatsData, &fields))
            .await
        {
            Ok(answer) => read_json(addr, "broker stats", &answer.body).map(Some),
            Err(error) if error.is(ResponseCode::SystemError) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request without header or body that is answered with success or not at all:
    /// cleaning and other orders.
    pub async fn order(&self, addr: &str, code: RequestCode) -> Result<(), ClientError> {
        self.broker(addr, request(code, &[])).await.map(|_| ())
    }

    /// Sends any request and reads its JSON body, for what has no function here.
    pub async fn ask_json<T: serde::de::DeserializeOwned>(
        &self,
        addr: &str,
        code: RequestCode,
        fields: &[(&'static str, FieldValue<'_>)],
    ) -> Result<T, ClientError> {
        let answer = self.broker(addr, request(code, fields)).await?;
        read_json(addr, code.name(), &answer.body)
    }

    /// Sends any request with a JSON body that is answered with success or not at all.
    pub async fn tell_json(
        &self,
        addr: &str,
        code: RequestCode,
        body: &impl serde::Serialize,
    ) -> Result<(), ClientError> {
        let body =
            fastjson::to_vec(body).map_err(|error| ClientError::Invalid(error.to_string()))?;
        let request = request(code, &[]).with_body(body);
        self.broker(addr, request).await.map(|_| ())
    }

    // ---- NameServers

    /// Sets a key at every NameServer.
    pub async fn put_kv(&self, namespace: &str, key: &str, value: &str) -> Result<(), ClientError> {
        let fields = [
            ("namespace", Text(namespace)),
            ("key", Text(key)),
            ("value", Text(value)),
        ];
        self.all_namesrvs(&request(RequestCode::PutKvConfig, &fields))
            .await
            .map(|_| ())
    }

    /// The value of a key; None when there is none.
    pub async fn get_kv(&self, namespace: &str, key: &str) -> Result<Option<String>, ClientError> {
        let fields = [("namespace", Text(namespace)), ("key", Text(key))];
        match self
            .namesrv(request(RequestCode::GetKvConfig, &fields))
            .await
        {
            Ok(answer) => Ok(answer.ext_fields.get("value").map(str::to_owned)),
            Err(error) if error.is(ResponseCode::QueryNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a key at every NameServer.
    pub async fn delete_kv(&self, namespace: &str, key: &str) -> Result<(), ClientError> {
        let fields = [("namespace", Text(namespace)), ("key", Text(key))];
        self.all_namesrvs(&request(RequestCode::DeleteKvConfig, &fields))
            .await
            .map(|_| ())
    }

    /// Each NameServer's configuration.
    pub async fn namesrv_config(
        &self,
    ) -> Result<Vec<(String, BTreeMap<String, String>)>, ClientError> {
        let answers = self
            .all_namesrvs(&request(RequestCode::GetNamesrvConfig, &[]))
            .await?;
        answers
            .into_iter()
            .map(|(addr, answer)| Ok((addr.clone(), read_properties(&addr, &answer.body)?)))
            .collect()
    }

    /// Changes one key of every NameServer's configuration.
    pub async fn update_namesrv_config(&self, key: &str, value: &str) -> Result<(), ClientError> {
        let body = format!("{key}={value}\n").into_bytes();
        let request = request(RequestCode::UpdateNamesrvConfig, &[]).with_body(body);
        self.all_namesrvs(&request).await.map(|_| ())
    }

    /// Takes or gives back the write permission of a broker's topics, at every NameServer; tells
    /// for each how many topics changed, or why it failed.
    pub async fn write_permission(
        &self,
        broker: &str,
        give: bool,
    ) -> Vec<(String, Result<i64, ClientError>)> {
        let (code, field) = match give {
            true => (RequestCode::AddWritePermOfBroker, "addTopicCount"),
            false => (RequestCode::WipeWritePermOfBroker, "wipeTopicCount"),
        };
        let mut results = Vec::new();
        for addr in &self.inner().config.namesrv_addrs {
            let request = request(code, &[("brokerName", Text(broker))]);
            let answer = self.inner().api.ask(addr, request).await;
            let count = answer.and_then(|answer| number(addr, &answer.ext_fields, field));
            results.push((addr.clone(), count));
        }
        results
    }
}

/// What [`AdminClient::reset_offset`] sets.
#[derive(Debug, Clone, Copy)]
pub struct OffsetReset<'a> {
    /// Group.
    pub group: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// Time, ms; -1 = the end.
    pub timestamp_ms: i64,
    /// Also backwards.
    pub force: bool,
    /// Queue; -1 = all.
    pub queue_id: i32,
    /// Offset for that queue, instead of the time.
    pub offset: Option<i64>,
}

fn read_properties(addr: &str, bytes: &[u8]) -> Result<BTreeMap<String, String>, ClientError> {
    let table = java_properties::read(bytes).map_err(|error| ClientError::BadAnswer {
        what: "a configuration",
        addr: addr.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(table.into_iter().collect())
}
