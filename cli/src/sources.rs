//! The DHT, and the relays that the user named, as one place to read from and to write to.

use std::time::Duration;

use futures_util::future::join_all;
use pkdns::{
    config::RelayUrl,
    sources::relay_client::{RelayError, Relays},
};
use pkdns_dht::{
    Dht, Evidence,
    signed_packet::{PublicKey, SignedPacket},
};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    failure::Failure,
    network,
    terminal::{self, printable},
};

/// Nodes to know before many keys are asked for, and how long they are waited for: a local network may have fewer.
const ENOUGH_NODES: usize = 32;
const SETTLING: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where packets are read and stored.
pub(crate) struct Sources {
    dht: Dht,
    not_joined: String,
    patience: Duration,
    relays: Relays,
}

/// What everybody holds of a key.
pub(crate) struct Holdings {
    /// What the DHT holds, or why it could not be asked.
    pub(crate) dht: Result<(Option<SignedPacket>, Evidence), Failure>,
    /// What became of the request to each relay.
    pub(crate) relays: Vec<RelayReport>,
    /// The newest packet that anybody holds.
    pub(crate) newest: Option<SignedPacket>,
}

/// What became of a request to a relay.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RelayReport {
    pub(crate) relay: String,
    /// When the packet that it gave was signed, in microseconds since 1970. For a relay that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timestamp: Option<u64>,
    /// On how many DHT nodes it stored the packet. For a relay that was written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nodes: Option<u32>,
    /// Why it gave or stored none, unless it said that there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Sources {
    /// `not_joined` is what to say when the DHT cannot be joined within `patience`.
    pub(crate) fn new(dht: Dht, not_joined: String, patience: Duration, relays: Relays) -> Self {
        Self { dht, not_joined, patience, relays }
    }

    pub(crate) fn dht(&self) -> &Dht {
        &self.dht
    }

    /// Waits until some nodes are known, before many keys are asked for at once: where there is but one to begin with, a
    /// datagram that gets lost is a failure. Where there are relays, they may do without the DHT.
    pub(crate) async fn join(&self) -> Result<(), Failure> {
        let end = Instant::now() + SETTLING;
        match self.join_dht().await {
            Err(failure) if self.relays.is_empty() => return Err(failure),
            Err(_) | Ok(()) => {}
        }
        while self.dht.info().await.table_size < ENOUGH_NODES && Instant::now() < end {
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Asks the DHT and all relays about `key` at once. Who failed is named on standard error.
    ///
    /// # Errors
    ///
    /// When neither the DHT nor any relay answered.
    pub(crate) async fn read(&self, key: &PublicKey) -> Result<Holdings, Failure> {
        let gets = join_all(self.relays.iter().map(async |relay| (relay.url(), relay.get(key).await)));
        let (dht, answers) = tokio::join!(self.read_dht(key), gets);
        let has_answered = dht.is_ok() || answers.iter().any(|(_, answer)| answer.is_ok());
        let mut newest = dht.as_ref().ok().and_then(|(packet, _)| packet.clone());
        let mut relays = Vec::new();
        for (url, answer) in answers {
            let mut report = RelayReport::new(url, answer.as_ref().err());
            if let Ok(Some(packet)) = answer {
                report.timestamp = Some(packet.timestamp());
                if newest.as_ref().is_none_or(|newest| packet.is_newer_than(newest)) {
                    newest = Some(packet);
                }
            }
            relays.push(report);
        }
        match dht {
            Err(failure) if !has_answered => return Err(failure),
            Err(ref failure) => terminal::note(&format!("warning: {failure}")),
            Ok(_) => {}
        }
        Ok(Holdings { dht, relays, newest })
    }

    /// Stores `packet` at all relays at once. Who failed is named on standard error.
    pub(crate) async fn store_at_relays(
        &self,
        packet: &SignedPacket,
    ) -> Vec<(RelayReport, Result<u32, RelayError>)> {
        let puts = self.relays.iter().map(async |relay| {
            let stored = relay.put(packet).await;
            let mut report = RelayReport::new(relay.url(), stored.as_ref().err());
            report.nodes = stored.as_ref().ok().copied();
            (report, stored)
        });
        join_all(puts).await
    }

    async fn join_dht(&self) -> Result<(), Failure> {
        let joined = self.dht.ready(self.patience).await;
        joined.map_err(|_| Failure::Unreachable(self.not_joined.clone()))
    }

    async fn read_dht(&self, key: &PublicKey) -> Result<(Option<SignedPacket>, Evidence), Failure> {
        self.join_dht().await?;
        self.dht.most_recent(key).await.map_err(network::unreachable)
    }
}

impl RelayReport {
    fn new(url: &RelayUrl, error: Option<&RelayError>) -> Self {
        // The cause may quote what somebody on the way sent.
        let error = error.map(|error| printable(&error.to_string()));
        if let Some(error) = &error {
            terminal::note(&format!("warning: relay {url}: {error}"));
        }
        Self { relay: url.to_string(), timestamp: None, nodes: None, error }
    }
}
