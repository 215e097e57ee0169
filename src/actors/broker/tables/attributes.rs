//! Attributes of topics and groups and how requests change them (`AttributeParser`,
//! `AttributeUtil`, `TopicAttributes`).
//!
//! A change names each attribute with a sign: `+key=value` sets it, `-key` removes it. A new
//! topic takes only `+`. The errors' texts are the remarks that RocketMQ answers with.

use std::collections::{BTreeMap, BTreeSet};

use crate::protocol::body::topic_config::{BATCH_CQ, COMPACTION, has};

/// Attributes by name.
pub type Attributes = BTreeMap<String, String>;

/// Why a change is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// An attribute with a value but without the sign `+`.
    #[error("add/alter attribute format is wrong: {0}")]
    BadAddition(String),
    /// An attribute without a value and without the sign `-`.
    #[error("delete attribute format is wrong: {0}")]
    BadDeletion(String),
    /// The same text twice.
    #[error("key duplication: {0}")]
    Duplicate(String),
    /// The same name twice.
    #[error("alter duplication key. key: {0}")]
    AlteredTwice(String),
    /// An empty name, or one with a sign in it.
    #[error("kv string format wrong.")]
    BadName,
    /// A new topic takes only additions.
    #[error("only add attribute is supported while creating topic. key: {0}")]
    NotAnAddition(String),
    /// It cannot be removed, for it is not there.
    #[error("attempt to delete a nonexistent key: {0}")]
    Nonexistent(String),
    /// Neither `+` nor `-` in front.
    #[error("wrong format key: {0}")]
    NoSign(String),
    /// No such attribute.
    #[error("unsupported key: {0}")]
    Unsupported(String),
    /// What it asks for is not built.
    #[error("{0} is not supported by this broker")]
    NotBuilt(&'static str),
    /// It is decided when the topic is made.
    #[error("attempt to update an unchangeable attribute. key: {0}")]
    Unchangeable(String),
    /// Not one of the values it may have.
    #[error("value is not in set: [{0}]")]
    NotInSet(String),
    /// Not a number.
    #[error("For input string: \"{0}\"")]
    NotANumber(String),
    /// A number out of range.
    #[error("value is not in range({0}, {1})")]
    NotInRange(i64, i64),
}

/// What values an attribute may have.
#[derive(Debug, Clone, Copy)]
enum Values {
    OneOf(&'static [&'static str]),
    Between(i64, i64),
}

/// One attribute that is known.
#[derive(Debug, Clone, Copy)]
pub struct Attribute {
    name: &'static str,
    changeable: bool,
    values: Values,
}

/// Name of the attribute that says which kind of messages a topic takes.
pub const MESSAGE_TYPE: &str = "message.type";

/// What topics may have.
pub const OF_TOPICS: &[Attribute] = &[
    Attribute {
        name: BATCH_CQ.0,
        changeable: false,
        values: Values::OneOf(&[BATCH_CQ.1, "SimpleCQ"]),
    },
    Attribute {
        name: COMPACTION.0,
        changeable: false,
        values: Values::OneOf(&["DELETE", COMPACTION.1]),
    },
    Attribute {
        name: MESSAGE_TYPE,
        changeable: true,
        values: Values::OneOf(&[
            "UNSPECIFIED",
            "NORMAL",
            "FIFO",
            "DELAY",
            "TRANSACTION",
            "MIXED",
        ]),
    },
    Attribute {
        name: "reserve.time",
        changeable: true,
        values: Values::Between(-1, i64::MAX),
    },
];

/// What a topic with these attributes would need and is not built. A directory of RocketMQ's may hold one.
pub fn not_built(attributes: &Attributes) -> Option<&'static str> {
    (has(attributes, BATCH_CQ) && has(attributes, COMPACTION))
        .then_some("queue.type=BatchCQ with cleanup.policy=COMPACTION")
}

/// What groups may have: nothing so far.
pub const OF_GROUPS: &[Attribute] = &[];

/// Reads `+a=b,-c`; names keep their signs.
pub fn parse(text: &str) -> Result<Attributes, AttributeError> {
    let mut attributes = Attributes::new();
    // Java's split drops empty parts at the end only.
    for part in text
        .trim_end_matches(',')
        .split(',')
        .filter(|_| !text.is_empty())
    {
        let (key, value) = match part.split_once('=') {
            Some((key, _)) if !key.contains('+') => {
                return Err(AttributeError::BadAddition(key.to_owned()));
            }
            Some((key, value)) => (key, value.split('=').next().unwrap_or_default()),
            None if !part.contains('-') => {
                return Err(AttributeError::BadDeletion(part.to_owned()));
            }
            None => (part, ""),
        };
        if attributes
            .insert(key.to_owned(), value.to_owned())
            .is_some()
        {
            return Err(AttributeError::Duplicate(key.to_owned()));
        }
    }
    Ok(attributes)
}

