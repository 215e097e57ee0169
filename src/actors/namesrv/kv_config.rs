//! The key-value actor: owns `kvConfig.json` and the configuration file, and does the writing.
//!
//! Connections send to it. A change is written before it is published and answered, so a restart
//! loses nothing that was answered; the request being handled is answered "outcome unknown".

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Context, Handler, Message, Supervised};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::shared::{KvMap, Shared};
use super::snapshot::write_whole;
use crate::actors::kernel::{ActorCell, Shutdown};
use crate::actors::net::Responder;
use crate::config::ConfigError;
use crate::protocol::ResponseCode;
use crate::protocol::fastjson::{self, JsonError};

/// Longest that writing a file may take before the actor counts as stuck.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// Largest key-value file that is read, in bytes.
const KV_LEN_MAX: u64 = 64 << 20;
/// Most keys of all namespaces.
const KEYS_MAX: usize = 100_000;

/// Why the key-value file was not read or written.
#[derive(Debug, Error)]
pub enum KvError {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not the JSON that RocketMQ writes.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// It is longer than what is read.
    #[error("the file is too long")]
    TooLong,
}

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

/// `kvConfig.json`: RocketMQ's `KVConfigSerializeWrapper`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct KvFile {
    #[serde(rename = "configTable", default)]
    config_table: KvMap,
}

/// The actor.
pub struct KvConfig {
    cell: Arc<ActorCell>,
    shared: Arc<Shared>,
    path: PathBuf,
}

impl KvConfig {
    /// An actor over tables that [`recover`] filled.
    pub fn new(cell: Arc<ActorCell>, shared: Arc<Shared>) -> Self {
        let path = shared.config.load().namesrv.kv_config_path.clone();
        let shown = shared.clone();
        cell.set_detail(move || {
            let map = shown.kv.load();
            let keys: BTreeMap<&String, usize> = map.iter().map(|(k, v)| (k, v.len())).collect();
            serde_json::json!({ "namespaces": keys })
        });
        Self { cell, shared, path }
    }

    /// Writes, then publishes.
    fn change(&self, responder: Responder, change: impl FnOnce(&mut KvMap)) {
        let mut map = self.shared.kv.load().as_ref().clone();
        change(&mut map);
        if map.values().map(BTreeMap::len).sum::<usize>() > KEYS_MAX {
            responder.fail(ResponseCode::SystemError, "too many keys");
            return;
        }
        match self.cell.blocking(WRITE_LIMIT, || write(&self.path, &map)) {
            Ok(()) => {
                self.shared.kv.store(map);
                responder.success();
            }
            Err(error) => {
                log::error!(
                    "{} not written file={} error={error}",
                    self.cell.path(),
                    self.path.display()
                );
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

/// Reads the file; without one the store is empty. Where the file is damaged its `.bak` is read.
pub fn recover(path: &Path) -> Result<KvMap, KvError> {
    match read(path) {
        Ok(Some(map)) => Ok(map),
        Ok(None) => Ok(read(&beside(path, ".bak"))?.unwrap_or_default()),
        Err(error) => match read(&beside(path, ".bak")) {
            Ok(Some(map)) => {
                log::warn!(
                    "namesrv/kv_config read the backup file={} error={error}",
                    path.display()
                );
                Ok(map)
            }
            _ => Err(error),
        },
    }
}

fn read(path: &Path) -> Result<Option<KvMap>, KvError> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.len() > KV_LEN_MAX => return Err(KvError::TooLong),
        Ok(meta) if meta.len() == 0 => return Ok(None),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let file: KvFile = fastjson::from_slice(&std::fs::read(path)?)?;
    Ok(Some(file.config_table))
}

/// As RocketMQ: the content before goes to `.bak`.
fn write(path: &Path, map: &KvMap) -> Result<(), KvError> {
    if path.exists() {
        let _ = std::fs::copy(path, beside(path, ".bak"));
    }
    let text = fastjson::to_vec(&KvFile {
        config_table: map.clone(),
    })?;
    Ok(write_whole(path, &text)?)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_rocketmqs() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("kvConfig.json");
        assert!(recover(&path).expect("no file").is_empty());
        let mut map = KvMap::new();
        map.entry("NS".into())
            .or_default()
            .insert("k".into(), "v/ü".into());
        write(&path, &map).expect("written");
        let text = std::fs::read_to_string(&path).expect("readable");
        assert_eq!(text, r#"{"configTable":{"NS":{"k":"v/ü"}}}"#);
        assert_eq!(recover(&path).expect("readable"), map);
        map.entry("NS".into())
            .or_default()
            .insert("k".into(), "w".into());
        write(&path, &map).expect("written");
        std::fs::write(&path, "{\"configTable\":{").expect("damaged");
        let before = recover(&path).expect("the backup");
        assert_eq!(before["NS"]["k"], "v/ü");
    }
}
