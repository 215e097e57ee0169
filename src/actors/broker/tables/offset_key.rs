//! The key of consumer offsets.

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
};

use crate::protocol::Str;

/// A topic and a group that reads it; `topic@group` in RocketMQ's files.
///
/// Offsets of broadcasting groups that are kept for proxies have `group@broadcast` as group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetKey {
    /// The topic.
    pub topic: Str,
    /// The group.
    pub group: Str,
}

impl OffsetKey {
    /// Reads `topic@group`; `None` without the separator.
    pub fn parse(text: &str) -> Option<Self> {
        let (topic, group) = text.split_once('@')?;
        Some(Self {
            topic: topic.into(),
            group: group.into(),
        })
    }

    /// Whether it belongs to an ordinary group: RocketMQ's lists of topics and groups leave all
    /// others out.
    pub fn is_plain(&self) -> bool {
        !self.group.contains('@')
    }
}

impl std::fmt::Display for OffsetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.topic, self.group)
    }
}

/// Lets the table be asked with borrowed texts, so that a lookup allocates nothing.
pub(super) trait KeyLike {
    fn parts(&self) -> (&str, &str);
}

impl KeyLike for OffsetKey {
    fn parts(&self) -> (&str, &str) {
        (&self.topic, &self.group)
    }
}

impl KeyLike for (&str, &str) {
    fn parts(&self) -> (&str, &str) {
        *self
    }
}

impl Hash for dyn KeyLike + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn KeyLike + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn KeyLike + '_ {}

impl Hash for OffsetKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl<'a> Borrow<dyn KeyLike + 'a> for OffsetKey {
    fn borrow(&self) -> &(dyn KeyLike + 'a) {
        self
    }
}
