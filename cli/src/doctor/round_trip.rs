//! Publishes a packet under a key that is thrown away, and looks whether it is found again.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use hickory_proto::{op::ResponseCode, rr::RecordType};
use pkdns_dht::{Dht, Evidence, NetworkError, PutError, REPLICAS, signed_packet::SignedPacket};

use super::{
    bridge,
    finding::Finding,
    server::{Kind, name_of},
};
use crate::{
    dns::{self, Over, Reply},
    failure::Failure,
    packet, seed,
    terminal::printable,
    time::now,
    zone_file::{self, ExternalAddresses},
};

const CHECK: &str = "round trip";
const SERVED: &str = "answer";

/// What the packet says, for whoever finds it.
const TEXT: &str = "pkdns-cli doctor";

/// And an address of a private network, as those of many keys are: some resolvers take it out.
const ADDRESS: &str = "192.168.1.9";

/// A name of it that a bridge takes for a site, at an address where nobody is (RFC 5737).
const SITE: &str = "site";
pub(super) const PROBE_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);

/// What became of it.
#[derive(Debug)]
pub(super) struct Stored {
    nodes: u32,
    storing: Duration,
    /// Whether the packet that was found is the one that was stored, and what the nodes said.
    found: Result<(bool, Evidence), NetworkError>,
    searching: Duration,
}

/// A packet of a new key, whose secret is forgotten.
pub(super) fn throw_away() -> Result<SignedPacket, Failure> {
    let keypair = seed::random()?;
    let key = keypair.public_key();
    let zone = format!(
        "@ 60 TXT \"{TEXT}\"\n@ 60 A {ADDRESS}\n{SITE} 60 A {PROBE_ADDRESS}\n_443._tcp.{SITE} 60 TLSA 3 1 1 {}\n",
        "00".repeat(32)
    );
    let zone = zone_file::from_bytes(zone.as_bytes())?;
    let dns = packet::compose(&zone.records(&key, &ExternalAddresses::default())?, &key)?;
    SignedPacket::sign(&keypair, now(), &dns)
        .map_err(|error| Failure::Failed(format!("cannot sign a packet: {error}")))
}

pub(super) async fn observe(dht: &Dht, packet: &SignedPacket) -> Result<Stored, PutError> {
    let begun = Instant::now();
    let nodes = dht.put(packet, None).await?;
    let storing = begun.elapsed();
    let begun = Instant::now();
    let found = dht.most_recent(packet.key()).await;
    let found = found.map(|(found, evidence)| (found.as_ref() == Some(packet), evidence));
    Ok(Stored { nodes, storing, found, searching: begun.elapsed() })
}

pub(super) fn not_reached() -> Finding {
    Finding::skipped(CHECK, "the DHT is not reached", "mend what the line dht says")
}

/// Whether a server could find it.
pub(super) fn is_stored(observed: &Result<Stored, PutError>) -> bool {
    observed.as_ref().is_ok_and(|stored| stored.nodes > 0)
}

pub(super) fn judge(observed: &Result<Stored, PutError>) -> Finding {
    let Stored { nodes, storing, found, searching } = match observed {
        Ok(Stored { nodes: 0, .. }) => {
            return Finding::failed(CHECK, "no node stored a packet", "try again in a minute");
        }
        Ok(stored) => stored,
        Err(error) => {
            let seen = format!("a packet was not stored: {}", printable(&error.to_string()));
            let advice = match error {
                PutError::NotMostRecent | PutError::CasFailed => {
                    "try again: the key was made just now, so nobody else can have published it"
                }
                PutError::Refused(..) => "set this machine's clock and try again; other nodes may take it",
                PutError::Network(_) => "try again; if it stays, the network loses or limits UDP",
            };
            return Finding::failed(CHECK, seen, advice);
        }
    };
    let stored = format!("stored on {nodes} nodes in {} ms", storing.as_millis());
    let lost = |why: String| {
        let advice = "try again in a minute; if it stays, the network loses UDP, or the nodes near this key are unreliable";
        Finding::failed(CHECK, format!("{stored}, but not found again{why}"), advice)
    };
    match found {
        Ok((true, evidence)) => {
            let searching = searching.as_millis();
            let seen = format!("{stored}, found again on {} of them in {searching} ms", evidence.held);
            // A small network has fewer nodes than that.
            let expected = evidence.responded.min(u32::try_from(REPLICAS).unwrap_or(u32::MAX));
            if nodes.saturating_mul(2) < expected {
                return Finding::warning(
                    CHECK,
                    seen,
                    "publish often, because few nodes hold a packet that comes from here, and they forget it",
                );
            }
            Finding::ok(CHECK, seen)
        }
        Ok((false, _)) => lost(String::new()),
        Err(error) => lost(format!(": {error}")),
    }
}

/// What a server said of the packet that was just stored.
pub(super) struct Served {
    /// To the question for its text, after how long.
    text: Reply,
    time: Duration,
    /// To that for its address.
    address: Reply,
    /// Where the name of a site below it is led to: the addresses of a bridge, if the server has one.
    pub(super) bridge: Vec<IpAddr>,
}

