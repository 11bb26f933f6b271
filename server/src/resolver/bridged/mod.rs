//! Questions for the addresses of sites under keys, answered with those of the bridge: browsers know nothing of keys, and the
//! bridge connects to the site for them.

use std::{
    mem,
    net::{IpAddr, SocketAddr},
};

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{
            A, AAAA, HTTPS, SVCB,
            svcb::{Alpn, SvcParamKey, SvcParamValue},
        },
    },
};
use nix::ifaddrs::getifaddrs;
use pkdns_dht::signed_packet::PublicKey;

use super::{
    Resolver,
    chain::{Chain, Resolved, ttl},
    error::ResolveError,
    name::{KeyName, Route, Suffixes},
    site::Wanted,
    work::WorkBudget,
    zone::present,
};
use crate::base::{
    access::{is_neighbour, is_private},
    config::{Config, HTTP_PORT, HTTPS_PORT},
    message::{Query, absolute_name},
    metrics::Source,
    view::View,
};

/// Ports at which browsers come to an address that they are shown, whatever is behind it.
const STANDARD_PORTS: [u16; 2] = [HTTP_PORT, HTTPS_PORT];

/// What is spoken at the bridge behind TLS.
const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// Where the bridge is, and for which names it is not.
#[derive(Debug)]
pub(super) struct BridgeRules {
    shown: Vec<IpAddr>,
    /// Every address that this server takes connections at.
    listen: Vec<SocketAddr>,
    exempt: Vec<Exempt>,
}

/// A key, or a name below one, with what is below it.
#[derive(Debug)]
struct Exempt {
    key: PublicKey,
    name: Name,
    /// Labels of the name, from the key on.
    depth: usize,
}

impl BridgeRules {
    pub(super) fn new(config: &Config, suffixes: &Suffixes) -> Self {
        let settings = &config.bridge;
        let exempt = |text: &String| {
            let name = absolute_name(text.strip_prefix("pk:").unwrap_or(text))?;
            let Route::PublicKey(KeyName { key, apex }) = suffixes.classify(&name) else { return None };
            let depth = name.iter().len().checked_sub(apex.iter().len())?;
            Some(Exempt { key, name, depth })
        };
        Self {
            shown: settings.shown_addresses(),
            listen: listeners(config),
            exempt: settings.exempt.iter().filter_map(exempt).collect(),
        }
    }

    /// Whether `name`, in the zone `asked` of a key, is left as its packet has it.
    pub(super) fn is_exempt(&self, asked: &KeyName, name: &Name) -> bool {
        let depth = name.iter().len().saturating_sub(asked.apex.iter().len());
        // Both from the key on, whatever the spelling of the key and the suffix behind it.
        let below =
            |name: &Name, depth| name.iter().take(depth).rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
        self.exempt
            .iter()
            .filter(|exempt| exempt.key == asked.key)
            .any(|exempt| below(name, depth).starts_with(&below(&exempt.name, exempt.depth)))
    }

    /// Whether a connection to `address` would come back to this server. The bridge would connect to itself again, and all else would
    /// take the server for its client, and answer a page of whoever made the packet.
    fn is_own(&self, address: SocketAddr) -> bool {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let port = address.port();
        let is_at_port = || self.listen.iter().filter(move |own| own.port() == port);
        if is_at_port().any(|own| own.ip() == address.ip()) {
            return true;
        }
        if self.shown.contains(&address.ip())
            && (STANDARD_PORTS.contains(&port) || is_at_port().next().is_some())
        {
            return true;
        }
        let takes_all = is_at_port().any(|own| own.ip().is_unspecified());
        takes_all && is_of_this_machine(address.ip())
    }

    /// The records of a type at a name that is led to the bridge.
    fn records(&self, name: &Name, record_type: RecordType, ttl: u32) -> Vec<Record> {
        let data: Vec<RData> = match record_type {
            RecordType::HTTPS => vec![https()],
            _ => {
                let data = self.shown.iter().map(|address| match address {
                    IpAddr::V4(address) => RData::A(A(*address)),
                    IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
                });
                data.filter(|data| data.record_type() == record_type).collect()
            }
        };
        data.into_iter().map(|data| Record::from_rdata(name.clone(), ttl, data)).collect()
    }
}

/// The bridge is at the name itself and the usual port, whatever the site's own record says.
fn https() -> RData {
    let protocols = Alpn(PROTOCOLS.map(str::to_owned).into());
    let parameters = vec![(SvcParamKey::Alpn, SvcParamValue::Alpn(protocols))];
    RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), parameters)))
}

