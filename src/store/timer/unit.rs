//! One unit of the timer log: a message that waits.
//!
//! ```text
//! 0      4             12     16            24     28            36     40     44            52
//! | size | prev pos    | magic| write time  | delay| offset py   |sizePy| hash | reserved    |
//! ```
//!
//! Big-endian, as RocketMQ's `TimerLog` and `TimerMessageStore.doEnqueue`:
//!
//! | offset | width | name | meaning |
//! | --- | --- | --- | --- |
//! | 0 | 4 | size | 52 |
//! | 4 | 8 | prevPos | position of the unit before it in the same slot, −1 for the first |
//! | 12 | 4 | magic | 1, and 2 for a message that rolls, and 4 for the mark of a recall |
//! | 16 | 8 | currWriteTime | the tick (ms) in which it was taken in |
//! | 24 | 4 | delayTime | ms from then to the slot's time |
//! | 28 | 8 | offsetPy | where the message is in the commit log |
//! | 36 | 4 | sizePy | its length |
//! | 40 | 4 | hashCodeOfRealTopic | Java's hash of the topic that it is for |
//! | 44 | 8 | reserved | 0 |

/// Bytes of a unit.
pub const UNIT_LEN: usize = 52;

/// [`UNIT_LEN`] as it stands in a unit.
const UNIT_SIZE: i32 = UNIT_LEN as i32;

/// Bytes that are kept at a file's end for a blank (`MIN_BLANK_LEN`).
pub const BLANK_LEN: usize = 16;

/// Magic of a blank (`BLANK_MAGIC_CODE`).
pub const MAGIC_BLANK: i32 = 0xCBD4_3194_u32 as i32;

/// Every unit (`MAGIC_DEFAULT`).
pub const MAGIC_DEFAULT: i32 = 1;
/// The message goes once more round (`MAGIC_ROLL`).
pub const MAGIC_ROLL: i32 = 2;
/// The mark of a recall (`MAGIC_DELETE`).
pub const MAGIC_DELETE: i32 = 4;

/// A unit; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Position of the one before it in the same slot, −1 for none.
    pub prev_pos: i64,
    /// Bits of the `MAGIC_` constants.
    pub magic: i32,
    /// The tick (ms) in which it was taken in.
    pub write_time_ms: i64,
    /// From then to the slot's time, ms.
    pub delay_ms: i32,
    /// Where the message is in the commit log.
    pub physical_offset: i64,
    /// Its length there.
    pub size: i32,
    /// Java's hash of its topic.
    pub topic_hash: i32,
}

/// What stands at some place of the timer log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A unit.
    Unit(Unit),
    /// The filler at the end of a file.
    Blank,
    /// Neither.
    Nothing,
}

impl Unit {
    /// The time of its slot, ms.
    pub fn time_ms(&self) -> i64 {
        self.write_time_ms.saturating_add(i64::from(self.delay_ms))
    }

    /// Where its message is in the commit log: offset and length.
    pub fn place(&self) -> (i64, i32) {
        (self.physical_offset, self.size)
    }

    /// Whether its message is put back into the timer's topic instead of being delivered.
    pub fn rolls(&self) -> bool {
        self.magic & MAGIC_ROLL != 0
    }

    /// Whether it marks a recall.
    pub fn is_delete(&self) -> bool {
        self.magic & MAGIC_DELETE != 0
    }

    /// The 52 bytes as they are on disk.
    pub fn encode(&self) -> [u8; UNIT_LEN] {
        let mut bytes = [0; UNIT_LEN];
        let mut rest = &mut bytes[..];
        let fields: [&[u8]; 8] = [
            &UNIT_SIZE.to_be_bytes(),
            &self.prev_pos.to_be_bytes(),
            &self.magic.to_be_bytes(),
            &self.write_time_ms.to_be_bytes(),
            &self.delay_ms.to_be_bytes(),
            &self.physical_offset.to_be_bytes(),
            &self.size.to_be_bytes(),
            &self.topic_hash.to_be_bytes(),
        ];
        for field in fields {
            let (place, behind) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = behind;
        }
        bytes
    }

    /// Tells what the bytes begin, which stand at `pos` of the timer log. A unit has to be one of
    /// RocketMQ's (`isMagicOK`), its chain has to lead backwards, and its message must have a place: so
    /// a torn one is told from a whole one.
    pub fn decode(bytes: &[u8], pos: i64) -> Found {
        let long = |at: usize| -> Option<i64> {
            let word = bytes.get(at..)?.first_chunk()?;
            Some(i64::from_be_bytes(*word))
        };
        let int = |at: usize| -> Option<i32> {
            let word = bytes.get(at..)?.first_chunk()?;
            Some(i32::from_be_bytes(*word))
        };
        if int(12) == Some(MAGIC_BLANK) {
            return Found::Blank;
        }
        let read = || -> Option<Unit> {
            let unit = Unit {
                prev_pos: long(4)?,
                magic: int(12)?,
                write_time_ms: long(16)?,
                delay_ms: int(24)?,
                physical_offset: long(28)?,
                size: int(36)?,
                topic_hash: int(40)?,
            };
            let is_unit = int(0)? == UNIT_SIZE
                && long(44).is_some()
                && (unit.magic | 0xF) == 0xF
                && (-1..pos).contains(&unit.prev_pos)
                && unit.physical_offset >= 0
                && unit.size > 0;
            is_unit.then_some(unit)
        };
        read().map_or(Found::Nothing, Found::Unit)
    }
}

/// The start of a blank that fills `left` bytes.
pub fn encode_blank(left: usize) -> [u8; BLANK_LEN] {
    let mut bytes = [0; BLANK_LEN];
    bytes[..4].copy_from_slice(&(left as i32).to_be_bytes());
    bytes[12..].copy_from_slice(&MAGIC_BLANK.to_be_bytes());
    bytes
}
