//! Whether pkdns answers on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::rr::{Name, RecordType};
use pkdns_dht::signed_packet::PublicKey;

use super::{finding::Finding, front};
use crate::dns::{self, ORDINARY_NAME, OfKey, Reply};

pub(super) const CHECK: &str = "server";

/// Which server is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) address: SocketAddr,
    /// It was named on the command line, so it should be there.
    pub(super) is_named: bool,
}

/// What it said to two questions, each over UDP and TCP, and to those by which resolvers in front of pkdns are known.
#[derive(Debug)]
pub(super) struct Observed {
    /// To that about a key that nobody has published.
    key: [Reply; 2],
    /// To an ordinary one.
    ordinary: [Reply; 2],
    front: front::Observed,
}

/// What listens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Pkdns,
    /// Another resolver, which sends names of keys to pkdns, those with a suffix at least.
    Front,
    /// Another resolver, or something that does not let itself be asked.
    Other,
    Nobody,
}

/// Where a server is reached that listens on `listen`.
pub(super) fn reached_at(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Both keys are such as nobody has published.
pub(super) async fn observe(address: SocketAddr, [key, another]: [&PublicKey; 2], suffix: &str) -> Observed {
    let (name, ordinary) = (name_of(key), dns::complete(ORDINARY_NAME));
    let (key, ordinary, front) = tokio::join!(
        dns::ask_both(address, &name, RecordType::TXT),
        dns::ask_both(address, &ordinary, RecordType::A),
        front::observe(address, another, suffix)
    );
    Observed { key, ordinary, front }
}

/// The name of a key.
pub(super) fn name_of(key: &PublicKey) -> Name {
    dns::complete(&key.to_z32())
}

pub(super) fn judge(
    Subject { address, is_named }: Subject,
    key: &str,
    observed: &Observed,
) -> (Finding, Kind) {
    let [key_udp, key_tcp] = &observed.key;
    let replies = || observed.key.iter().chain(&observed.ordinary);
    let grave = if is_named { Finding::failed } else { Finding::warning };
    if replies().all(|reply| *reply == Reply::Closed) {
        let seen = format!("nothing listens on {address}");
        let advice = "start pkdns, or name its address with --server; to publish, none is needed";
        return (grave(CHECK, seen, advice.to_string()), Kind::Nobody);
    }
    let name = ORDINARY_NAME;
    let ill = observed.ordinary.iter().find(|reply| !reply.is_conclusive());
    if !observed.front.is_pkdns()
        && let Some((finding, kind)) = front::judge(address, &observed.front)
    {
        let Some(reply) = ill.filter(|_| kind == Kind::Front) else { return (finding, kind) };
        let seen =
            format!("{address} sends names of keys to pkdns, but asked for {name} {}", reply.describe());
        let advice = "look at the resolver that it asks about other names, which may be pkdns: pkdns-cli doctor --server \
                      with the address of pkdns";
        return (Finding::failed(CHECK, seen, advice), kind);
    }
    if replies().all(|reply| reply.response().is_none()) {
        let seen = format!("{address}: {}", key_udp.describe());
        let advice = "see whether pkdns runs there and a firewall lets UDP and TCP through to that port";
        return (Finding::failed(CHECK, seen, advice), Kind::Other);
    }
    let of_key = observed.key.each_ref().map(|reply| reply.response().map(|_| reply.of_key(key)));
    if [OfKey::Denied, OfKey::Unusable].iter().any(|foreign| of_key.contains(&Some(*foreign))) {
        let seen = format!("{address} is another resolver, which does not know public keys");
        let advice = format!(
            "let it send names of keys to pkdns as docs/lan-resolvers.md says, or stop it and start pkdns there \
             (sudo ss -lpn 'sport = :{}' shows what it is; systemd-resolved: set DNSStubListener=no)",
            address.port()
        );
        return (grave(CHECK, seen, advice), Kind::Other);
    }
    if of_key.contains(&Some(OfKey::Refused)) {
        let seen = format!("{address} answers REFUSED");
        let advice = "add the address of this machine to access.allow in pkdns.toml, or raise [rate_limit]";
        return (Finding::failed(CHECK, seen, advice), Kind::Other);
    }
    if of_key.contains(&Some(OfKey::Failed)) {
        let seen = format!("{address} cannot look public keys up now");
        let advice = "do what the line dht says, then look at the log of pkdns (journalctl -u pkdns)";
        return (Finding::failed(CHECK, seen, advice), Kind::Pkdns);
    }
    for (over, reply) in [("UDP", key_udp), ("TCP", key_tcp)] {
        if reply.response().is_none() {
            let seen = format!("{address} is pkdns, but over {over} {}", reply.describe());
            let advice =
                format!("let {over} through to port {} in the firewall: clients need both", address.port());
            return (Finding::failed(CHECK, seen, advice), Kind::Pkdns);
        }
    }
    if let Some(reply) = ill {
        let seen = format!("{address} is pkdns and knows keys, but asked for {name} {}", reply.describe());
        let advice =
            "do what the line upstream says: set fallback_dns in pkdns.toml to a resolver that answers";
        return (Finding::failed(CHECK, seen, advice), Kind::Pkdns);
    }
    let seen = format!("{address} is pkdns, and answers for keys and other names over UDP and TCP");
    (Finding::ok(CHECK, seen), Kind::Pkdns)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::ResponseCode::{self, NXDomain, NoError, NotImp, Refused, ServFail};

    use super::*;
    use crate::doctor::finding::Verdict::{Failed, Ok, Warning};

    const KEY: &str = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";

    #[test]
    fn each_kind_of_server_has_its_verdict() {
        let of = |code: ResponseCode| Reply::of(code, 0, None);
        let both = |reply: Reply| [reply.clone(), reply];
        let (absent, found) = (Reply::of(NXDomain, 0, Some(KEY)), Reply::of(NoError, 1, None));
        let closed = both(Reply::Closed);
        let foreign = ["another resolver", "systemd-resolved"];
        let nobody = ["nothing listens on 127.0.0.1:53", "start pkdns"];
        for (is_named, key, ordinary, verdict, kind, parts) in [
            (
                false,
                both(absent.clone()),
                both(found.clone()),
                Ok,
                Kind::Pkdns,
                ["53 is pkdns", "UDP and TCP"],
            ),
            // It is missed only where it was named.
            (false, closed.clone(), closed.clone(), Warning, Kind::Nobody, nobody),
            (true, closed.clone(), closed, Failed, Kind::Nobody, nobody),
            (
                false,
                both(Reply::Silent),
                both(Reply::Silent),
                Failed,
                Kind::Other,
                ["there is no answer", "firewall"],
            ),
            (true, both(Reply::of(NXDomain, 0, Some(""))), both(found.clone()), Failed, Kind::Other, foreign),
            (true, both(of(NXDomain)), both(found.clone()), Failed, Kind::Other, foreign),
            (true, both(of(NotImp)), both(found.clone()), Failed, Kind::Other, foreign),
            (false, both(of(Refused)), both(of(Refused)), Failed, Kind::Other, ["REFUSED", "access.allow"]),
            (
                false,
                both(of(ServFail)),
                both(found.clone()),
                Failed,
                Kind::Pkdns,
                ["cannot look public keys up", "line dht"],
            ),
            (
                false,
                [absent.clone(), Reply::Silent],
                both(found.clone()),
                Failed,
                Kind::Pkdns,
                ["over TCP there is no answer", "let TCP through"],
            ),
            (
                false,
                [Reply::Closed, absent.clone()],
                both(found.clone()),
                Failed,
                Kind::Pkdns,
                ["over UDP nothing listens", "let UDP through"],
            ),
            (
                false,
                both(absent),
                [found, of(ServFail)],
                Failed,
                Kind::Pkdns,
                ["example.com it answers SERVFAIL", "fallback_dns"],
            ),
        ] {
            let subject = Subject { address: ([127, 0, 0, 1], 53).into(), is_named };
            let front = front::Observed::of_pkdns();
            let (finding, judged) = judge(subject, KEY, &Observed { key, ordinary, front });
            finding.assert(verdict, &parts);
            assert_eq!(judged, kind, "{}", finding.seen);
        }
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_on_loopback() {
        for (listen, reached) in
            [("0.0.0.0:53", "127.0.0.1:53"), ("[::]:5300", "[::1]:5300"), ("192.0.2.1:53", "192.0.2.1:53")]
        {
            assert_eq!(reached_at(listen.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
