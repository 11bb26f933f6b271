//! Whether pkdns answers on this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};
use pkdns_dht::signed_packet::PublicKey;

use super::{finding::Finding, front, upstream};
use crate::dns::{self, Reply, Said};

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
    let (name, ordinary) = (name_of(key), upstream::ordinary_name());
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
    let name = upstream::ORDINARY_NAME;
    let is_well = |reply: &Reply| {
        reply.said().is_some_and(|said| matches!(said.code, ResponseCode::NoError | ResponseCode::NXDomain))
    };
    let ill = observed.ordinary.iter().find(|reply| !is_well(reply));
    if !observed.front.is_pkdns()
        && let Some((finding, kind)) = front::judge(address, &observed.front)
    {
        let Some(reply) = ill.filter(|_| kind == Kind::Front) else { return (finding, kind) };
        let seen = format!("{address} sends names of keys to pkdns, but asked for {name} {}", reply.told());
        return (
            Finding::failed(
                CHECK,
                seen,
                "look at the resolver that it asks about other names, which may be pkdns: pkdns-cli doctor --server with the address of pkdns",
            ),
            kind,
        );
    }
    if replies().all(|reply| reply.said().is_none()) {
        let seen = format!("{address}: {}", key_udp.told());
        let advice = "see whether pkdns runs there and a firewall lets UDP and TCP through to that port";
        return (Finding::failed(CHECK, seen, advice), Kind::Other);
    }
    let natures = observed.key.each_ref().map(|reply| nature(reply, key));
    if natures.contains(&Nature::Foreign) {
        let seen = format!("{address} is another resolver, which does not know public keys");
        let advice = format!(
            "let it send names of keys to pkdns as docs/lan-resolvers.md says, or stop it and start pkdns there \
             (sudo ss -lpn 'sport = :{}' shows what it is; systemd-resolved: set DNSStubListener=no)",
            address.port()
        );
        return (grave(CHECK, seen, advice), Kind::Other);
    }
    if natures.contains(&Nature::Refuses) {
        let seen = format!("{address} answers REFUSED");
        let advice = "add the address of this machine to access.allow in pkdns.toml, or raise [rate_limit]";
        return (Finding::failed(CHECK, seen, advice), Kind::Other);
    }
    if natures.contains(&Nature::CannotLookUp) {
        let seen = format!("{address} cannot look public keys up now");
        let advice = "do what the line dht says, then look at the log of pkdns (journalctl -u pkdns)";
        return (Finding::failed(CHECK, seen, advice), Kind::Pkdns);
    }
    for (over, reply) in [("UDP", key_udp), ("TCP", key_tcp)] {
        if reply.said().is_none() {
            let seen = format!("{address} is pkdns, but over {over} {}", reply.told());
            let advice =
                format!("let {over} through to port {} in the firewall: clients need both", address.port());
            return (Finding::failed(CHECK, seen, advice), Kind::Pkdns);
        }
    }
    if let Some(reply) = ill {
        let seen = format!("{address} is pkdns and knows keys, but asked for {name} {}", reply.told());
        let advice =
            "do what the line upstream says: set fallback_dns in pkdns.toml to a resolver that answers";
        return (Finding::failed(CHECK, seen, advice), Kind::Pkdns);
    }
    let seen = format!("{address} is pkdns, and answers for keys and other names over UDP and TCP");
    (Finding::ok(CHECK, seen), Kind::Pkdns)
}

/// What an answer about a key tells of who gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    Pkdns,
    Foreign,
    Refuses,
    CannotLookUp,
    Unknown,
}

fn nature(reply: &Reply, key: &str) -> Nature {
    let Some(said) = reply.said() else { return Nature::Unknown };
    match said.code {
        ResponseCode::Refused => Nature::Refuses,
        ResponseCode::ServFail => Nature::CannotLookUp,
        // Others ask the root, which says that there is no such top-level domain.
        ResponseCode::NoError | ResponseCode::NXDomain if speaks_for(said, key) => Nature::Pkdns,
        _ => Nature::Foreign,
    }
}

