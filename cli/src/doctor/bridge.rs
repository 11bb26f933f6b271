//! Whether a site under a key opens in the browsers of this machine: the server leads its name to a bridge, this machine believes the
//! authority of that, and the site has shown its key.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use futures_util::future::join_all;
use hickory_proto::{op::ResponseCode, rr::RecordType};
use pkdns::edge::certificates::{SiteAnswer, Visit, visit};

use super::{finding::Finding, round_trip::PROBE_ADDRESS, server::Kind, why};
use crate::{
    dns::{self, Over, Reply, addresses_in},
    terminal::printable,
    trust,
};

const CHECK: &str = "bridge";
const TRUST: &str = "bridge trust";
const SITE: &str = "bridge site";

/// How the authority of every bridge calls itself.
const AUTHORITY: &str = "pkdns bridge authority";

/// How the field of a response begins that a bridge has made itself, in place of the site.
const OF_BRIDGE: &str = "pkdns-bridge;";

/// Addresses that are visited. A bridge has one of each family.
const MAX_ADDRESSES: usize = 4;

/// Where the stores say that authorities are believed, with what is believed there.
type Stores = Vec<(String, Result<Vec<u8>, String>)>;

/// What a visitor sees of a site.
pub(super) struct Observed {
    /// Without a dot at the end, or what stands for all sites.
    host: String,
    /// What the server says about its addresses of both families.
    replies: [Reply; 2],
    visits: Vec<(SocketAddr, io::Result<Visit>)>,
    stores: Stores,
}

/// Asks the server for the addresses of `host`, and visits the site there.
pub(super) async fn observe(server: SocketAddr, host: String, port: u16) -> Observed {
    let name = dns::complete(&host);
    let (v4, v6) = tokio::join!(
        dns::ask(server, &name, RecordType::A, Over::Udp),
        dns::ask(server, &name, RecordType::AAAA, Over::Udp)
    );
    let addresses = [&v4, &v6].into_iter().flat_map(addresses_in).collect();
    Observed { replies: [v4, v6], ..look(addresses, host, port).await }
}

/// Visits a bridge that was found, as `host`, at which there is no site.
pub(super) async fn observe_without_site(addresses: Vec<IpAddr>, host: String, port: u16) -> Observed {
    Observed { host: "every site under a key".to_owned(), ..look(addresses, host, port).await }
}

async fn look(addresses: Vec<IpAddr>, host: String, port: u16) -> Observed {
    let visits = addresses.into_iter().take(MAX_ADDRESSES).map(async |address| {
        let address = SocketAddr::new(address, port);
        (address, visit(address, &host).await)
    });
    // Programs are run for it.
    let stores = tokio::task::spawn_blocking(trust::believed);
    let (visits, stores) = tokio::join!(join_all(visits), stores);
    Observed { host, replies: [Reply::Silent, Reply::Silent], visits, stores: stores.unwrap_or_default() }
}

/// Where a server leads a name to whose own address is [`PROBE_ADDRESS`], if it leads it anywhere.
pub(super) fn led_to([v4, v6]: [&Reply; 2]) -> Vec<IpAddr> {
    let addresses = addresses_in(v4).into_iter().chain(addresses_in(v6));
    addresses.filter(|address| *address != IpAddr::V4(PROBE_ADDRESS)).collect()
}

/// For a server that cannot be asked.
pub(super) fn not_asked(server: SocketAddr, kind: Kind) -> Option<Finding> {
    match kind {
        Kind::Pkdns | Kind::Front => None,
        Kind::Other | Kind::Nobody => Some(Finding::skipped(
            CHECK,
            &format!("pkdns does not answer on {server}"),
            "see the line server, and name another one with --server",
        )),
    }
}

