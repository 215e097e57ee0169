//! From what waits in the timer's topic to what is appended: messages for their real topics, and those
//! that go once more round.

use std::borrow::Cow;

use bytes::BytesMut;

use crate::{
    actors::{
        broker::{context::StoreHandles, inner::InnerMessage},
        kernel::lock,
        store::append::AppendRequest,
    },
    protocol::message::{
        names, properties,
        recall::delete_key_with_topic,
        record::{CheckCrc, RecordView},
    },
    store::{
        now_ms,
        timer::{delivered::Delivered, unit::Unit},
    },
};

/// Looks at a waiting message: it is in the timer's topic, where the timer left it. Nothing if it is not.
pub(super) fn waiting<R>(
    store: &StoreHandles,
    (physical_offset, size): (i64, i32),
    look: impl FnOnce(&RecordView<'_>) -> R,
) -> Option<R> {
    let size = usize::try_from(size).ok()?;
    let record = store.watermarks.log().slice(physical_offset, size)?;
    let view = RecordView::parse(&record, CheckCrc::No).ok()?;
    (view.topic == names::TIMER_TOPIC).then(|| look(&view))
}

/// What becomes of a waiting message.
pub(super) enum Due {
    /// It is appended.
    Append {
        request: AppendRequest,
        topic: String,
    },
    /// An earlier life appended it and did not count it.
    Delivered { topic: String },
    /// Its topic was deleted after it was sent: a new one of that name is not where it was sent to.
    Deleted { topic: String },
    /// It cannot be stored, whatever is tried.
    Unusable,
}

/// When a message was taken in, as it is told in TIMER_ENQUEUE_MS: one that was late already was never.
pub(super) const NEVER_TAKEN_IN: i64 = i64::MAX;

/// The message as it is delivered, or as it waits for its next round (`TimerMessageStore.convert`). Its
/// properties stay, REAL_TOPIC and REAL_QID, too. `delivered` tells what earlier lives did; a message that
/// is among it is taken out.
pub(super) fn due(
    store: &StoreHandles,
    view: &RecordView<'_>,
    enqueue_ms: i64,
    rolls: bool,
    delivered: &mut Delivered,
) -> Due {
    let [real_topic, real_queue, rounds] = properties::get_all(
        view.properties,
        [
            properties::REAL_TOPIC,
            properties::REAL_QID,
            properties::TIMER_ROLL_TIMES,
        ],
    );
    let Some(real_topic) = real_topic else {
        return Due::Unusable;
    };
    if lock(&store.deleted).covers(real_topic, view.physical_offset) {
        return Due::Deleted {
            topic: real_topic.to_owned(),
        };
    }
    let real_queue = real_queue.and_then(|text| text.parse().ok());
    let (topic, queue_id) = match (rolls, real_queue) {
        (true, _) => (names::TIMER_TOPIC, 0),
        (false, Some(queue_id)) => (real_topic, queue_id),
        (false, None) => return Due::Unusable,
    };
    let rounds: i64 = rounds.and_then(|text| text.parse().ok()).unwrap_or(0);
    let rounds = rounds.saturating_add(rolls.into());
    if delivered.take(view, topic, queue_id, rounds) {
        return Due::Delivered {
            topic: real_topic.to_owned(),
        };
    }
    let mut edited = properties::Editor::new(view.properties);
    edited.set(properties::TIMER_ENQUEUE_MS, enqueue_ms.to_string());
    if rolls {
        edited.set(properties::TIMER_ROLL_TIMES, rounds.to_string());
    }
    edited.set(properties::TIMER_DEQUEUE_MS, now_ms().to_string());
    let text = edited.to_vec();
    let message = InnerMessage::of_record(view, topic, queue_id, &text);
    let mut buf = BytesMut::with_capacity(view.size + 64);
    match message.into_request(store, 0, &mut buf) {
        Ok(request) => Due::Append {
            request,
            topic: real_topic.to_owned(),
        },
        Err(_) => Due::Unusable,
    }
}

/// The keys of recalled messages in a slot, each with whether its message was met. RocketMQ 5.4.0 names
/// a message by its unique key; with `appendTopicForTimerDeleteKey`, and before, by topic and key.
#[derive(Debug, Default)]
pub(super) struct Recalls(std::collections::HashMap<String, Recall>);

#[derive(Debug)]
struct Recall {
    topic: String,
    met: bool,
}

impl Recalls {
    pub(super) fn read(store: &StoreHandles, marks: &[Unit]) -> Self {
        let mut recalls = Self::default();
        for mark in marks {
            waiting(store, mark.place(), |view| {
                let text = |name| view.property(name).unwrap_or_default().to_owned();
                let recall = Recall {
                    topic: text(properties::REAL_TOPIC),
                    met: false,
                };
                recalls
                    .0
                    .insert(text(properties::TIMER_DEL_UNIQKEY), recall);
            });
        }
        recalls
    }

    /// Whether a message was recalled.
    pub(super) fn covers(&mut self, view: &RecordView<'_>) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let topic = view.property(properties::REAL_TOPIC).unwrap_or_default();
        let Some(key) = view.property(properties::UNIQ_KEY) else {
            return false;
        };
        let with_topic = delete_key_with_topic(topic, key);
        for name in [Cow::Borrowed(key), Cow::Owned(with_topic)] {
            if let Some(recall) = self.0.get_mut(name.as_ref()) {
                recall.met = true;
                return true;
            }
        }
        false
    }

    /// Topics of marks that met no message: they were counted as if they had.
    pub(super) fn unmet(self) -> impl Iterator<Item = String> {
        let recalls = self.0.into_values();
        recalls
            .filter(|recall| !recall.met)
            .map(|recall| recall.topic)
    }
}