/// The attributes after a change. `current` is `None` for what is being made.
pub fn alter(
    known: &[Attribute],
    current: Option<&Attributes>,
    changes: &Attributes,
) -> Result<Attributes, AttributeError> {
    let mut result = current.cloned().unwrap_or_default();
    let mut names = BTreeSet::new();
    for (signed, value) in changes {
        let mut characters = signed.chars();
        let sign = characters.next();
        let name = characters.as_str();
        if name.is_empty() || name.contains(['+', '-']) {
            return Err(AttributeError::BadName);
        }
        if !names.insert(name) {
            return Err(AttributeError::AlteredTwice(name.to_owned()));
        }
        let is_new = current.is_none();
        match (sign, is_new) {
            (Some('+'), _) => {
                find(known, name)?.check(is_new, Some(value))?;
                result.insert(name.to_owned(), value.clone());
            }
            (_, true) => return Err(AttributeError::NotAnAddition(name.to_owned())),
            (Some('-'), _) => {
                if result.remove(name).is_none() {
                    return Err(AttributeError::Nonexistent(name.to_owned()));
                }
                find(known, name)?.check(is_new, None)?;
            }
            _ => return Err(AttributeError::NoSign(name.to_owned())),
        }
    }
    match not_built(&result) {
        Some(what) if current.is_none() => Err(AttributeError::NotBuilt(what)),
        _ => Ok(result),
    }
}

fn find<'a>(known: &'a [Attribute], name: &str) -> Result<&'a Attribute, AttributeError> {
    let found = known.iter().find(|attribute| attribute.name == name);
    found.ok_or_else(|| AttributeError::Unsupported(name.to_owned()))
}

impl Attribute {
    fn check(&self, is_new: bool, value: Option<&str>) -> Result<(), AttributeError> {
        if !is_new && !self.changeable {
            return Err(AttributeError::Unchangeable(self.name.to_owned()));
        }
        let Some(value) = value else { return Ok(()) };
        match self.values {
            Values::OneOf(values) if values.contains(&value) => Ok(()),
            Values::OneOf(values) => Err(AttributeError::NotInSet(values.join(", "))),
            Values::Between(min, max) => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                Ok(_) => Err(AttributeError::NotInRange(min, max)),
                Err(_) => Err(AttributeError::NotANumber(value.to_owned())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Attributes {
        pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn changes_are_read_with_their_signs() {
        assert_eq!(parse(""), Ok(Attributes::new()));
        assert_eq!(parse("+a=b,-c,"), Ok(of(&[("+a", "b"), ("-c", "")])));
        assert_eq!(parse("a=b"), Err(AttributeError::BadAddition("a".into())));
        assert_eq!(parse("a"), Err(AttributeError::BadDeletion("a".into())));
        assert_eq!(
            parse("+a=b,+a=c"),
            Err(AttributeError::Duplicate("+a".into()))
        );
        assert_eq!(
            parse(",").map(|map| map.len()),
            Err(AttributeError::BadDeletion("".into()))
        );
    }

    #[test]
    fn a_new_topic_takes_additions_only() {
        let made = alter(OF_TOPICS, None, &of(&[("+message.type", "FIFO")]));
        assert_eq!(made, Ok(of(&[("message.type", "FIFO")])));
        let refused = alter(OF_TOPICS, None, &of(&[("-message.type", "")]));
        assert_eq!(
            refused,
            Err(AttributeError::NotAnAddition("message.type".into()))
        );
        let made = alter(OF_TOPICS, None, &of(&[("+queue.type", "BatchCQ")]));
        assert_eq!(made, Ok(of(&[("queue.type", "BatchCQ")])));
        let compacted = alter(OF_TOPICS, None, &of(&[("+cleanup.policy", "COMPACTION")])).unwrap();
        assert!(has(&compacted, COMPACTION));
        assert!(!has(&of(&[("cleanup.policy", "DELETE")]), COMPACTION));
        let both = of(&[
            ("+queue.type", "BatchCQ"),
            ("+cleanup.policy", "COMPACTION"),
        ]);
        let refused = alter(OF_TOPICS, None, &both).unwrap_err();
        let text =
            "queue.type=BatchCQ with cleanup.policy=COMPACTION is not supported by this broker";
        assert_eq!(refused.to_string(), text);
        let unknown = alter(OF_TOPICS, None, &of(&[("+a.b", "c")]));
        assert_eq!(unknown.unwrap_err().to_string(), "unsupported key: a.b");
    }

    #[test]
    fn some_attributes_never_change() {
        let current = of(&[("queue.type", "SimpleCQ"), ("message.type", "FIFO")]);
        let change =
            |key: &str, value: &str| alter(OF_TOPICS, Some(&current), &of(&[(key, value)]));
        assert_eq!(
            change("+queue.type", "BatchCQ"),
            Err(AttributeError::Unchangeable("queue.type".into()))
        );
        assert_eq!(
            change("-message.type", ""),
            Ok(of(&[("queue.type", "SimpleCQ")]))
        );
        assert_eq!(
            change("-reserve.time", ""),
            Err(AttributeError::Nonexistent("reserve.time".into()))
        );
        assert!(matches!(
            change("+message.type", "X"),
            Err(AttributeError::NotInSet(_))
        ));
        assert_eq!(
            change("+reserve.time", "-2"),
            Err(AttributeError::NotInRange(-1, i64::MAX))
        );
        assert_eq!(change("!a", ""), Err(AttributeError::NoSign("a".into())));
        assert_eq!(change("", ""), Err(AttributeError::BadName));
        assert_eq!(change("+a-b", ""), Err(AttributeError::BadName));
    }
}
