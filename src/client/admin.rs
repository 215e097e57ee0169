//! The admin client: what mqadmin asks of NameServers and brokers (RocketMQ's MQAdminExt).

use std::collections::BTreeSet;

use crate::client::api::{request, success};
use crate::client::error::ClientError;
use crate::client::instance::{Inner, MqClient};
use crate::client::read_json;
use crate::client::route::{MASTER_ID, TopicRoute};
use crate::protocol::FieldValue::{Bool, Int, Str as Text};
use crate::protocol::body::MessageQueue;
use crate::protocol::body::list::{GroupList, TopicList};
use crate::protocol::body::route::{ClusterInfo, TopicRouteData};
use crate::protocol::body::stats::TopicStatsTable;
use crate::protocol::body::topic_config::TopicConfig;
use crate::protocol::{RemotingCommand, RequestCode};

mod groups;
mod messages;
mod servers;
mod static_topics;

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
        master(&info, name).map(str::to_owned)
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

/// The address of the master of a broker's name.
///
/// # Errors
/// [`ClientError::UnknownBroker`].
pub(crate) fn master<'a>(info: &'a ClusterInfo, broker: &str) -> Result<&'a str, ClientError> {
    let addr = info.master_addr(broker);
    addr.ok_or_else(|| ClientError::UnknownBroker(broker.to_owned()))
}
