//! Packets for questions whose answer has to be new: what is held is good for seconds.

use std::time::Duration;

use pkdns_dht::{NetworkError, signed_packet::PublicKey};
use tokio::time::{Instant, timeout};

use super::{Asker, FetchError, Held, PacketAnswer, Packets, Search, Staleness};
use crate::base::{metrics::Farthest, single_flight::FlightError};

/// How old a packet may be that such a question is answered from.
pub const FRESH_AGE: Duration = Duration::from_secs(10);

/// How long such a question waits for the network before it gets what is held from before. Within the time of a query.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long what is held from before is given, when the network could not say: the next question asks it again.
const RETRY: Duration = Duration::from_secs(5);

impl Packets {
    /// As [`Packets::find`], with a packet that the network confirmed no more than [`FRESH_AGE`] ago, or an absence. Where
    /// the network does not say, the packet that is held is better than nothing: it is marked as stale then, whatever its
    /// own time is. `fresh_for` ends when the packet is too old for this. Where the search is not admitted, that is so only
    /// if `held_will_do`: whoever can come again in another way had better hear of it.
    pub async fn find_fresh(
        &self,
        key: &PublicKey,
        asker: impl Into<Asker>,
        admit: impl FnOnce(Search) -> bool,
        held_will_do: bool,
    ) -> (Farthest, Result<PacketAnswer, FetchError>) {
        let memory = &self.0.memory;
        if !memory.holds(key) {
            self.load(key, self.0.stores.clone()).await;
        }
        if let Some(answer) = self.recent(key) {
            return (Farthest::Memory, answer);
        }
        let search = if memory.holds(key) { Search::Fresh } else { Search::Unseen };
        let newest = self.newest_for(key, asker.into().starter(search), || admit(search));
        let failure = match timeout(PATIENCE, newest).await {
            // A search without a packet leaves what is held as it was.
            Ok(Ok(_)) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_) => Some(FetchError::Network(NetworkError::Unreachable)),
        };
        if failure == Some(FetchError::Refused) && !held_will_do {
            return (Farthest::Memory, self.recent(key).unwrap_or(Err(FetchError::Refused)));
        }
        let answer = self.recent(key).unwrap_or_else(|| {
            let Some(mut found) = memory.last_resort(key, Instant::now()) else {
                return failure.map_or(Ok(PacketAnswer::Absent(RETRY)), Err);
            };
            found.stale = Some(match failure {
                None => Staleness::Forgotten,
                Some(FetchError::Network(error)) => Staleness::Unreachable(error),
                Some(FetchError::Refused) => Staleness::Unreachable(NetworkError::Busy),
            });
            (found.fresh_for, found.refresh_in) = (RETRY, RETRY);
            Ok(PacketAnswer::Found(found))
        });
        (Farthest::Dht, answer)
    }

    /// What the network has said of a key in the last seconds.
    fn recent(&self, key: &PublicKey) -> Option<Result<PacketAnswer, FetchError>> {
        Some(match self.0.memory.look_within(key, FRESH_AGE, Instant::now())? {
            Held::Packet { mut found, .. } => {
                let left = FRESH_AGE.saturating_sub(found.age);
                found.fresh_for = found.fresh_for.min(left);
                found.refresh_in = found.refresh_in.min(left);
                Ok(PacketAnswer::Found(found))
            }
            Held::Absent(left) => Ok(PacketAnswer::Absent(left)),
            Held::Failed(failure) => Err(FetchError::Network(failure)),
        })
    }
}

impl From<FlightError> for FetchError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Refused => Self::Refused,
            FlightError::Busy => Self::Network(NetworkError::Busy),
            FlightError::Lost => Self::Network(NetworkError::Unreachable),
        }
    }
}
