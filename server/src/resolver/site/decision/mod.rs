//! Decides where a site is by the packets of its keys, and asks for those that are not at hand. Pure.
//!
//! Whatever is missing ends a decision, and the next one, with that at hand, begins anew: so it reads as if all packets were
//! there. What one decision looks up is bounded, and each of them costs one lookup of the query's budget.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ahash::RandomState;
use hickory_proto::rr::{Name, Record, RecordType};

use super::{
    Proof, Site, SiteError, Tlsa,
    at_hand::{AtHand, Need, Standing, Undecided},
    service_record::{self, ServiceRecord},
    tlsa,
};
use crate::{
    base::{
        config::{HTTP_PORT, HTTPS_PORT},
        message::{MAX_CHAIN, address},
    },
    resolver::{
        chain::ttl,
        name::{Route, Suffixes, move_zone},
        work::KnownZone,
        zone::ZoneAnswer,
    },
};

/// Looks into packets. What people write takes ten; each of eight records that lead to names of their own takes six.
const MAX_LOOKUPS: usize = 96;

/// Addresses of a site: as many of each family as anybody waits for.
const MAX_ADDRESSES: usize = 8;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::resolver) enum Wanted {
    /// The site over TLS.
    Tls,
    /// The addresses of the name, for HTTP in the clear.
    Plain,
}

/// A site that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::resolver) struct Decided {
    /// Its end point, its addresses and its proof; without TLS nothing proves it.
    pub(in crate::resolver) site: Site,
    /// The least TTL of all records that led there, in seconds.
    pub(in crate::resolver) ttl: u32,
    /// Whether somebody else than keys said where it is.
    pub(in crate::resolver) by_others: bool,
}

/// The site at `name`, which is in lower case and below a key. `may_dial` says of an address whether it may be connected to.
pub(super) fn decide(
    wanted: Wanted,
    name: &Name,
    at_hand: &AtHand,
    suffixes: &Suffixes,
    may_dial: &dyn Fn(SocketAddr) -> bool,
) -> Result<Decided, Undecided> {
    let mut decision =
        Decision { at_hand, suffixes, may_dial, asked: name, visited: HashSet::default(), lookups: 0 };
    let path = Path { ttl: u32::MAX, by_others: false, port: None, hints: Vec::new(), is_service: false };
    match wanted {
        Wanted::Tls => decision.follow(name, path),
        Wanted::Plain => decision.plain(name, path),
    }
}

struct Decision<'a> {
    at_hand: &'a AtHand,
    suffixes: &'a Suffixes,
    may_dial: &'a dyn Fn(SocketAddr) -> bool,
    asked: &'a Name,
    visited: HashSet<Name, RandomState>,
    lookups: usize,
}

/// What the records said on the way to a name.
#[derive(Debug, Clone)]
struct Path {
    ttl: u32,
    by_others: bool,
    /// The port of the first record that named one.
    port: Option<u16>,
    hints: Vec<IpAddr>,
    /// Whether the last HTTPS record said that the service is at this name.
    is_service: bool,
}

/// A name in the zone of a key, with its packet.
#[derive(Debug, Clone)]
struct Place {
    known: Arc<KnownZone>,
    /// With the key in its canonical spelling.
    name: Name,
}

/// Where a name is.
enum Whereabouts {
    Key(Place),
    /// No key's.
    Outside,
}

/// What there is at the end of the aliases from a name.
enum End {
    /// With the name at which they stand, and the least TTL on the way.
    Records(Vec<Record>, Name, u32),
    Outside(Name, u32),
    NoData,
    NxDomain,
}

/// The addresses of a name.
#[derive(Default)]
struct Addresses {
    found: Vec<IpAddr>,
    /// Whether the name exists.
    exists: bool,
    /// The name at which they stand, behind all aliases, if that is a key's.
    end_point: Option<Name>,
}

impl Path {
    fn through(&self, ttl: u32) -> Self {
        Self { ttl: self.ttl.min(ttl), ..self.clone() }
    }
}

