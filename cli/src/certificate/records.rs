//! The records of dns-01: into the packet of the key, out of it again, and seen at every name server of the origin.

use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};
use pkdns::edge::certificates::acme::Proof;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{in_packet::InPacket, names::SiteNames};
use crate::{
    dns::{self, Over, Reply},
    failure::Failure,
    name_servers::{NameServer, Statement, texts_at},
    zone_file::ZoneRecord,
};

/// How long it may take until every name server shows what was published. A relay shows it at once, and an origin that has to
/// look for it asks again after ten seconds.
const SHOWN_DEADLINE: Duration = Duration::from_secs(180);

/// How often they are asked.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What a packet holds besides its zone, for as long as somebody wants it to.
pub(crate) type Extras = Vec<ZoneRecord>;

/// Who publishes them.
pub(crate) enum Records {
    /// This process, now.
    Packet(InPacket),
    /// Whoever keeps the zone of the key, and is told here.
    Keeper(watch::Sender<Extras>),
    /// Nobody: the seed was not given.
    Nobody,
}

/// A record as it is seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: Name,
    pub(super) value: String,
}

impl Records {
    /// Publishes `extras` besides whatever there is of the key.
    pub(super) async fn show(&self, extras: &[ZoneRecord]) -> Result<(), Failure> {
        match self {
            Self::Packet(packet) => packet.show(extras).await,
            Self::Keeper(keeper) => {
                keeper.send_modify(|all| all.extend_from_slice(extras));
                Ok(())
            }
            Self::Nobody => Err(Failure::Failed(
                "dns-01 needs the seed of the key: give --seed FILE, or take another challenge".to_string(),
            )),
        }
    }

    /// Takes them out again.
    pub(super) async fn hide(&self, extras: &[ZoneRecord]) -> Result<(), Failure> {
        match self {
            Self::Packet(packet) => packet.hide(extras).await,
            Self::Keeper(keeper) => {
                keeper.send_if_modified(|all| {
                    let before = all.len();
                    all.retain(|record| !extras.contains(record));
                    all.len() != before
                });
                Ok(())
            }
            Self::Nobody => Ok(()),
        }
    }

    /// Takes out what an earlier run was kept from taking out.
    pub(super) async fn clean(&self) -> Result<(), Failure> {
        match self {
            Self::Packet(packet) => packet.clean().await,
            Self::Keeper(_) | Self::Nobody => Ok(()),
        }
    }
}

/// The records for these proofs, and how they are seen.
pub(super) fn of(names: &SiteNames, proofs: &[Proof]) -> Result<(Extras, Vec<Wanted>), Failure> {
    let (mut extras, mut wanted) = (Vec::new(), Vec::new());
    for proof in proofs {
        let challenge = names.challenge(&proof.name, &proof.record).ok_or_else(|| {
            Failure::Failed(format!(
                "the authority asks about {}, which is no name of this key: try again",
                proof.name.escape_default()
            ))
        })?;
        extras.push(challenge.0);
        wanted.push(Wanted { name: challenge.1, value: proof.record.clone() });
    }
    Ok((extras, wanted))
}

/// Returns when each of `servers` shows all that is `wanted`.
pub(super) async fn wait(servers: &[NameServer], wanted: &[Wanted]) -> Result<(), Failure> {
    let end = Instant::now() + SHOWN_DEADLINE;
    loop {
        let looks = servers.iter().flat_map(|server| wanted.iter().map(move |wanted| look(server, wanted)));
        let missing: Vec<String> = join_all(looks).await.into_iter().flatten().collect();
        let Some(first) = missing.first() else { return Ok(()) };
        if Instant::now() + LOOK_EVERY > end {
            return Err(Failure::Failed(format!(
                "after {} s {first}: look at each name server with pkdns-cli doctor --origin, and try again",
                SHOWN_DEADLINE.as_secs()
            )));
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn look(server: &NameServer, wanted: &Wanted) -> Option<String> {
    missing(&server.name, &server.ask(&wanted.name, RecordType::TXT, Over::Udp).await, wanted)
}

/// What a name server lacks. An address that cannot be asked from here says nothing where another one of the same server
/// does: this machine may have no IPv6.
fn missing(server: &str, statements: &[Statement], wanted: &Wanted) -> Option<String> {
    let shows = |statement: &&Statement| texts_at(&statement.reply, &wanted.name).contains(&wanted.value);
    let lacking =
        statements.iter().find(|statement| !shows(statement) && !matches!(statement.reply, Reply::Broken(_)));
    let name = dns::shown(&wanted.name);
    match lacking {
        Some(statement) => {
            let why = match statement.reply.code() {
                Some(ResponseCode::NoError) => "it does not show it yet".to_string(),
                _ => statement.reply.describe(),
            };
            Some(format!("the record {name} is not at the name server {}: {why}", statement.server))
        }
        None if statements.iter().any(|statement| shows(&statement)) => None,
        None => Some(match statements.first() {
            Some(statement) => {
                format!(
                    "the name server {} cannot be asked for {name}: {}",
                    statement.server,
                    statement.reply.describe()
                )
            }
            None => format!("the name server {server} has no address, so that nobody can ask it for {name}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{RData, Record, rdata::TXT};

    use super::*;

    fn wanted() -> Wanted {
        Wanted { name: dns::complete("_acme-challenge.a.test"), value: "new".to_string() }
    }

    fn statement(texts: &[&str]) -> Statement {
        let data = |text: &&str| RData::TXT(TXT::new(vec![text.to_string()]));
        let records = texts.iter().map(|text| Record::from_rdata(wanted().name, 30, data(text)));
        let reply = Reply::with(ResponseCode::NoError, records.collect(), None);
        Statement { server: "ns.test (192.0.2.1)".to_string(), reply }
    }

    #[test]
    fn every_name_server_has_to_show_the_record_and_an_address_without_a_route_is_left_out() {
        let broken = || Statement { server: "ns.test (::1)".into(), reply: Reply::Broken("no route".into()) };
        let silent = || Statement { server: "ns.test (192.0.2.2)".into(), reply: Reply::Silent };
        let refused =
            || Statement { server: "ns.test".into(), reply: Reply::of(ResponseCode::Refused, 0, None) };
        for (statements, part) in [
            (vec![statement(&["new"])], None),
            (vec![statement(&["old", "new"]), broken()], None),
            (vec![statement(&["old"])], Some("ns.test (192.0.2.1): it does not show it yet")),
            (vec![statement(&["new"]), statement(&[])], Some("does not show it yet")),
            (vec![statement(&["new"]), silent()], Some("ns.test (192.0.2.2): there is no answer")),
            (vec![statement(&["new"]), refused()], Some("it answers REFUSED")),
            (vec![broken()], Some("cannot be asked for _acme-challenge.a.test: no route")),
            (vec![], Some("ns.test has no address")),
        ] {
            let missing = missing("ns.test", &statements, &wanted());
            assert_eq!(missing.is_none(), part.is_none(), "{missing:?}");
            assert!(part.is_none_or(|part| missing.as_ref().unwrap().contains(part)), "{missing:?}");
        }
    }
}
