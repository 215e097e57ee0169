//! Where the masters of other brokers are, as NameServers know (`BrokerOuterAPI.refreshMetadata`).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::AcqRel, Ordering::Relaxed, Ordering::Release},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;

use super::Registrars;
use crate::protocol::{
    RemotingCommand, RequestCode, ResponseCode,
    body::route::{BrokerData, ClusterInfo},
    fastjson,
};

/// How long an address is used.
const KNOWN_FOR: Duration = Duration::from_secs(5);
/// How long a broker that is not known is not asked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
/// How long one NameServer may take.
const TIMEOUT: Duration = Duration::from_secs(3);

struct Known {
    asked: Instant,
    masters: BTreeMap<String, String>,
}

/// Addresses that were asked for.
#[derive(Default)]
pub(super) struct Masters {
    known: ArcSwapOption<Known>,
    /// One of them did not answer.
    doubted: AtomicBool,
    /// Somebody asks: others use what is known meanwhile.
    asking: AtomicBool,
}

/// Somebody asks, until this is dropped.
struct Asking<'a>(&'a AtomicBool);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.store(false, Release);
    }
}

impl Registrars {
    /// The address of the master of a broker's name; `None` where no NameServer knows one.
    pub async fn master_of(&self, broker: &str) -> Option<String> {
        let masters = &self.0.masters;
        let known = masters.known.load_full();
        let addr = known
            .as_ref()
            .and_then(|known| known.masters.get(broker).cloned());
        if let Some(known) = &known
            && !masters.doubted.load(Relaxed)
        {
            let limit = if addr.is_some() {
                KNOWN_FOR
            } else {
                UNKNOWN_FOR
            };
            if known.asked.elapsed() < limit {
                return addr;
            }
        }
        let is_first = !masters.asking.swap(true, AcqRel);
        let asking = is_first.then(|| Asking(&masters.asking));
        if asking.is_none() && addr.is_some() {
            return addr;
        }
        let Some(info) = self.ask_cluster().await else {
            return addr;
        };
        let of_broker =
            |(name, data): (String, BrokerData)| Some((name, data.master_addr()?.to_owned()));
        let fresh = Known {
            asked: Instant::now(),
            masters: info
                .broker_addr_table
                .into_iter()
                .filter_map(of_broker)
                .collect(),
        };
        let addr = fresh.masters.get(broker).cloned();
        masters.known.store(Some(Arc::new(fresh)));
        masters.doubted.store(false, Relaxed);
        addr
    }

    /// A master did not answer: its address is asked for again before it is used.
    pub fn doubt_masters(&self) {
        self.0.masters.doubted.store(true, Relaxed);
    }

    async fn ask_cluster(&self) -> Option<ClusterInfo> {
        for addr in self.addresses_alive_first() {
            let request =
                RemotingCommand::request_without_header(RequestCode::GetBrokerClusterInfo);
            let Ok(answer) = self.0.client.call(&addr, request, TIMEOUT).await else {
                continue;
            };
            if answer.code == ResponseCode::Success.code() {
                return fastjson::from_slice(&answer.body).ok();
            }
        }
        None
    }
}
