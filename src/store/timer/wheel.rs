//! The file `timerwheel`: one slot for each tick of two weeks, by the time of delivery.
//!
//! ```text
//! 0            8            16           24      28      32
//! | time       | first pos  | last pos   | num   | magic |
//! ```
//!
//! Big-endian, as RocketMQ's `TimerWheel` and `Slot`:
//!
//! | offset | width | name | meaning |
//! | --- | --- | --- | --- |
//! | 0 | 8 | time | the slot's time in ticks (ms / precision) since 1970 |
//! | 8 | 8 | firstPos | position of its oldest unit in the timer log |
//! | 16 | 8 | lastPos | position of its newest unit, where the chain of the slot begins |
//! | 24 | 4 | num | messages that wait in it: marks of recalled ones count −1 |
//! | 28 | 4 | magic | 0 |
//!
//! The slot of a time is `time % (2 × 604800)`, whatever the precision. A slot that holds another time
//! is empty for this one; so is one that was never written (all zeros).
//!
//! The file (37 MB) is sparse and accessed with positioned reads and writes of single slots: nothing of
//! it is kept in memory of our own, and a full disk is an error here where it would be a signal in a
//! mapping. (RocketMQ keeps all of it in memory twice and copies what changed into a mapping once a
//! second.)

use std::path::{Path, PathBuf};

use crate::store::{
    error::StoreError,
    fs::{FileRef, Fs, OpenMode},
};

/// Slots that a message may be ahead: a week of seconds (`TIMER_WHEEL_TTL_DAY`).
pub const SLOTS_TOTAL: i64 = 7 * 24 * 3600;

/// Slots that are kept free between the newest and the oldest (`TIMER_BLANK_SLOTS`).
pub const BLANK_SLOTS: i64 = 60;

/// Bytes of a slot.
pub const SLOT_LEN: usize = 32;

/// Bytes of the file: two weeks of slots.
pub const WHEEL_FILE_LEN: u64 = (SLOTS_TOTAL * 2) as u64 * SLOT_LEN as u64;

/// Slots that are read at a time when all are looked at.
const SLOTS_PER_READ: usize = 4096;

/// A slot that holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Ticks since 1970.
    pub tick: i64,
    /// Position of the oldest unit.
    pub first_pos: i64,
    /// Position of the newest unit.
    pub last_pos: i64,
    /// Messages that wait, less the marks of recalled ones.
    pub num: i32,
    /// Kept as it is.
    pub magic: i32,
}

impl Slot {
    /// A slot for a tick in which nothing waits yet.
    pub fn empty(tick: i64) -> Self {
        Self {
            tick,
            first_pos: -1,
            last_pos: -1,
            num: 0,
            magic: 0,
        }
    }

    /// Whether nothing was ever put into it for its tick.
    pub fn is_empty(&self) -> bool {
        self.last_pos < 0
    }

    /// Puts a unit at the front of the slot's chain.
    pub fn push(&mut self, pos: i64, is_delete: bool) {
        if self.is_empty() {
            self.first_pos = pos;
        }
        self.last_pos = pos;
        let step = if is_delete { -1 } else { 1 };
        self.num = self.num.saturating_add(step);
    }

    /// The 32 bytes as they are on disk.
    pub fn encode(&self) -> [u8; SLOT_LEN] {
        let mut bytes = [0; SLOT_LEN];
        let longs = [self.tick, self.first_pos, self.last_pos];
        for (place, long) in bytes.chunks_exact_mut(8).zip(longs) {
            place.copy_from_slice(&long.to_be_bytes());
        }
        let ints = (u64::from(self.num as u32) << 32) | u64::from(self.magic as u32);
        bytes[24..].copy_from_slice(&ints.to_be_bytes());
        bytes
    }

