//! Keys with one zone each, whose address shows which zone and which version it is.

use std::net::Ipv4Addr;

use hickory_proto::{
    op::{Message, MessageType, OpCode},
    rr::{Name, RData, Record},
};
use pkdns_dht::signed_packet::{Keypair, SignedPacket};

/// The version of a zone that was published first, and the one that replaced it.
pub(crate) const OLD: u8 = 0;
pub(crate) const NEW: u8 = 1;

/// Keys of zones that nobody publishes.
pub(crate) const NOBODY: u8 = 255;

/// A key of a series.
#[derive(Clone)]
pub(crate) struct Zone {
    series: u8,
    number: u32,
    pub(crate) keypair: Keypair,
    pub(crate) name: Name,
}

impl Zone {
    pub(crate) fn series(series: u8, count: u32) -> Vec<Self> {
        (0..count).map(|number| Self::new(series, number)).collect()
    }

    pub(crate) fn new(series: u8, number: u32) -> Self {
        let mut secret = [7; 32];
        secret[0] = series;
        secret[1..5].copy_from_slice(&number.to_be_bytes());
        let keypair = Keypair::from_secret_key(&secret);
        let name = Name::from_ascii(format!("{}.", keypair.public_key().to_z32())).unwrap();
        Self { series, number, keypair, name }
    }

    /// The address in version `version` of the zone.
    pub(crate) fn address(&self, version: u8) -> Ipv4Addr {
        let [.., high, low] = self.number.to_be_bytes();
        Ipv4Addr::new(10, self.series ^ (version << 7), high, low)
    }

    /// Version `version`: the greater, the newer.
    pub(crate) fn packet(&self, version: u8) -> SignedPacket {
        let mut message = Message::new(0, MessageType::Response, OpCode::Query);
        message.answers.push(Record::from_rdata(
            self.name.clone(),
            3600,
            RData::A(self.address(version).into()),
        ));
        SignedPacket::sign(&self.keypair, self.timestamp(version), &message.to_vec().unwrap()).unwrap()
    }

    pub(crate) fn timestamp(&self, version: u8) -> u64 {
        1_700_000_000_000_000 + u64::from(version)
    }
}
