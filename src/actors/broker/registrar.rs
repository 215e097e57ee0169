//! Stub.
#![allow(missing_docs)]
use crate::{
    actors::kernel::Tree,
    config::{Live, broker::BrokerConfig},
};
use std::sync::Arc;
pub struct Registrars;
impl Registrars {
    pub fn new(
        _: &Tree,
        _: &str,
        _: &actix::ArbiterHandle,
        _: Arc<Live<BrokerConfig>>,
        _: super::tables::topics::Topics,
    ) -> Self {
        Self
    }
    pub fn start(&self) {}
    pub async fn unregister(&self) {}
}
