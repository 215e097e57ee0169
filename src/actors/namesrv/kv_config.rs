//! The key-value actor: owns `kvConfig.json` and the configuration file, and does the writing.
//!
//! Connections send to it. A change is written before it is published and answered, so a restart
//! loses nothing that was answered; the request being handled is answered "outcome unknown".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler, Message, Supervised};
use bytes::Bytes;

use super::shared::{KvMap, Shared};
use crate::actors::kernel::{ActorCell, Shutdown};
use crate::actors::net::Responder;
use crate::config::ConfigError;
use crate::protocol::ResponseCode;
use crate::protocol::body::files::KvConfigTable;
use crate::store::tables::ConfigFile;

/// Longest that writing a file may take before the actor counts as stuck.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// Most keys of all namespaces.
const KEYS_MAX: usize = 100_000;

/// Sets a key (code 100).
#[derive(Message)]
#[rtype(result = "()")]
pub struct Put {
    /// Namespace.
    pub namespace: String,
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// Who is answered.
    pub responder: Responder,
}

/// Deletes a key (code 102).
#[derive(Message)]
#[rtype(result = "()")]
pub struct Delete {
    /// Namespace.
    pub namespace: String,
    /// Key.
    pub key: String,
    /// Who is answered.
    pub responder: Responder,
}

/// Updates the configuration (code 318).
#[derive(Message)]
#[rtype(result = "()")]
pub struct UpdateConfig {
    /// A properties text.
    pub text: Bytes,
    /// Who is answered.
    pub responder: Responder,
}

/// The actor.
pub struct KvConfig {
    cell: Arc<ActorCell>,
    shared: Arc<Shared>,
    file: ConfigFile<KvConfigTable>,
}

impl KvConfig {
    /// An actor over the published table, which is that of `file`.
    pub fn new(cell: Arc<ActorCell>, shared: Arc<Shared>, file: ConfigFile<KvConfigTable>) -> Self {
        let shown = shared.clone();
        cell.set_detail(move || {
            let map = shown.kv.load();
            let keys: BTreeMap<&String, usize> = map.iter().map(|(k, v)| (k, v.len())).collect();
            serde_json::json!({ "namespaces": keys })
        });
        Self { cell, shared, file }
    }

    /// Writes, then publishes.
    fn change(&mut self, responder: Responder, change: impl FnOnce(&mut KvMap)) {
        let mut map = self.shared.kv.load().as_ref().clone();
        change(&mut map);
        if map.values().map(BTreeMap::len).sum::<usize>() > KEYS_MAX {
            responder.fail(ResponseCode::SystemError, "too many keys");
            return;
        }
        let table = KvConfigTable { config_table: map };
        let (cell, file) = (&self.cell, &mut self.file);
        match cell.blocking(WRITE_LIMIT, || file.save(&table)) {
            Ok(_) => {
                self.shared.kv.store(table.config_table);
                responder.success();
            }
            Err(error) => {
                log::error!("{} not written error={error}", self.cell.path());
                responder.fail(ResponseCode::SystemError, &format!("not written: {error}"));
            }
        }
    }
}

impl Actor for KvConfig {
    type Context = Context<Self>;
}

impl Supervised for KvConfig {}

crate::crashable!(KvConfig);

impl Handler<Put> for KvConfig {
    type Result = ();

    fn handle(&mut self, put: Put, _: &mut Self::Context) {
        self.cell.begin_work();
        log::info!(
            "{} put namespace={} key={}",
            self.cell.path(),
            put.namespace,
            put.key
        );
        self.change(put.responder, |map| {
            map.entry(put.namespace)
                .or_default()
                .insert(put.key, put.value);
        });
    }
}

impl Handler<Delete> for KvConfig {
    type Result = ();

    fn handle(&mut self, delete: Delete, _: &mut Self::Context) {
        self.cell.begin_work();
        let known = self.shared.kv.get(&delete.namespace, &delete.key).is_some();
        if !known {
            delete.responder.success();
            return;
        }
        log::info!(
            "{} delete namespace={} key={}",
            self.cell.path(),
            delete.namespace,
            delete.key
        );
        self.change(delete.responder, |map| {
            if let Some(table) = map.get_mut(&delete.namespace) {
                table.remove(&delete.key);
            }
        });
    }
}

impl Handler<UpdateConfig> for KvConfig {
    type Result = ();

    fn handle(&mut self, update: UpdateConfig, _: &mut Self::Context) {
        self.cell.begin_work();
        let config = &self.shared.config;
        match self
            .cell
            .blocking(WRITE_LIMIT, || config.update(&update.text))
        {
            Ok(_) => update.responder.success(),
            Err(error @ ConfigError::BlackListed { .. }) => {
                update
                    .responder
                    .fail(ResponseCode::NoPermission, &error.to_string());
            }
            Err(error) => {
                log::warn!("{} configuration refused error={error}", self.cell.path());
                update
                    .responder
                    .fail(ResponseCode::SystemError, &error.to_string());
            }
        }
    }
}

impl Handler<Shutdown> for KvConfig {
    type Result = ();

    fn handle(&mut self, _: Shutdown, ctx: &mut Self::Context) {
        self.cell.begin_work();
        ctx.stop();
    }
}
