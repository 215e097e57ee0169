//! Acknowledging popped messages (code 200151), and the records that the broker keeps of pops.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// As Java's `Base64` writes bits and reads them: with padding, which may be missing.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

body! {
    /// Acknowledgements of messages that were popped together.
    #[derive(Eq)]
    pub struct BatchAck {
        /// Base64 of a little-endian bit set: bit i stands for the start offset plus i.
        #[serde(rename = "b")]
        bit_set: String,
        /// Group.
        #[serde(rename = "c")]
        consumer_group: String,
        /// How long the messages stay hidden, ms.
        #[serde(rename = "it")]
        invisible_time: i64,
        /// When they were popped, ms.
        #[serde(rename = "pt")]
        pop_time: i64,
        /// Queue of the topic.
        #[serde(rename = "q")]
        queue_id: i32,
        /// `1` or `2` when they came from a retry topic with a name of that form, else `0`.
        #[serde(rename = "r")]
        retry: String,
        /// Queue of the revive topic.
        #[serde(rename = "rq")]
        revive_queue_id: i32,
        /// Offset of the first message.
        #[serde(rename = "so")]
        start_offset: i64,
        /// Topic.
        #[serde(rename = "t")]
        topic: String,
    }
}

body! {
    /// Acknowledgements for one broker.
    #[derive(Eq)]
    pub struct BatchAckMessageRequestBody {
        /// Acknowledgements.
        acks: Vec<BatchAck>,
        /// Name of the broker.
        broker_name: String,
    }
}

body! {
    /// The body of a check point: a record in the revive topic with the tag [`CK_TAG`]
    /// (`PopCheckPoint`).
    #[derive(Eq)]
    pub struct PopCheckPoint {
        /// Bit i is set when message i was acknowledged; 0 as stored.
        #[serde(rename = "bm", alias = "bitMap")]
        bit_map: i32,
        /// Name of the broker that popped.
        #[serde(rename = "bn", alias = "brokerName")]
        broker_name: Option<String>,
        /// Group; a record without one is ignored.
        #[serde(rename = "c", alias = "cid")]
        consumer_group: Option<String>,
        /// Each message's distance from the start offset. Old brokers leave it out: the messages
        /// follow each other then.
        #[serde(rename = "d", alias = "queueOffsetDiff")]
        queue_offset_diff: Option<Vec<i32>>,
        /// How long the messages stay hidden, ms.
        #[serde(rename = "it", alias = "invisibleTime")]
        invisible_time: i64,
        /// How many messages.
        #[serde(rename = "n", alias = "num")]
        num: i8,
        /// When they were popped, ms.
        #[serde(rename = "pt", alias = "popTime")]
        pop_time: i64,
        /// Queue of the topic.
        #[serde(rename = "q", alias = "queueId")]
        queue_id: i32,
        /// Pop time plus invisible time; written for readers, never read.
        revive_time: i64,
        /// Always 0 as stored.
        #[serde(rename = "ro", alias = "reviveOffset")]
        revive_offset: i64,
        /// How often the check point was written again, as text.
        #[serde(rename = "rp", alias = "rePutTimes")]
        re_put_times: Option<String>,
        /// First offset that was read.
        #[serde(rename = "so", alias = "startOffset")]
        start_offset: i64,
        /// Topic that the messages lie in; a record without one is ignored.
        #[serde(rename = "t", alias = "topic")]
        topic: Option<String>,
    }
}

/// The most messages of one check point: their marks are the bits of an int.
pub const CHECK_POINT_MESSAGES_MAX: usize = 32;

/// TAGS of a check point's record.
pub const CK_TAG: &str = "ck";
/// TAGS of an acknowledgement's record.
pub const ACK_TAG: &str = "ack";
/// TAGS of a record of several acknowledgements.
pub const BATCH_ACK_TAG: &str = "bAck";

impl PopCheckPoint {
    /// How many messages it has; foreign bytes may claim more than there can be.
    pub fn len(&self) -> usize {
        usize::try_from(self.num)
            .unwrap_or(0)
            .min(CHECK_POINT_MESSAGES_MAX)
    }

    /// Whether it has no messages.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When unacknowledged messages come back, ms.
    pub fn due(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible_time)
    }

    /// The queue offset of message `index` (`ackOffsetByIndex`).
    pub fn offset_of(&self, index: usize) -> Option<i64> {
        if index >= self.len() {
            return None;
        }
        let distance = match self.queue_offset_diff.as_deref() {
            None | Some([]) => i64::try_from(index).ok()?,
            Some(distances) => i64::from(*distances.get(index)?),
        };
        self.start_offset.checked_add(distance)
    }

    /// Which message lies at a queue offset (`indexOfAck`).
    pub fn index_of(&self, offset: i64) -> Option<usize> {
        (0..self.len()).find(|&index| self.offset_of(index) == Some(offset))
    }
}

body! {
    /// The body of acknowledgements: a record in the revive topic with the tag [`ACK_TAG`], or with
    /// [`BATCH_ACK_TAG`] and a list (`AckMsg`, `BatchAckMsg`).
    #[derive(Eq)]
    pub struct AckMsg {
        /// Offset of the message; -1 with a list.
        #[serde(rename = "ao", alias = "ackOffset")]
        ack_offset: i64,
        /// Offsets of the messages.
        #[serde(rename = "aol", alias = "ackOffsetList")]
        ack_offset_list: Option<Vec<i64>>,
        /// Name of the broker that popped; the reader's own when absent.
        #[serde(rename = "bn", alias = "brokerName")]
        broker_name: Option<String>,
        /// Group.
        #[serde(rename = "c", alias = "consumerGroup")]
        consumer_group: String,
        /// When they were popped, ms.
        #[serde(rename = "pt", alias = "popTime")]
        pop_time: i64,
        /// Queue of the topic.
        #[serde(rename = "q", alias = "queueId")]
        queue_id: i32,
        /// First offset that the pop read.
        #[serde(rename = "so", alias = "startOffset")]
        start_offset: i64,
        /// Topic that the messages lie in.
        #[serde(rename = "t", alias = "topic")]
        topic: String,
    }
}

