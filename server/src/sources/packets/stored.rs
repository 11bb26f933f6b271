//! A packet as it is kept outside of memory: with the times that memory knows it by, in a form of our own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pkdns_dht::signed_packet::{MAX_DNS_SIZE, PublicKey, SignedPacket};

/// The first byte. A later form gets another one; what has an unknown one is not there.
const VERSION: u8 = 1;

/// Version, two times, the packet's timestamp and its signature, in bytes.
const HEAD_SIZE: usize = 1 + 8 + 8 + 8 + 64;

/// Longest encoding in bytes.
pub const MAX_STORED_SIZE: usize = HEAD_SIZE + MAX_DNS_SIZE;

/// A packet, when it came from the network and until when it need not be asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The packet.
    pub packet: SignedPacket,
    /// When it came from the network.
    pub received: SystemTime,
    /// When its time is over.
    pub fresh_until: SystemTime,
}

impl Stored {
    /// Version, `received` and `fresh_until` in milliseconds since 1970, timestamp, signature, DNS message; numbers
    /// big-endian. The key is what it is stored under.
    pub fn to_bytes(&self) -> Vec<u8> {
        let packet = &self.packet;
        let mut bytes = Vec::with_capacity(HEAD_SIZE + packet.dns().len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&milliseconds(self.received).to_be_bytes());
        bytes.extend_from_slice(&milliseconds(self.fresh_until).to_be_bytes());
        bytes.extend_from_slice(&packet.timestamp().to_be_bytes());
        bytes.extend_from_slice(packet.signature());
        bytes.extend_from_slice(packet.dns());
        bytes
    }

    /// Reads what stands under `key`. `None` for anything but a packet that the key has signed: files are damaged, and
    /// a store that others write to may be forged.
    pub fn from_bytes(key: &PublicKey, bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (received, rest) = rest.split_first_chunk::<8>()?;
        let (fresh_until, rest) = rest.split_first_chunk::<8>()?;
        let (timestamp, rest) = rest.split_first_chunk::<8>()?;
        let (signature, dns) = rest.split_first_chunk::<64>()?;
        if *version != VERSION {
            return None;
        }
        let time =
            |bytes: &[u8; 8]| UNIX_EPOCH.checked_add(Duration::from_millis(u64::from_be_bytes(*bytes)));
        Some(Self {
            received: time(received)?,
            fresh_until: time(fresh_until)?,
            packet: SignedPacket::verify(key.clone(), u64::from_be_bytes(*timestamp), *signature, dns)
                .ok()?,
        })
    }

    /// The same packet with times that are possible, where those here are not: they come from a clock that was wrong.
    ///
    /// What comes from the future is of unknown age. So its time is over, and it is served only where nothing newer can be
    /// had. And no packet came before its owner signed it.
    pub fn mended(&self, now: SystemTime) -> Option<Self> {
        let lifetime = self.fresh_until.duration_since(self.received).unwrap_or_default();
        let signed = self.signed()?.min(now);
        let (received, fresh_until) = if self.received > now {
            (now.checked_sub(lifetime)?.max(signed), now)
        } else {
            let received = self.received.max(signed);
            (received, received.checked_add(lifetime)?)
        };
        (received != self.received).then(|| Self { packet: self.packet.clone(), received, fresh_until })
    }

    /// Whether the clock by which it came was behind that of its owner.
    pub fn is_from_before_it_was_signed(&self) -> bool {
        self.signed().is_none_or(|signed| self.fresh_until < signed)
    }

    /// By its owner's clock.
    fn signed(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_micros(self.packet.timestamp()))
    }

    /// Whether this one replaces `other` of the same key: a newer packet, or the same one with later times. Times of the
    /// future are none.
    pub fn replaces(&self, other: &Self, now: SystemTime) -> bool {
        let times = |stored: &Self| match stored.received > now {
            true => (UNIX_EPOCH, UNIX_EPOCH),
            false => (stored.received, stored.fresh_until),
        };
        self.packet.is_newer_than(&other.packet)
            || (!other.packet.is_newer_than(&self.packet) && times(self) > times(other))
    }

    /// When the time of what is in `bytes` is over, in milliseconds since 1970, not verified; zero where nothing is, or
    /// where it came in the future.
    pub fn fresh_until_in(bytes: &[u8], now: SystemTime) -> u64 {
        let time = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk()).copied();
        let time = |at| time(at).map_or(0, u64::from_be_bytes);
        if time(1) > milliseconds(now) { 0 } else { time(9) }
    }

    /// The timestamp of the packet in `bytes`, not verified; `None` where there is none.
    pub fn timestamp_in(bytes: &[u8]) -> Option<u64> {
        (*bytes.first()? == VERSION).then_some(())?;
        Some(u64::from_be_bytes(*bytes.get(17..)?.first_chunk()?))
    }
}

