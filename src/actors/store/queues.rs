//! The handle on all topic queues, for those who send to them.

use std::sync::{Arc, OnceLock};

use actix::{Handler, Message};
use tokio::sync::oneshot;

use super::{
    cold_reader::Brought,
    queue::{AllGone, Inspect, Queue, QueueView, Read},
    shard::{DropQueue, HandOver, Shard, ToQueue},
};
use crate::{
    actors::kernel::{ActorError, ActorRef},
    store::{
        get_message::{GetRequest, GetResult},
        queue_table::QueueSlot,
    },
};

/// Addresses of the shards; cheap to clone. Filled once, when the shards have been started.
#[derive(Clone, Default)]
pub struct QueueShards(Arc<OnceLock<Box<[ActorRef<Shard>]>>>);

impl QueueShards {
    /// Gives the addresses to all clones; a second call has no effect.
    pub fn set(&self, shards: Vec<ActorRef<Shard>>) {
        let _ = self.0.set(shards.into());
    }

    /// The shards; none before they have been started.
    pub fn all(&self) -> &[ActorRef<Shard>] {
        self.0.get().map_or(&[], |shards| shards)
    }

    /// How many shards there are.
    pub fn len(&self) -> usize {
        self.all().len()
    }

    /// Whether the shards have not been started.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// The shard of a queue.
    pub fn shard_of(&self, slot: &QueueSlot) -> usize {
        slot.generation as usize % self.len().max(1)
    }

    fn of(&self, slot: &QueueSlot) -> Option<&ActorRef<Shard>> {
        self.all().get(self.shard_of(slot))
    }

    /// Hands records over to a shard.
    pub fn hand_over(&self, shard: usize, records: HandOver) {
        if let Some(shard) = self.all().get(shard) {
            shard.tell(records);
        }
    }

    /// Sends to a queue, which is woken for it.
    pub fn to_queue<M>(&self, slot: Arc<QueueSlot>, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Queue: Handler<M>,
    {
        if let Some(shard) = self.of(&slot) {
            shard.tell(ToQueue { slot, message });
        }
    }

    /// Drops the queues of a deleted topic.
    pub fn drop_queues(&self, slots: Vec<Arc<QueueSlot>>, gone: &Arc<AllGone>) {
        for slot in slots {
            if let Some(shard) = self.of(&slot) {
                let gone = Arc::clone(gone);
                shard.tell(DropQueue { slot, gone });
            }
        }
    }

    /// Reads messages of a queue, whose bytes are in memory then.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when the queue crashed, was deleted, or has no usable files now.
    pub async fn read(
        &self,
        slot: Arc<QueueSlot>,
        request: GetRequest,
    ) -> Result<GetResult, ActorError> {
        let (reply, answered) = oneshot::channel();
        self.to_queue(
            slot,
            Read {
                request,
                brought: Brought::Nothing,
                reply,
            },
        );
        answered.await.map_err(|_| ActorError::Gone)
    }

    /// Lets `look` look at a queue, on its thread.
    ///
    /// # Errors
    /// [`ActorError::Gone`] when the queue crashed, was deleted, or has no usable files.
    pub async fn inspect<R: Send + 'static>(
        &self,
        slot: Arc<QueueSlot>,
        look: impl FnOnce(&mut QueueView<'_>) -> R + Send + 'static,
    ) -> Result<R, ActorError> {
        let (answer, answered) = oneshot::channel();
        self.to_queue(
            slot,
            Inspect(Box::new(move |view| {
                // The asker may have gone meanwhile.
                let _ = answer.send(look(view));
            })),
        );
        answered.await.map_err(|_| ActorError::Gone)
    }
}
