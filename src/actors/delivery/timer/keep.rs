//! What the timer writes down: its progress after each batch, and now and then, durably, all of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{ActorContext, ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::TimerActor;
use crate::{
    actors::kernel::lock,
    store::{now_ms, timer::Progress},
};

/// Files are synced at least this often, though nothing was taken in.
const SYNC_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

impl TimerActor {
    /// Writes down how far the timer is.
    pub(super) fn commit(&mut self) {
        let parts = &self.parts;
        let Some(running) = &mut self.running else {
            return;
        };
        running
            .leftovers
            .forget_behind(running.read_time_ms, running.queue_offset);
        let master_queue_offset = match parts.delivers {
            true => running.queue_offset,
            false => running.known_master.master_timer_queue_offset,
        };
        let end = parts.store.watermarks.appended();
        let reading = running.reading.as_ref();
        let log_position = reading
            .map_or(end, |reading| reading.log_position)
            .min(running.leftovers.log_position);
        let progress = Progress {
            read_time_ms: running.read_time_ms,
            queue_offset: running.queue_offset,
            master_queue_offset,
            log_position: parts.delivers.then_some(log_position),
        };
        if let Err(error) = running.store.commit(&progress, now_ms()) {
            // What is on disk tells of less than was done: the next commit, or the search at the next
            // start, makes up for it.
            log::warn!("{} cannot write timercheck: {error}", self.cell.path());
            self.cell.set_last_error(&error.to_string());
        }
        parts.marks.set_checkpoint(*running.store.checkpoint());
        parts
            .marks
            .publish(running.store.pending(), running.queue_offset);
    }

    /// Syncs the files, on a thread that may wait, and writes timermetrics.
    pub(super) fn sync(&mut self, ctx: &mut Context<Self>) {
        let Some(running) = self.running.as_mut().filter(|_| !self.syncing) else {
            return;
        };
        let unsynced = running.store.take_unsynced();
        if unsynced.is_log_clean() && self.last_sync.elapsed() < SYNC_AT_LEAST_EVERY {
            return;
        }
        self.syncing = true;
        self.last_sync = Instant::now();
        let (file, marks) = (Arc::clone(&self.parts.file), Arc::clone(&self.parts.marks));
        let syncing = tokio::task::spawn_blocking(move || {
            unsynced.sync()?;
            lock(&file).save(&marks.metrics()).map(drop)
        });
        ctx.spawn(syncing.into_actor(self).map(|synced, actor, _| {
            actor.syncing = false;
            if let Ok(Err(error)) = synced {
                log::warn!("{} cannot sync: {error}", actor.cell.path());
                actor.cell.set_last_error(&error.to_string());
            }
        }));
    }

    pub(super) fn clean(&mut self) {
        let min_offset = self.parts.store.watermarks.log().min_offset();
        let Some(running) = &mut self.running else {
            return;
        };
        match running.store.delete_expired(min_offset) {
            Ok(0) => {}
            Ok(files) => log::info!("{} removed {files} files of the log", self.cell.path()),
            Err(error) => log::warn!("{} cannot remove a file: {error}", self.cell.path()),
        }
    }

    /// The orderly end: all is synced, so that a Java broker finds everything.
    pub(super) fn stop(&mut self, ctx: &mut Context<Self>) {
        if let Some(mut running) = self.running.take() {
            let synced = running.store.take_unsynced().sync();
            let saved = synced.and_then(|()| {
                let metrics = self.parts.marks.metrics();
                lock(&self.parts.file).save(&metrics).map(drop)
            });
            if let Err(error) = saved {
                log::warn!("{} cannot sync: {error}", self.cell.path());
            }
        }
        if let Some(waits) = self.stopping.take() {
            let _ = waits.send(());
        }
        ctx.stop();
    }
}
