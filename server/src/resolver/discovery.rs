//! Names that are about the resolver itself: its encrypted addresses, for clients that know the plain one (RFC 9462),
//! and whether browsers are to stay with it. Pure.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{
            A, AAAA, SVCB,
            svcb::{Alpn, IpHint, SvcParamKey, SvcParamValue, Unknown},
        },
    },
};

use super::negative::soa;
use crate::base::{
    config::{Config, HTTPS_PORT, TLS_PORT},
    message::Answer,
};

/// The zone of this server's own names.
const ZONE: &str = "resolver.arpa.";

/// Where clients ask.
const OWNER: &str = "_dns.resolver.arpa.";

/// Browsers that find no such name do not switch to a resolver of their own by default.
const CANARY: &str = "use-application-dns.net.";

/// Time to live in seconds: clients notice a change of the configuration within it.
const TTL: u32 = 300;

/// RFC 9461 section 5.
const DOH_PATH: SvcParamKey = SvcParamKey::Unknown(7);
const DOH_PATH_TEMPLATE: &[u8] = b"/dns-query{?dns}";

/// What stands for these names where a key stands for its packet.
pub(super) const OWN_NAMES: [u8; 32] = *b"names of this server in .arpa et";

/// What is said of the encrypted addresses.
#[derive(PartialEq)]
pub(super) struct Discovery {
    zone: Name,
    owner: Name,
    designated: Vec<Record>,
    /// The name that browsers must not find, if they are to stay.
    canary: Name,
    keeps_browsers: bool,
}

impl Discovery {
    /// HTTPS first, then TLS, each if it is served. Nothing without a host name in `certificate.names`: a client
    /// checks the certificate for it, and for the address that it knows.
    pub(super) fn new(config: &Config) -> Self {
        let name = |text: &str| Name::from_ascii(text).unwrap_or_else(|_| Name::root());
        let (zone, owner) = (name(ZONE), name(OWNER));
        let names = &config.certificate.names;
        let addresses: Vec<IpAddr> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let target = names.iter().find(|name| name.parse::<IpAddr>().is_err());
        let target = target.and_then(|target| Name::from_ascii(format!("{target}.")).ok());
        let port =
            |enabled: bool, listen: &[SocketAddr]| listen.first().filter(|_| enabled).map(SocketAddr::port);
        let doh = port(config.doh.enabled, &config.doh.listen).map(|port| {
            let path = SvcParamValue::Unknown(Unknown(DOH_PATH_TEMPLATE.to_vec()));
            (["h2", "http/1.1"].map(String::from).to_vec(), port, HTTPS_PORT, Some((DOH_PATH, path)))
        });
        let dot = port(config.dot.enabled, &config.dot.listen)
            .map(|port| (vec!["dot".to_owned()], port, TLS_PORT, None));
        let designated = target.into_iter().flat_map(|target| {
            let services = [doh.clone(), dot.clone()].into_iter().flatten();
            let record = |(place, (alpn, port, usual, path)): (u16, (_, u16, u16, Option<_>))| {
                let mut parameters = vec![(SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(alpn)))];
                if port != usual {
                    parameters.push((SvcParamKey::Port, SvcParamValue::Port(port)));
                }
                parameters.extend(hints(&addresses));
                parameters.extend(path);
                parameters.sort_by_key(|(key, _)| u16::from(*key));
                let service = SVCB::new(place, target.clone(), parameters);
                Record::from_rdata(owner.clone(), TTL, RData::SVCB(service))
            };
            (1..).zip(services).map(record).collect::<Vec<_>>()
        });
        let (canary, keeps_browsers) = (name(CANARY), config.names.keep_browsers);
        Self { designated: designated.collect(), zone, owner, canary, keeps_browsers }
    }

    /// Whether what is said of a name, in lower case, may be another thing under another configuration.
    pub(super) fn concerns(&self, name: &Name) -> bool {
        self.zone.zone_of(name) || self.canary.zone_of(name)
    }

    /// The answer for a name, in lower case, that is this server's own. The zone is full of names without records
    /// (RFC 9462 section 6.4). Whether it is signed is for its parent to say.
    pub(super) fn answer(&self, name: &Name, record_type: RecordType) -> Option<Answer> {
        if record_type == RecordType::DS && (*name == self.zone || *name == self.canary) {
            return None;
        }
        if self.keeps_browsers && self.canary.zone_of(name) {
            let mut answer = Answer::empty(ResponseCode::NXDomain);
            answer.authorities = vec![soa(&self.canary, 1, TTL)];
            return Some(answer);
        }
        if !self.zone.zone_of(name) {
            return None;
        }
        let mut answer = Answer::empty(ResponseCode::NoError);
        if *name == self.owner && record_type == RecordType::SVCB {
            answer.answers.clone_from(&self.designated);
        } else if *name == self.zone && record_type == RecordType::SOA {
            answer.answers = vec![soa(&self.zone, 1, TTL)];
        }
        if answer.answers.is_empty() {
            answer.authorities = vec![soa(&self.zone, 1, TTL)];
        }
        Some(answer)
    }
}

