//! A zone as its owner signed it: the PKARR packet, verified by construction.

use std::{fmt, sync::Arc};

use mainline::{Id, MutableItem};
pub use pkarr::{Keypair, PublicKey};
use thiserror::Error;

/// Largest DNS message that a packet may hold, in bytes (BEP44: `v` of at most 1000).
pub const MAX_DNS_SIZE: usize = 1000;

/// Why bytes are not a packet of the key they claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidPacket {
    /// The DNS message is larger than BEP44 allows.
    #[error("the packet holds {0} bytes of DNS, over the limit of {MAX_DNS_SIZE}")]
    TooLarge(usize),
    /// There is no room for a signature and a timestamp.
    #[error("it is too short for a packet")]
    TooShort,
    /// The timestamp does not fit BEP44's signed sequence number.
    #[error("the packet's timestamp is out of range")]
    Timestamp,
    /// The signature is not the key's.
    #[error("the packet is not signed by its key")]
    Signature,
    /// The key is one of the few of small order, for which anyone can sign.
    #[error("the key is of small order: anyone could sign for it")]
    WeakKey,
}

/// The secret half of a key, in whatever form it is kept.
pub trait Signer {
    /// The key that signatures are checked with.
    fn public_key(&self) -> PublicKey;

    /// Signs `text` (RFC 8032, Ed25519). The signature has to be one of [`Signer::public_key`], as nobody checks it
    /// before it is sent.
    fn sign(&self, text: &[u8]) -> [u8; 64];
}

impl Signer for Keypair {
    fn public_key(&self) -> PublicKey {
        Self::public_key(self)
    }

    fn sign(&self, text: &[u8]) -> [u8; 64] {
        Self::sign(self, text).to_bytes()
    }
}

/// A packet whose signature has been checked. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedPacket(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    key: PublicKey,
    /// Microseconds since 1970; BEP44's `seq`.
    timestamp: u64,
    signature: [u8; 64],
    dns: Box<[u8]>,
}

impl SignedPacket {
    /// Checks size, timestamp and signature, cheapest first.
    ///
    /// # Errors
    ///
    /// The first of these that is wrong, or a key that anybody can sign for.
    pub fn verify(
        key: PublicKey,
        timestamp: u64,
        signature: [u8; 64],
        dns: &[u8],
    ) -> Result<Self, InvalidPacket> {
        let text = signable(timestamp, dns)?;
        if is_weak(&key) {
            return Err(InvalidPacket::WeakKey);
        }
        key.verify(&text, &(&signature).into()).map_err(|_| InvalidPacket::Signature)?;
        Ok(Self(Arc::new(Inner { key, timestamp, signature, dns: dns.into() })))
    }

    /// Signs `dns`, a DNS reply message, as the zone of `signer` at `timestamp` (microseconds since 1970).
    ///
    /// # Errors
    ///
    /// The message is too large, or the timestamp is too great for BEP 44.
    pub fn sign(signer: &impl Signer, timestamp: u64, dns: &[u8]) -> Result<Self, InvalidPacket> {
        let signature = signer.sign(&signable(timestamp, dns)?);
        let key = signer.public_key();
        Ok(Self(Arc::new(Inner { key, timestamp, signature, dns: dns.into() })))
    }

    /// Takes what a DHT node stored, after checking it.
    ///
    /// # Errors
    ///
    /// As of [`SignedPacket::verify`], or a timestamp or a key that no packet has.
    pub fn from_item(item: &MutableItem) -> Result<Self, InvalidPacket> {
        let timestamp = u64::try_from(item.seq()).map_err(|_| InvalidPacket::Timestamp)?;
        let key = PublicKey::try_from(item.key()).map_err(|_| InvalidPacket::Signature)?;
        Self::verify(key, timestamp, *item.signature(), item.value())
    }

    /// The packet as a DHT node stores it.
    pub fn to_item(&self) -> MutableItem {
        // `verify` and `sign` admit no timestamp above i64::MAX.
        let seq = i64::try_from(self.0.timestamp).unwrap_or(i64::MAX);
        let key = self.0.key.to_bytes();
        MutableItem::new_signed_unchecked(key, self.0.signature, &self.0.dns, seq, None)
    }