impl Decision<'_> {
    /// The site at `name`, to which the records on `path` have led.
    fn follow(&mut self, name: &Name, path: Path) -> Result<Decided, Undecided> {
        let Whereabouts::Key(place) = self.whereabouts(name)? else { return Err(SiteError::NoTls.into()) };
        if self.visited.len() > MAX_CHAIN || !self.visited.insert(place.name.clone()) {
            return Err(SiteError::Chain.into());
        }
        match self.look(&place, RecordType::HTTPS)? {
            ZoneAnswer::Records(set) => {
                let path = path.through(set_ttl(&set, &place));
                let mut first = None;
                for record in service_record::usable(&set) {
                    match self.follow_record(&place, record, &path) {
                        Err(Undecided::No(error)) => first = first.or(Some(error)),
                        decided => return decided,
                    }
                }
                // RFC 9460 section 3: where no record helps, as if there were none.
                match self.without_record(&place, &path) {
                    Err(Undecided::No(error)) => Err(first.unwrap_or(error).into()),
                    decided => decided,
                }
            }
            ZoneAnswer::Alias(alias, target) | ZoneAnswer::Renamed(_, Some((alias, target))) => {
                self.follow_alias(&place, &target, path.through(ttl(alias.ttl, &place.known.found)))
            }
            ZoneAnswer::NxDomain if !path.is_service => Err(SiteError::Unknown.into()),
            // What name servers say is not signed.
            _ => self.without_record(&place, &path),
        }
    }

    /// The site by one of the HTTPS records at a place.
    fn follow_record(
        &mut self,
        place: &Place,
        record: ServiceRecord,
        path: &Path,
    ) -> Result<Decided, Undecided> {
        if record.is_alias() {
            // Usable ones have a target.
            return match record.target {
                Some(target) => self.follow_alias(place, &target, Path { is_service: false, ..path.clone() }),
                None => Err(SiteError::NoTls.into()),
            };
        }
        let is_hinted = !record.hints.is_empty();
        let path = Path {
            port: path.port.or(record.port),
            hints: if is_hinted { record.hints } else { path.hints.clone() },
            is_service: true,
            ..path.clone()
        };
        let Some(target) = record.target else { return self.end(place, &path, true, None) };
        match self.whereabouts(&target)? {
            Whereabouts::Key(end) if end.name == place.name => self.end(place, &path, true, None),
            Whereabouts::Key(_) => self.follow(&target, path),
            Whereabouts::Outside => self.end(place, &path, false, Some(&target)),
        }
    }

    /// The site where a CNAME record or an alias of HTTPS leads.
    fn follow_alias(&mut self, place: &Place, target: &Name, path: Path) -> Result<Decided, Undecided> {
        match self.whereabouts(target)? {
            Whereabouts::Key(_) => self.follow(target, path),
            Whereabouts::Outside => self.end(place, &path, path.is_service, Some(target)),
        }
    }

    /// The site of a name that has no HTTPS record of its own.
    fn without_record(&mut self, place: &Place, path: &Path) -> Result<Decided, Undecided> {
        self.end(place, path, path.is_service, None)
    }

    /// The site at a place, at which every alias has ended. `by_key`: a record says that it is the key's. Its addresses may be
    /// those of another name, `elsewhere`, that is no key's.
    fn end(
        &mut self,
        place: &Place,
        path: &Path,
        by_key: bool,
        elsewhere: Option<&Name>,
    ) -> Result<Decided, Undecided> {
        let port = path.port.unwrap_or(HTTPS_PORT);
        let key = by_key.then(|| place.known.key().clone());
        let (certificates, ttl) = self.certificates(place, port)?;
        if key.is_none() && certificates.is_empty() {
            return Err(SiteError::NoTls.into());
        }
        let mut path = path.through(ttl);
        let found = match elsewhere {
            Some(target) => self.outside(target, &mut path)?,
            None => self.addresses(&place.name, &mut path)?.found,
        };
        let found = if found.is_empty() { std::mem::take(&mut path.hints) } else { found };
        self.decided(place.name.clone(), found, port, Proof { key, certificates }, &path)
    }

    /// The addresses of a name for HTTP in the clear.
    fn plain(&mut self, name: &Name, mut path: Path) -> Result<Decided, Undecided> {
        let Whereabouts::Key(place) = self.whereabouts(name)? else { return Err(SiteError::Unknown.into()) };
        let Addresses { found, exists, end_point } = self.addresses(&place.name, &mut path)?;
        if !exists {
            return Err(SiteError::Unknown.into());
        }
        let proof = Proof { key: None, certificates: Vec::new() };
        self.decided(end_point.unwrap_or(place.name), found, HTTP_PORT, proof, &path)
    }

    fn decided(
        &self,
        end_point: Name,
        found: Vec<IpAddr>,
        port: u16,
        proof: Proof,
        path: &Path,
    ) -> Result<Decided, Undecided> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found {
            let address = SocketAddr::new(address.to_canonical(), port);
            if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) && (self.may_dial)(address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(SiteError::NoAddress.into());
        }
        let site = Site { end_point, addresses, proof };
        Ok(Decided { site, ttl: path.ttl, by_others: path.by_others })
    }

    /// The TLSA records of a place, or where it has none those of the name that was asked for (RFC 7671 section 7). Who has none
    /// has none for as long as the packets say.
    fn certificates(&mut self, place: &Place, port: u16) -> Result<(Vec<Tlsa>, u32), Undecided> {
        for name in [&place.name, self.asked] {
            let Some(owner) = tlsa::owner(name, port) else { continue };
            if let End::Records(set, _, ttl) = self.records(&owner, RecordType::TLSA)? {
                return Ok((tlsa::usable(&set), ttl));
            }
        }
        Ok((Vec::new(), u32::MAX))
    }

    /// The addresses of a name, of both families in turn.
    fn addresses(&mut self, name: &Name, path: &mut Path) -> Result<Addresses, Undecided> {
        let mut families = [Vec::new(), Vec::new()];
        let mut addresses = Addresses::default();
        for (family, record_type) in families.iter_mut().zip([RecordType::A, RecordType::AAAA]) {
            let end = self.records(name, record_type)?;
            addresses.exists |= !matches!(end, End::NxDomain);
            match end {
                End::Records(set, at, ttl) => {
                    addresses.end_point.get_or_insert(at);
                    path.ttl = path.ttl.min(ttl);
                    family.extend(set.iter().filter_map(|record| address(&record.data)));
                }
                // Asked about for both families at once.
                End::Outside(target, ttl) => {
                    path.ttl = path.ttl.min(ttl);
                    let is_of_family = |address: &IpAddr| address.is_ipv4() == (record_type == RecordType::A);
                    family.extend(self.outside(&target, path)?.into_iter().filter(is_of_family));
                }
                End::NoData | End::NxDomain => {}
            }
        }
        let [v4, v6] = families;
        let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
        loop {
            let pair = [v4.next(), v6.next()];
            if pair == [None, None] {
                return Ok(addresses);
            }
            addresses.found.extend(pair.into_iter().flatten());
        }
    }

    fn outside(&self, name: &Name, path: &mut Path) -> Result<Vec<IpAddr>, Undecided> {
        let Some(found) = self.at_hand.outside(name) else {
            return Err(Need::Addresses(name.clone()).into());
        };
        path.by_others = true;
        if !found.addresses.is_empty() {
            path.ttl = path.ttl.min(found.ttl);
        }
        Ok(found.addresses.clone())
    }

    /// The records of a name and type behind all aliases, with the least TTL on the way.
    fn records(&mut self, name: &Name, record_type: RecordType) -> Result<End, Undecided> {
        let (mut name, mut least) = (name.clone(), u32::MAX);
        for _ in 0..=MAX_CHAIN {
            let place = match self.whereabouts(&name) {
                Ok(Whereabouts::Key(place)) => place,
                Ok(Whereabouts::Outside) => return Ok(End::Outside(name, least)),
                Err(Undecided::No(SiteError::Unknown)) => return Ok(End::NxDomain),
                Err(other) => return Err(other),
            };
            name = match self.look(&place, record_type)? {
                ZoneAnswer::Records(set) => {
                    let least = least.min(set_ttl(&set, &place));
                    return Ok(End::Records(set, place.name, least));
                }
                ZoneAnswer::Alias(alias, target) | ZoneAnswer::Renamed(_, Some((alias, target))) => {
                    least = least.min(ttl(alias.ttl, &place.known.found));
                    target
                }
                ZoneAnswer::NxDomain => return Ok(End::NxDomain),
                ZoneAnswer::NoData | ZoneAnswer::Delegated(_) | ZoneAnswer::Renamed(_, None) => {
                    return Ok(End::NoData);
                }
            };
        }
        Err(SiteError::Chain.into())
    }

    fn whereabouts(&self, name: &Name) -> Result<Whereabouts, Undecided> {
        let known = |bytes: &[u8; 32]| self.at_hand.key(bytes).map(|(key, _)| key.clone());
        match self.suffixes.classify_with(name, known) {
            Route::PublicKey(asked) => match self.at_hand.key(asked.key.as_bytes()) {
                None => Err(Need::Key(asked).into()),
                Some((_, Standing::Denied)) => Err(SiteError::Denied.into()),
                Some((_, Standing::Absent)) => Err(SiteError::Unknown.into()),
                Some((_, Standing::Known(known))) => {
                    // What is too long in the zone's own spelling cannot have been published.
                    let name = move_zone(&name.to_lowercase(), &asked.apex, known.zone.apex());
                    let name = name.ok_or(SiteError::Unknown)?;
                    Ok(Whereabouts::Key(Place { known: known.clone(), name }))
                }
            },
            Route::NotACurvePoint { .. } => Err(SiteError::Unknown.into()),
            Route::Special(_) | Route::Icann => Ok(Whereabouts::Outside),
        }
    }

    fn look(&mut self, place: &Place, record_type: RecordType) -> Result<ZoneAnswer, Undecided> {
        self.lookups += 1;
        if self.lookups > MAX_LOOKUPS {
            return Err(SiteError::Chain.into());
        }
        Ok(place.known.zone.lookup(&place.name, record_type))
    }
}

/// What is left of the TTL of a set, whose records have the same.
fn set_ttl(set: &[Record], place: &Place) -> u32 {
    let least = set.iter().map(|record| record.ttl).min().unwrap_or(u32::MAX);
    ttl(least, &place.known.found)
}

#[cfg(test)]
mod tests;
