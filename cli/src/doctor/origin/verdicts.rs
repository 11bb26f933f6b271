//! What is made of what was seen on the way to a site. Pure.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use hickory_proto::{op::ResponseCode, rr::RData};
use pkdns::edge::certificates::Look;

use crate::{
    certificate::in_days,
    dns::{Reply, addresses_in},
    doctor::{finding::Finding, why},
    failure::Failure,
    name_servers::{NameServer, Statement},
    terminal::printable,
};

/// A certificate that is renewed by a program is by then.
const SOON: Duration = Duration::from_secs(7 * 86_400);

/// How Let's Encrypt is called in CAA records.
const LETS_ENCRYPT: &str = "letsencrypt.org";

pub(super) fn judge_delegation(
    zone: &str,
    found: &Result<Vec<NameServer>, Failure>,
    is_named: bool,
) -> Finding {
    const CHECK: &str = "delegation";
    let servers = match found {
        Ok(_) if is_named => {
            return Finding::skipped(
                CHECK,
                "the name servers were named",
                "leave --name-server out to see what others see",
            );
        }
        Ok(servers) => servers,
        Err(failure) => {
            return Finding::failed(
                CHECK,
                printable(&failure.to_string()),
                format!(
                    "delegate {zone} in the zone above it, with an NS record for each name server and an address for it"
                ),
            );
        }
    };
    let lost: Vec<&str> = servers
        .iter()
        .filter(|server| server.addresses.is_empty())
        .map(|server| server.name.as_str())
        .collect();
    let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
    let seen = format!("{zone} is delegated to {}", names.join(", "));
    match (lost.is_empty(), servers.len()) {
        (false, _) => Finding::failed(
            CHECK,
            format!("{seen}, and {} has no address", lost.join(", ")),
            "give each name server an A or AAAA record; one whose name is in the zone needs it in the zone above, too (glue)",
        ),
        (true, 1) => Finding::warning(
            CHECK,
            format!("{seen} alone"),
            "run a second name server elsewhere: while this one is away, no site of the origin is found",
        ),
        (true, _) => Finding::ok(CHECK, seen),
    }
}

/// One address of a name server, over UDP and TCP.
pub(super) fn judge_server(udp: &Statement, tcp: &Reply) -> Finding {
    const CHECK: &str = "name server";
    let server = &udp.server;
    if let (Reply::Broken(why), Reply::Broken(_)) = (&udp.reply, tcp) {
        return Finding::skipped(
            CHECK,
            &format!("{server} cannot be asked from here: {why}"),
            "look from a machine that has such addresses",
        );
    }
    for (over, reply) in [("UDP", &udp.reply), ("TCP", tcp)] {
        let advice = match reply.response() {
            Some(response) if response.code == ResponseCode::Refused => {
                "write an [[origin]] of that name into the configuration of pkdns there, or take that server out of the delegation"
            }
            Some(response) if response.code != ResponseCode::NoError => "look at the log of that server",
            Some(response) if !response.is_authoritative => {
                "it does not speak for the zone (no AA): let the question come to pkdns itself, not to a resolver before it"
            }
            Some(response) if response.answers.is_empty() => {
                "it has no SOA record at the top of the zone: look at its zone file"
            }
            Some(_) => continue,
            None => "see that pkdns listens there, and let port 53 through its firewall over UDP and TCP",
        };
        return Finding::failed(CHECK, format!("{server}: over {over} {}", describe(reply)), advice);
    }
    Finding::ok(CHECK, format!("{server} speaks for the zone over UDP and TCP"))
}

fn describe(reply: &Reply) -> String {
    match reply.response().filter(|response| response.code == ResponseCode::NoError) {
        Some(response) if !response.is_authoritative => "it answers without authority".to_string(),
        Some(response) if response.answers.is_empty() => "it answers with no record".to_string(),
        _ => reply.describe(),
    }
}

/// Each once, in order.
pub(super) fn addresses_of<'a>(statements: impl IntoIterator<Item = &'a Statement>) -> Vec<IpAddr> {
    let addresses: BTreeSet<_> =
        statements.into_iter().flat_map(|statement| addresses_in(&statement.reply)).collect();
    addresses.into_iter().collect()
}

pub(super) fn judge_key(apex: &str, statements: &[Statement]) -> Finding {
    const CHECK: &str = "key";
    let told: Vec<String> = statements
        .iter()
        .filter(|statement| statement.reply.code().is_some_and(|code| code != ResponseCode::NoError))
        .map(|statement| format!("{}: {}", statement.server, statement.reply.describe()))
        .collect();
    let is = |code| statements.iter().any(|statement| statement.reply.code() == Some(code));
    let shown: Vec<String> = addresses_of(statements).iter().map(IpAddr::to_string).collect();
    match () {
        () if is(ResponseCode::NXDomain) => Finding::failed(
            CHECK,
            format!("{apex} does not exist ({})", told.join("; ")),
            "publish the zone of the key, and see what there is with pkdns-cli resolve",
        ),
        () if !told.is_empty() => Finding::failed(
            CHECK,
            format!("{apex} is not answered ({})", told.join("; ")),
            "try again in a minute; if it stays, look at the log of that server, and at its DHT with pkdns-cli doctor there",
        ),
        () if statements.iter().all(|statement| statement.reply.response().is_none()) => {
            Finding::failed(CHECK, format!("nobody answers for {apex}"), "mend the name servers first")
        }
        () if !shown.is_empty() => Finding::ok(CHECK, format!("{apex} is at {}", shown.join(", "))),
        () if statements.iter().any(|statement| !statement.reply.answers().is_empty()) => {
            Finding::ok(CHECK, format!("{apex} is an alias"))
        }
        () => Finding::failed(
            CHECK,
            format!("{apex} is there, and has no address"),
            "write a public A or AAAA record into the zone; the origin leaves private ones out",
        ),
    }
}

