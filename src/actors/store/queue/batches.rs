//! Answering pulls from a queue of batches (`queue.type=BatchCQ`): its records hold one or several
//! messages each, and are answered whole.

use std::sync::Arc;

use super::{
    Queue,
    serving::{Found, is_hole},
};
use crate::{
    actors::store::cold_reader::Brought,
    store::{
        consume_queue::{BATCH_UNIT_LEN, MIN_OFFSET_BEFORE_BATCHES, TopicQueue},
        get_message::{self, GetRequest},
    },
};

impl Queue {
    /// What a pull finds; `None` while the files are unusable or lack entries.
    pub(super) fn find_batches(&mut self, request: &GetRequest, brought: Brought) -> Option<Found> {
        let parts = Arc::clone(&self.parts);
        let limits = parts.limits.load();
        let TopicQueue::Batch(files) = self.whole_files()? else {
            return None;
        };
        let (min, max) = (files.min_offset(), files.max_offset());
        if let Some(mut answer) = get_message::check_offset(request.offset, min, max) {
            if max == 0 {
                answer.min_offset = MIN_OFFSET_BEFORE_BATCHES;
            }
            return Some(Found::Answer(answer));
        }
        let wanted = get_message::offsets_wanted(request, &limits, BATCH_UNIT_LEN);
        let units = match files.get(request.offset, wanted) {
            Ok(units) => units,
            Err(error) if is_hole(&error) => {
                self.build_anew(&error.to_string());
                return None;
            }
            Err(error) => {
                self.report(&error);
                Vec::new()
            }
        };
        Some(self.collect(request, brought, units.iter().copied(), (min, max)))
    }
}
