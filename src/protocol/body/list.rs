//! Plain lists: codes 38, 206, 224, 300, 304, 305, 311 to 313 and 343.

body! {
    /// Topics.
    #[derive(Eq)]
    pub struct TopicList {
        /// Some broker, where the request asks for it.
        broker_addr: Option<String>,
        /// Topics.
        topic_list: Vec<String>,
    }
}

body! {
    /// Groups.
    #[derive(Eq)]
    pub struct GroupList {
        /// Groups.
        group_list: Vec<String>,
    }
}

body! {
    /// The clients of a group.
    #[derive(Eq)]
    pub struct GetConsumerListByGroupResponseBody {
        /// Clients.
        consumer_id_list: Vec<String>,
    }
}
