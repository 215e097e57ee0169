//! Messages that name their time of delivery: when that is, and what is refused
//! (`HookUtils.handleScheduleMessage`, `transformTimerMessage`).

use super::{context::StoreHandles, inner::InnerMessage, refusal::Refusal};
use crate::{
    actors::{delivery::timer::TimerMarks, store::append::AppendRequest},
    config::broker::BrokerConfig,
    protocol::{
        ResponseCode, Str,
        message::{keys::KeyProperties, names, properties, recall::RecallHandle, sys_flag},
    },
    store::now_ms,
};

/// The properties that name a time, in the order in which they count.
const TIMES: [&str; 3] = [
    properties::TIMER_DELAY_SEC,
    properties::TIMER_DELAY_MS,
    properties::TIMER_DELIVER_MS,
];

/// What timed messages are held to.
#[derive(Debug, Clone, Copy)]
pub struct TimedRules {
    /// `timerWheelEnable`.
    pub enabled: bool,
    /// The furthest delay, ms (`timerMaxDelaySec`).
    pub delay_max_ms: i64,
    /// Messages of one slot above which more are refused, some at first, all above twice as many
    /// (`timerCongestNumEachSlot`).
    pub congested_at: i64,
}

impl TimedRules {
    /// As the configuration has them.
    pub fn of(config: &BrokerConfig) -> Self {
        Self {
            enabled: config.store.timer_wheel_enable,
            delay_max_ms: config.store.timer_max_delay_s.saturating_mul(1000),
            congested_at: i64::from(config.store.timer_congest_num_each_slot),
        }
    }

    /// The slot (TIMER_OUT_MS) of a message with these properties; nothing for one that is stored as any
    /// other: it names no time, has a delay level, is the half of a transaction, was delivered by a
    /// timer before, or its time has come.
    ///
    /// # Errors
    /// RocketMQ's refusals of a time that is too far or no number, of a full slot, and of all times when
    /// the timer is off.
    pub fn slot_of(
        &self,
        text: &[u8],
        flag: i32,
        marks: Option<&TimerMarks>,
    ) -> Result<Option<i64>, Refusal> {
        let value = |name| properties::get(text, name);
        let kind = flag & sys_flag::TRANSACTION_MASK;
        let takes_part = kind == 0 || kind == sys_flag::TRANSACTION_COMMIT;
        let Some((name, time)) = named_time(text).filter(|_| takes_part) else {
            return Ok(None);
        };
        if delay_level(text) > 0 || value(properties::TIMER_OUT_MS).is_some() {
            return Ok(None);
        }
        let Some(marks) = marks.filter(|_| self.enabled) else {
            let remark = "accurate timer message is not enabled, timerWheelEnable is false";
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        };
        let now = now_ms();
        let deliver_ms = deliver_ms(name, time, now).ok_or_else(|| self.illegal())?;
        if deliver_ms <= now {
            // The mark of a recall is no message.
            return match value(properties::TIMER_DEL_UNIQKEY) {
                Some(_) => Err(self.illegal()),
                None => Ok(None),
            };
        }
        if deliver_ms - now > self.delay_max_ms {
            return Err(self.illegal());
        }
        let out_ms = floor_below(deliver_ms, marks.precision_ms());
        self.check_congestion(out_ms, marks)?;
        Ok(Some(out_ms))
    }

    fn check_congestion(&self, out_ms: i64, marks: &TimerMarks) -> Result<(), Refusal> {
        if self.congested_at >= i64::from(i32::MAX) {
            // No slot counts that far.
            return Ok(());
        }
        let waiting = marks.waiting_at(out_ms);
        let over = waiting - self.congested_at;
        if over <= 0 {
            return Ok(());
        }
        let refused = waiting >= self.congested_at * 2
            || f64::from(rand::random_range(0..1000))
                > 1000.0 * over as f64 / (self.congested_at as f64 + 0.1);
        if !refused {
            return Ok(());
        }
        let (least, most) = (self.congested_at, self.congested_at * 2);
        let remark = format!(
            "timer message is under flow control, max num limit is {most} or the current value is \
             greater than {least} and less than {most}, trigger random flow control"
        );
        Err(Refusal::new(ResponseCode::SystemError, remark))
    }

    fn illegal(&self) -> Refusal {
        let remark = format!(
            "timer message illegal, the delay time should not be bigger than the max delay {}ms; or \
             if set del msg, the delay time should be bigger than the current time",
            self.delay_max_ms
        );
        Refusal::new(ResponseCode::MessageIllegal, remark)
    }
}

/// The property that names a time, and its text.
fn named_time(text: &[u8]) -> Option<(&'static str, &str)> {
    let values = properties::get_all(text, TIMES);
    TIMES
        .into_iter()
        .zip(values)
        .find_map(|(name, value)| Some((name, value?)))
}

/// When a message that came at `now` is to be delivered, ms; `None` when its time is no number.
fn deliver_ms(name: &str, time: &str, now: i64) -> Option<i64> {
    let time: i64 = time.parse().ok()?;
    Some(match name {
        properties::TIMER_DELAY_SEC => now.wrapping_add(time.wrapping_mul(1000)),
        properties::TIMER_DELAY_MS => now.wrapping_add(time),
        _ => time,
    })
}

/// The time within its slot that a stored message asked for, ms: of a delay to the millisecond only if the
/// message was stored in the one in which it was checked.
pub fn time_within_slot(text: &[u8], stored_ms: i64) -> Option<i64> {
    let (name, time) = named_time(text)?;
    deliver_ms(name, time, stored_ms)
}