/// `None` where there is no CAA record.
pub(super) fn judge_permission(place: &str, statements: &[Statement]) -> Option<Finding> {
    const CHECK: &str = "caa";
    let failing = statements
        .iter()
        .find(|statement| statement.reply.response().is_some() && !statement.reply.is_conclusive());
    if let Some(statement) = failing {
        return Some(Finding::failed(
            CHECK,
            format!(
                "asked for the CAA records of {place}, {}: {}",
                statement.server,
                statement.reply.describe()
            ),
            "authorities take that for a no: let that server answer for every type",
        ));
    }
    let answers = statements.iter().flat_map(|statement| statement.reply.answers());
    let records: Vec<(String, String)> = answers
        .filter_map(|record| match &record.data {
            RData::CAA(caa) => {
                let value = printable(&String::from_utf8_lossy(&caa.value));
                Some((caa.tag.to_ascii_lowercase(), issuer(&value)))
            }
            _ => None,
        })
        .collect();
    if records.is_empty() {
        return None;
    }
    let mut issuers: Vec<&str> =
        records.iter().filter(|(tag, _)| tag == "issue").map(|(_, issuer)| issuer.as_str()).collect();
    issuers.sort_unstable();
    issuers.dedup();
    let named: Vec<&str> = issuers.iter().copied().filter(|issuer| !issuer.is_empty()).collect();
    Some(match () {
        () if issuers.is_empty() => Finding::ok(CHECK, format!("CAA at {place} forbids no authority")),
        () if named.contains(&LETS_ENCRYPT) => {
            Finding::ok(CHECK, format!("CAA at {place} allows {}", named.join(", ")))
        }
        () if named.is_empty() => Finding::failed(
            CHECK,
            format!("CAA at {place} forbids every authority"),
            format!(
                "write CAA 0 issue \"{LETS_ENCRYPT}\" there, or into the zone of the key, which comes first"
            ),
        ),
        () => Finding::warning(
            CHECK,
            format!("CAA at {place} allows {}, and not {LETS_ENCRYPT}", named.join(", ")),
            format!(
                "choose one of them with --authority, or write CAA 0 issue \"{LETS_ENCRYPT}\" into the zone of the key"
            ),
        ),
    })
}

/// The authority that a property names, without its parameters.
fn issuer(value: &str) -> String {
    let issuer = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    issuer.trim_end_matches('.').to_string()
}

pub(super) fn judge_port(check: &'static str, connected: &[(SocketAddr, io::Result<()>)]) -> Finding {
    let failed: Vec<String> = connected
        .iter()
        .filter_map(|(address, result)| Some(format!("{address} ({})", why(result.as_ref().err()?))))
        .collect();
    let all: Vec<String> = connected.iter().map(|(address, _)| address.to_string()).collect();
    match failed.is_empty() {
        true => Finding::ok(check, format!("{} can be connected to", all.join(", "))),
        false if check == "port 80" => Finding::warning(
            check,
            format!("not to be connected to: {}", failed.join(", ")),
            "http-01 needs it, and whoever writes the name without https; from behind the same router it may look closed",
        ),
        false => Finding::failed(
            check,
            format!("not to be connected to: {}", failed.join(", ")),
            "start the web server, and let the port through router and firewall; from behind the same router it may look closed",
        ),
    }
}

pub(super) fn judge_certificates(looks: &[(SocketAddr, io::Result<Look>)], now: SystemTime) -> Finding {
    const CHECK: &str = "certificate";
    let get = "get one with pkdns-cli certificate, or let Caddy get its own, and show it for this name";
    let mut ends = Vec::new();
    for (address, look) in looks {
        match look {
            Err(error) => {
                let seen = format!("{address} shows none ({})", why(error));
                return Finding::failed(CHECK, seen, get);
            }
            Ok(Look { certificate, doubt: Some(doubt) }) => {
                let of = certificate.as_ref().map(|held| format!(" one for {}", printable(&held.title())));
                let seen = format!(
                    "{address} shows{}, which no browser believes: {}",
                    of.unwrap_or_default(),
                    printable(doubt)
                );
                return Finding::failed(CHECK, seen, get);
            }
            Ok(Look { certificate, doubt: None }) => ends.extend(certificate.as_ref().map(|held| held.to)),
        }
    }
    let Some(end) = ends.into_iter().min() else {
        return Finding::failed(CHECK, "none can be read", get);
    };
    let left = end.duration_since(now).unwrap_or_default();
    let seen = format!("valid until {}", httpdate::fmt_http_date(end));
    match left < SOON {
        true => Finding::warning(
            CHECK,
            format!("{seen}, which is in {}", in_days(left)),
            "see that it is renewed: pkdns-cli certificate --watch, or serve, does so when a third of its life is left",
        ),
        false => Finding::ok(CHECK, format!("{seen}, and believed by browsers")),
    }
}
