//! Message traces: what clients tell about sending and consuming, as the body of messages in a topic
//! of their own (RocketMQ's `TraceDataEncoder`).
//!
//! A body is a list of events, each ended by byte 2; an event is a list of texts with byte 1 between
//! them, the first of which is its kind:
//!
//! | kind | texts after it |
//! | --- | --- |
//! | `Pub` | time, region, group, topic, message id, tags, keys, broker, body length, cost, message type, offset id, success, (client) |
//! | `SubBefore` | time, region, group, request id, message id, times consumed before, keys |
//! | `SubAfter` | request id, message id, cost, success, keys, outcome, (time, group) |
//! | `EndTransaction` | time, region, group, topic, message id, tags, keys, broker, message type, transaction id, state, whether the broker asked |
//! | `Recall` | time, region, group, topic, message id, success |
//!
//! Times are ms since 1970, costs ms. A text that there is none of is `null`. The message that carries
//! events has the message ids and their keys as keys, so that it is found by them.

/// Ends a text of an event (`CONTENT_SPLITOR`).
const TEXT_END: char = '\u{1}';
/// Ends an event (`FIELD_SPLITOR`).
const EVENT_END: char = '\u{2}';

/// What kind of message was sent (`MessageType`, by ordinal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum MessageKind {
    /// An ordinary one.
    #[default]
    Normal = 0,
    /// A half message.
    TransHalf = 1,
    /// One that ends a transaction.
    TransCommit = 2,
    /// A delayed one.
    Delay = 3,
}

