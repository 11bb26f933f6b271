//! Zones whose keys are derived from numbers, so that the client knows their names and the network can sign their
//! packets.

use std::net::Ipv4Addr;

use hickory_proto::{
    op::{Message, MessageType, OpCode},
    rr::{Name, RData, Record, rdata::TXT},
};
use pkdns_dht::signed_packet::{Keypair, SignedPacket};

/// Bytes of DNS message in each packet.
const MESSAGE_SIZE: usize = 200;

/// Bytes of text that fill a message of one address to its size.
const TEXT_SIZE: usize = 107;

/// Bytes of the label of a key, and of a query for it.
const LABEL_SIZE: usize = 52;
pub(crate) const QUERY_SIZE: usize = QUESTION_END + OPT.len();

/// Where the question of a query ends: behind the header, one label with its length, the root, type and class.
pub(crate) const QUESTION_END: usize = 12 + 1 + LABEL_SIZE + 1 + 4;

/// An OPT record as stub resolvers send it: 1232 bytes, no options.
const OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];

/// Between two lines about how far it is.
const PROGRESS: u32 = 250_000;

/// The keys of all zones, and their names.
pub(crate) struct Names {
    pub(crate) keys: Vec<[u8; 32]>,
    labels: Vec<[u8; LABEL_SIZE]>,
}

impl Names {
    /// Takes about 15 µs a key.
    pub(crate) fn derive(count: u32) -> Self {
        let (mut keys, mut labels) = (Vec::new(), Vec::new());
        for number in 0..count {
            if number > 0 && number % PROGRESS == 0 {
                eprintln!("{number} of {count} keys derived");
            }
            let key = keypair(number).public_key();
            labels.push(key.to_z32().as_bytes().try_into().unwrap());
            keys.push(key.to_bytes());
        }
        Self { keys, labels }
    }

    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap()
    }

    /// Asks for the address of zone `number`, with RD and EDNS.
    pub(crate) fn query(&self, number: u32, id: u16) -> [u8; QUERY_SIZE] {
        let mut query = [0; QUERY_SIZE];
        query[..2].copy_from_slice(&id.to_be_bytes());
        query[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        query[12] = LABEL_SIZE as u8;
        query[13..13 + LABEL_SIZE].copy_from_slice(&self.labels[number as usize]);
        query[QUESTION_END - 4..QUESTION_END].copy_from_slice(&[0, 1, 0, 1]);
        query[QUESTION_END..].copy_from_slice(&OPT);
        query
    }
}

/// The address in zone `number`.
pub(crate) fn address(number: u32) -> Ipv4Addr {
    let [_, high, middle, low] = number.to_be_bytes();
    Ipv4Addr::new(10, high, middle, low)
}

/// The packet of zone `number`. Takes about 20 µs.
pub(crate) fn packet(number: u32, ttl: u32) -> SignedPacket {
    let keypair = keypair(number);
    let name = Name::from_ascii(format!("{}.", keypair.public_key().to_z32())).unwrap();
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    let text = RData::TXT(TXT::new(vec!["t".repeat(TEXT_SIZE)]));
    for data in [RData::A(address(number).into()), text] {
        message.answers.push(Record::from_rdata(name.clone(), ttl, data));
    }
    let message = message.to_vec().unwrap();
    assert_eq!(message.len(), MESSAGE_SIZE);
    SignedPacket::sign(&keypair, 1_700_000_000_000_000, &message).unwrap()
}

fn keypair(number: u32) -> Keypair {
    let mut secret = [7; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    Keypair::from_secret_key(&secret)
}
