//! What a running server has measured of the network, by its metrics.

use std::{net::SocketAddr, time::Duration};

use http::{StatusCode, Uri};
use pkdns::sources::forward::TlsClient;
use tokio::time::timeout;

use super::{finding::Finding, server};
use crate::{http_client::HttpClient, network};

const CHECK: &str = "measured";

/// Longest that the server may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// Most bytes of a page: ten times what ours has.
const MAX_PAGE: usize = 1 << 20;

/// Fewer requests than these say little.
const FEW: f64 = 100.0;

/// With fewer replies than one for each four requests, which is what crowded clouds have seen, the line is to blame.
const FEW_REPLIES: f64 = 0.25;

/// The page of the metrics, where any are served. The error is for people.
pub(super) async fn observe(listen: &[SocketAddr], tls: &TlsClient) -> Option<Result<String, String>> {
    let address = server::reached_at(*listen.first()?);
    let page = timeout(DEADLINE, fetch(address, tls)).await;
    let page = page.unwrap_or_else(|_| Err("there is no answer in time".to_string()));
    Some(page.map_err(|why| format!("http://{address}/metrics: {why}")))
}

async fn fetch(address: SocketAddr, tls: &TlsClient) -> Result<String, String> {
    let uri: Uri = format!("http://{address}/metrics").parse().map_err(|_| "no address of a page")?;
    let client = HttpClient::new(tls, network::system_resolver());
    match client.page(uri, MAX_PAGE).await? {
        (StatusCode::OK, page) => Ok(String::from_utf8_lossy(&page).into_owned()),
        (status, _) => Err(format!("it answers {status}")),
    }
}

pub(super) fn judge(observed: Option<&Result<String, String>>) -> Finding {
    let page = match observed {
        None => {
            let advice = "set metrics.listen = \"127.0.0.1:9353\" in pkdns.toml and restart pkdns to see what it measures";
            return Finding::skipped(CHECK, "the configuration serves no metrics", advice);
        }
        Some(Err(why)) => {
            let advice =
                "start pkdns with this configuration, and let access.allow have this machine's address";
            return Finding::skipped(CHECK, why, advice);
        }
        Some(Ok(page)) => Page(page),
    };
    let outcome = |outcome: &str| page.sum("pkdns_dht_requests_total{", outcome);
    let all = outcome("");
    if all < FEW {
        let why = format!("the server has sent {all} requests to the DHT");
        return Finding::skipped(CHECK, &why, "ask it for some keys, and try again");
    }
    let replied = all - outcome("outcome=\"unanswered\"");
    let gets = page.sum("pkdns_dht_requests_total{method=\"get\"", "")
        - page.sum("pkdns_dht_requests_total{method=\"get\"", "unanswered");
    let without = page.sum("pkdns_dht_requests_total{method=\"get\"", "unsupported");
    let round_trip = page.histogram("pkdns_dht_round_trip_seconds");
    let first = page.histogram("pkdns_dht_first_answer_seconds");
    let seen = format!(
        "{} nodes are known; {:.0} % of {all} requests were answered, {:.0} % of those for packets by nodes without \
         BEP 44; round trips {} (p50) and {} (p99); {} packets were found after {} and {}, with {} messages before \
         and {} in all (medians)",
        page.sum("pkdns_dht_nodes{", ""),
        percent(replied, all),
        percent(without, gets),
        milliseconds(round_trip.quantile(0.5)),
        milliseconds(round_trip.quantile(0.99)),
        first.count(),
        milliseconds(first.quantile(0.5)),
        milliseconds(first.quantile(0.99)),
        whole(page.histogram("pkdns_dht_messages_before_first_answer").quantile(0.5)),
        whole(page.histogram("pkdns_dht_messages_per_lookup").quantile(0.5)),
    );
    if replied < all * FEW_REPLIES {
        let advice = "the network loses or limits UDP: look at the router's limit of connections, at other programs on \
                      this line, and whether a firewall drops answers that come late";
        return Finding::warning(CHECK, seen, advice);
    }
    Finding::ok(CHECK, seen)
}

