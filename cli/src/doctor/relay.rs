//! Whether a relay gives packets and takes them.

use pkdns::{
    config::RelayUrl,
    sources::relay_client::{Relay, RelayError},
};
use pkdns_dht::signed_packet::SignedPacket;

use super::finding::Finding;
use crate::terminal::printable;

const CHECK: &str = "relay";

/// What became of three requests: for a key without a packet, to store one, and for that one.
#[derive(Debug)]
pub(super) struct Observed {
    before: Result<bool, RelayError>,
    /// On how many nodes.
    stored: Option<Result<u32, RelayError>>,
    /// Whether it gave what it was given.
    after: Option<Result<bool, RelayError>>,
}

/// `packet` is that of a key which nobody else has.
pub(super) async fn observe(relay: &Relay, packet: &SignedPacket) -> Observed {
    let before = relay.get(packet.key()).await.map(|found| found.is_some());
    let (mut stored, mut after) = (None, None);
    if before.is_ok() {
        let put = relay.put(packet).await;
        if put.is_ok() {
            after = Some(relay.get(packet.key()).await.map(|found| found.as_ref() == Some(packet)));
        }
        stored = Some(put);
    }
    Observed { before, stored, after }
}

pub(super) fn judge(url: &RelayUrl, observed: &Observed) -> Finding {
    if let Err(error) = &observed.before {
        return Finding::failed(CHECK, format!("{url}: {}", told(error)), advice(error));
    }
    if observed.before == Ok(true) {
        let seen = format!("{url} gives a packet of a key that has none");
        return Finding::failed(CHECK, seen, "it is no PKARR relay: name another with --relay");
    }
    match (&observed.stored, &observed.after) {
        (Some(Ok(nodes)), Some(Ok(true))) => {
            Finding::ok(CHECK, format!("{url} answers, and stored a packet on {nodes} DHT nodes"))
        }
        (Some(Ok(_)), Some(Ok(false))) => Finding::warning(
            CHECK,
            format!("{url} took a packet and does not give it back"),
            "do not rely on it alone: publish to the DHT or to another relay as well",
        ),
        (Some(Ok(_)), Some(Err(error))) => Finding::warning(
            CHECK,
            format!("{url} took a packet, but when asked for it: {}", told(error)),
            advice(error),
        ),
        (Some(Err(error)), _) => Finding::failed(
            CHECK,
            format!("{url} answers, but does not take a packet: {}", told(error)),
            advice(error),
        ),
        (None, _) | (Some(Ok(_)), None) => Finding::skipped(CHECK, "it was not asked", "try again"),
    }
}

fn told(error: &RelayError) -> String {
    printable(&error.to_string())
}

fn advice(error: &RelayError) -> &'static str {
    match error {
        RelayError::Unreachable(_) | RelayError::TimedOut => {
            "check the address, the network, and whether the relay runs; name another with --relay if it stays away"
        }
        RelayError::TooManyRequests | RelayError::Busy | RelayError::Paused => {
            "wait a minute and try again, or name another with --relay"
        }
        RelayError::Unavailable(_) => {
            "its operator has to mend it, most likely its way to the DHT; name another with --relay meanwhile"
        }
        RelayError::Redirect(_) => "name the address that it redirects to with --relay",
        RelayError::Refused(_) | RelayError::NotAPacket | RelayError::Invalid(_) => {
            "is this the address of a PKARR relay, with its path? Name another with --relay if it does not store for you"
        }
        RelayError::NotMostRecent | RelayError::CasFailed => {
            "the key was made just now, so it is no PKARR relay: name another with --relay"
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::doctor::finding::Verdict;

    #[test]
    fn each_course_has_its_verdict() {
        let unavailable = || RelayError::Unavailable(StatusCode::BAD_GATEWAY);
        for (before, stored, after, verdict, part) in [
            (Ok(false), Some(Ok(17)), Some(Ok(true)), Verdict::Ok, "stored a packet on 17 DHT nodes"),
            (Ok(true), None, None, Verdict::Failed, "no PKARR relay"),
            (Err(RelayError::TimedOut), None, None, Verdict::Failed, "check the address"),
            (Err(RelayError::Redirect(StatusCode::FOUND)), None, None, Verdict::Failed, "redirects to"),
            (Err(RelayError::NotAPacket), None, None, Verdict::Failed, "with its path"),
            (Ok(false), Some(Err(unavailable())), None, Verdict::Failed, "way to the DHT"),
            (Ok(false), Some(Err(RelayError::TooManyRequests)), None, Verdict::Failed, "wait a minute"),
            (Ok(false), Some(Err(RelayError::NotMostRecent)), None, Verdict::Failed, "just now"),
            (Ok(false), Some(Ok(1)), Some(Ok(false)), Verdict::Warning, "does not give it back"),
            (Ok(false), Some(Ok(1)), Some(Err(unavailable())), Verdict::Warning, "when asked for it"),
            (Ok(false), None, None, Verdict::Skipped, "not checked, because"),
        ] {
            let url = "https://relay.example".parse().unwrap();
            let finding = judge(&url, &Observed { before, stored, after });
            let text = format!("{} {}", finding.seen, finding.advice.unwrap_or_default());
            assert!(finding.verdict == verdict && text.contains(part), "{part}: {text}");
        }
    }
}
