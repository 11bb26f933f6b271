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
pub(super) enum Observed {
    /// It gave a packet of a key that has none.
    Invented,
    /// It stored the packet on so many nodes, and gave that or something else.
    Stored { nodes: u32, is_given: bool },
    /// One of them failed.
    Failed(Step, RelayError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Get,
    Put,
    GetAgain,
}

/// `packet` is that of a key which nobody else has.
pub(super) async fn observe(relay: &Relay, packet: &SignedPacket) -> Observed {
    let failed = |step| move |error| Observed::Failed(step, error);
    let course = async {
        if relay.get(packet.key()).await.map_err(failed(Step::Get))?.is_some() {
            return Ok(Observed::Invented);
        }
        let nodes = relay.put(packet).await.map_err(failed(Step::Put))?;
        let given = relay.get(packet.key()).await.map_err(failed(Step::GetAgain))?;
        Ok(Observed::Stored { nodes, is_given: given.as_ref() == Some(packet) })
    };
    course.await.unwrap_or_else(|failed| failed)
}

pub(super) fn judge(url: &RelayUrl, observed: &Observed) -> Finding {
    match observed {
        Observed::Invented => Finding::failed(
            CHECK,
            format!("{url} gives a packet of a key that has none"),
            "it is no PKARR relay: name another with --relay",
        ),
        Observed::Stored { nodes, is_given: true } => {
            Finding::ok(CHECK, format!("{url} answers, and stored a packet on {nodes} DHT nodes"))
        }
        Observed::Stored { is_given: false, .. } => Finding::warning(
            CHECK,
            format!("{url} took a packet and does not give it back"),
            "do not rely on it alone: publish to the DHT or to another relay as well",
        ),
        Observed::Failed(step, error) => {
            let (why, advice) = (printable(&error.to_string()), advice(error));
            match step {
                Step::Get => Finding::failed(CHECK, format!("{url}: {why}"), advice),
                Step::Put => Finding::failed(
                    CHECK,
                    format!("{url} answers, but does not take a packet: {why}"),
                    advice,
                ),
                Step::GetAgain => {
                    let seen = format!("{url} took a packet, but when asked for it: {why}");
                    Finding::warning(CHECK, seen, advice)
                }
            }
        }
    }
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
        use Observed::{Failed, Invented, Stored};
        let unavailable = || RelayError::Unavailable(StatusCode::BAD_GATEWAY);
        for (observed, verdict, part) in [
            (Stored { nodes: 17, is_given: true }, Verdict::Ok, "stored a packet on 17 DHT nodes"),
            (Invented, Verdict::Failed, "no PKARR relay"),
            (Failed(Step::Get, RelayError::TimedOut), Verdict::Failed, "check the address"),
            (Failed(Step::Get, RelayError::Redirect(StatusCode::FOUND)), Verdict::Failed, "redirects to"),
            (Failed(Step::Get, RelayError::NotAPacket), Verdict::Failed, "with its path"),
            (Failed(Step::Put, unavailable()), Verdict::Failed, "way to the DHT"),
            (Failed(Step::Put, RelayError::TooManyRequests), Verdict::Failed, "wait a minute"),
            (Failed(Step::Put, RelayError::NotMostRecent), Verdict::Failed, "just now"),
            (Stored { nodes: 1, is_given: false }, Verdict::Warning, "does not give it back"),
            (Failed(Step::GetAgain, unavailable()), Verdict::Warning, "when asked for it"),
        ] {
            judge(&"https://relay.example".parse().unwrap(), &observed).assert(verdict, &[part]);
        }
    }
}