/// Before 1970 is 1970, as for a machine whose clock has not been set.
fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pkdns_dht::signed_packet::Keypair;

    fn stored() -> Stored {
        let packet = SignedPacket::sign(&Keypair::from_secret_key(&[1; 32]), 7, b"dns").unwrap();
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        Stored { packet, received: time(1000), fresh_until: time(1300) }
    }

    #[test]
    fn what_is_written_is_read() {
        let stored = stored();
        let bytes = stored.to_bytes();
        assert_eq!(Stored::from_bytes(stored.packet.key(), &bytes), Some(stored.clone()));
        assert_eq!(Stored::timestamp_in(&bytes), Some(7));
    }

    #[test]
    fn times_of_a_clock_that_was_wrong_are_mended() {
        let seconds = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let signed_at = |second: u64| {
            let keypair = Keypair::from_secret_key(&[1; 32]);
            SignedPacket::sign(&keypair, second * 1_000_000, b"dns").unwrap()
        };
        let now = seconds(10_000);
        for (signed, received, fresh_until, mended) in [
            // As it should be, and by the clock of an owner that is ahead.
            (5000, 6000, 6300, None),
            (20_000, 10_000, 10_300, None),
            // From the future: its time is over, and it may still be served past it.
            (5000, 40_000, 40_300, Some((9700, 10_000))),
            // Its time is over also where it was signed within it, and stays over when it is read again.
            (9900, 40_000, 40_300, Some((9900, 10_000))),
            // From before it was signed, as by a clock that begins at zero.
            (5000, 7, 307, Some((5000, 5300))),
            (20_000, 7, 307, Some((10_000, 10_300))),
        ] {
            let stored = Stored {
                packet: signed_at(signed),
                received: seconds(received),
                fresh_until: seconds(fresh_until),
            };
            let times = stored.mended(now).map(|stored| (stored.received, stored.fresh_until));
            let expected = mended.map(|(received, until)| (seconds(received), seconds(until)));
            assert_eq!(times, expected, "signed {signed}, received {received}");
            if let Some(mended) = stored.mended(now) {
                assert_eq!(mended.mended(now), None);
                assert!(mended.replaces(&stored, now));
            }
        }
    }

    #[test]
    fn what_is_fetched_again_takes_the_place_of_the_same_from_the_future() {
        let now = UNIX_EPOCH + Duration::from_secs(1100);
        let fetched = Stored { received: now, fresh_until: now + Duration::from_secs(300), ..stored() };
        let year = Duration::from_secs(365 * 86_400);
        let future = Stored { received: now + year, fresh_until: now + 2 * year, ..stored() };
        assert!(fetched.replaces(&future, now) && !future.replaces(&fetched, now));
        assert!(fetched.replaces(&stored(), now) && !stored().replaces(&fetched, now));
        // And is not the last to leave a disk that is full.
        assert_eq!(Stored::fresh_until_in(&future.to_bytes(), now), 0);
        assert_eq!(Stored::fresh_until_in(&fetched.to_bytes(), now), 1_400_000);
    }

    #[test]
    fn any_other_bit_of_the_packet_is_not_believed() {
        let stored = stored();
        let bytes = stored.to_bytes();
        for at in (0..1).chain(17..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Stored::from_bytes(stored.packet.key(), &damaged), None, "{at}");
        }
        let other = Keypair::from_secret_key(&[2; 32]).public_key();
        assert_eq!(Stored::from_bytes(&other, &bytes), None);
    }

    #[test]
    fn no_length_and_no_time_is_too_odd_to_be_read() {
        let stored = stored();
        let mut bytes = stored.to_bytes();
        for length in 0..bytes.len() {
            assert_eq!(Stored::from_bytes(stored.packet.key(), &bytes[..length]), None);
            Stored::timestamp_in(&bytes[..length]);
        }
        bytes[1..17].fill(0xff);
        Stored::from_bytes(stored.packet.key(), &bytes);
    }
}
