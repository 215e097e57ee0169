//! RocketMQ's tables: one JSON file each, read at start and written whole.
//!
//! [`Tables`] knows the files of a broker and their types; [`ConfigFile`] loads and saves one.
//! What a file holds beyond our types, because a newer broker wrote it, is kept when it is saved.
//!
//! The rules come from RocketMQ's `ConfigManager` and its subclasses.

use std::path::{Path, PathBuf};

pub use self::{
    config_file::{ConfigFile, FILE_LEN_MAX},
    wrappers::{ConsumerOrderInfo, OrderInfo, TopicQueueMappingSerializeWrapper},
};
use super::{error::StoreError, fs::Fs};
use crate::protocol::{
    body::{
        assignment::MessageRequestModeSerializeWrapper,
        files::{ConsumerFilterTable, KvConfigTable, TimerMetrics, TransactionMetrics},
        offset::{ConsumerOffsetTable, DelayOffsetTable},
        subscription_group::SubscriptionGroupWrapper,
        topic_config::TopicConfigSerializeWrapper,
    },
    fastjson::Style,
};

mod config_file;
#[cfg(test)]
mod tests;
mod unknown;
mod wrappers;

/// A loaded table with its file; `None` in place of the table when there was no file yet.
pub type Loaded<T> = Result<(ConfigFile<T>, Option<T>), StoreError>;

/// The tables below a broker's `config` directory.
///
/// Each method loads one. The errors are those of [`ConfigFile::load`].
#[derive(Debug, Clone)]
pub struct Tables {
    fs: Fs,
    dir: PathBuf,
}

impl Tables {
    /// `dir` is the directory `config` below the store's root.
    pub fn new(fs: Fs, dir: impl Into<PathBuf>) -> Self {
        Self {
            fs,
            dir: dir.into(),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn load<T>(&self, name: &str, style: Style) -> Loaded<T>
    where
        T: serde::Serialize + serde::de::DeserializeOwned,
    {
        ConfigFile::load(self.fs.clone(), self.dir.join(name), style)
    }

    /// `topics.json` (`TopicConfigManager`).
    pub fn topics(&self) -> Loaded<TopicConfigSerializeWrapper> {
        self.load("topics.json", Style::Pretty)
    }

    /// `topicQueueMapping.json` (`TopicQueueMappingManager`).
    pub fn topic_queue_mapping(&self) -> Loaded<TopicQueueMappingSerializeWrapper> {
        self.load("topicQueueMapping.json", Style::Pretty)
    }

    /// `subscriptionGroup.json` (`SubscriptionGroupManager`).
    pub fn subscription_groups(&self) -> Loaded<SubscriptionGroupWrapper> {
        self.load("subscriptionGroup.json", Style::Pretty)
    }

    /// `consumerOffset.json` (`ConsumerOffsetManager`).
    pub fn consumer_offsets(&self) -> Loaded<ConsumerOffsetTable> {
        self.load("consumerOffset.json", Style::Pretty)
    }

    /// `lmqConsumerOffset.json`, in its place with `enableLmq` (`LmqConsumerOffsetManager`).
    pub fn lmq_consumer_offsets(&self) -> Loaded<ConsumerOffsetTable> {
        self.load("lmqConsumerOffset.json", Style::Pretty)
    }

    /// `consumerOrderInfo.json` (`ConsumerOrderInfoManager`).
    pub fn consumer_order_info(&self) -> Loaded<ConsumerOrderInfo> {
        self.load("consumerOrderInfo.json", Style::Pretty)
    }

    /// `consumerFilter.json` (`ConsumerFilterManager`).
    pub fn consumer_filters(&self) -> Loaded<ConsumerFilterTable> {
        self.load("consumerFilter.json", Style::Pretty)
    }

    /// `delayOffset.json` (`ScheduleMessageService`).
    pub fn delay_offsets(&self) -> Loaded<DelayOffsetTable> {
        self.load("delayOffset.json", Style::Pretty)
    }

    /// `messageRequestMode.json` (`MessageRequestModeManager`).
    pub fn message_request_modes(&self) -> Loaded<MessageRequestModeSerializeWrapper> {
        self.load("messageRequestMode.json", Style::Pretty)
    }

    /// `timermetrics` (`TimerMetrics`).
    pub fn timer_metrics(&self) -> Loaded<TimerMetrics> {
        self.load("timermetrics", Style::Compact)
    }

    /// `transactionMetrics` (`TransactionMetrics`).
    pub fn transaction_metrics(&self) -> Loaded<TransactionMetrics> {
        self.load("transactionMetrics", Style::Compact)
    }
}

/// The NameServer's `kvConfig.json` (`KVConfigManager`), at its configured path.
///
/// # Errors
/// As [`ConfigFile::load`].
pub fn load_kv_config(fs: Fs, path: impl Into<PathBuf>) -> Loaded<KvConfigTable> {
    ConfigFile::load(fs, path, Style::Compact)
}