/// The addresses of the server, so that nobody has to ask for them.
fn hints(addresses: &[IpAddr]) -> Vec<(SvcParamKey, SvcParamValue)> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.push(A(*address)),
            IpAddr::V6(address) => v6.push(AAAA(*address)),
        }
    }
    let v4 = (!v4.is_empty()).then_some((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(v4))));
    let v6 = (!v6.is_empty()).then_some((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(v6))));
    v4.into_iter().chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let file = crate::base::config::ConfigFile::parse("pkdns.toml".as_ref(), text).unwrap();
        file.config
    }

    fn ask(config: &Config, name: &str, record_type: RecordType) -> Option<Vec<String>> {
        let answer = Discovery::new(config).answer(&Name::from_ascii(name).unwrap(), record_type)?;
        assert_eq!(answer.code, ResponseCode::NoError);
        assert_eq!(answer.authorities.len(), usize::from(answer.answers.is_empty()));
        Some(answer.answers.iter().map(|record| record.data.to_string()).collect())
    }

    const SERVED: &str = "[certificate]\nnames = ['192.0.2.1', 'dns.example', '2001:db8::1']\n\
        [doh]\nenabled = true\nlisten = '192.0.2.1:8443'\n[dot]\nenabled = true\n";

    #[test]
    fn what_is_served_is_designated_by_name() {
        let config = config(SERVED);
        let records = ask(&config, OWNER, RecordType::SVCB).unwrap();
        assert_eq!(
            records,
            [
                "1 dns.example. alpn=h2,http/1.1, port=8443 ipv4hint=192.0.2.1, ipv6hint=2001:db8::1, \
                 unknown7=\"/dns-query{?dns}\",",
                "2 dns.example. alpn=dot, ipv4hint=192.0.2.1, ipv6hint=2001:db8::1,",
            ]
        );
        for (name, record_type) in
            [(OWNER, RecordType::A), (ZONE, RecordType::SVCB), ("a.b.resolver.arpa.", RecordType::SVCB)]
        {
            assert_eq!(ask(&config, name, record_type), Some(Vec::new()), "{name} {record_type}");
        }
        assert_eq!(ask(&config, ZONE, RecordType::SOA).unwrap().len(), 1);
        assert_eq!(ask(&config, "notresolver.arpa.", RecordType::SVCB), None);
        assert_eq!(ask(&config, "arpa.", RecordType::SVCB), None);
    }

    #[test]
    fn browsers_are_kept_if_that_is_wanted() {
        let canary = Name::from_ascii(CANARY).unwrap();
        let answer = |text: &str| Discovery::new(&config(text)).answer(&canary, RecordType::A);
        assert!(answer("").is_none());
        let kept = answer("[names]\nkeep_browsers = true").unwrap();
        assert_eq!((kept.code, kept.authorities.len()), (ResponseCode::NXDomain, 1));
    }

    #[test]
    fn what_is_not_served_or_has_no_name_is_not_designated() {
        for (text, count) in [
            (SERVED.to_owned(), 2),
            (SERVED.replace("[dot]\nenabled = true", ""), 1),
            (SERVED.replace("enabled = true", ""), 0),
            (SERVED.replace("'dns.example', ", ""), 0),
            (String::new(), 0),
        ] {
            assert_eq!(ask(&config(&text), OWNER, RecordType::SVCB).unwrap().len(), count, "{text}");
        }
    }
}
