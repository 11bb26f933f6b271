//! Whether names of keys reach pkdns, and ordinary names somebody.

use std::{net::SocketAddr, time::Duration};

use hickory_proto::rr::RecordType;
use pkdns_dht::signed_packet::Keypair;
use tokio::time::{Instant, sleep};

use super::{settings::Suffix, system::System};
use crate::dns::{self, ORDINARY_NAME, OfKey, Over, Reply};

/// How long a resolver may take to start again.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(300);

/// What became of a name of a key.
#[derive(Debug)]
pub(super) struct Passage {
    of_key: OfKey,
    reply: Reply,
}

impl Passage {
    /// Whether pkdns has answered.
    pub(super) fn is_through(&self) -> bool {
        self.of_key == OfKey::Answered
    }

    /// For people, behind the address of the resolver.
    pub(super) fn describe(&self, suffix: &Suffix) -> String {
        match self.of_key {
            OfKey::Answered => sends_keys(suffix),
            OfKey::Denied => format!("says that there is no KEY.{suffix}, and did not ask pkdns"),
            OfKey::Failed => format!("answers SERVFAIL for KEY.{suffix}"),
            OfKey::Refused | OfKey::Unusable => {
                format!("was asked for KEY.{suffix}: {}", self.reply.describe())
            }
        }
    }

    /// What to do where names of keys do not get through after the change.
    pub(super) fn advice(&self, system: System, suffix: &Suffix) -> String {
        advice(self.of_key, system, suffix)
    }
}

/// What is said of a resolver that does.
pub(super) fn sends_keys(suffix: &Suffix) -> String {
    format!("sends names of keys such as KEY.{suffix} to pkdns")
}

/// Asks `resolver` about a key that nobody has published and nobody asked it for before.
pub(super) async fn passage(resolver: SocketAddr, suffix: &Suffix) -> Passage {
    let key = Keypair::random().public_key().to_z32();
    let name = dns::complete(&format!("{key}.{suffix}"));
    let reply = dns::ask(resolver, &name, RecordType::A, Over::Udp).await;
    let mut of_key = reply.of_key(&key);
    if of_key == OfKey::Denied {
        // Some leave out of an answer whose zone it is from.
        let whole = dns::ask_with(dns::WHOLE, resolver, &name, RecordType::A).await;
        if whole.of_key(&key) == OfKey::Answered {
            of_key = OfKey::Answered;
        }
    }
    Passage { of_key, reply }
}

/// Whether it finds names that are not keys.
pub(super) async fn resolves_others(resolver: SocketAddr) -> bool {
    dns::ask(resolver, &dns::complete(ORDINARY_NAME), RecordType::A, Over::Udp).await.is_conclusive()
}

/// Asks until names of keys reach pkdns, or the time is over. What came last.
pub(super) async fn wait(resolver: impl Fn() -> SocketAddr, suffix: &Suffix) -> (SocketAddr, Passage) {
    let start = Instant::now();
    loop {
        // It may be another one than before the change.
        let asked = resolver();
        let passage = passage(asked, suffix).await;
        if passage.is_through() || start.elapsed() >= PATIENCE {
            return (asked, passage);
        }
        sleep(PAUSE).await;
    }
}

fn advice(of_key: OfKey, system: System, suffix: &Suffix) -> String {
    match (of_key, system) {
        (OfKey::Answered, _) => String::new(),
        (OfKey::Failed, System::Resolved) => format!(
            "it validates DNSSEC, or pkdns has lost the DHT. If DNSSEC is on (resolvectl status shows it), write {suffix} into \
             /etc/dnssec-trust-anchors.d/pkdns.negative, and the negative trust anchors that journalctl -u systemd-resolved \
             shows, one in each line: a file there replaces all of them"
        ),
        (OfKey::Failed, _) => format!(
            "see whether pkdns itself still answers (pkdns-cli doctor --server with its address), and whether another file \
             sends {suffix} elsewhere"
        ),
        (OfKey::Denied, System::Dnsmasq) => {
            "dnsmasq does not read /etc/dnsmasq.d: put the line conf-dir=/etc/dnsmasq.d/,*.conf into /etc/dnsmasq.conf and \
             restart it"
                .to_owned()
        }
        (OfKey::Denied, System::Unbound) => {
            "Unbound does not read that directory: put the line include: \"/etc/unbound/unbound.conf.d/*.conf\" into \
             /etc/unbound/unbound.conf and restart it"
                .to_owned()
        }
        (OfKey::Denied, System::Resolved) => {
            "programs may not ask systemd-resolved at all: see that /etc/resolv.conf is a link to \
             /run/systemd/resolve/stub-resolv.conf"
                .to_owned()
        }
        (OfKey::Denied, _) => format!(
            "it does not follow the files above, or another rule sends {suffix} elsewhere: see with pkdns-cli doctor --server \
             and its address"
        ),
        (_, System::Resolved) => "see what systemctl status systemd-resolved says".to_owned(),
        (_, System::NetworkManager) => "see what journalctl -u NetworkManager says".to_owned(),
        (_, System::Unbound) => "see what systemctl status unbound says".to_owned(),
        (_, _) => "see what systemctl status dnsmasq says".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_advice_for_each_system_and_fault() {
        let suffix = "key".parse().unwrap();
        for system in System::ALL {
            for fault in [OfKey::Denied, OfKey::Failed, OfKey::Refused, OfKey::Unusable] {
                assert!(!advice(fault, system, &suffix).is_empty(), "{system:?} {fault:?}");
            }
        }
    }
}
