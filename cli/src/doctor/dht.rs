//! Whether the DHT can be reached, and where it sees this machine.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use pkdns::base::access::is_private;
use pkdns_dht::{Dht, Evidence, NetworkError, Sighting, signed_packet::PublicKey};

use super::finding::Finding;
use crate::external_address::own_addresses;

const CHECK: &str = "dht";
const ADDRESS: &str = "address";

/// Longest that joining may take. More is no use to anybody who waits for an answer.
const JOIN_DEADLINE: Duration = Duration::from_secs(5);

/// What a search for a key without a packet showed.
#[derive(Debug)]
pub(super) struct Observed {
    /// How long it took until the first node answered, and what the search came to; `None`: no node answered.
    search: Option<(Duration, Result<Evidence, NetworkError>)>,
    /// Nodes that are known after it.
    known: usize,
    sightings: Vec<Sighting>,
    /// Addresses of this machine's interfaces.
    own: Vec<IpAddr>,
}

impl Observed {
    /// Whether anything can be stored there.
    pub(super) fn is_reached(&self) -> bool {
        matches!(self.search, Some((_, Ok(_))))
    }
}

/// `key` is one that nobody has published.
pub(super) async fn observe(dht: &Dht, key: &PublicKey) -> Observed {
    let begun = Instant::now();
    let search = match dht.ready(JOIN_DEADLINE).await {
        Ok(()) => {
            let joined = begun.elapsed();
            Some((joined, dht.most_recent(key).await.map(|(_, evidence)| evidence)))
        }
        Err(_) => None,
    };
    let info = dht.info().await;
    Observed { search, known: info.table_size, sightings: info.sightings, own: own_addresses() }
}

pub(super) fn judge(observed: &Observed, bootstrap: &[String]) -> Finding {
    let (joined, evidence) = match &observed.search {
        Some((joined, Ok(evidence))) => (joined, evidence),
        Some((_, Err(error))) => {
            let seen = format!("joined, but a search failed: {error}");
            return Finding::failed(CHECK, seen, "try again; if it stays, the network loses or limits UDP");
        }
        None => {
            let seen = format!("no node answered: {}", bootstrap.join(", "));
            let advice = "check the network connection, let UDP out to any port in the firewall, or choose other nodes with \
                          --bootstrap; where UDP is blocked, a relay is the way: --relay";
            return Finding::failed(CHECK, seen, advice);
        }
    };
    let Evidence { queried, responded, .. } = evidence;
    let seen = format!(
        "joined in {} ms; {responded} of {queried} nodes answered a search, {} are known",
        joined.as_millis(),
        observed.known
    );
    if responded.saturating_mul(2) < *queried {
        let advice = "the network loses or limits UDP: look at the router's limit of connections, and whether a firewall \
                      drops answers that come late";
        return Finding::warning(CHECK, seen, advice);
    }
    Finding::ok(CHECK, seen)
}

/// Where the nodes see this machine, and whether that is its own address.
pub(super) fn judge_address(observed: &Observed) -> Finding {
    // The one that most nodes speak for.
    let Some(sighting) = observed.sightings.iter().max_by_key(|sighting| sighting.votes) else {
        let why = "no node said where it sees this machine";
        return Finding::skipped(
            ADDRESS,
            why,
            "do what the line dht says; the nodes of some small networks never tell it",
        );
    };
    let Sighting { ip, votes, voters } = sighting;
    let seen = format!("{ip} according to {votes} of {voters} nodes");
    if votes * 2 <= *voters {
        let advice = "the nodes do not agree, as behind several connections or a carrier's NAT: pkdns works, but others may \
                      not reach servers on this machine";
        return Finding::warning(ADDRESS, seen, advice);
    }
    if observed.own.contains(ip) {
        return Finding::ok(ADDRESS, format!("{seen}, which is this machine's own: no NAT"));
    }
    if is_private(*ip) {
        return Finding::ok(ADDRESS, format!("{seen}, in a private network"));
    }
    // Only questions go out, so that nothing has to be let in.
    Finding::ok(
        ADDRESS,
        format!(
            "{seen}; this machine is behind a NAT, which the DHT does not mind, but servers on it need a port \
             forwarded in the router"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    fn observed() -> Observed {
        let ip = "203.0.113.7".parse().unwrap();
        Observed {
            search: Some((Duration::from_millis(80), Ok(Evidence { queried: 30, responded: 24, held: 0 }))),
            known: 120,
            sightings: vec![Sighting { ip, votes: 19, voters: 20 }],
            own: vec!["192.168.1.2".parse().unwrap()],
        }
    }

    #[test]
    fn a_search_is_judged_by_how_many_answered() {
        let evidence = |queried, responded| Some(Ok(Evidence { queried, responded, held: 0 }));
        for (search, verdict, parts) in [
            (
                evidence(30, 24),
                Verdict::Ok,
                "joined in 80 ms; 24 of 30 nodes answered a search, 120 are known",
            ),
            (evidence(5, 5), Verdict::Ok, "5 of 5"),
            (evidence(40, 12), Verdict::Warning, "limits UDP"),
            (None, Verdict::Failed, "a:1, b:2 -> check the network connection, let UDP out"),
            (Some(Err(NetworkError::Unreachable)), Verdict::Failed, "a search failed: no DHT node answered"),
        ] {
            let search = search.map(|search| (Duration::from_millis(80), search));
            let bootstrap = ["a:1".to_string(), "b:2".to_string()];
            judge(&Observed { search, ..observed() }, &bootstrap).assert(verdict, &[parts]);
        }
    }

    #[test]
    fn the_address_tells_of_a_nat() {
        let seen_at = |ip: &str, votes, own: &str| Observed {
            sightings: vec![Sighting { ip: ip.parse().unwrap(), votes, voters: 20 }],
            own: vec![own.parse().unwrap()],
            ..observed()
        };
        for (observed, verdict, part) in [
            (
                observed(),
                Verdict::Ok,
                "203.0.113.7 according to 19 of 20 nodes; this machine is behind a NAT",
            ),
            (seen_at("203.0.113.7", 20, "203.0.113.7"), Verdict::Ok, "no NAT"),
            (seen_at("10.0.0.1", 20, "192.168.0.1"), Verdict::Ok, "in a private network"),
            (seen_at("203.0.113.7", 7, "192.168.0.1"), Verdict::Warning, "do not agree"),
            (Observed { sightings: Vec::new(), ..observed() }, Verdict::Skipped, "not checked, because"),
        ] {
            judge_address(&observed).assert(verdict, &[part]);
        }
        assert!(own_addresses().iter().any(IpAddr::is_loopback));
    }
}
