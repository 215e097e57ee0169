//! What a consumer wants of a topic.

use crate::client::error::ClientError;
use crate::client::message::MessageExt;
use crate::protocol::Str;
use crate::protocol::body::heartbeat::SubscriptionData;

/// Which messages of a topic are delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// By tag: `*`, `TagA` or `TagA || TagB`.
    Tag(Str),
    /// By a condition on properties in SQL92, as `price > 10 AND colour IN ('red', 'green')`: see
    /// [`crate::filter`]. Brokers take it with `enablePropertyFilter=true` only.
    Sql92(Str),
}

impl Expression {
    /// Every message.
    pub fn all() -> Self {
        Expression::Tag("*".into())
    }

    /// RocketMQ's name of the kind of expression.
    pub fn kind(&self) -> &'static str {
        match self {
            Expression::Tag(_) => "TAG",
            Expression::Sql92(_) => "SQL92",
        }
    }

    /// The expression's text.
    pub fn text(&self) -> &Str {
        match self {
            Expression::Tag(text) | Expression::Sql92(text) => text,
        }
    }
}

impl From<&str> for Expression {
    /// A tag expression; an empty text means every message.
    fn from(text: &str) -> Self {
        Expression::Tag(if text.trim().is_empty() {
            "*".into()
        } else {
            text.into()
        })
    }
}

/// The subscription as heartbeats carry it.
pub(crate) fn subscription_data(
    topic: &str,
    expression: &Expression,
    version_ms: i64,
) -> Result<SubscriptionData, ClientError> {
    SubscriptionData::build(
        topic,
        expression.text(),
        Some(expression.kind()),
        version_ms,
    )
    .map_err(|error| ClientError::Invalid(error.to_string()))
}

/// Whether a message's tag text is among the subscribed ones: brokers compare hashes only.
pub(crate) fn tag_matches(subscription: &SubscriptionData, message: &MessageExt) -> bool {
    if subscription.tags_set.is_empty() || subscription.class_filter_mode {
        return true;
    }
    message
        .tags()
        .is_some_and(|tag| subscription.tags_set.iter().any(|known| **known == *tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_split_and_hashed() {
        let data = subscription_data("T", &"TagA || TagB ||".into(), 7).unwrap();
        assert_eq!(data.tags_set.len(), 2);
        assert!(data.code_set.contains(&2_598_919));
        assert_eq!(data.sub_string, "TagA || TagB ||");
        let all = subscription_data("T", &"".into(), 7).unwrap();
        assert!(all.tags_set.is_empty());
        assert_eq!(all.sub_string, "*");
    }
}
