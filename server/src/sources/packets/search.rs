//! Searches in the network: one per key, in turns. Each returns what it found, and leaves it in memory and in the stores.

use std::time::{Duration, SystemTime};

use pkdns_dht::{
    Evidence, NetworkError,
    signed_packet::{PublicKey, SignedPacket},
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{FetchError, Found, PacketAnswer, Packets, SearchOutcome, Starter, memory::PROVISIONAL};
use crate::base::{client::Line, fair_queue::Permit, single_flight::FlightError};

/// A search is given up after this, whatever the network does.
const SEARCH_DEADLINE: Duration = Duration::from_secs(10);

/// A search that has begun.
struct RunningSearch {
    key: PublicKey,
    /// Closes when it ends.
    packets: mpsc::UnboundedReceiver<SignedPacket>,
    end: JoinHandle<Result<Evidence, NetworkError>>,
}

impl Packets {
    /// What the network says now, whatever is held: the newest packet that a search to its end brings, or that is held
    /// and newer. Searches that are asked for meanwhile for the same key share one.
    pub async fn newest(&self, key: &PublicKey, client: impl Into<Line>) -> Result<PacketAnswer, FetchError> {
        self.search_newest(key, Starter::Client(client.into()), || true).await?.network_answer()
    }

    /// Searches to the end, or waits for the search that goes on.
    pub(super) async fn search_newest(
        &self,
        key: &PublicKey,
        starter: Starter,
        admit: impl FnOnce() -> bool,
    ) -> Result<SearchOutcome, FlightError> {
        let (packets, wanted) = (self.clone(), key.clone());
        let search = move |permit| Some(packets.run_to_end(wanted, permit));
        self.0.newest.run(starter, *key.as_bytes(), admit, search).await
    }

    /// Searches until the first packet, or waits for the search that goes on. Behind that packet it goes on to its end.
    pub(super) async fn search_first(
        &self,
        key: &PublicKey,
        starter: Starter,
        admit: impl FnOnce() -> bool,
    ) -> Result<SearchOutcome, FlightError> {
        let (packets, wanted) = (self.clone(), key.clone());
        let search = move |permit| Some(packets.run_to_first(wanted, permit));
        let outcome = self.0.first.run(starter, *key.as_bytes(), admit, search).await;
        if outcome.is_err() {
            // The next who asks may begin one.
            self.0.memory.end_refresh(key);
        }
        outcome
    }

    async fn run_to_first(self, key: PublicKey, permit: Permit<Starter>) -> SearchOutcome {
        let mut search = self.begin(key, permit);
        let Some(first) = self.next(&mut search).await else { return self.end_in_vain(search).await };
        self.give_to_stores(first.packet.clone(), PROVISIONAL, false);
        let found = first.clone();
        tokio::spawn(async move { self.complete(search, found).await });
        SearchOutcome::Found(first)
    }

    async fn run_to_end(self, key: PublicKey, permit: Permit<Starter>) -> SearchOutcome {
        let mut search = self.begin(key, permit);
        match self.next(&mut search).await {
            Some(first) => SearchOutcome::Found(self.complete(search, first).await),
            None => self.end_in_vain(search).await,
        }
    }

    fn begin(&self, key: PublicKey, permit: Permit<Starter>) -> RunningSearch {
        let (sender, packets) = mpsc::unbounded_channel();
        let (network, wanted) = (self.0.network.clone(), key.clone());
        let lookup = async move {
            let _permit = permit;
            network.lookup(&wanted, sender).await
        };
        // A task of its own, so that it outlives this one; if it panics, that reads as a network that said nothing.
        let end = tokio::spawn(async move {
            timeout(SEARCH_DEADLINE, lookup).await.unwrap_or(Err(NetworkError::Unreachable))
        });
        RunningSearch { key, packets, end }
    }

    /// Waits for the next packet that is believed, and returns the newest one then. `None` when the search ends.
    async fn next(&self, search: &mut RunningSearch) -> Option<Found> {
        while let Some(packet) = search.packets.recv().await {
            let newest = self.0.memory.store(&packet, Instant::now());
            if newest.is_some() {
                return newest;
            }
        }
        None
    }

    /// Waits for the packets behind `newest`, and returns the newest of all.
    async fn complete(&self, mut search: RunningSearch, mut newest: Found) -> Found {
        while let Some(newer) = self.next(&mut search).await {
            newest = newer;
        }
        let newest = self.confirm(&newest.packet).unwrap_or(newest);
        if let Ok(Ok(evidence)) = search.end.await {
            self.0.sightings.saw_holders(&search.key, evidence, SystemTime::now());
        }
        newest
    }

    /// `packet`, or what is held and newer, is the newest that there is.
    pub(super) fn confirm(&self, packet: &SignedPacket) -> Option<Found> {
        let newest = self.0.memory.confirm(packet, Instant::now())?;
        self.0.sightings.saw_version(packet.key(), newest.packet.timestamp(), SystemTime::now());
        self.give_to_stores(newest.packet.clone(), newest.fresh_for, true);
        Some(newest)
    }

    /// What a search without a packet says: nothing, that there is none, or why the network says nothing.
    async fn end_in_vain(&self, search: RunningSearch) -> SearchOutcome {
        let (memory, key) = (&self.0.memory, &search.key);
        let error = match search.end.await {
            Ok(Ok(Evidence { responded: 1.., .. })) => return memory.store_absence(key, Instant::now()),
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => NetworkError::Unreachable,
        };
        if error == NetworkError::Busy {
            // Says something about this moment, nothing about the key.
            memory.end_refresh(key);
            return SearchOutcome::Failed { held: None, error };
        }
        memory.store_failure(key, error, Instant::now())
    }
}
