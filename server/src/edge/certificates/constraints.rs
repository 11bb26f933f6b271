//! Which names an authority may sign for: name constraints (RFC 5280 section 4.2.1.10). Pure.

use std::{fmt, net::IpAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName};

/// No mailbox can be at a host of this domain (RFC 6761 section 6.4).
const NO_MAIL: &str = "invalid";

/// Every authority for a LAN may sign for this name, so that its host names are constrained even if it has only addresses.
const LOCALHOST: &str = "localhost";

/// Networks whose addresses mean another machine in each network: private (RFC 1918), of carriers (RFC 6598), loopback, bound
/// to a link, and unique local (RFC 4193).
const LOCAL_NETWORKS: [&str; 9] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "::1/128",
    "fe80::/10",
    "fc00::/7",
];

/// All that an authority may sign for. Host names and addresses are both constrained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraints {
    /// With all names below them, in lower case.
    domains: Vec<String>,
    networks: Vec<IpNet>,
}

impl Constraints {
    /// Names under these suffixes alone.
    pub(super) fn of_suffixes(suffixes: &[String]) -> Self {
        Self { domains: suffixes.iter().map(|suffix| base(suffix)).collect(), networks: Vec::new() }
    }

    /// These names and addresses, and any address that leads no further than the own network.
    pub(super) fn of_lan(names: &[String]) -> Self {
        let mut domains = vec![LOCALHOST.to_owned()];
        let mut networks: Vec<IpNet> =
            LOCAL_NETWORKS.iter().filter_map(|network| network.parse().ok()).collect();
        for name in names {
            match name.parse::<IpAddr>() {
                Ok(address) if networks.iter().any(|network| network.contains(&address)) => {}
                Ok(address) => networks.push(address.into()),
                Err(_) => domains.push(base(name)),
            }
        }
        domains.sort();
        domains.dedup();
        Self { domains, networks }
    }

    /// Those of a certificate. `None` where it may sign for any host name or any address.
    pub(super) fn of_certificate(certificate: &X509Certificate<'_>) -> Option<Self> {
        let extension = certificate.name_constraints().ok().flatten()?;
        // Whoever does not know the extension may pass over one that is not critical.
        if !extension.critical {
            return None;
        }
        let (mut domains, mut networks) = (Vec::new(), Vec::new());
        for permitted in extension.value.permitted_subtrees.iter().flatten() {
            match permitted.base {
                GeneralName::DNSName(name) => domains.push(base(name)),
                GeneralName::IPAddress(bytes) => networks.push(network(bytes)?),
                _ => {}
            }
        }
        let excluded = extension.value.excluded_subtrees.iter().flatten();
        let excluded: Vec<IpNet> = excluded
            .filter_map(|excluded| match excluded.base {
                GeneralName::IPAddress(bytes) => network(bytes),
                _ => None,
            })
            .collect();
        let all = [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())];
        // Networks of one family that are permitted rule out the other family as well.
        let has_limits = !networks.is_empty() || all.iter().all(|all| excluded.contains(all));
        networks.retain(|network| !excluded.iter().any(|excluded| excluded.contains(network)));
        let has_all =
            domains.contains(&String::new()) || networks.iter().any(|network| network.prefix_len() == 0);
        let is_limited = !domains.is_empty() && has_limits && !has_all;
        is_limited.then_some(Self { domains, networks })
    }

    /// Whether it may sign for this host name or address.
    pub fn permits(&self, name: &str) -> bool {
        match name.parse::<IpAddr>() {
            Ok(address) => self.networks.iter().any(|network| network.contains(&address)),
            Err(_) => self.domains.iter().any(|domain| is_within(&base(name), domain)),
        }
    }

    /// As they stand in a certificate. The extension is critical.
    pub(super) fn extension(&self) -> NameConstraints {
        let domains = self.domains.iter().cloned().map(GeneralSubtree::DnsName);
        let subtree = |network: IpNet| {
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(network.network(), network.prefix_len()))
        };
        let networks = self.networks.iter().copied().map(subtree);
        let mail = GeneralSubtree::Rfc822Name(NO_MAIL.to_owned());
        // To permit none of a kind is to exclude all of it.
        let excluded = match self.networks.is_empty() {
            true => vec![subtree(Ipv4Net::default().into()), subtree(Ipv6Net::default().into())],
            false => Vec::new(),
        };
        NameConstraints {
            permitted_subtrees: domains.chain(networks).chain([mail]).collect(),
            excluded_subtrees: excluded,
        }
    }
}

