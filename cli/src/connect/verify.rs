//! Whether names of keys reach pkdns, and ordinary names somebody.

use std::{net::SocketAddr, time::Duration};

use hickory_proto::{op::ResponseCode, rr::RecordType};
use pkdns_dht::signed_packet::Keypair;
use tokio::time::{Instant, sleep};

use super::{settings::Suffix, system::System};
use crate::dns::{self, Over, Reply, Said};

/// A name that every resolver knows (RFC 2606).
const ORDINARY_NAME: &str = "example.com";

/// How long a resolver may take to start again.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(300);

/// What became of a name of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Passage {
    /// pkdns has answered.
    Through,
    /// Somebody else says that there is no such name.
    Denied,
    /// SERVFAIL.
    Failed,
    /// Nothing listens, nothing comes, or REFUSED: for people.
    NotAsked(String),
}

/// Asks `resolver` about a key that nobody has published and nobody asked it for before.
pub(super) async fn passage(resolver: SocketAddr, suffix: &Suffix) -> Passage {
    let key = Keypair::random().public_key().to_z32();
    let name = dns::complete(&format!("{key}.{suffix}"));
    let reply = dns::ask(resolver, &name, RecordType::A, Over::Udp).await;
    let verdict = judge(&reply, &key);
    if verdict != Passage::Denied {
        return verdict;
    }
    // Some leave out of an answer whose zone it is from.
    match judge(&dns::ask_whole(resolver, &name, RecordType::A).await, &key) {
        Passage::Through => Passage::Through,
        _ => verdict,
    }
}

fn judge(reply: &Reply, key: &str) -> Passage {
    let Some(said) = reply.said() else { return Passage::NotAsked(reply.told()) };
    match said.code {
        ResponseCode::NoError | ResponseCode::NXDomain if is_from_its_zone(said, key) => Passage::Through,
        ResponseCode::NoError | ResponseCode::NXDomain => Passage::Denied,
        ResponseCode::ServFail => Passage::Failed,
        _ => Passage::NotAsked(reply.told()),
    }
}

fn is_from_its_zone(said: &Said, key: &str) -> bool {
    said.zone.as_deref().is_some_and(|zone| zone.split('.').any(|label| label == key))
}

/// Whether it finds names that are not keys.
pub(super) async fn resolves_others(resolver: SocketAddr) -> bool {
    let reply = dns::ask(resolver, &dns::complete(ORDINARY_NAME), RecordType::A, Over::Udp).await;
    reply.said().is_some_and(|said| matches!(said.code, ResponseCode::NoError | ResponseCode::NXDomain))
}

/// Asks until names of keys reach pkdns, or the time is over. What came last.
pub(super) async fn wait(resolver: impl Fn() -> SocketAddr, suffix: &Suffix) -> (SocketAddr, Passage) {
    let start = Instant::now();
    loop {
        // It may be another one than before the change.
        let asked = resolver();
        let passage = passage(asked, suffix).await;
        if passage == Passage::Through || start.elapsed() >= PATIENCE {
            return (asked, passage);
        }
        sleep(PAUSE).await;
    }
}

/// What to do where names of keys do not get through afterwards.
pub(super) fn advice(system: System, passage: &Passage, suffix: &Suffix) -> String {
    match (passage, system) {
        (Passage::Through, _) => String::new(),
        (Passage::Failed, System::Resolved) => format!(
            "it validates DNSSEC, or pkdns has lost the DHT. If DNSSEC is on (resolvectl status shows it), write {suffix} into \
             /etc/dnssec-trust-anchors.d/pkdns.negative, and the negative trust anchors that journalctl -u systemd-resolved \
             shows, one in each line: a file there replaces all of them"
        ),
        (Passage::Failed, _) => format!(
            "see whether pkdns itself still answers (pkdns-cli doctor --server with its address), and whether another file \
             sends {suffix} elsewhere"
        ),
        (Passage::Denied, System::Dnsmasq) => {
            "dnsmasq does not read /etc/dnsmasq.d: put the line conf-dir=/etc/dnsmasq.d/,*.conf into /etc/dnsmasq.conf and \
             restart it"
                .to_owned()
        }
        (Passage::Denied, System::Unbound) => {
            "Unbound does not read that directory: put the line include: \"/etc/unbound/unbound.conf.d/*.conf\" into \
             /etc/unbound/unbound.conf and restart it"
                .to_owned()
        }
        (Passage::Denied, System::Resolved) => {
            "programs may not ask systemd-resolved at all: see that /etc/resolv.conf is a link to \
             /run/systemd/resolve/stub-resolv.conf"
                .to_owned()
        }
        (Passage::Denied, _) => format!(
            "it does not follow the files above, or another rule sends {suffix} elsewhere: see with pkdns-cli doctor --server \
             and its address"
        ),
        (Passage::NotAsked(_), System::Resolved) => "see what systemctl status systemd-resolved says".to_owned(),
        (Passage::NotAsked(_), System::NetworkManager) => "see what journalctl -u NetworkManager says".to_owned(),
        (Passage::NotAsked(_), System::Unbound) => "see what systemctl status unbound says".to_owned(),
        (Passage::NotAsked(_), _) => "see what systemctl status dnsmasq says".to_owned(),
    }
}

/// For people, behind the address of the resolver.
pub(super) fn told(passage: &Passage, suffix: &Suffix) -> String {
    match passage {
        Passage::Through => format!("sends names of keys such as KEY.{suffix} to pkdns"),
        Passage::Denied => format!("says that there is no KEY.{suffix}, and did not ask pkdns"),
        Passage::Failed => format!("answers SERVFAIL for KEY.{suffix}"),
        Passage::NotAsked(why) => format!("was asked for KEY.{suffix}: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";

    #[test]
    fn an_answer_is_that_of_pkdns_only_if_it_comes_from_the_zone_of_the_key() {
        let of = |code, zone| judge(&Reply::of(code, 0, zone), KEY);
        let own = format!("{KEY}.key");
        assert_eq!(of(ResponseCode::NXDomain, Some(own.as_str())), Passage::Through);
        assert_eq!(of(ResponseCode::NXDomain, Some("")), Passage::Denied);
        assert_eq!(of(ResponseCode::NoError, None), Passage::Denied);
        assert_eq!(of(ResponseCode::ServFail, Some(own.as_str())), Passage::Failed);
        assert!(matches!(of(ResponseCode::Refused, None), Passage::NotAsked(why) if why.contains("REFUSED")));
        assert!(
            matches!(judge(&Reply::Closed, KEY), Passage::NotAsked(why) if why.contains("nothing listens"))
        );
    }

    #[test]
    fn there_is_advice_for_each_system_and_fault() {
        let suffix = "key".parse().unwrap();
        for system in System::ALL {
            for fault in [Passage::Denied, Passage::Failed, Passage::NotAsked("x".into())] {
                assert!(!advice(system, &fault, &suffix).is_empty(), "{system:?} {fault:?}");
            }
        }
    }
}