/// A page of metrics.
struct Page<'a>(&'a str);

impl Page<'_> {
    /// Of the series that begin so and have this label.
    fn sum(&self, begin: &str, label: &str) -> f64 {
        let series = self.0.lines().filter(|line| line.starts_with(begin) && line.contains(label));
        series.filter_map(value).sum()
    }

    fn histogram(&self, name: &str) -> Histogram {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("_bucket{le=\""));
        let buckets = lines.filter_map(|line| {
            let bound = line.split('"').next()?.parse().ok()?;
            Some((bound, value(line)?))
        });
        Histogram(buckets.collect())
    }
}

fn value(line: &str) -> Option<f64> {
    line.rsplit(' ').next()?.parse().ok()
}

/// Upper bounds, and how many values lie below each.
struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The value below which this share lies, taking values to lie evenly within a bucket, as Prometheus does.
    fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = self.count() * share;
        let (mut low, mut below) = (0.0, 0.0);
        for &(high, count) in &self.0 {
            if count >= wanted && count > below {
                // Of the values beyond the last bound nothing else is known.
                let step =
                    if high.is_finite() { (high - low) * (wanted - below) / (count - below) } else { 0.0 };
                return Some(low + step);
            }
            (low, below) = (high, count);
        }
        None
    }
}

fn percent(part: f64, all: f64) -> f64 {
    if all > 0.0 { part / all * 100.0 } else { 0.0 }
}

fn milliseconds(seconds: Option<f64>) -> String {
    seconds.map_or("-".into(), |seconds| format!("{:.0} ms", seconds * 1e3))
}

fn whole(number: Option<f64>) -> String {
    number.map_or("-".into(), |number| format!("{number:.0}"))
}

#[cfg(test)]
mod tests {
    use pkdns::metrics::Metrics;

    use super::*;
    use crate::doctor::finding::Verdict;

    fn page(answered: u64, unanswered: u64) -> String {
        let metrics = Metrics::default();
        let dht = &metrics.dht;
        dht.requests.get.answered.inc_by(answered);
        dht.requests.get.unsupported.inc_by(answered / 4);
        dht.requests.find_node.unanswered.inc_by(unanswered);
        dht.nodes.ipv4.set(65_000);
        dht.nodes.ipv6.set(5);
        for milliseconds in 1..=100 {
            dht.round_trip.observe(f64::from(milliseconds) / 1e3);
            dht.first_answer.observe(0.2);
            dht.messages_before_first_answer.observe(38.0);
            dht.messages_per_lookup.observe(300.0);
        }
        metrics.encode().unwrap()
    }

    #[test]
    fn what_the_server_has_measured_is_told() {
        let parts = [
            "65005 nodes are known",
            "50 % of 2000 requests were answered, 20 % of those",
            "round trips 50 ms (p50) and 99 ms (p99)",
            "100 packets were found after 175 ms and 200 ms",
            "with 35 messages before and 240 in all",
        ];
        judge(Some(&Ok(page(800, 1000)))).assert(Verdict::Ok, &parts);
    }

    #[test]
    fn where_nothing_was_measured_it_says_why_and_what_to_do() {
        for (observed, verdict, part) in [
            (None, Verdict::Skipped, "metrics.listen"),
            (Some(Err("http://127.0.0.1:9/metrics: refused".to_string())), Verdict::Skipped, "access.allow"),
            (Some(Ok(page(0, 0))), Verdict::Skipped, "has sent 0 requests"),
            (Some(Ok(page(100, 1000))), Verdict::Warning, "limits UDP"),
            (Some(Ok("<html>".to_string())), Verdict::Skipped, "ask it for some keys"),
        ] {
            judge(observed.as_ref()).assert(verdict, &[part]);
        }
    }
}
