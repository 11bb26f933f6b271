//! A packet as it is kept outside of memory: with the times that memory knows it by, in a form of our own.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::signed_packet::{MAX_DNS_SIZE, PublicKey, SignedPacket};

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

    /// Whether this one replaces `other` of the same key: a newer packet, or the same one with later times.
    pub fn replaces(&self, other: &Self) -> bool {
        let times = |stored: &Self| (stored.received, stored.fresh_until);
        self.packet.is_newer_than(&other.packet)
            || (!other.packet.is_newer_than(&self.packet) && times(self) > times(other))
    }

    /// When the time of what is in `bytes` is over, in milliseconds since 1970, not verified; zero where nothing is.
    pub fn fresh_until_in(bytes: &[u8]) -> u64 {
        let time = bytes.get(9..).and_then(|rest| rest.first_chunk());
        time.map_or(0, |time| u64::from_be_bytes(*time))
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
    use crate::signed_packet::Keypair;

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
