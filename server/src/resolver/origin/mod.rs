//! Origins: zones of the public DNS for which this server is authoritative, and in which `<key>.<origin>` is the key.
//! Pure, but for [`Origins::open`], which reads zone files.

mod key_zone;
mod opening;
mod static_zone;
#[cfg(test)]
mod tests;

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record},
};
use pkdns_dht::signed_packet::PublicKey;

use self::static_zone::StaticZone;
use super::{
    name::{KeyName, Suffixes, check_key, decode_key},
    negative::limit_ttl,
};

/// All origins of this server. None is inside of another.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origins {
    origins: Vec<Origin>,
    warnings: Vec<String>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// In lower case.
    apex: Name,
    soa: Record,
    zone: StaticZone,
    /// Behind which a key may stand in the data of a packet.
    suffixes: Suffixes,
    allow_private: bool,
}

/// Who says what there is at a name of an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The zone file and the configuration.
    Static,
    /// The packet of a key. The apex of its zone ends in the origin.
    Key(KeyName),
    /// Nobody: the label reads as a key and no such key can sign.
    NotACurvePoint {
        /// The label, and the origin behind it.
        apex: Name,
    },
}

/// What an origin says to a question.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginAnswer {
    /// NOERROR, NXDOMAIN, or YXDOMAIN where a DNAME record makes the name too long.
    pub code: ResponseCode,
    /// Records that were asked for, and aliases.
    pub answers: Vec<Record>,
    /// The SOA record of an answer that says no; the NS records of a referral.
    pub authorities: Vec<Record>,
    /// Addresses of name servers.
    pub additionals: Vec<Record>,
    /// Where the last of `answers` leads, if it is an alias. In the origin or out of it, in lower case.
    pub follow: Option<Name>,
    /// False for a referral (RFC 1034 section 4.3.1).
    pub is_authoritative: bool,
}

impl Origins {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// The origin that `name` is in, as its apex or below. Its case does not matter.
    pub fn of(&self, name: &Name) -> Option<&Origin> {
        self.origins.iter().find(|origin| origin.apex.zone_of(name))
    }

    /// All of them, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Origin> {
        self.origins.iter()
    }

    /// What an operator should know of what was opened, beginning with the option.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.warnings.iter().map(String::as_str)
    }
}

impl Origin {
    /// Its name, in lower case.
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// Who answers for `name`, which is in this origin. Its case does not matter.
    pub fn place(&self, name: &Name) -> Place {
        self.place_with(name, |_| None)
    }

    /// As [`Origin::place`]. Whether bytes are a key takes arithmetic on the curve, unless `known` gives the key.
    pub(in crate::resolver) fn place_with(
        &self,
        name: &Name,
        known: impl FnOnce(&[u8; 32]) -> Option<PublicKey>,
    ) -> Place {
        let labels = self.apex.iter().len() + 1;
        let label = name.iter().len().checked_sub(labels).and_then(|below| name.iter().nth(below));
        let Some(bytes) = label.and_then(decode_key) else {
            return Place::Static;
        };
        let apex = name.trim_to(labels).to_lowercase();
        match known(&bytes).or_else(|| check_key(&bytes)) {
            Some(key) => Place::Key(KeyName { key, apex }),
            None => Place::NotACurvePoint { apex },
        }
    }

    /// What there is at a name that is nowhere: of a key without a packet, or of one that cannot be. `negative_ttl` in seconds
    /// is how long that may be believed at most.
    pub fn absent(&self, negative_ttl: u32) -> OriginAnswer {
        self.no(ResponseCode::NXDomain, negative_ttl)
    }

    /// NODATA or NXDOMAIN, to be believed for as long as the SOA says, and no longer than `negative_ttl` seconds.
    fn no(&self, code: ResponseCode, negative_ttl: u32) -> OriginAnswer {
        let mut soa = limit_ttl(self.soa.clone());
        soa.ttl = soa.ttl.min(negative_ttl);
        OriginAnswer { authorities: vec![soa], ..OriginAnswer::new(code, Vec::new()) }
    }
}

impl OriginAnswer {
    fn new(code: ResponseCode, answers: Vec<Record>) -> Self {
        Self {
            code,
            answers,
            authorities: Vec::new(),
            additionals: Vec::new(),
            follow: None,
            is_authoritative: true,
        }
    }
}
