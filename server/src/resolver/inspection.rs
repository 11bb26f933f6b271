//! A key's zone as a whole, for whoever looks at it: its packet, with each record as it is answered.

use std::{net::IpAddr, time::Duration};

use hickory_proto::rr::Record;
use pkdns_dht::signed_packet::PublicKey;
use tokio::time::timeout;

use super::{DEADLINE, Resolver, chain::ttl, error::ResolveError, zone::Zone};
use crate::{
    base::{client::Line, message::LONGEST_TTL, metrics::Farthest},
    resolver::denied::Denial,
    sources::packets::{FetchError, Found, PacketAnswer, Search, Sighting},
};

/// All nodes that may hold a packet are asked within this time.
const COUNT_DEADLINE: Duration = Duration::from_secs(10);

/// What there is of a key.
#[derive(Debug)]
pub enum Inspection {
    /// Its packet.
    Packet(Box<Inspected>),
    /// It has none.
    Absent,
    /// It is not answered for.
    Denied(Denial),
}

/// The packet of a key, and what is answered from it.
#[derive(Debug)]
pub struct Inspected {
    /// The packet, with its age.
    pub found: Found,
    /// Where it came from for this look.
    pub from: Farthest,
    /// The records in it that are the key's, by owner. None where its message cannot be read.
    pub records: Vec<InspectedRecord>,
    /// Whether its message can be read as PKARR clients read it.
    pub is_readable: bool,
    /// What was seen of the key before.
    pub sighting: Sighting,
}

/// A record of a packet.
#[derive(Debug)]
pub struct InspectedRecord {
    /// The record, with the TTL that a client is told now.
    pub record: Record,
    /// The TTL that its owner gave it.
    pub signed_ttl: u32,
    /// Whether `rebind_protection.keys` takes it out of answers.
    pub is_withheld: bool,
}

impl Resolver {
    /// Looks at the zone of a key for the client at `address`, who has a quota of lookups as for a question.
    ///
    /// # Errors
    ///
    /// Why nobody can say what there is: the network, the quota or [`DEADLINE`].
    pub async fn inspect(&self, key: &PublicKey, address: IpAddr) -> Result<Inspection, ResolveError> {
        let inner = &self.0;
        if let Some(denial) = inner.denied.judge_question(key).denial {
            return Ok(Inspection::Denied(denial));
        }
        if inner.own_zone.is(key) {
            return Ok(Inspection::Absent);
        }
        // Whoever asks over HTTP has shaken hands.
        let admit = |search| search == Search::Ahead || inner.lookup_quota.admit(address, true);
        let search = inner.packets.find(key, Line::of(address, true), admit);
        let (from, answer) = timeout(DEADLINE, search).await.map_err(|_| ResolveError::Deadline)?;
        match answer.map_err(error_of)? {
            PacketAnswer::Absent(_) => Ok(Inspection::Absent),
            PacketAnswer::Found(found) => Ok(Inspection::Packet(Box::new(self.inspected(found, from)))),
        }
    }

    fn inspected(&self, found: Found, from: Farthest) -> Inspected {
        let is_readable = found.packet.is_readable();
        let shown = |mut record: Record| {
            let (signed_ttl, is_withheld) = (record.ttl, self.0.rebind_protection.withholds(&record));
            record.ttl = ttl(signed_ttl, &found).min(LONGEST_TTL);
            InspectedRecord { record, signed_ttl, is_withheld }
        };
        let records = match is_readable {
            true => Zone::parse(&found.packet).records().map(shown).collect(),
            false => Vec::new(),
        };
        let sighting = self.0.packets.sighting(found.packet.key());
        Inspected { found, from, records, is_readable, sighting }
    }

    /// Asks all nodes that may hold the packet of a key, which [`Resolver::inspect`] then knows. Takes one lookup of the quota
    /// of the client at `address`.
    ///
    /// # Errors
    ///
    /// Why nobody was asked, or nobody answered.
    pub async fn count_holders(&self, key: &PublicKey, address: IpAddr) -> Result<(), ResolveError> {
        let inner = &self.0;
        if inner.denied.of(key).is_some() || inner.own_zone.is(key) {
            return Ok(());
        }
        if !inner.lookup_quota.admit(address, true) {
            return Err(ResolveError::LookupQuota);
        }
        let search = inner.packets.newest(key, Line::of(address, true));
        let counted = timeout(COUNT_DEADLINE, search).await.map_err(|_| ResolveError::Deadline)?;
        counted.map(drop).map_err(error_of)
    }
}

fn error_of(error: FetchError) -> ResolveError {
    match error {
        FetchError::Network(error) => ResolveError::Network(error),
        FetchError::Refused => ResolveError::LookupQuota,
    }
}
