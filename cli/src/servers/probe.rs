//! The questions to a public server, and which answers are right.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hickory_proto::{op::ResponseCode, rr::RecordType};
use pkdns::{
    config::UpstreamAddress,
    sources::forward::{Forwarder, TlsClient},
};
use pkdns_dht::signed_packet::{Keypair, PublicKey};
use serde::Serialize;
use tokio::time::timeout;

use super::line::Place;
use crate::{
    dns::{self, ORDINARY_NAME, Over, Reply, Response, code},
    network,
};

/// An answer may take as long as a search in the DHT, and a handshake.
const DEADLINE: Duration = Duration::from_secs(8);

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 4;

/// What was asked over one transport.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Probed {
    pub(super) over: &'static str,
    key: Answer,
    other: Answer,
    absent: Answer,
}

/// Of one question.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Answer {
    ok: bool,
    milliseconds: u64,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Probed {
    pub(super) fn is_well(&self) -> bool {
        self.answers().iter().all(|answer| answer.ok)
    }

    pub(super) fn answers(&self) -> [&Answer; 3] {
        [&self.key, &self.other, &self.absent]
    }

    pub(super) fn reasons(&self) -> Vec<&str> {
        self.answers().into_iter().filter_map(|answer| answer.why.as_deref()).collect()
    }
}

impl Answer {
    /// In a table.
    pub(super) fn cell(&self) -> String {
        match self.ok {
            true => format!("ok {} ms", self.milliseconds),
            false => "failed".to_owned(),
        }
    }
}

/// A question, and what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Records,
    Absence,
}

/// How a server is asked.
enum Way {
    Plain(SocketAddr, Over),
    Encrypted(Box<Forwarder>),
}

impl Place {
    /// Asks it all questions over each transport.
    ///
    /// # Errors
    ///
    /// Why it cannot be asked at all.
    pub(super) async fn probe(&self, key: &PublicKey, tls: &TlsClient) -> Result<Vec<Probed>, String> {
        if let Self::Dns(address) = self {
            let [udp, tcp] = [(Over::Udp, "udp"), (Over::Tcp, "tcp")]
                .map(async |(over, name)| probe(&Way::Plain(*address, over), name, key).await);
            let (udp, tcp) = tokio::join!(udp, tcp);
            return Ok(vec![udp, tcp]);
        }
        let over = if matches!(self, Self::Dot { .. }) { "tls" } else { "https" };
        let way = Way::Encrypted(Box::new(Forwarder::new(self.upstreams().await?, tls)));
        Ok(vec![probe(&way, over, key).await])
    }

    /// The server at the addresses of its name, of which any may answer.
    async fn upstreams(&self) -> Result<Vec<UpstreamAddress>, String> {
        let host = self.host().unwrap_or_default();
        let addresses = match host.parse() {
            Ok(ip) => vec![ip],
            Err(_) => network::system_resolver()(host.to_owned()).await,
        };
        let upstreams: Vec<_> =
            addresses.into_iter().take(MOST_ADDRESSES).filter_map(|ip| self.at(ip)).collect();
        match upstreams.is_empty() {
            true => Err(format!("{host} has no address: see whether that name is still in use")),
            false => Ok(upstreams),
        }
    }
}

async fn probe(way: &Way, over: &'static str, key: &PublicKey) -> Probed {
    let absent = Keypair::random().public_key().to_z32();
    let name = key.to_z32();
    // One after the other, so that the first handshake does not count for all of them.
    let key = ask(way, &name, Expected::Records).await;
    let other = ask(way, ORDINARY_NAME, Expected::Records).await;
    let absent = ask(way, &absent, Expected::Absence).await;
    Probed { over, key, other, absent }
}

async fn ask(way: &Way, name: &str, expected: Expected) -> Answer {
    let begun = Instant::now();
    let asked = dns::complete(name);
    let asking = async {
        match way {
            Way::Plain(address, over) => dns::ask(*address, &asked, RecordType::A, *over).await,
            Way::Encrypted(forwarder) => dns::ask_through(forwarder, &asked).await,
        }
    };
    let why = match timeout(DEADLINE, asking).await {
        Ok(Reply::Response(response)) => judge(&response, name, expected),
        Ok(reply) => Some(format!("asked for {name} {}", reply.describe())),
        Err(_) => Some(format!("asked for {name} there is no answer within {} s", DEADLINE.as_secs())),
    };
    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Answer { ok: why.is_none(), milliseconds, why }
}

/// What is wrong with an answer about `name`.
fn judge(response: &Response, name: &str, expected: Expected) -> Option<String> {
    let is_of_name = response.zone.as_deref() == Some(name);
    let records = response.answers.len();
    match (expected, response.code) {
        (Expected::Records, ResponseCode::NoError) if records > 0 => None,
        (Expected::Records, ResponseCode::NoError | ResponseCode::NXDomain) if is_of_name => {
            Some(format!("it says that {name} has published no address: name a key that has one with --key"))
        }
        (Expected::Absence, ResponseCode::NXDomain) if is_of_name => None,
        (_, ResponseCode::NoError | ResponseCode::NXDomain) if name != ORDINARY_NAME => Some(format!(
            "it does not recognise {name} as a key: it is no pkdns, or asks another resolver about keys"
        )),
        (_, ResponseCode::Refused) => Some(format!(
            "it answers REFUSED for {name}: it does not serve this address, or a quota is used up"
        )),
        (_, ResponseCode::ServFail) => {
            Some(format!("it answers SERVFAIL for {name}: it cannot ask the DHT or its upstream resolvers"))
        }
        (_, other) => Some(format!("it answers {} for {name}, with {records} records", code(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";

    #[test]
    fn each_wrong_answer_has_its_reason() {
        use ResponseCode::{NXDomain, NoError, Refused, ServFail};
        for (name, expected, code, records, zone, part) in [
            (KEY, Expected::Records, NoError, 1, None, None),
            (KEY, Expected::Records, NXDomain, 0, Some(KEY), Some("--key")),
            (KEY, Expected::Records, NXDomain, 0, Some(""), Some("no pkdns")),
            (KEY, Expected::Absence, NXDomain, 0, Some(KEY), None),
            (KEY, Expected::Absence, NXDomain, 0, Some(""), Some("no pkdns")),
            (KEY, Expected::Absence, NoError, 0, None, Some("no pkdns")),
            (KEY, Expected::Absence, ServFail, 0, None, Some("the DHT")),
            (ORDINARY_NAME, Expected::Records, NoError, 2, None, None),
            (ORDINARY_NAME, Expected::Records, NXDomain, 0, Some(""), Some("NXDOMAIN")),
            (ORDINARY_NAME, Expected::Records, Refused, 0, None, Some("does not serve this address")),
        ] {
            let reply = Reply::of(code, records, zone);
            let why = judge(reply.response().unwrap(), name, expected);
            assert_eq!(why.is_some(), part.is_some(), "{name} {code} {why:?}");
            assert!(part.is_none_or(|part| why.unwrap().contains(part)), "{name} {code}");
        }
    }
}
