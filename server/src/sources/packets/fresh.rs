//! Packets for questions whose answer has to be new: what is held is good for seconds.

use std::time::Duration;

use pkdns_dht::{NetworkError, signed_packet::PublicKey};
use tokio::time::{Instant, timeout};

use super::{Asker, FetchError, Found, PacketAnswer, Packets, Search, SearchOutcome, Staleness};
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
        let (_, known) = self.look_here(key, &self.0.stores).await;
        if let Some(recent) = self.0.memory.look_within(key, FRESH_AGE, Instant::now()) {
            return (Farthest::Memory, recent.map_err(FetchError::Network));
        }
        let held = match known {
            Some(Ok(PacketAnswer::Found(found))) => Some(found),
            _ => None,
        };
        let wanted = if held.is_some() { Search::Fresh } else { Search::Unseen };
        let search = self.search_newest(key, asker.into().starter(wanted), || admit(wanted));
        let outdated = |found: Option<Found>, why: Staleness| {
            let (fresh_for, refresh_in) = (RETRY, RETRY);
            found.map(|found| PacketAnswer::Found(Found { stale: Some(why), fresh_for, refresh_in, ..found }))
        };
        let answer = match timeout(PATIENCE, search).await.unwrap_or(Err(FlightError::Lost)) {
            Ok(SearchOutcome::Found(found)) => Ok(PacketAnswer::Found(found.limited_to(FRESH_AGE))),
            Ok(SearchOutcome::Absent { held, believed }) => {
                let absent = PacketAnswer::Absent(believed.min(FRESH_AGE));
                Ok(outdated(held, Staleness::Forgotten).unwrap_or(absent))
            }
            Ok(SearchOutcome::Failed { held: newer, error }) => {
                let answer = outdated(newer.or(held), Staleness::Unreachable(error));
                answer.ok_or(FetchError::Network(error))
            }
            Err(FlightError::Refused) if !held_will_do => {
                return (Farthest::Memory, Err(FetchError::Refused));
            }
            Err(error) => {
                let error = FetchError::from(error);
                let why = match error {
                    FetchError::Network(error) => Staleness::Unreachable(error),
                    FetchError::Refused => Staleness::Unreachable(NetworkError::Busy),
                };
                outdated(held, why).ok_or(error)
            }
        };
        (Farthest::Dht, answer)
    }
}