/// Asks the server for the packet, whose key is written with `suffix` behind another resolver.
pub(super) async fn ask_server(
    server: SocketAddr,
    kind: Kind,
    packet: &SignedPacket,
    suffix: &str,
) -> Served {
    let bare = name_of(packet.key());
    let name = match kind {
        Kind::Front => dns::complete(&format!("{bare}{suffix}.")),
        Kind::Pkdns | Kind::Other | Kind::Nobody => bare,
    };
    let begun = Instant::now();
    let text = dns::ask(server, &name, RecordType::TXT, Over::Udp).await;
    let time = begun.elapsed();
    let site = dns::complete(&format!("{SITE}.{}", site_of(packet, suffix)));
    let (address, v4, v6) = tokio::join!(
        dns::ask(server, &name, RecordType::A, Over::Udp),
        dns::ask(server, &site, RecordType::A, Over::Udp),
        dns::ask(server, &site, RecordType::AAAA, Over::Udp)
    );
    Served { text, time, address, bridge: bridge::led_to([&v4, &v6]) }
}

/// The key of a packet as browsers write it.
pub(super) fn site_of(packet: &SignedPacket, suffix: &str) -> String {
    format!("{}.{suffix}", packet.key().to_z32())
}

/// `served` is `None` where the server was not asked.
pub(super) fn judge_served(server: SocketAddr, kind: Kind, served: Option<&Served>) -> Finding {
    let Some(Served { text: reply, time, address, .. }) = served else {
        return match kind {
            Kind::Pkdns | Kind::Front => {
                Finding::skipped(SERVED, "nothing was published", "do what the line round trip says")
            }
            Kind::Other | Kind::Nobody => Finding::skipped(
                SERVED,
                &format!("pkdns does not answer on {server}"),
                "do what the line server says; to publish, no server is needed",
            ),
        };
    };
    match reply {
        reply if reply.texts().iter().any(|text| text == TEXT) => {
            let is_empty = address.code() == Some(ResponseCode::NoError) && address.answers().is_empty();
            if kind == Kind::Front && is_empty {
                return Finding::warning(
                    SERVED,
                    format!(
                        "{server} finds the new key, and takes its private address {ADDRESS} out of the answer"
                    ),
                    "many keys have such addresses: let them pass there (dnsmasq, Pi-hole: rebind-domain-ok=/key/; Unbound: \
                     private-domain: \"key\")",
                );
            }
            Finding::ok(SERVED, format!("{server} found the new key in {} ms", time.as_millis()))
        }
        reply if reply.is_conclusive() => Finding::warning(
            SERVED,
            format!("{server} does not find the new key"),
            "does it use the same DHT? Compare dht.bootstrap in pkdns.toml with --bootstrap, then try again",
        ),
        reply => Finding::failed(
            SERVED,
            format!("{server} was asked for the new key: {}", reply.describe()),
            "see the log of pkdns (journalctl -u pkdns), and whether it reaches the DHT",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn each_course_has_its_verdict() {
        let stored = |nodes, found| {
            Ok(Stored {
                nodes,
                storing: Duration::from_millis(900),
                found,
                searching: Duration::from_millis(300),
            })
        };
        let found = |is_same, responded| Ok((is_same, Evidence { queried: responded, responded, held: 18 }));
        let refused = PutError::Refused(302, "\u{1b}no".to_string());
        for (observed, verdict, part) in [
            (
                stored(20, found(true, 25)),
                Verdict::Ok,
                "stored on 20 nodes in 900 ms, found again on 18 of them in 300 ms",
            ),
            (stored(3, found(true, 4)), Verdict::Ok, "stored on 3 nodes"),
            (stored(3, found(true, 25)), Verdict::Warning, "publish often"),
            (stored(20, found(false, 25)), Verdict::Failed, "not found again"),
            (stored(20, Err(NetworkError::Unreachable)), Verdict::Failed, "no DHT node answered"),
            (stored(0, found(false, 25)), Verdict::Failed, "no node stored"),
            (Err(PutError::NotMostRecent), Verdict::Failed, "try again"),
            (Err(refused), Verdict::Failed, "\\027no"),
            (Err(NetworkError::Unreachable.into()), Verdict::Failed, "limits UDP"),
        ] {
            judge(&observed).assert(verdict, &[part]);
        }
        assert_eq!(not_reached().verdict, Verdict::Skipped);
    }

    #[test]
    fn what_the_server_says_has_its_verdict() {
        let held = || Reply::of_texts(&[TEXT]);
        let answered = |text, records| {
            let address = Reply::of(ResponseCode::NoError, records, None);
            Some(Served { text, time: Duration::from_millis(40), address, bridge: Vec::new() })
        };
        let after = |code| answered(Reply::of(code, 0, None), 1);
        for (kind, served, verdict, part) in [
            (Kind::Pkdns, answered(held(), 1), Verdict::Ok, "found the new key in 40 ms"),
            (Kind::Front, answered(held(), 1), Verdict::Ok, "found the new key in 40 ms"),
            (Kind::Front, answered(held(), 0), Verdict::Warning, "rebind-domain-ok=/key/"),
            (Kind::Pkdns, answered(held(), 0), Verdict::Ok, "found the new key in 40 ms"),
            (Kind::Pkdns, after(ResponseCode::NXDomain), Verdict::Warning, "the same DHT?"),
            (Kind::Pkdns, after(ResponseCode::ServFail), Verdict::Failed, "SERVFAIL"),
            (Kind::Pkdns, answered(Reply::Silent, 1), Verdict::Failed, "there is no answer"),
            (Kind::Pkdns, None, Verdict::Skipped, "line round trip"),
            (Kind::Nobody, None, Verdict::Skipped, "does not answer on 127.0.0.1:53"),
        ] {
            judge_served("127.0.0.1:53".parse().unwrap(), kind, served.as_ref()).assert(verdict, &[part]);
        }
    }

    #[test]
    fn each_packet_has_a_key_of_its_own() {
        let (one, other) = (throw_away().unwrap(), throw_away().unwrap());
        assert!(one.key() != other.key() && one.dns() != other.dns());
    }
}
