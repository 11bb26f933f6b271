//! What the network has just said, for questions whose answer has to be new.

use std::time::Duration;

use pkdns_dht::signed_packet::PublicKey;
use tokio::time::Instant;

use super::{Known, Memory, lock};
use crate::sources::packets::PacketAnswer;

impl Memory {
    /// As [`Memory::look`], of what the network said within the last `age`: a packet that a search to its end confirmed, or
    /// an absence.
    pub fn look_within(&self, key: &PublicKey, age: Duration, now: Instant) -> Option<Known> {
        let at = self.time(now);
        if let Some(entry) = lock(&self.packets).get(key.as_bytes()) {
            let found = entry.found(key, at);
            let is_recent = entry.is_confirmed && found.age <= age && found.stale.is_none();
            return is_recent.then(|| Ok(PacketAnswer::Found(found.limited_to(age))));
        }
        let mut absences = lock(&self.absences);
        let absence = absences.get(key.as_bytes()).filter(|absence| now < absence.recheck)?;
        let left = absence.recheck - now;
        match absence.failure {
            Some(failure) => Some(Err(failure)),
            None => {
                let since = self.freshness.load().absent.saturating_sub(left);
                let left = left.min(age.checked_sub(since).filter(|left| !left.is_zero())?);
                Some(Ok(PacketAnswer::Absent(left)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::Freshness, *};
    use crate::base::revisions::Revisions;
    use pkdns_dht::{
        NetworkError,
        signed_packet::{Keypair, SignedPacket},
    };

    const AGE: Duration = Duration::from_secs(10);

    fn memory() -> (Memory, SignedPacket, Instant) {
        let minutes = Duration::from_secs(300);
        let freshness = Freshness { least: minutes, greatest: minutes, absent: minutes, stale: minutes };
        let dns = [0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let packet = SignedPacket::sign(&Keypair::from_secret_key(&[7; 32]), 1, &dns).unwrap();
        (Memory::new(10, freshness, Arc::new(Revisions::default())), packet, Instant::now())
    }

    #[test]
    fn a_packet_is_recent_from_the_end_of_its_search_on_for_as_long_as_was_asked_for() {
        let (memory, packet, start) = memory();
        let at = |seconds| memory.look_within(packet.key(), AGE, start + Duration::from_secs(seconds));
        assert!(memory.store(&packet, start).is_some());
        assert_eq!(at(0), None, "the first of several is not the newest yet");
        memory.confirm(&packet, start);
        let fresh_for = |seconds| match at(seconds) {
            Some(Ok(PacketAnswer::Found(found))) => found.fresh_for.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!((fresh_for(0), fresh_for(10)), (10, 0));
        assert_eq!(at(11), None);
        assert!(memory.look(packet.key(), start + Duration::from_secs(11)).is_some(), "for other questions");
    }

    #[test]
    fn an_absence_is_recent_for_as_long_and_a_failure_until_it_is_tried_again() {
        let (memory, packet, start) = memory();
        let at = |seconds| memory.look_within(packet.key(), AGE, start + Duration::from_secs(seconds));
        memory.store_failure(packet.key(), NetworkError::Unreachable, start);
        assert_eq!(at(1), Some(Err(NetworkError::Unreachable)));
        assert_eq!(at(3), None);
        memory.store_absence(packet.key(), start);
        assert_eq!(at(4), Some(Ok(PacketAnswer::Absent(Duration::from_secs(6)))));
        assert_eq!(at(10), None);
    }
}
