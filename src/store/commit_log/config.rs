//! What the commit log has to be told.

use std::{path::PathBuf, sync::Arc};

use crate::store::error::StoreError;

/// Separates the directories of `storePathCommitLog`, as in RocketMQ.
const DIR_SEPARATOR: char = ',';

/// Default length of a segment, in bytes (`mappedFileSizeCommitLog`).
const DEFAULT_SEGMENT_LEN: u64 = 1 << 30;

/// How the next segment is made ready ahead of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preallocation {
    /// Only its name and length; blocks are found while writing. Costs nothing, may fail late.
    #[default]
    Sparse,
    /// Blocks are reserved (`fallocate`): a full disk shows before a message is refused.
    Reserve,
    /// Zeros are written, so that later syncs need no change of the file system's own data.
    Zeros,
}

/// Settings of a commit log.
#[derive(Debug, Clone)]
pub struct CommitLogConfig {
    /// Directories that get segments in turn; at least one.
    pub dirs: Vec<PathBuf>,
    /// Directories whose segments are read but never written (`readOnlyCommitLogStorePaths`).
    pub read_only_dirs: Vec<PathBuf>,
    /// Length of each segment, in bytes.
    pub segment_len: u64,
    /// Whether recovery checks the CRC of each body (`checkCRCOnRecover`).
    pub check_crc_on_recover: bool,
    /// How the next segment is made ready.
    pub preallocation: Preallocation,
    /// What queues are told of a record.
    pub dispatch: Arc<DispatchRules>,
}

/// What decides which queues a record enters, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DispatchRules {
    /// Delays of the levels of `messageDelayLevel`.
    pub delay_levels: DelayLevels,
    /// Whether records enter the light message queues that they name (`enableLmq` with
    /// `enableMultiDispatch`).
    pub multi_dispatch: bool,
}

impl CommitLogConfig {
    /// Settings with RocketMQ's defaults for a log in one directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dirs: vec![dir.into()],
            read_only_dirs: Vec::new(),
            segment_len: DEFAULT_SEGMENT_LEN,
            check_crc_on_recover: true,
            preallocation: Preallocation::default(),
            dispatch: Arc::default(),
        }
    }

    /// Splits the value of `storePathCommitLog` or `readOnlyCommitLogStorePaths` into directories.
    pub fn parse_dirs(value: &str) -> Vec<PathBuf> {
        let dirs = value.split(DIR_SEPARATOR).map(str::trim);
        dirs.filter(|d| !d.is_empty()).map(PathBuf::from).collect()
    }

    /// Refuses settings that no log can be kept with.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.dirs.is_empty() {
            return Err(StoreError::invalid("a commit log without a directory"));
        }
        if self.segment_len < 1024 || self.segment_len > i64::MAX as u64 / 2 {
            let what = format!("commit log segments of {} bytes", self.segment_len);
            return Err(StoreError::invalid(what));
        }
        Ok(())
    }
}

/// The delays of the delay levels, in milliseconds; level 1 is the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayLevels(Vec<i64>);

impl Default for DelayLevels {
    fn default() -> Self {
        const SECOND: i64 = 1000;
        const MINUTE: i64 = 60 * SECOND;
        let minutes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30, 60, 120];
        let mut levels = vec![SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND];
        levels.extend(minutes.map(|m| m * MINUTE));
        Self(levels)
    }
}

impl DelayLevels {
    /// Reads the value of `messageDelayLevel`: numbers with a unit (s, m, h, d), space separated.
    /// `None` when one of them is not understood.
    pub fn parse(value: &str) -> Option<Self> {
        let level = |text: &str| {
            let unit = text.chars().last()?;
            let millis = match unit {
                's' => 1000,
                'm' => 60 * 1000,
                'h' => 60 * 60 * 1000,
                'd' => 24 * 60 * 60 * 1000,
                _ => return None,
            };
            let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
            Some(i64::from(number) * millis)
        };
        let levels: Option<Vec<i64>> = value.split_whitespace().map(level).collect();
        levels.map(Self)
    }

    /// The highest level.
    pub fn max_level(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }

    /// Delay of a level, in milliseconds; higher levels count as the highest. `None` below 1.
    pub fn delay_ms(&self, level: i32) -> Option<i64> {
        let index = usize::try_from(level.min(self.max_level())).ok()?;
        self.0.get(index.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_levels_are_those_of_the_text() {
        let text = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";
        assert_eq!(DelayLevels::parse(text), Some(DelayLevels::default()));
        let levels = DelayLevels::default();
        assert_eq!(levels.max_level(), 18);
        assert_eq!(levels.delay_ms(0), None);
        assert_eq!(levels.delay_ms(-1), None);
        assert_eq!(levels.delay_ms(3), Some(10_000));
        assert_eq!(levels.delay_ms(99), Some(7_200_000));
        assert_eq!(DelayLevels::parse("1s 2x"), None);
        assert_eq!(DelayLevels::parse("").unwrap().delay_ms(1), None);
    }

    #[test]
    fn several_directories_are_comma_separated() {
        let dirs = CommitLogConfig::parse_dirs("/a/log, /b/log,,");
        assert_eq!(dirs, [PathBuf::from("/a/log"), PathBuf::from("/b/log")]);
        assert!(CommitLogConfig::new("x").check().is_ok());
    }
}
