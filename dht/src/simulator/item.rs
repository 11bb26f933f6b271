//! Values as nodes hold them.

use crate::{
    krpc::Item,
    signed_packet::{Keypair, PublicKey, SignedPacket},
};

/// A mutable value (BEP 44). Unlike a [`SignedPacket`] it may break every rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredItem {
    pub(super) key: [u8; 32],
    pub(super) signature: [u8; 64],
    pub(super) seq: i64,
    pub(super) value: Vec<u8>,
}

impl StoredItem {
    pub(super) fn signed(keypair: &Keypair, seq: i64, value: Vec<u8>) -> Self {
        let signature = keypair.sign(&signable(seq, &value)).to_bytes();
        Self { key: keypair.public_key().to_bytes(), signature, seq, value }
    }

    /// `None`: the signature is not the key's.
    pub(super) fn verified(item: &Item<'_>) -> Option<Self> {
        let key = PublicKey::try_from(item.key).ok()?;
        key.verify(&signable(item.seq, item.value), &item.signature.into()).ok()?;
        Some(Self { key: *item.key, signature: *item.signature, seq: item.seq, value: item.value.to_vec() })
    }

    pub(super) fn as_item(&self) -> Item<'_> {
        Item { key: &self.key, signature: &self.signature, seq: self.seq, value: &self.value }
    }
}

impl From<&SignedPacket> for StoredItem {
    fn from(packet: &SignedPacket) -> Self {
        let item = packet.to_item();
        Self { key: *item.key(), signature: *item.signature(), seq: item.seq(), value: item.value().to_vec() }
    }
}

/// What is signed, without salt.
fn signable(seq: i64, value: &[u8]) -> Vec<u8> {
    let mut text = format!("3:seqi{seq}e1:v{}:", value.len()).into_bytes();
    text.extend_from_slice(value);
    text
}
