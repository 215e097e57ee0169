//! What is published about a consumer group (`ConsumerGroupInfo`), and how heartbeats change it.

use std::{collections::BTreeMap, sync::Arc};

use super::member::Member;
use crate::protocol::{
    Str,
    body::heartbeat::{
        ConsumeFromWhere, ConsumeType, ConsumerData, MessageModel, SubscriptionData,
    },
};

/// A consumer group with at least one client online.
#[derive(Debug, Clone)]
pub struct GroupInfo {
    /// Its name.
    pub group: Str,
    /// How its clients get messages, by the latest heartbeat.
    pub consume_type: ConsumeType,
    /// Whether its clients share messages or each gets all.
    pub message_model: MessageModel,
    /// Where its clients begin when there is no offset.
    pub consume_from_where: ConsumeFromWhere,
    /// The clients, in the order they came.
    pub members: Vec<Arc<Member>>,
    /// What the group subscribes to, by topic.
    pub subscriptions: BTreeMap<String, Arc<SubscriptionData>>,
}

impl GroupInfo {
    /// A group without clients, as the first heartbeat describes it.
    pub fn new(group: Str, data: &ConsumerData) -> Self {
        Self {
            group,
            consume_type: data.consume_type,
            message_model: data.message_model,
            consume_from_where: data.consume_from_where,
            members: Vec::new(),
            subscriptions: BTreeMap::new(),
        }
    }

    /// Whether each client gets all messages: such clients are not told of each other.
    pub fn is_broadcasting(&self) -> bool {
        self.message_model == MessageModel::Broadcasting
    }

    /// What the group subscribes to in a topic.
    pub fn subscription(&self, topic: &str) -> Option<&Arc<SubscriptionData>> {
        self.subscriptions.get(topic)
    }

    /// The names of all clients: one of a client with two connections comes twice.
    pub fn client_ids(&self) -> Vec<Str> {
        self.members
            .iter()
            .map(|member| member.client_id.clone())
            .collect()
    }

    /// A client by name.
    pub fn member(&self, client_id: &str) -> Option<&Arc<Member>> {
        self.members
            .iter()
            .find(|member| *member.client_id == *client_id)
    }

    /// A client by connection.
    pub fn member_on(&self, conn: u64) -> Option<&Arc<Member>> {
        self.members.iter().find(|member| member.conn.id == conn)
    }

    /// Whether a heartbeat changes nothing but the time it was sent.
    pub fn is_unchanged_by(&self, member: &Member, data: &ConsumerData, with_sub: bool) -> bool {
        let known = self.member_on(member.conn.id);
        known.is_some_and(|known| known.client_id == member.client_id)
            && self.consume_type == data.consume_type
            && self.message_model == data.message_model
            && self.consume_from_where == data.consume_from_where
            && (!with_sub || self.subscribes_alike(&data.subscription_data_set))
    }

    fn subscribes_alike(&self, subscriptions: &[SubscriptionData]) -> bool {
        let is_known = |sub: &SubscriptionData| {
            let known = self.subscriptions.get(&sub.topic);
            known.is_some_and(|known| sub.sub_version <= known.sub_version)
        };
        subscriptions.len() == self.subscriptions.len() && subscriptions.iter().all(is_known)
    }

    /// Takes what a heartbeat says about its client; true if the client is new here.
    pub fn update_member(&mut self, member: &Arc<Member>, data: &ConsumerData) -> bool {
        self.consume_type = data.consume_type;
        self.message_model = data.message_model;
        self.consume_from_where = data.consume_from_where;
        let known = self
            .members
            .iter_mut()
            .find(|known| known.conn.id == member.conn.id);
        let is_new = known.is_none();
        match known {
            // RocketMQ replaces a client that changed its name on its connection silently, too.
            Some(known) => *known = member.clone(),
            None => self.members.push(member.clone()),
        }
        is_new
    }

    /// Takes the subscriptions of a heartbeat; true if a topic came or went. A newer version of
    /// a known one replaces it and counts as no change.
    pub fn update_subscriptions(&mut self, subscriptions: &[SubscriptionData]) -> bool {
        let mut changed = false;
        for sub in subscriptions {
            match self.subscriptions.get(&sub.topic) {
                Some(known) if sub.sub_version <= known.sub_version => {}
                known => {
                    changed |= known.is_none();
                    self.subscriptions
                        .insert(sub.topic.clone(), Arc::new(sub.clone()));
                }
            }
        }
        let count = self.subscriptions.len();
        self.subscriptions
            .retain(|topic, _| subscriptions.iter().any(|sub| sub.topic == *topic));
        changed || self.subscriptions.len() != count
    }

    /// Takes a client out; true if it was there.
    pub fn remove(&mut self, conn: u64) -> bool {
        let count = self.members.len();
        self.members.retain(|member| member.conn.id != conn);
        self.members.len() != count
    }
}