/// The tick before a time: the slot of a tick is delivered when the tick has passed, so a message is
/// never early, and less than one tick late.
fn floor_below(deliver_ms: i64, precision_ms: i64) -> i64 {
    (deliver_ms - 1).div_euclid(precision_ms) * precision_ms
}

fn delay_level(text: &[u8]) -> i64 {
    properties::get_int(text, properties::DELAY).unwrap_or(0)
}

/// The handle by which a timed message is called back; none for a retry topic's
/// (`SendMessageProcessor.attachRecallHandle`).
pub fn recall_handle(topic: &str, broker_name: &str, out_ms: i64, unique_key: &str) -> Option<Str> {
    if names::is_retry_topic(topic) {
        return None;
    }
    let handle = RecallHandle {
        topic: topic.to_owned(),
        broker_name: broker_name.to_owned(),
        // A time in the slot, not at its start, which belongs to the slot before.
        timestamp: (out_ms + 1).to_string(),
        unique_key: unique_key.to_owned(),
    };
    Some(handle.encode().into())
}

impl InnerMessage<'_> {
    /// Encodes the message for the timer's queue, where it waits for its slot.
    ///
    /// # Errors
    /// As [`InnerMessage::into_request`].
    pub fn into_timed_request(
        self,
        store: &StoreHandles,
        out_ms: i64,
        buf: &mut bytes::BytesMut,
    ) -> Result<AppendRequest, Refusal> {
        let mut edited = properties::Editor::new(self.properties);
        edited.set(properties::TIMER_OUT_MS, out_ms.to_string());
        edited.set(properties::REAL_TOPIC, self.topic);
        edited.set(properties::REAL_QID, self.queue_id.to_string());
        let text = edited.to_vec();
        let timed = InnerMessage {
            topic: names::TIMER_TOPIC,
            queue_id: 0,
            properties: &text,
            keys: KeyProperties::of(&text),
            ..self
        };
        timed.into_request(store, 0, buf)
    }

    /// Encodes the message for the timer's queue if it has a slot there, else for its own, or for that of
    /// its delay level.
    ///
    /// # Errors
    /// As [`InnerMessage::into_request`].
    pub fn into_request_at(
        self,
        slot: Option<i64>,
        store: &StoreHandles,
        delay_level: i32,
        buf: &mut bytes::BytesMut,
    ) -> Result<AppendRequest, Refusal> {
        match slot {
            Some(out_ms) => self.into_timed_request(store, out_ms, buf),
            None => self.into_request(store, delay_level, buf),
        }
    }
}

/// Takes the times out of the properties of a message with a delay level, which counts instead
/// (`HookUtils.checkIfTimerMessage`).
pub fn without_times(edited: &mut properties::Editor<'_>) {
    for name in TIMES {
        edited.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> TimedRules {
        TimedRules {
            enabled: true,
            delay_max_ms: 259_200_000,
            congested_at: i64::from(i32::MAX),
        }
    }

    fn text(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, value) in entries {
            properties::append(&mut out, name, value);
        }
        out
    }

    fn slot_of(entries: &[(&str, &str)]) -> Result<Option<i64>, Refusal> {
        let marks = TimerMarks::new(Default::default(), 1000);
        rules().slot_of(&text(entries), 0, Some(&marks))
    }

    #[test]
    fn a_slot_is_the_tick_before_the_time() {
        assert_eq!(floor_below(5_500, 1000), 5_000);
        assert_eq!(floor_below(6_000, 1000), 5_000);
        assert_eq!(floor_below(6_001, 1000), 6_000);
        let at = now_ms() + 90_000;
        let slot = slot_of(&[("TIMER_DELIVER_MS", &at.to_string())])
            .unwrap()
            .unwrap();
        assert!(slot % 1000 == 0 && slot < at && at <= slot + 1000);
        // The handle's time leads to the same slot.
        assert_eq!(floor_below(slot + 1, 1000), slot);
    }

    #[test]
    fn the_first_property_that_names_a_time_counts() {
        let slot = slot_of(&[
            ("TIMER_DELIVER_MS", "1"),
            ("TIMER_DELAY_MS", "60000"),
            ("TIMER_DELAY_SEC", "7200"),
        ]);
        let ahead = slot.unwrap().unwrap() - now_ms();
        assert!((7_198_000..=7_200_000).contains(&ahead), "{ahead}");
    }

    #[test]
    fn what_is_refused_and_what_is_stored_at_once() {
        assert_eq!(slot_of(&[("TIMER_DELAY_MS", "-5")]), Ok(None));
        assert_eq!(
            slot_of(&[("DELAY", "3"), ("TIMER_DELAY_SEC", "9")]),
            Ok(None)
        );
        let again = [("TIMER_OUT_MS", "1"), ("TIMER_DELAY_SEC", "9")];
        assert_eq!(slot_of(&again), Ok(None));
        let illegal = ResponseCode::MessageIllegal;
        for refused in [
            &[("TIMER_DELAY_SEC", "259201")][..],
            &[("TIMER_DELAY_MS", "x")],
            &[("TIMER_DELIVER_MS", "1"), ("TIMER_DEL_UNIQKEY", "k")],
        ] {
            assert_eq!(slot_of(refused).unwrap_err().code, illegal, "{refused:?}");
        }
        let off = rules().slot_of(&text(&[("TIMER_DELAY_SEC", "1")]), 0, None);
        assert_eq!(off.unwrap_err().code, ResponseCode::SystemError);
        let half = sys_flag::TRANSACTION_PREPARED;
        let half = rules().slot_of(&text(&[("TIMER_DELAY_SEC", "1")]), half, None);
        assert_eq!(half, Ok(None));
    }
}
