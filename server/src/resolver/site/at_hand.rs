//! What a decision about a site is made from, and what it lacks. Pure.

use std::{net::IpAddr, sync::Arc};

use hickory_proto::rr::Name;
use pkdns_dht::signed_packet::PublicKey;

use super::SiteError;
use crate::resolver::{name::KeyName, work::KnownZone};

/// What there is of a key.
#[derive(Debug, Clone)]
pub(super) enum Standing {
    /// A packet.
    Known(Arc<KnownZone>),
    /// Nothing.
    Absent,
    /// It is not answered for.
    Denied,
}

/// The addresses of a name that is no key's.
#[derive(Debug, Clone, Default)]
pub(super) struct OutsideAddresses {
    pub(super) addresses: Vec<IpAddr>,
    /// Seconds for which they may be kept.
    pub(super) ttl: u32,
}

/// What is at hand.
#[derive(Debug, Default)]
pub(super) struct AtHand {
    keys: Vec<(PublicKey, Standing)>,
    outside: Vec<(Name, OutsideAddresses)>,
}

/// What a decision needs before it can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    Key(KeyName),
    /// The addresses of a name that is no key's.
    Addresses(Name),
}

/// Why there is no decision for a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Undecided {
    /// A key takes hundreds of bytes.
    Needs(Box<Need>),
    No(SiteError),
}

impl From<Need> for Undecided {
    fn from(need: Need) -> Self {
        Self::Needs(Box::new(need))
    }
}

impl From<SiteError> for Undecided {
    fn from(error: SiteError) -> Self {
        Self::No(error)
    }
}

impl AtHand {
    pub(super) fn add_key(&mut self, key: PublicKey, standing: Standing) {
        self.keys.push((key, standing));
    }

    pub(super) fn add_outside(&mut self, name: Name, addresses: OutsideAddresses) {
        self.outside.push((name, addresses));
    }

    pub(super) fn key(&self, bytes: &[u8; 32]) -> Option<&(PublicKey, Standing)> {
        self.keys.iter().find(|(key, _)| key.as_bytes() == bytes)
    }

    pub(super) fn outside(&self, name: &Name) -> Option<&OutsideAddresses> {
        self.outside.iter().find(|(known, _)| known == name).map(|(_, found)| found)
    }
}