/// What there is to say of a site that somebody wants to open.
pub(super) fn judge(observed: &Observed) -> Vec<Finding> {
    if observed.visits.is_empty() {
        return vec![judge_absence(&observed.host, &observed.replies)];
    }
    let bridge = judge_bridge(observed);
    let Some(visit) = bridged(observed) else { return vec![bridge] };
    vec![bridge, judge_trust(visit, &observed.stores, Finding::failed), judge_site(&observed.host, visit)]
}

/// What there is to say of a bridge, where nobody has said which site is to be opened.
pub(super) fn judge_without_site(observed: &Observed) -> Vec<Finding> {
    let bridge = judge_bridge(observed);
    let trust = bridged(observed).map(|visit| judge_trust(visit, &observed.stores, Finding::warning));
    [bridge].into_iter().chain(trust).collect()
}

/// What the first bridge has shown.
fn bridged(observed: &Observed) -> Option<&Visit> {
    observed.visits.iter().filter_map(|(_, visit)| visit.as_ref().ok()).find(|visit| is_of_bridge(visit))
}

fn is_of_bridge(visit: &Visit) -> bool {
    visit.issuer == AUTHORITY
}

fn judge_absence(host: &str, replies: &[Reply; 2]) -> Finding {
    match replies.iter().find_map(Reply::code) {
        Some(ResponseCode::NXDomain) => Finding::failed(
            CHECK,
            format!("{host} does not exist"),
            "publish the zone of the key, and see what there is with pkdns-cli resolve",
        ),
        Some(ResponseCode::NoError) => Finding::failed(
            CHECK,
            format!("{host} has no address"),
            "write the A or AAAA record of the site into the zone of the key",
        ),
        _ => Finding::failed(
            CHECK,
            format!("asked for {host}: {}", replies[0].describe()),
            "mend what other lines say, then try again",
        ),
    }
}

fn judge_bridge(observed: &Observed) -> Finding {
    let host = &observed.host;
    let (mut led, mut faults, mut is_elsewhere) = (Vec::new(), Vec::new(), false);
    for (address, visit) in &observed.visits {
        match visit {
            Ok(visit) if is_of_bridge(visit) => led.push(address.to_string()),
            Ok(visit) => {
                is_elsewhere = true;
                faults.push(format!("{address} shows a certificate of {}", named(&visit.issuer)));
            }
            Err(error) => faults.push(format!("{address}: {}", why(error))),
        }
    }
    let faults = faults.join(", ");
    let of_bridge = format!("the bridge answers at {} under {AUTHORITY}", led.join(", "));
    let start = "see that the bridge listens there on port 443 ([bridge] in pkdns.toml) and a firewall lets it through; \
                 bridge.addresses are those that are shown";
    match (led.is_empty(), faults.is_empty()) {
        (false, true) => Finding::ok(CHECK, format!("{host} is led to a bridge: {of_bridge}")),
        (false, false) => Finding::warning(CHECK, format!("{of_bridge}, but {faults}"), start),
        (true, _) if is_elsewhere => Finding::failed(
            CHECK,
            format!("{host} is not led to a bridge: {faults}"),
            "switch it on ([bridge] listen in pkdns.toml) with dns in bridge.clients_of, and publish a TLSA record or an HTTPS record \
             for the site, without which its name stays as it is signed",
        ),
        (true, _) => Finding::failed(CHECK, format!("nobody answers for {host}: {faults}"), start),
    }
}