/// Whether an answer about a key comes from its zone.
pub(super) fn speaks_for(said: &Said, key: &str) -> bool {
    let is_of_key = |zone: &str| zone.split('.').any(|label| label == key);
    said.records > 0 || said.zone.as_deref().is_some_and(is_of_key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    const KEY: &str = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";

    fn judged(is_named: bool, key: [Reply; 2], ordinary: [Reply; 2]) -> (Verdict, String, Kind) {
        let subject = Subject { address: ([127, 0, 0, 1], 53).into(), is_named };
        let (finding, kind) =
            judge(subject, KEY, &Observed { key, ordinary, front: front::Observed::of_pkdns() });
        (finding.verdict, format!("{} {}", finding.seen, finding.advice.unwrap_or_default()), kind)
    }

    fn absent() -> Reply {
        Reply::of(ResponseCode::NXDomain, 0, Some(KEY))
    }

    fn found() -> Reply {
        Reply::of(ResponseCode::NoError, 1, None)
    }

    fn both(reply: Reply) -> [Reply; 2] {
        [reply.clone(), reply]
    }

    #[track_caller]
    fn assert_judged(judged: (Verdict, String, Kind), verdict: Verdict, kind: Kind, parts: [&str; 2]) {
        assert_eq!((judged.0, judged.2), (verdict, kind), "{}", judged.1);
        assert!(parts.iter().all(|part| judged.1.contains(part)), "{}", judged.1);
    }

    #[test]
    fn a_server_that_answers_everything_is_well() {
        let judged = judged(false, both(absent()), both(found()));
        assert_judged(judged, Verdict::Ok, Kind::Pkdns, ["127.0.0.1:53 is pkdns", "over UDP and TCP"]);
    }

    #[test]
    fn a_missing_server_is_a_failure_only_where_one_was_named() {
        let closed = || both(Reply::Closed);
        let parts = ["nothing listens on 127.0.0.1:53", "start pkdns"];
        assert_judged(judged(false, closed(), closed()), Verdict::Warning, Kind::Nobody, parts);
        assert_judged(judged(true, closed(), closed()), Verdict::Failed, Kind::Nobody, parts);
    }

    #[test]
    fn a_server_that_is_silent_fails() {
        let judged = judged(false, both(Reply::Silent), both(Reply::Silent));
        assert_judged(judged, Verdict::Failed, Kind::Other, ["there is no answer", "firewall"]);
    }

    #[test]
    fn another_resolver_is_told_from_pkdns() {
        for reply in [
            Reply::of(ResponseCode::NXDomain, 0, Some("")),
            Reply::of(ResponseCode::NXDomain, 0, None),
            Reply::of(ResponseCode::NotImp, 0, None),
        ] {
            let judged = judged(true, both(reply), both(found()));
            assert_judged(judged, Verdict::Failed, Kind::Other, ["another resolver", "systemd-resolved"]);
        }
    }

    #[test]
    fn an_access_list_that_refuses_is_named() {
        let refused = || both(Reply::of(ResponseCode::Refused, 0, None));
        let judged = judged(false, refused(), refused());
        assert_judged(judged, Verdict::Failed, Kind::Other, ["REFUSED", "access.allow"]);
    }

    #[test]
    fn a_server_without_a_dht_fails() {
        let judged = judged(false, both(Reply::of(ResponseCode::ServFail, 0, None)), both(found()));
        assert_judged(judged, Verdict::Failed, Kind::Pkdns, ["cannot look public keys up", "line dht"]);
    }

    #[test]
    fn a_transport_that_is_blocked_is_named() {
        let tcp = judged(false, [absent(), Reply::Silent], both(found()));
        assert_judged(tcp, Verdict::Failed, Kind::Pkdns, ["over TCP there is no answer", "let TCP through"]);
        let udp = judged(false, [Reply::Closed, absent()], both(found()));
        assert_judged(udp, Verdict::Failed, Kind::Pkdns, ["over UDP nothing listens", "let UDP through"]);
    }

    #[test]
    fn a_server_whose_upstream_fails_is_told_from_one_that_fails_itself() {
        let ordinary = [found(), Reply::of(ResponseCode::ServFail, 0, None)];
        let judged = judged(false, both(absent()), ordinary);
        assert_judged(
            judged,
            Verdict::Failed,
            Kind::Pkdns,
            ["example.com it answers SERVFAIL", "fallback_dns"],
        );
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