impl MessageKind {
    fn of(number: &str) -> Option<Self> {
        match number {
            "0" => Some(Self::Normal),
            "1" => Some(Self::TransHalf),
            "2" => Some(Self::TransCommit),
            "3" => Some(Self::Delay),
            _ => None,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceKind {
    /// A message was sent.
    Pub {
        /// Topic.
        topic: String,
        /// Tags.
        tags: Option<String>,
        /// Keys, spaces between them.
        keys: Option<String>,
        /// Address of the broker.
        store_host: String,
        /// Length of the body in bytes.
        body_len: i32,
        /// How long it took, ms.
        cost_ms: i32,
        /// Kind of the message.
        message: MessageKind,
        /// Id that tells its place.
        offset_id: Option<String>,
        /// Whether it was stored.
        success: bool,
    },
    /// A listener is about to be called.
    SubBefore {
        /// Joins it with what follows.
        request_id: String,
        /// How often it was consumed in vain before.
        retry_times: i32,
        /// Keys, spaces between them.
        keys: Option<String>,
    },
    /// A listener came back.
    SubAfter {
        /// Joins it with what came before.
        request_id: String,
        /// How long it took, ms.
        cost_ms: i32,
        /// Whether the message was consumed.
        success: bool,
        /// Keys, spaces between them.
        keys: Option<String>,
        /// `ConsumeReturnType` by ordinal: 0 success, 1 time out, 2 exception, 3 null, 4 failed.
        outcome: i32,
    },
    /// A transaction was ended.
    EndTransaction {
        /// Topic.
        topic: String,
        /// Id of the transaction.
        transaction_id: String,
        /// `COMMIT_MESSAGE`, `ROLLBACK_MESSAGE` or `UNKNOW`.
        state: String,
        /// Whether the broker had asked.
        from_check: bool,
    },
    /// A timed message was recalled.
    Recall {
        /// Topic.
        topic: String,
        /// Whether it worked.
        success: bool,
    },
}

/// An event of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEvent {
    /// When, ms since 1970; 0 where it is not told.
    pub time_ms: i64,
    /// The broker's region, empty where it is not told.
    pub region: String,
    /// Group of the producer or consumer, empty where it is not told.
    pub group: String,
    /// Id of the message.
    pub message_id: String,
    /// What happened.
    pub kind: TraceKind,
}

impl TraceEvent {
    /// Appends the event to a body.
    pub fn encode(&self, out: &mut String) {
        let null = |text: &Option<String>| text.clone().unwrap_or_else(|| "null".to_owned());
        let id = self.message_id.clone();
        let mut texts = vec![
            self.time_ms.to_string(),
            self.region.clone(),
            self.group.clone(),
        ];
        let name = match &self.kind {
            TraceKind::Pub {
                topic,
                tags,
                keys,
                store_host,
                body_len,
                cost_ms,
                message,
                offset_id,
                success,
            } => {
                texts.extend([
                    topic.clone(),
                    id,
                    null(tags),
                    null(keys),
                    store_host.clone(),
                    body_len.to_string(),
                    cost_ms.to_string(),
                    (*message as u8).to_string(),
                    null(offset_id),
                    success.to_string(),
                ]);
                "Pub"
            }
            TraceKind::SubBefore {
                request_id,
                retry_times,
                keys,
            } => {
                texts.extend([request_id.clone(), id, retry_times.to_string(), null(keys)]);
                "SubBefore"
            }
            TraceKind::SubAfter {
                request_id,
                cost_ms,
                success,
                keys,
                outcome,
            } => {
                texts = vec![
                    request_id.clone(),
                    id,
                    cost_ms.to_string(),
                    success.to_string(),
                    null(keys),
                    outcome.to_string(),
                    self.time_ms.to_string(),
                    self.group.clone(),
                ];
                "SubAfter"
            }
            TraceKind::EndTransaction {
                topic,
                transaction_id,
                state,
                from_check,
            } => {
                let (nothing, commit) = ("null".to_owned(), MessageKind::TransCommit as u8);
                texts.extend([topic.clone(), id, nothing.clone(), nothing.clone(), nothing]);
                texts.extend([
                    commit.to_string(),
                    transaction_id.clone(),
                    state.clone(),
                    from_check.to_string(),
                ]);
                "EndTransaction"
            }
            TraceKind::Recall { topic, success } => {
                texts.extend([topic.clone(), id, success.to_string()]);
                "Recall"
            }
        };
        out.push_str(name);
        for text in texts {
            out.push(TEXT_END);
            out.push_str(&text);
        }
        out.push(EVENT_END);
    }

    /// The event of these texts, if they are one.
    fn decode(event: &str) -> Option<Self> {
        let texts: Vec<&str> = event.split(TEXT_END).collect();
        let text = |at: usize| texts.get(at).map(|text| (*text).to_owned());
        let or_none = |at: usize| text(at).filter(|text| text != "null");
        let int = |at: usize| texts.get(at)?.parse::<i32>().ok();
        let truth = |at: usize| texts.get(at).map(|text| text.eq_ignore_ascii_case("true"));
        let of = |message_at: usize, kind: TraceKind| {
            Some(TraceEvent {
                time_ms: texts.get(1)?.parse().ok()?,
                region: text(2)?,
                group: text(3)?,
                message_id: text(message_at)?,
                kind,
            })
        };
        match *texts.first()? {
            "Pub" => {
                // Old clients tell no offset id.
                let is_old = texts.len() == 13;
                let kind = TraceKind::Pub {
                    topic: text(4)?,
                    tags: or_none(6),
                    keys: or_none(7),
                    store_host: text(8)?,
                    body_len: int(9)?,
                    cost_ms: int(10)?,
                    message: MessageKind::of(texts.get(11)?)?,
                    offset_id: or_none(12).filter(|_| !is_old),
                    success: truth(if is_old { 12 } else { 13 })?,
                };
                of(5, kind)
            }
            "SubBefore" => {
                let kind = TraceKind::SubBefore {
                    request_id: text(4)?,
                    retry_times: int(6)?,
                    keys: or_none(7),
                };
                of(5, kind)
            }
            "SubAfter" => Some(TraceEvent {
                time_ms: text(7).and_then(|text| text.parse().ok()).unwrap_or(0),
                region: String::new(),
                group: text(8).unwrap_or_default(),
                message_id: text(2)?,
                kind: TraceKind::SubAfter {
                    request_id: text(1)?,
                    cost_ms: int(3)?,
                    success: truth(4)?,
                    keys: or_none(5),
                    outcome: int(6).unwrap_or(0),
                },
            }),
            "EndTransaction" => {
                let kind = TraceKind::EndTransaction {
                    topic: text(4)?,
                    transaction_id: text(10)?,
                    state: text(11)?,
                    from_check: truth(12)?,
                };
                of(5, kind)
            }
            "Recall" => {
                let kind = TraceKind::Recall {
                    topic: text(4)?,
                    success: truth(6)?,
                };
                of(5, kind)
            }
            _ => None,
        }
    }
}

/// The events of a body; what is no event is left out.
pub fn events(body: &str) -> impl Iterator<Item = TraceEvent> + '_ {
    body.split(EVENT_END).filter_map(TraceEvent::decode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a Java producer and consumer of 5.4.0 wrote, with ids and addresses made short.
    const OF_JAVA: &str = "Pub\u{1}1795612345678\u{1}DefaultRegion\u{1}PG\u{1}T\u{1}7F01\u{1}TagA\u{1}k1 \
         k2\u{1}127.0.0.1:10911\u{1}2\u{1}5\u{1}0\u{1}7F02\u{1}true\u{2}\
         SubAfter\u{1}rid\u{1}7F01\u{1}3\u{1}false\u{1}null\u{1}4\u{1}1795612345999\u{1}CG\u{2}";

    #[test]
    fn javas_events_are_read() {
        let all: Vec<_> = events(OF_JAVA).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].group.as_str(), all[0].message_id.as_str()),
            ("PG", "7F01")
        );
        let TraceKind::Pub {
            keys,
            cost_ms,
            offset_id,
            success,
            ..
        } = &all[0].kind
        else {
            panic!("{all:?}");
        };
        assert_eq!(keys.as_deref(), Some("k1 k2"));
        assert_eq!(
            (*cost_ms, offset_id.as_deref(), *success),
            (5, Some("7F02"), true)
        );
        assert_eq!(
            (all[1].group.as_str(), all[1].time_ms),
            ("CG", 1_795_612_345_999)
        );
        let mut again = String::new();
        all.iter().for_each(|event| event.encode(&mut again));
        assert_eq!(again, OF_JAVA);
    }

    #[test]
    fn what_is_no_event_is_left_out() {
        for text in [
            "",
            "\u{2}\u{2}",
            "Pub",
            "Pub\u{1}x",
            "No\u{1}1\u{1}r\u{1}g",
            "SubAfter\u{1}1",
        ] {
            assert_eq!(events(text).count(), 0, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(Pub|SubBefore|SubAfter|Recall|EndTransaction|[\u{1}\u{2}a0-9 ]){0,40}") {
            for event in events(&text) {
                let mut again = String::new();
                event.encode(&mut again);
                prop_assert_eq!(events(&again).next(), Some(event));
            }
        }
    }
}