impl BatchAck {
    /// The most messages of one acknowledgement: what a pop may have read beyond.
    pub const MESSAGES_MAX: usize = 1 << 16;

    /// The acknowledged offsets; none when the bit set is not Base64. `Some` of at most
    /// [`Self::MESSAGES_MAX`] offsets.
    pub fn offsets(&self) -> Option<Vec<i64>> {
        let bytes = BASE64.decode(self.bit_set.trim_end_matches('=')).ok()?;
        let bits = (0..bytes.len() * 8).filter(|bit| {
            let byte = bytes.get(bit / 8).copied().unwrap_or(0);
            byte >> (bit % 8) & 1 == 1
        });
        let offsets = bits.map(|bit| self.start_offset.checked_add(bit as i64));
        offsets.take(Self::MESSAGES_MAX).collect()
    }

    /// The text of the bit set for these distances from the start offset.
    pub fn bit_set_of(distances: impl IntoIterator<Item = u16>) -> String {
        let mut bytes: Vec<u8> = Vec::new();
        for distance in distances {
            let at = usize::from(distance / 8);
            if bytes.len() <= at {
                bytes.resize(at + 1, 0);
            }
            if let Some(byte) = bytes.get_mut(at) {
                *byte |= 1 << (distance % 8);
            }
        }
        BASE64.encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::fastjson;

    /// As RocketMQ 5.4.0 stored it.
    const CHECK_POINT: &str = r#"{"bm":0,"bn":"broker-a","c":"GoldPopG","d":[0,1,2,3],"it":600000,"n":4,"pt":1795389444259,"q":0,"reviveTime":1795390044259,"ro":0,"so":0,"t":"GoldPop"}"#;
    const ACK: &str =
        r#"{"ao":1,"bn":"broker-a","c":"GoldPopG","pt":1795389444259,"q":0,"so":0,"t":"GoldPop"}"#;

    #[test]
    fn bodies_are_those_of_the_reference() {
        let point: PopCheckPoint = fastjson::from_slice(CHECK_POINT.as_bytes()).unwrap();
        assert_eq!((point.len(), point.due()), (4, 1_795_390_044_259));
        assert_eq!(fastjson::to_string(&point).unwrap(), CHECK_POINT);
        let ack: AckMsg = fastjson::from_slice(ACK.as_bytes()).unwrap();
        assert_eq!(ack.ack_offset, 1);
        assert_eq!(fastjson::to_string(&ack).unwrap(), ACK);
        let long = r#"{"ackOffset":-1,"ackOffsetList":[5,6],"consumerGroup":"g","topic":"t"}"#;
        let ack: AckMsg = fastjson::from_slice(long.as_bytes()).unwrap();
        assert_eq!(ack.ack_offset_list.as_deref(), Some(&[5, 6][..]));
    }

    #[test]
    fn an_old_check_point_has_neighbours() {
        let point = PopCheckPoint {
            start_offset: 10,
            num: 3,
            ..PopCheckPoint::default()
        };
        assert_eq!(point.offset_of(2), Some(12));
        assert_eq!((point.offset_of(3), point.index_of(13)), (None, None));
        assert_eq!(point.index_of(11), Some(1));
    }

    #[test]
    fn what_foreign_bytes_claim_is_bounded() {
        let point = PopCheckPoint {
            num: 127,
            start_offset: i64::MAX,
            ..PopCheckPoint::default()
        };
        assert_eq!(point.len(), CHECK_POINT_MESSAGES_MAX);
        assert_eq!(point.offset_of(1), None);
        let ack = BatchAck {
            bit_set: "!".to_owned(),
            ..BatchAck::default()
        };
        assert_eq!(ack.offsets(), None);
    }

    #[test]
    fn the_bit_set_is_javas() {
        let bit_set = BatchAck::bit_set_of([0, 9]);
        assert_eq!(bit_set, "AQI=");
        let ack = BatchAck {
            bit_set,
            start_offset: 100,
            ..BatchAck::default()
        };
        assert_eq!(ack.offsets().unwrap(), [100, 109]);
    }

    proptest! {
        #[test]
        fn bit_sets_round_trip(distances in proptest::collection::btree_set(0u16..2000, 0..40)) {
            let ack = BatchAck { bit_set: BatchAck::bit_set_of(distances.clone()), ..BatchAck::default() };
            let expected: Vec<i64> = distances.into_iter().map(i64::from).collect();
            prop_assert_eq!(ack.offsets(), Some(expected));
        }

        #[test]
        fn an_offset_is_found_where_it_is(start in 0i64..1 << 40, gaps in proptest::collection::vec(1i32..9, 1..32)) {
            let distances: Vec<i32> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
            let point = PopCheckPoint { start_offset: start, num: distances.len() as i8,
                queue_offset_diff: Some(distances.clone()), ..PopCheckPoint::default() };
            for (index, distance) in distances.iter().enumerate() {
                prop_assert_eq!(point.index_of(start + i64::from(*distance)), Some(index));
            }
            let text = fastjson::to_vec(&point).unwrap();
            prop_assert_eq!(fastjson::from_slice::<PopCheckPoint>(&text).unwrap(), point);
        }
    }
}
