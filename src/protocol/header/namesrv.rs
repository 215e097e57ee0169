//! Requests to the NameServer: codes 100 to 105, 205, 216, 217, 219, 224, 322, 327, 901, 904, and its
//! notice 905.

use crate::command_header;
use crate::protocol::Str;

command_header! {
    /// Sets a key of the NameServer (code 100).
    pub struct PutKvConfigRequestHeader {
        /// Namespace.
        namespace: Str => "namespace",
        /// Key.
        key: Str => "key",
        /// Value.
        value: Str => "value",
    }
}

command_header! {
    /// Asks for a key (code 101).
    pub struct GetKvConfigRequestHeader {
        /// Namespace.
        namespace: Str => "namespace",
        /// Key.
        key: Str => "key",
    }
}

command_header! {
    /// The value of a key.
    pub struct GetKvConfigResponseHeader {
        /// Value.
        value: Option<Str> => "value",
    }
}

command_header! {
    /// Removes a key (code 102).
    pub struct DeleteKvConfigRequestHeader {
        /// Namespace.
        namespace: Str => "namespace",
        /// Key.
        key: Str => "key",
    }
}

command_header! {
    /// Asks for all keys of a namespace (code 219).
    pub struct GetKvListByNamespaceRequestHeader {
        /// Namespace.
        namespace: Str => "namespace",
    }
}

command_header! {
    /// Announces a broker and its topics (code 103).
    pub struct RegisterBrokerRequestHeader {
        /// Name of the broker.
        broker_name: Str => "brokerName",
        /// Address of the broker.
        broker_addr: Str => "brokerAddr",
        /// Cluster.
        cluster_name: Str => "clusterName",
        /// Address of the HA service.
        ha_server_addr: Str => "haServerAddr",
        /// 0 is the master.
        broker_id: i64 => "brokerId",
        /// After how long without a word the broker is gone, ms.
        heartbeat_timeout_millis: Option<i64> => "heartbeatTimeoutMillis",
        /// Whether the slave with the least id acts for a lost master.
        enable_acting_master: Option<bool> => "enableActingMaster",
        /// Whether the body is compressed.
        compressed: bool = false => "compressed",
        /// CRC-32 of the body, 31 bits; 0 is not checked.
        body_crc32: i32 = 0 => "bodyCrc32",
    }
}

command_header! {
    /// Where the master is, for a slave.
    pub struct RegisterBrokerResponseHeader {
        /// Address of the HA service.
        ha_server_addr: Option<Str> => "haServerAddr",
        /// Address of the master.
        master_addr: Option<Str> => "masterAddr",
    }
}

command_header! {
    /// Takes a broker out (code 104).
    pub struct UnRegisterBrokerRequestHeader {
        /// Name of the broker.
        broker_name: Str => "brokerName",
        /// Address of the broker.
        broker_addr: Str => "brokerAddr",
        /// Cluster.
        cluster_name: Str => "clusterName",
        /// 0 is the master.
        broker_id: i64 => "brokerId",
    }
}

command_header! {
    /// Asks whether the topics of a broker are known (code 322).
    pub struct QueryDataVersionRequestHeader {
        /// Name of the broker.
        broker_name: Str => "brokerName",
        /// Address of the broker.
        broker_addr: Str => "brokerAddr",
        /// Cluster.
        cluster_name: Str => "clusterName",
        /// 0 is the master.
        broker_id: i64 => "brokerId",
    }
}

command_header! {
    /// Whether they have to be registered anew.
    pub struct QueryDataVersionResponseHeader {
        /// Whether the topics have to be registered anew.
        changed: bool => "changed",
    }
}

command_header! {
    /// A sign of life (code 904).
    pub struct BrokerHeartbeatRequestHeader {
        /// Cluster.
        cluster_name: Str => "clusterName",
        /// Address of the broker.
        broker_addr: Str => "brokerAddr",
        /// Name of the broker.
        broker_name: Str => "brokerName",
        /// 0 is the master.
        broker_id: Option<i64> => "brokerId",
        /// Epoch of the master.
        epoch: Option<i32> => "epoch",
        /// One behind the last index of the queue.
        max_offset: Option<i64> => "maxOffset",
        /// Confirmed position of the commit log.
        confirm_offset: Option<i64> => "confirmOffset",
        /// After how long without a word the broker is gone, ms. RocketMQ's spelling.
        heartbeat_timeout_mills: Option<i64> => "heartbeatTimeoutMills",
        /// Priority in an election.
        election_priority: Option<i32> => "electionPriority",
    }
}

command_header! {
    /// Asks for the brokers of one name (code 901).
    pub struct GetBrokerMemberGroupRequestHeader {
        /// Cluster.
        cluster_name: Str => "clusterName",
        /// Name of the broker.
        broker_name: Str => "brokerName",
    }
}

command_header! {
    /// Tells brokers that the least id alive has changed (code 905).
    pub struct NotifyMinBrokerIdChangeRequestHeader {
        /// The least broker id that is alive.
        min_broker_id: Option<i64> => "minBrokerId",
        /// Name of the broker.
        broker_name: Option<Str> => "brokerName",
        /// Address of that broker.
        min_broker_addr: Option<Str> => "minBrokerAddr",
        /// Address of the broker that went.
        offline_broker_addr: Option<Str> => "offlineBrokerAddr",
        /// HA address of the master.
        ha_broker_addr: Option<Str> => "haBrokerAddr",
    }
}

command_header! {
    /// Asks for the route of a topic (code 105).
    pub struct GetRouteInfoRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// Whether the answer has to be standard JSON.
        accept_standard_json_only: Option<bool> => "acceptStandardJsonOnly",
    }
}

command_header! {
    /// Takes the write permission from all topics of a broker (code 205).
    pub struct WipeWritePermOfBrokerRequestHeader {
        /// Name of the broker.
        broker_name: Str => "brokerName",
    }
}

command_header! {
    /// How many topics were changed.
    pub struct WipeWritePermOfBrokerResponseHeader {
        /// How many topics lost the permission.
        wipe_topic_count: i32 => "wipeTopicCount",
    }
}

command_header! {
    /// Gives all topics of a broker the write permission (code 327).
    pub struct AddWritePermOfBrokerRequestHeader {
        /// Name of the broker.
        broker_name: Str => "brokerName",
    }
}

command_header! {
    /// How many topics were changed.
    pub struct AddWritePermOfBrokerResponseHeader {
        /// How many topics got the permission.
        add_topic_count: i32 => "addTopicCount",
    }
}

command_header! {
    /// Forgets a topic (code 216).
    pub struct DeleteTopicFromNamesrvRequestHeader {
        /// Topic.
        topic: Str => "topic",
        /// Cluster.
        cluster_name: Option<Str> => "clusterName",
    }
}

command_header! {
    /// Announces one topic (code 217).
    pub struct RegisterTopicRequestHeader {
        /// Topic.
        topic: Str => "topic",
    }
}

command_header! {
    /// Asks for the topics of a cluster (code 224).
    pub struct GetTopicsByClusterRequestHeader {
        /// Cluster.
        cluster: Str => "cluster",
    }
}