/// `grave`: what it is where no store of this machine has the authority.
fn judge_trust(
    visit: &Visit,
    stores: &Stores,
    grave: fn(&'static str, String, String) -> Finding,
) -> Finding {
    let advice = "run pkdns-cli trust install, with --server https://HOST for a pkdns on another machine, or with --server and a copy of \
                  bridge-ca.pem for a service on this one; then start browsers again";
    if stores.is_empty() {
        return Finding::skipped(
            TRUST,
            "no store of authorities is known on this system",
            "see docs/https.md",
        );
    }
    let (mut believing, mut others) = (Vec::new(), Vec::new());
    for (place, believed) in stores {
        match believed {
            Ok(believed) if visit.is_signed_by(believed) => believing.push(place.as_str()),
            Ok(_) => others.push(place.clone()),
            Err(why) => others.push(format!("{place} cannot be read ({why})")),
        }
    }
    let (by, not_by) = (believing.join(", "), others.join(", "));
    let seen = match (believing.is_empty(), others.is_empty()) {
        (false, true) => return Finding::ok(TRUST, format!("{AUTHORITY} is believed by {by}")),
        (false, false) => format!("{AUTHORITY} is believed by {by}, and not by {not_by}"),
        (true, _) => format!("{AUTHORITY} is not believed by {not_by}"),
    };
    let seen = printable(&seen);
    if believing.is_empty() {
        grave(TRUST, seen, advice.to_owned())
    } else {
        Finding::warning(TRUST, seen, advice)
    }
}

fn judge_site(host: &str, visit: &Visit) -> Finding {
    let Some(SiteAnswer { status, proxy_status }) = &visit.answer else {
        return Finding::warning(
            SITE,
            format!("{host} does not answer a request in time"),
            "see whether the web server behind it is well",
        );
    };
    let of_bridge = proxy_status.as_deref().and_then(|field| field.strip_prefix(OF_BRIDGE));
    match of_bridge {
        None => Finding::ok(
            SITE,
            format!("{host} has shown the bridge that it is the right one, and answers with status {status}"),
        ),
        Some(field) => Finding::failed(
            SITE,
            format!(
                "the bridge does not open {host}: {}",
                printable(details(field).unwrap_or("it does not say why"))
            ),
            format!(
                "open https://{host}/ in a browser: the page says what visitors and the owner of the site can do"
            ),
        ),
    }
}

/// The text for people in the rest of the field.
fn details(field: &str) -> Option<&str> {
    let (_, rest) = field.split_once("details=\"")?;
    rest.split('"').next()
}

fn named(issuer: &str) -> String {
    if issuer.is_empty() { "an unknown authority".to_owned() } else { printable(issuer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Verdict;

    const HOST: &str = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo.key";

    fn address() -> SocketAddr {
        ([192, 0, 2, 1], 443).into()
    }

    fn observed(replies: [Reply; 2], visits: Vec<(SocketAddr, io::Result<Visit>)>) -> Observed {
        Observed { host: HOST.to_owned(), replies, visits, stores: Vec::new() }
    }

    #[test]
    fn a_name_without_an_address_is_told_from_one_that_cannot_be_asked_for() {
        for (code, part) in [
            (ResponseCode::NXDomain, "does not exist -> publish"),
            (ResponseCode::NoError, "has no address"),
            (ResponseCode::ServFail, "it answers SERVFAIL"),
        ] {
            let reply = || Reply::of(code, 0, None);
            let findings = judge(&observed([reply(), reply()], Vec::new()));
            assert_eq!(findings.len(), 1);
            findings[0].assert(Verdict::Failed, &[part]);
        }
    }

    #[test]
    fn a_bridge_at_which_nobody_answers_is_told_with_its_address() {
        let silent = || [Reply::Silent, Reply::Silent];
        let closed = (address(), Err(io::ErrorKind::ConnectionRefused.into()));
        let findings = judge(&observed(silent(), vec![closed]));
        assert_eq!(findings.len(), 1);
        findings[0].assert(Verdict::Failed, &["192.0.2.1:443: nothing listens", "[bridge]"]);
    }

    #[test]
    fn what_the_bridge_says_of_a_site_is_repeated() {
        let field = " error=tls_certificate_error; details=\"The site showed 'a' instead of b.\"";
        assert_eq!(details(field), Some("The site showed 'a' instead of b."));
        assert_eq!(details(" error=x"), None);
    }

    #[test]
    fn only_other_addresses_than_those_of_the_packet_are_those_of_a_bridge() {
        let none = Reply::of(ResponseCode::NoError, 0, None);
        assert!(led_to([&none, &none]).is_empty());
    }
}