/// In words, for people: what it may sign for.
impl fmt::Display for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domains: Vec<_> = self.domains.iter().map(|domain| format!(".{domain}")).collect();
        write!(f, "names under {}", list(&domains))?;
        let is_local = |network: &&IpNet| LOCAL_NETWORKS.iter().any(|local| local.parse() == Ok(**network));
        let others: Vec<String> =
            self.networks.iter().filter(|network| !is_local(network)).map(ToString::to_string).collect();
        match (self.networks.iter().any(|network| is_local(&network)), others.is_empty()) {
            (true, true) => f.write_str(", and addresses of local networks"),
            (true, false) => write!(f, ", and addresses of local networks and {}", list(&others)),
            (false, false) => write!(f, ", and addresses in {}", list(&others)),
            (false, true) => f.write_str(" only"),
        }
    }
}

fn list(items: &[String]) -> String {
    match items {
        [] => "nothing".to_owned(),
        [item] => item.clone(),
        [items @ .., last] => format!("{} and {last}", items.join(", ")),
    }
}

/// The form in a certificate: lower case, without dots at its ends, a wildcard by what it stands under.
fn base(name: &str) -> String {
    name.strip_prefix("*.").unwrap_or(name).trim_matches('.').to_ascii_lowercase()
}

fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Address and mask, in a row.
fn network(bytes: &[u8]) -> Option<IpNet> {
    let address = |bytes: &[u8]| {
        let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
        v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
    };
    let (first, mask) = bytes.split_at(bytes.len() / 2);
    IpNet::with_netmask(address(first)?, address(mask)?).ok().map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_permitted_with_all_that_is_below_them_and_no_others() {
        let suffixes = Constraints::of_suffixes(&["key".into(), "pk.example".into()]);
        for (name, expected) in [
            ("a.key", true),
            ("A.B.KEY", true),
            ("key", true),
            ("x.pk.example", true),
            ("monkey", false),
            ("key.example", false),
            ("example", false),
            ("example.com", false),
            ("127.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(suffixes.permits(name), expected, "{name}");
        }
        let lan = Constraints::of_lan(&["*.dns.example".into(), "192.0.2.53".into(), "10.0.0.1".into()]);
        for (name, expected) in [
            ("*.dns.example", true),
            ("localhost", true),
            ("192.0.2.53", true),
            ("192.0.2.54", false),
            ("10.9.8.7", true),
            ("100.64.0.1", true),
            ("172.32.0.1", false),
            ("fd00::1", true),
            ("2001:db8::1", false),
            ("elsewhere.example", false),
        ] {
            assert_eq!(lan.permits(name), expected, "{name}");
        }
    }

    #[test]
    fn the_words_name_what_may_be_signed_for() {
        let words = |constraints: Constraints| constraints.to_string();
        assert_eq!(words(Constraints::of_suffixes(&["key".into()])), "names under .key only");
        assert_eq!(
            words(Constraints::of_suffixes(&["key".into(), "pk".into()])),
            "names under .key and .pk only"
        );
        assert_eq!(
            words(Constraints::of_lan(&["dns.example".into(), "192.168.1.2".into()])),
            "names under .dns.example and .localhost, and addresses of local networks"
        );
        assert_eq!(
            words(Constraints::of_lan(&["2001:db8::1".into()])),
            "names under .localhost, and addresses of local networks and 2001:db8::1/128"
        );
    }

    #[test]
    fn what_stands_in_a_certificate_is_read_as_it_was_meant() {
        let lan = Constraints::of_lan(&["dns.example".into(), "192.0.2.53".into(), "2001:db8::1".into()]);
        let suffixes = Constraints::of_suffixes(&["key".into()]);
        for constraints in [lan, suffixes] {
            assert_eq!(read(Some(constraints.extension())), Some(constraints));
        }
    }

    #[test]
    fn a_certificate_that_leaves_names_or_addresses_open_is_unconstrained() {
        let name = |name: &str| GeneralSubtree::DnsName(name.to_owned());
        let all = |address: &str| {
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address.parse().unwrap(), 0))
        };
        let both = || vec![all("0.0.0.0"), all("::")];
        let of = |permitted_subtrees, excluded_subtrees| {
            read(Some(NameConstraints { permitted_subtrees, excluded_subtrees }))
        };
        assert_eq!(read(None), None);
        assert_eq!(of(vec![name("key")], Vec::new()), None, "any address");
        assert_eq!(of(vec![name("key")], vec![all("0.0.0.0")]), None, "any address of IPv6");
        assert_eq!(of(both(), Vec::new()), None, "any host name");
        assert_eq!(of([vec![name("key")], both()].concat(), Vec::new()), None, "any address, named");
        assert_eq!(of(vec![name("")], both()), None, "any host name below the root");
        assert_eq!(of(Vec::new(), [both(), vec![name("example")]].concat()), None, "all but one");
        assert_eq!(of(vec![name(".key")], both()), Some(Constraints::of_suffixes(&["key".into()])));
    }

    fn read(name_constraints: Option<NameConstraints>) -> Option<Constraints> {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        parameters.name_constraints = name_constraints;
        let made = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(made.der()).unwrap();
        Constraints::of_certificate(&certificate)
    }
}
