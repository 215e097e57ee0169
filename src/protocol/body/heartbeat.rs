//! What clients tell brokers about themselves: code 34.

use super::MessageQueue;
use crate::protocol::java::string_hash;

/// Subscribes to every message.
pub const SUB_ALL: &str = "*";
/// Expression type of tags.
pub const EXPRESSION_TAG: &str = "TAG";
/// Expression type of SQL.
pub const EXPRESSION_SQL92: &str = "SQL92";
/// Between tags.
const TAG_SEPARATOR: &str = "||";

text_enum! {
    /// How a consumer gets its messages.
    pub enum ConsumeType {
        /// It pulls.
        ConsumeActively = "CONSUME_ACTIVELY",
        /// It is given them.
        #[default]
        ConsumePassively = "CONSUME_PASSIVELY",
        /// It pops.
        ConsumePop = "CONSUME_POP",
    }
}

text_enum! {
    /// Who of a group gets a message.
    pub enum MessageModel {
        /// Everyone.
        Broadcasting = "BROADCASTING",
        /// One.
        #[default]
        Clustering = "CLUSTERING",
    }
}

text_enum! {
    /// Where a new group begins.
    pub enum ConsumeFromWhere {
        /// Behind the last message.
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Obsolete.
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Obsolete.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Obsolete.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the first message.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

body! {
    /// One client with all its groups.
    #[derive(Eq)]
    pub struct HeartbeatData {
        /// Client.
        #[serde(rename = "clientID")]
        client_id: String,
        /// Its groups of consumers.
        consumer_data_set: Vec<ConsumerData>,
        /// Hash of what does not change from beat to beat; 0 is the first version of the protocol.
        heartbeat_fingerprint: i32,
        /// Its groups of producers.
        producer_data_set: Vec<ProducerData>,
        /// Whether subscriptions are left out because the broker knows the fingerprint.
        without_sub: bool,
    }
}

body! {
    /// One group of producers.
    #[derive(Eq)]
    pub struct ProducerData {
        /// Group.
        group_name: String,
    }
}

body! {
    /// One group of consumers.
    #[derive(Eq)]
    pub struct ConsumerData {
        /// Where the group begins when it is new.
        consume_from_where: ConsumeFromWhere,
        /// How it gets messages.
        consume_type: ConsumeType,
        /// Group.
        group_name: String,
        /// Who of the group gets a message.
        message_model: MessageModel,
        /// What it subscribes to.
        subscription_data_set: Vec<SubscriptionData>,
        /// Whether it works in unit mode.
        unit_mode: bool,
    }
}

body! {
    /// One subscription to a topic.
    #[derive(Eq)]
    pub struct SubscriptionData {
        /// Whether a class filters; obsolete.
        class_filter_mode: bool,
        /// Hashes of the tags.
        code_set: Vec<i32>,
        /// `TAG` or `SQL92`.
        expression_type: String = EXPRESSION_TAG.to_owned(),
        /// The expression.
        sub_string: String,
        /// When the subscription was made: ms from Java, ns from Go.
        sub_version: i64,
        /// Tags.
        tags_set: Vec<String>,
        /// Topic.
        topic: String,
    }
}

/// Why an expression is no subscription.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// Nothing but separators.
    #[error("subString split error")]
    NoTags,
    /// A type other than tags without an expression.
    #[error("Expression can't be null! {0}")]
    NoExpression(String),
}

impl SubscriptionData {
    /// A subscription to the tags of an expression like `TagA || TagB`; empty or `*` is all.
    pub fn of_tags(topic: &str, expression: &str, version: i64) -> Result<Self, SubscriptionError> {
        let mut data = Self {
            sub_string: expression.to_owned(),
            sub_version: version,
            topic: topic.to_owned(),
            ..Self::default()
        };
        if expression.is_empty() || expression == SUB_ALL {
            data.sub_string = SUB_ALL.to_owned();
            return Ok(data);
        }
        let mut parts = expression.split(TAG_SEPARATOR);
        // Java's split drops empty parts at the end, so only separators give none at all.
        if parts.clone().all(str::is_empty) {
            return Err(SubscriptionError::NoTags);
        }
        for tag in parts.by_ref().map(str::trim).filter(|tag| !tag.is_empty()) {
            let (tag, code) = (tag.to_owned(), string_hash(tag));
            if !data.tags_set.contains(&tag) {
                data.tags_set.push(tag);
            }
            if !data.code_set.contains(&code) {
                data.code_set.push(code);
            }
        }
        Ok(data)
    }

    /// A subscription of any expression type; `None` and `TAG` are tags.
    pub fn build(
        topic: &str,
        expression: &str,
        kind: Option<&str>,
        version: i64,
    ) -> Result<Self, SubscriptionError> {
        match kind {
            None | Some(EXPRESSION_TAG) => Self::of_tags(topic, expression, version),
            Some(kind) if expression.is_empty() => {
                Err(SubscriptionError::NoExpression(kind.to_owned()))
            }
            Some(kind) => Ok(Self {
                expression_type: kind.to_owned(),
                sub_string: expression.to_owned(),
                sub_version: version,
                topic: topic.to_owned(),
                ..Self::default()
            }),
        }
    }

    /// Whether the expression is one of tags.
    pub fn is_tag_type(&self) -> bool {
        self.expression_type.is_empty() || self.expression_type == EXPRESSION_TAG
    }

    /// Whether every message is subscribed to.
    pub fn is_all(&self) -> bool {
        self.is_tag_type() && (self.sub_string == SUB_ALL || self.sub_string.is_empty())
    }

    /// Whether a message with this tags code may be one of the subscription: the broker's half of
    /// the filter, the client compares the tags themselves.
    pub fn matches_tags_code(&self, tags_code: i64) -> bool {
        self.is_all()
            || self
                .code_set
                .iter()
                .any(|code| i64::from(*code) == tags_code)
    }
}

body! {
    /// A subscription to check (code 46).
    #[derive(Eq)]
    pub struct CheckClientRequestBody {
        /// Client.
        client_id: String,
        /// Group.
        group: String,
        /// Namespace.
        namespace: Option<String>,
        /// Subscription.
        subscription_data: SubscriptionData,
    }
}

body! {
    /// The event that a consumer's offset was out of range, as a message's body.
    #[derive(Eq)]
    pub struct OffsetMovedEvent {
        /// Group.
        consumer_group: String,
        /// Queue.
        message_queue: MessageQueue,
        /// The offset given instead.
        offset_new: i64,
        /// The offset asked for.
        offset_request: i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::fastjson::{from_str, to_string};

    #[test]
    fn tags_are_split_as_in_the_reference() {
        let data = SubscriptionData::of_tags("T", "TagA ||TagB||  ||TagA", 5).unwrap();
        assert_eq!(data.tags_set, ["TagA", "TagB"]);
        assert_eq!(data.code_set, [2_598_919, 2_598_920]);
        assert!(data.matches_tags_code(2_598_919) && !data.matches_tags_code(0));
        for all in ["", "*"] {
            let data = SubscriptionData::of_tags("T", all, 0).unwrap();
            assert!(data.is_all() && data.matches_tags_code(1) && data.sub_string == "*");
        }
        assert_eq!(
            SubscriptionData::of_tags("T", "||", 0),
            Err(SubscriptionError::NoTags)
        );
        let sql = SubscriptionData::build("T", "a > 5", Some("SQL92"), 0).unwrap();
        assert!(!sql.is_tag_type() && !sql.is_all());
        assert!(SubscriptionData::build("T", "", Some("SQL92"), 0).is_err());
    }

    #[test]
    fn heartbeat_has_the_names_of_the_reference() {
        let text = r#"{"clientID":"c","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_TIMESTAMP","consumeType":"CONSUME_POP","groupName":"g","messageModel":"BROADCASTING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1,"tagsSet":[],"topic":"T"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"p"}],"withoutSub":false}"#;
        let data: HeartbeatData = from_str(text).unwrap();
        assert_eq!(to_string(&data).unwrap(), text);
        let unknown: ConsumerData = from_str(r#"{"consumeType":"CONSUME_LATER"}"#).unwrap();
        assert_eq!(unknown.consume_type, ConsumeType::ConsumePassively);
    }
}