fn listeners(config: &Config) -> Vec<SocketAddr> {
    let (doh, dot, bridge) = (&config.doh, &config.dot, &config.bridge);
    let over_tls = [(doh.enabled, &doh.listen), (dot.enabled, &dot.listen)];
    let over_tls = over_tls.into_iter().filter(|(enabled, _)| *enabled).flat_map(|(_, listen)| listen);
    let others = [&config.listen, &doh.plain_listen, &config.metrics.listen, &bridge.listen];
    over_tls.chain(others.into_iter().flatten()).copied().chain(bridge.plain_addresses()).collect()
}

/// Whether this machine has the address. Where nobody can say, it may have any.
fn is_of_this_machine(address: IpAddr) -> bool {
    let address = address.to_canonical();
    if address.is_loopback() || address.is_unspecified() {
        return true;
    }
    let Ok(interfaces) = getifaddrs() else { return true };
    interfaces.filter_map(|interface| interface.address).any(|own| {
        let v4 = own.as_sockaddr_in().map(|own| IpAddr::from(own.ip()));
        let v6 = own.as_sockaddr_in6().map(|own| IpAddr::from(own.ip()));
        v4.or(v6) == Some(address)
    })
}

impl Resolver {
    /// Whether an address is one of this machine, or may be.
    pub fn is_of_this_machine(address: IpAddr) -> bool {
        is_of_this_machine(address)
    }

    /// Whether the bridge may connect to an address that a key names, as its name servers may be asked there. Neighbours may have public
    /// addresses, and a firewall before them that does not hold for this machine.
    pub(super) fn may_dial(&self, address: SocketAddr) -> bool {
        let is_allowed = self.0.delegations.may_ask_privately()
            || self.0.delegations.may_ask(address.ip()) && !is_neighbour(address.ip());
        let is_filtered = self.0.rebind_protection.filters_keys() && is_private(address.ip());
        // Systems take it for loopback, and none of the server's own addresses is written so.
        let is_nowhere = address.ip().to_canonical().is_unspecified();
        is_allowed && !is_filtered && !is_nowhere && !self.0.bridge.is_own(address)
    }

    /// The records of a name in the zone by which a page finds out how a browser asks, where they lead to the bridge: there it finds out
    /// whether the browser believes the bridge's authority. There may be none of the type.
    pub(super) fn lead_from_own_zone(&self, query: &Query, name: &Name) -> Option<Vec<Record>> {
        let record_type = query.question.record_type();
        let is_led = matches!(record_type, RecordType::A | RecordType::AAAA | RecordType::HTTPS);
        (query.view == View::Bridged && is_led).then(|| self.0.bridge.records(name, record_type, 0))
    }

    /// The answer for a question in [`crate::base::view::View::Bridged`], where there is a site that it can be led to. `None` where the name is
    /// answered as signed. What cannot be looked up is an error, as for any question about the key.
    pub(super) async fn answer_bridged(
        &self,
        query: &Query,
        client: IpAddr,
        name: &Name,
        asked: &KeyName,
        budget: &mut WorkBudget,
        chain: &mut Chain,
    ) -> Result<Option<Resolved>, ResolveError> {
        let record_type = query.question.record_type();
        let is_led = matches!(record_type, RecordType::A | RecordType::AAAA | RecordType::HTTPS)
            // An alias that leads here was asked for under another name, for which a certificate would have to be.
            && chain.links == 0
            && asked.apex.iter().len() > 1
            && name.iter().all(is_host_label)
            && !self.0.bridge.is_exempt(asked, name);
        if !is_led {
            return Ok(None);
        }
        let decided = self.decide_site(Wanted::Tls, name, query, client, budget, chain).await?;
        let Ok(decided) = decided else {
            // As signed is what the packets say, and what has been noted of those on the way counts for that, too.
            (chain.caveat, chain.by_upstream) = (None, false);
            return Ok(None);
        };
        chain.source = Source::Key;
        chain.by_upstream = decided.by_others;
        let records = self.0.bridge.records(name, record_type, decided.ttl);
        if records.is_empty() {
            let Some(known) = budget.zone(asked.key.as_bytes()) else { return Ok(None) };
            let mut soa = present(known.zone.soa(self.0.negative_ttl), known.zone.apex(), &asked.apex);
            soa.ttl = ttl(soa.ttl, &known.found).min(decided.ttl);
            chain.negative(false, soa);
        } else {
            chain.append(ResponseCode::NoError, records, Vec::new());
        }
        // The addresses are the operator's, so that nothing is filtered.
        Ok(Some(mem::replace(chain, Chain::new()).finish(record_type)))
    }
}

/// Whether a browser can ask for a name with this label: letters, digits, hyphens and, as many have it, underscores.
fn is_host_label(label: &[u8]) -> bool {
    label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests;
