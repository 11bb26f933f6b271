//! Packets on their way to the network, and from there to whoever asks here.

use std::time::Duration;

use pkdns_dht::{NetworkError, PutError, signed_packet::SignedPacket};
use tokio::time::timeout;

use super::Packets;
use crate::base::single_flight::FlightError;

/// Packets under way to the network at once, each of another key. Each takes about 60 datagrams.
pub(super) const MAX_PUBLICATIONS: usize = 256;

/// Whoever stores a packet waits this long, with what it waits for another one of the same key.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A packet, the timestamp of the one that it is to replace, and what became of it.
pub(super) type Published = ((SignedPacket, Option<u64>), Result<u32, PutError>);

impl Packets {
    /// Stores `packet` on the network, and keeps it here as if it had been found there: it is the answer from now on.
    /// Returns how many nodes confirmed it. With `cas`, it may only replace the packet of that timestamp.
    ///
    /// Packets of one key are stored one after the other. This goes on when the caller leaves.
    ///
    /// # Errors
    ///
    /// What the network or the memory holds does not admit it, or the network could not be asked: nothing is kept then.
    /// [`NetworkError::Busy`] also when it takes over 10 s.
    pub async fn put(&self, packet: SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
        let key = *packet.key().as_bytes();
        let wanted = (packet, cas);
        let stored = async {
            loop {
                let (packets, publication) = (self.clone(), wanted.clone());
                let work = || {
                    Some(async move {
                        let result = packets.publish(&publication.0, publication.1).await;
                        (publication, result)
                    })
                };
                match self.0.publications.run(key, work).await {
                    Ok((done, result)) if done == wanted => return result,
                    // Another packet of this key was under way.
                    Ok(_) => {}
                    Err(FlightError::Busy | FlightError::Refused) => return Err(NetworkError::Busy.into()),
                    Err(FlightError::Lost) => return Err(NetworkError::Unreachable.into()),
                }
            }
        };
        timeout(LONGEST_WAIT, stored).await.unwrap_or(Err(NetworkError::Busy.into()))
    }

    async fn publish(&self, packet: &SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
        self.load(packet.key(), &self.0.stores).await;
        self.0.memory.admits(packet, cas)?;
        let nodes = self.0.network.store(packet, cas).await?;
        self.confirm(packet);
        Ok(nodes)
    }
}
