//! A network and a client in it, for who lives in the paused time of tokio.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a search of the simulator that does not end fails the test"
)]

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Offline, OfflineClient};
use crate::{
    DhtSettings, Evidence, Network, NetworkError, PutError,
    signed_packet::{PublicKey, SignedPacket},
    simulator::World,
};

/// What a client does for so long when nobody wants anything of it is done; the rest of the time is left out where
/// the test is not optimised. It then knows less of the nodes than in reality.
const LEISURE: Duration =
    if cfg!(debug_assertions) { Duration::from_secs(2) } else { Duration::from_secs(3600) };

/// The network and a client in it. Their time is that of tokio.
#[derive(Debug)]
pub struct Joined(Mutex<(Offline, OfflineClient)>);

impl Joined {
    /// Starts the network, and a client that joins it.
    ///
    /// # Errors
    ///
    /// Where the world cannot be ([`io::ErrorKind::InvalidInput`]).
    pub fn new(world: World) -> io::Result<Self> {
        let mut network = Offline::on_loopback(world)?;
        let client = join(&mut network, true);
        Ok(Self(Mutex::new((network, client))))
    }

    /// A client that has never asked for anything looks for the key.
    pub fn find_as_other(&self, key: &PublicKey) -> Option<SignedPacket> {
        let (network, _) = &mut *self.at_present();
        find(&mut join(network, false), network, key, false).ok()?.0
    }

    fn at_present(&self) -> MutexGuard<'_, (Offline, OfflineClient)> {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (network, client) = &mut *both;
        let now = Instant::now().into_std().duration_since(network.start);
        rest(client, network, now);
        both
    }
}

#[async_trait]
impl Network for Joined {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        let (result, end) = {
            let (network, client) = &mut *self.at_present();
            (find(client, network, key, false), network.now)
        };
        sleep_until(end.into()).await;
        let (packet, evidence) = result?;
        packet.map(|packet| found.send(packet));
        Ok(evidence)
    }

    async fn store(&self, packet: &SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
        let (result, end) = {
            let (network, client) = &mut *self.at_present();
            (put(client, network, packet, cas), network.now)
        };
        sleep_until(end.into()).await;
        result
    }
}

pub(super) fn join(network: &mut Offline, explore: bool) -> OfflineClient {
    let settings = DhtSettings { explore, ..DhtSettings::on_loopback(Vec::new()) };
    OfflineClient::join(network, &settings).unwrap()
}

/// Lets time pass in which nobody wants anything.
pub(super) fn rest(client: &mut OfflineClient, network: &mut Offline, until: Duration) {
    client.run(network, until.min(network.now() + LEISURE));
    if network.now() < until {
        client.skip(network, until);
    }
}

/// What is newest, as [`Dht::most_recent`](crate::Dht::most_recent) finds it for who `may_publish` next, or as a
/// lookup that goes to its end.
pub(super) fn find(
    client: &mut OfflineClient,
    network: &mut Offline,
    key: &PublicKey,
    may_publish: bool,
) -> Result<(Option<SignedPacket>, Evidence), NetworkError> {
    let place =
        if may_publish { client.search_to_publish(network, key) } else { client.search(network, key) };
    client.run_until_done(network);
    let search = &client.searches()[place];
    let evidence = search.result.expect("it never ends")?;
    Ok((search.newest.clone(), evidence))
}

pub(super) fn put(
    client: &mut OfflineClient,
    network: &mut Offline,
    packet: &SignedPacket,
    cas: Option<u64>,
) -> Result<u32, PutError> {
    let place = client.publish(network, packet, cas);
    client.run_until_done(network);
    client.publications()[place].result.clone().expect("it never ends")
}