    /// The packet as relays give and take it: signature, timestamp (big-endian) and DNS message, without its key.
    pub fn to_payload(&self) -> Vec<u8> {
        [self.signature().as_slice(), &self.timestamp().to_be_bytes(), self.dns()].concat()
    }

    /// Reads and checks what [`SignedPacket::to_payload`] wrote.
    ///
    /// # Errors
    ///
    /// As of [`SignedPacket::verify`], or too few bytes.
    pub fn from_payload(key: PublicKey, bytes: &[u8]) -> Result<Self, InvalidPacket> {
        let (signature, rest) = bytes.split_first_chunk::<64>().ok_or(InvalidPacket::TooShort)?;
        let (timestamp, dns) = rest.split_first_chunk::<8>().ok_or(InvalidPacket::TooShort)?;
        Self::verify(key, u64::from_be_bytes(*timestamp), *signature, dns)
    }

    /// The key whose zone this is.
    pub fn key(&self) -> &PublicKey {
        &self.0.key
    }

    /// When the zone was signed, by its owner's clock, in microseconds since 1970.
    pub fn timestamp(&self) -> u64 {
        self.0.timestamp
    }

    /// The owner's signature of the text that BEP44 signs.
    pub fn signature(&self) -> &[u8; 64] {
        &self.0.signature
    }

    /// The DNS message, as signed.
    pub fn dns(&self) -> &[u8] {
        &self.0.dns
    }

    /// Whether the DNS message can be read as PKARR clients read it. They take a packet that cannot for none.
    pub fn is_readable(&self) -> bool {
        pkarr::dns::Packet::parse(&self.0.dns).is_ok()
    }

    /// Whether this packet replaces `other`: later timestamp, or at the same time the greater bytes, so that all agree.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.0.timestamp, &self.0.dns) > (other.0.timestamp, &other.0.dns)
    }
}

/// A verified packet as small as it gets, for keeping many: without its key, which takes six times as much in the form
/// that signatures are checked with as in the 32 bytes that whoever keeps it knows it by.
#[derive(PartialEq, Eq)]
pub struct PackedPacket(Box<[u8]>);

impl PackedPacket {
    const HEAD_SIZE: usize = 8 + 64;

    /// The packet again. `key` must be the key that it was packed with, as this is not checked again.
    pub fn unpack(&self, key: &PublicKey) -> SignedPacket {
        let (head, dns) = self.0.split_at_checked(Self::HEAD_SIZE).unwrap_or_default();
        let signature = head.last_chunk().copied().unwrap_or([0; 64]);
        let inner = Inner { key: key.clone(), timestamp: self.timestamp(), signature, dns: dns.into() };
        SignedPacket(Arc::new(inner))
    }

    /// As [`SignedPacket::timestamp`].
    pub fn timestamp(&self) -> u64 {
        self.0.first_chunk().copied().map_or(0, u64::from_be_bytes)
    }

    /// Whether `other` replaces this one.
    pub fn is_older_than(&self, other: &SignedPacket) -> bool {
        self.version() < (other.timestamp(), other.dns())
    }

    /// Whether this one replaces `other`.
    pub fn is_newer_than(&self, other: &SignedPacket) -> bool {
        self.version() > (other.timestamp(), other.dns())
    }

    fn version(&self) -> (u64, &[u8]) {
        (self.timestamp(), self.0.get(Self::HEAD_SIZE..).unwrap_or_default())
    }
}

impl From<&SignedPacket> for PackedPacket {
    fn from(packet: &SignedPacket) -> Self {
        Self([&packet.timestamp().to_be_bytes(), &packet.signature()[..], packet.dns()].concat().into())
    }
}

impl fmt::Debug for PackedPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedPacket").field("timestamp", &self.timestamp()).finish_non_exhaustive()
    }
}

/// Where the packet of `key` is stored in the DHT (BEP 44).
pub fn target(key: &PublicKey) -> Id {
    MutableItem::target_from_key(key.as_bytes(), None)
}