    /// Reads 32 bytes; `None` for a slot that was never written or is no slot.
    pub fn decode(bytes: &[u8; SLOT_LEN]) -> Option<Self> {
        let long = |at: usize| {
            let word = bytes.get(at..)?.first_chunk()?;
            Some(i64::from_be_bytes(*word))
        };
        let ints = long(24)?;
        let slot = Self {
            tick: long(0)?,
            first_pos: long(8)?,
            last_pos: long(16)?,
            num: (ints >> 32) as i32,
            magic: ints as i32,
        };
        let is_slot = slot.tick > 0 && slot.last_pos >= 0 && slot.first_pos >= 0;
        is_slot.then_some(slot)
    }
}

/// The open file. All methods take `&self`: single slots are read by senders, too.
#[derive(Debug, Clone)]
pub struct Wheel {
    file: FileRef,
    path: PathBuf,
}

impl Wheel {
    /// Opens the file and makes it when absent; tells whether it was.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a file of another length, as RocketMQ refuses it;
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn open(fs: &Fs, path: &Path) -> Result<(Self, bool), StoreError> {
        let open = || {
            let file = fs.open(path, OpenMode::Create)?;
            let len = file.len()?;
            if len == 0 {
                file.set_len(WHEEL_FILE_LEN)?;
                if let Some(dir) = path.parent() {
                    fs.sync_dir(dir)?;
                }
            }
            Ok((file, len))
        };
        let (file, len) = open().map_err(|e| StoreError::io("open", path, e))?;
        if len != 0 && len != WHEEL_FILE_LEN {
            let what = format!("{len} bytes long, {WHEEL_FILE_LEN} are wanted");
            return Err(StoreError::corrupt(path, len, what));
        }
        let path = path.to_path_buf();
        Ok((Self { file, path }, len == 0))
    }

    /// The slot of a tick; an empty one when nothing is in it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn get(&self, tick: i64) -> Result<Slot, StoreError> {
        let mut bytes = [0; SLOT_LEN];
        let read = self.file.read_at(&mut bytes, place(tick));
        read.map_err(|e| StoreError::io("read", &self.path, e))?;
        let slot = Slot::decode(&bytes).filter(|slot| slot.tick == tick);
        Ok(slot.unwrap_or(Slot::empty(tick)))
    }

    /// Writes a slot.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn put(&self, slot: &Slot) -> Result<(), StoreError> {
        let written = self.file.write_at(&slot.encode(), place(slot.tick));
        written.map_err(|e| StoreError::io("write", &self.path, e))
    }

    /// All slots that hold something, in the order of the file.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn slots(&self) -> Result<Vec<Slot>, StoreError> {
        let failed = |e| StoreError::io("read", &self.path, e);
        let mut found = Vec::new();
        let mut at = 0;
        let mut buf = vec![0; SLOTS_PER_READ * SLOT_LEN];
        while let Some(data) = self.file.next_data(at).map_err(failed)? {
            at = data - data % SLOT_LEN as u64;
            let len = self.file.read_at(&mut buf, at).map_err(failed)?;
            if len < SLOT_LEN {
                break;
            }
            let read = buf.get(..len).unwrap_or_default();
            let (whole, _) = read.as_chunks::<SLOT_LEN>();
            found.extend(whole.iter().filter_map(Slot::decode));
            at += (whole.len() * SLOT_LEN) as u64;
        }
        Ok(found)
    }

    /// Makes all slots empty.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::Full`].
    pub fn clear(&self) -> Result<(), StoreError> {
        let zeroed = self.file.zero(0, WHEEL_FILE_LEN);
        zeroed.map_err(|e| StoreError::io("clear", &self.path, e))
    }

    /// Makes written slots durable.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn sync(&self) -> Result<(), StoreError> {
        let synced = self.file.sync_data();
        synced.map_err(|e| StoreError::io("sync", &self.path, e))
    }
}

/// Where the slot of a tick is in the file.
fn place(tick: i64) -> u64 {
    (tick.rem_euclid(SLOTS_TOTAL * 2) as u64) * SLOT_LEN as u64
}
