//! Receiving: [`PushConsumer`] calls a function with messages as they come,
//! [`PullConsumer`] leaves when and what to the program, [`PopConsumer`] leaves offsets and shares to
//! the broker.

pub mod allocate;
pub(crate) mod offset_store;
pub mod pop;
pub(crate) mod process_queue;
pub mod pull;
pub mod push;
mod rebalance;
pub mod subscription;

pub use allocate::{AllocateStrategy, Averagely, AveragelyByCircle, ConsistentHash};
pub use pop::{PopConsumer, PopOptions, PoppedMessage};
pub use pull::{PullConsumer, PullOutcome, PullStatus};
pub use push::{ConsumeOutcome, PushConsumer, PushConsumerBuilder};
pub use subscription::Expression;

/// Who gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MessageModel {
    /// One member of the group.
    #[default]
    Clustering,
    /// Every member of the group.
    Broadcasting,
}

/// Where a group starts in a queue that it has no offset for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsumeFrom {
    /// At the end: only messages that come from now on.
    #[default]
    LastOffset,
    /// At the oldest message there is.
    FirstOffset,
    /// At the first message stored at this time (ms) or later.
    Timestamp(i64),
}