impl fmt::Debug for SignedPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedPacket")
            .field("key", &self.0.key)
            .field("timestamp", &self.0.timestamp)
            .field("dns_bytes", &self.0.dns.len())
            .finish()
    }
}

/// Whether anyone could sign for this key: a point of small order.
pub fn is_weak(key: &PublicKey) -> bool {
    key.verifying_key().is_weak()
}

/// The text that BEP44 signs, without salt.
fn signable(timestamp: u64, dns: &[u8]) -> Result<Vec<u8>, InvalidPacket> {
    if dns.len() > MAX_DNS_SIZE {
        return Err(InvalidPacket::TooLarge(dns.len()));
    }
    let seq = i64::try_from(timestamp).map_err(|_| InvalidPacket::Timestamp)?;
    let mut text = format!("3:seqi{seq}e1:v{}:", dns.len()).into_bytes();
    text.extend_from_slice(dns);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anyone_could_sign_is_not_believed() {
        // The neutral point as key and as `R`, and `s` of zero: a signature of every text.
        let (mut key, mut signature) = ([0; 32], [0; 64]);
        (key[0], signature[0]) = (1, 1);
        let key = PublicKey::try_from(&key).unwrap();
        assert!(key.verify(b"any text", &(&signature).into()).is_ok());
        assert_eq!(SignedPacket::verify(key, 1, signature, b"dns"), Err(InvalidPacket::WeakKey));
    }

    #[test]
    fn a_packet_that_was_packed_is_the_same_again() {
        let keypair = Keypair::from_secret_key(&[1; 32]);
        let signed = |time, dns: &[u8]| SignedPacket::sign(&keypair, time, dns).unwrap();
        let packet = signed(7, b"dns");
        let packed = PackedPacket::from(&packet);
        assert_eq!(packed.unpack(packet.key()), packet);
        let others = [signed(6, b"e"), signed(7, b"dnr"), packet.clone(), signed(7, b"dnt"), signed(8, b"a")];
        assert_eq!(
            others.each_ref().map(|other| packed.is_older_than(other)),
            [false, false, false, true, true]
        );
        assert_eq!(
            others.each_ref().map(|other| other.is_newer_than(&packet)),
            [false, false, false, true, true]
        );
    }

    #[test]
    fn a_packet_travels_without_its_key() {
        let packet = SignedPacket::sign(&Keypair::from_secret_key(&[1; 32]), 7, b"dns").unwrap();
        let bytes = packet.to_payload();
        assert_eq!(bytes.len(), 64 + 8 + 3);
        for length in 0..bytes.len() {
            let wrong = if length < 72 { InvalidPacket::TooShort } else { InvalidPacket::Signature };
            assert_eq!(SignedPacket::from_payload(packet.key().clone(), &bytes[..length]), Err(wrong));
        }
        assert_eq!(SignedPacket::from_payload(packet.key().clone(), &bytes), Ok(packet));
    }

    #[test]
    fn a_packet_of_another_key_text_or_time_is_not_believed() {
        let keypair = Keypair::from_secret_key(&[1; 32]);
        let signed = SignedPacket::sign(&keypair, 7, b"dns").unwrap();
        let signature = *signed.to_item().signature();
        let verify = |key: &PublicKey, time, dns| SignedPacket::verify(key.clone(), time, signature, dns);
        assert_eq!(verify(signed.key(), 7, b"dns"), Ok(signed.clone()));
        let other = Keypair::from_secret_key(&[2; 32]).public_key();
        for wrong in
            [verify(&other, 7, b"dns"), verify(signed.key(), 8, b"dns"), verify(signed.key(), 7, b"dn5")]
        {
            assert_eq!(wrong, Err(InvalidPacket::Signature));
        }
        assert_eq!(verify(signed.key(), 1 << 63, b"dns"), Err(InvalidPacket::Timestamp));
        assert_eq!(verify(signed.key(), 7, &[0; 1001]), Err(InvalidPacket::TooLarge(1001)));
    }
}
