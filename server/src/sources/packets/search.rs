//! Searches in the network: one per key, in turns, with what they find in memory and in the stores.

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

use super::{FetchError, LONGEST_QUEUEING, PacketAnswer, Packets, Starter, memory::PROVISIONAL};
use crate::base::{client::Line, fair_queue::Permit, single_flight::FlightError};

/// A search is given up after this, whatever the network does.
const SEARCH_DEADLINE: Duration = Duration::from_secs(10);

/// A search that has begun.
struct Lookup {
    /// Closes when it ends.
    found: mpsc::UnboundedReceiver<SignedPacket>,
    end: JoinHandle<Result<Evidence, NetworkError>>,
}

impl Packets {
    /// What the network says now, whatever is held: the newest packet that a search to its end brings, or that is held
    /// and newer. Searches that are asked for meanwhile for the same key share one.
    pub async fn newest(&self, key: &PublicKey, client: impl Into<Line>) -> Result<PacketAnswer, FetchError> {
        self.newest_for(key, Starter::Client(client.into()), || true).await
    }

    /// As [`Packets::newest`], if the search may begin.
    pub(super) async fn newest_for(
        &self,
        key: &PublicKey,
        starter: Starter,
        admit: impl FnOnce() -> bool,
    ) -> Result<PacketAnswer, FetchError> {
        let (packets, wanted) = (self.clone(), key.clone());
        let search = move |permit| Some(packets.search_to_the_end(wanted, permit));
        self.0.updates.run(starter, *key.as_bytes(), admit, search).await?
    }

    /// Returns when the memory knows more: at the first packet, or at the end of the search. If it knows no more, the
    /// network could not be asked at this moment.
    pub(super) async fn search(
        &self,
        key: &PublicKey,
        starter: Starter,
        admit: impl FnOnce() -> bool,
    ) -> Result<(), FlightError> {
        let (packets, wanted) = (self.clone(), key.clone());
        let search = move |permit| Some(packets.search_until_first(wanted, permit));
        let searched = self.0.searches.run(starter, *key.as_bytes(), admit, search).await;
        if searched.is_err() {
            // The next who asks may begin one.
            self.0.memory.end_refresh(key);
        }
        searched
    }

    async fn search_until_first(self, key: PublicKey, permit: Permit<Starter>) {
        let Lookup { mut found, end } = self.begin_lookup(&key, permit);
        while let Some(first) = found.recv().await {
            if self.0.memory.store(&first, Instant::now()) {
                self.keep(first, PROVISIONAL, false);
                tokio::spawn(async move { self.complete(key, found, end).await });
                return;
            }
        }
        // What it says is in memory.
        let _ = self.end_in_vain(&key, end).await;
    }

    /// As [`Packets::newest`], for a packet that is to be stored again.
    pub(super) async fn newest_for_refresh(&self, key: PublicKey) -> Result<PacketAnswer, FetchError> {
        let Ok(Ok(permit)) = timeout(LONGEST_QUEUEING, self.0.lookups.acquire(Starter::Refresh)).await else {
            self.0.memory.end_refresh(&key);
            return Err(FetchError::Network(NetworkError::Busy));
        };
        self.clone().search_to_the_end(key, permit).await
    }

    async fn search_to_the_end(
        self,
        key: PublicKey,
        permit: Permit<Starter>,
    ) -> Result<PacketAnswer, FetchError> {
        let Lookup { mut found, end } = self.begin_lookup(&key, permit);
        let mut is_found = false;
        while let Some(packet) = found.recv().await {
            is_found |= self.0.memory.store(&packet, Instant::now());
        }
        if !is_found {
            self.end_in_vain(&key, end).await.map_err(FetchError::Network)?;
            return Ok(PacketAnswer::Absent(Duration::ZERO));
        }
        self.complete(key.clone(), found, end).await;
        let found = self.0.memory.last_resort(&key, Instant::now());
        Ok(found.map_or(PacketAnswer::Absent(Duration::ZERO), PacketAnswer::Found))
    }

    fn begin_lookup(&self, key: &PublicKey, permit: Permit<Starter>) -> Lookup {
        let (sender, found) = mpsc::unbounded_channel();
        let (network, key) = (self.0.network.clone(), key.clone());
        let lookup = async move {
            let _permit = permit;
            network.lookup(&key, sender).await
        };
        // A task of its own, so that it outlives this one; if it panics, that reads as a network that said nothing.
        let end = tokio::spawn(async move {
            timeout(SEARCH_DEADLINE, lookup).await.unwrap_or(Err(NetworkError::Unreachable))
        });
        Lookup { found, end }
    }

    /// Notes what a search without a packet says: nothing, that there is none, or why the network says nothing.
    async fn end_in_vain(
        &self,
        key: &PublicKey,
        end: JoinHandle<Result<Evidence, NetworkError>>,
    ) -> Result<(), NetworkError> {
        let memory = &self.0.memory;
        let outcome = end.await.unwrap_or(Err(NetworkError::Unreachable));
        let now = Instant::now();
        match outcome {
            Ok(Evidence { responded: 1.., .. }) => {
                memory.store_absence(key, now);
                Ok(())
            }
            // Says something about this moment, nothing about the key.
            Err(NetworkError::Busy) => {
                memory.end_refresh(key);
                Err(NetworkError::Busy)
            }
            failure => {
                let failure = failure.err().unwrap_or(NetworkError::Unreachable);
                memory.store_failure(key, failure, now);
                Err(failure)
            }
        }
    }

    /// Takes what comes after the first packet. The channel closes when the search ends.
    async fn complete(
        &self,
        key: PublicKey,
        mut found: mpsc::UnboundedReceiver<SignedPacket>,
        end: JoinHandle<Result<Evidence, NetworkError>>,
    ) {
        while let Some(newer) = found.recv().await {
            self.0.memory.store(&newer, Instant::now());
        }
        self.settle(&key);
        if let Ok(Ok(evidence)) = end.await {
            self.0.sightings.note_holders(&key, evidence, SystemTime::now());
        }
    }

    /// What is held of `key` is the newest that there is.
    pub(super) fn settle(&self, key: &PublicKey) {
        if let Some((newest, lifetime)) = self.0.memory.complete(key, Instant::now()) {
            self.0.sightings.note_version(key, newest.timestamp(), SystemTime::now());
            self.keep(newest, lifetime, true);
        }
    }
}
