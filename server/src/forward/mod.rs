//! Every name that is not a key: asked of the upstream resolvers, in their order, each question once at a time. Zones that the
//! operator names, such as those of a LAN, have resolvers of their own.

mod capabilities;
mod cookies;
mod counted;
mod encrypted;
mod exchange;
mod failure;
mod loops;
mod places;
mod race;
mod request;
mod route;
mod seen;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod upstream;
mod upstreams;

use std::{cmp::Reverse, collections::HashSet, net::IpAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

pub use encrypted::{TlsClient, TlsError};
pub use exchange::{Exchanger, Flags};
pub use failure::ExchangeError;
pub use loops::is_own_address;
pub use places::Asker;
pub use route::has_route;

use crate::{
    access::is_private,
    config::{ForwardZone, UpstreamAddress},
    message::{Message, Question, absolute_name, address},
    single_flight::{FlightError, SingleFlight},
};
use places::Line;
use upstreams::{MAX_SOCKETS, Start, Upstreams};

/// A question is answered or given up within this time: the resolver has 4.5 s in all.
pub const DEADLINE: Duration = Duration::from_secs(4);

/// A question that was under way from the beginning has ended by then, also where timers are late.
const GRACE: Duration = Duration::from_millis(100);

/// A question that has waited this long for a place is given up.
const LONGEST_QUEUEING: Duration = Duration::from_millis(2500);

const LOOP_PROBE_EVERY: Duration = Duration::from_secs(60);

/// Longest chain of CNAMEs that [`Forwarder::lookup_host`] follows within an answer.
const MAX_CHAIN: usize = 11;

/// Sockets for the resolvers of a zone of its own. A LAN asks little, and there may be many zones.
const MAX_ZONE_SOCKETS: usize = 192;

/// Asks the upstream resolvers.
#[derive(Debug)]
pub struct Forwarder {
    upstreams: Arc<Upstreams>,
    /// The zones that have resolvers of their own, in lower case, longest first.
    zones: Vec<(Name, Arc<Upstreams>)>,
    flights: SingleFlight<Key, Result<Arc<Message>, ForwardError>>,
}

/// Why there is no answer from any upstream.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ForwardError {
    /// All are silent.
    #[error("no upstream resolver answered: check the network and fallback_dns")]
    NoAnswer,
    /// None gave an answer that can be used, and this is what is known of why.
    #[error("no upstream resolver gave a usable answer: {0}")]
    Unusable(Arc<str>),
    /// All of them send our questions back to us.
    #[error("every upstream resolver forwards to this server: set fallback_dns to one that does not")]
    Loop,
    /// Too many questions are under way.
    #[error("too many questions to upstream resolvers are under way: try again")]
    Busy,
    /// This machine could not send a question.
    #[error("this server cannot send questions: check its limit of open files and its firewall")]
    Local,
}

impl Forwarder {
    /// `upstreams` are asked in this order; the encrypted ones have to convince `tls`. Does not touch the network.
    pub fn new(upstreams: Vec<UpstreamAddress>, tls: &TlsClient) -> Self {
        Self {
            upstreams: Arc::new(Upstreams::new(upstreams, tls, MAX_SOCKETS)),
            zones: Vec::new(),
            // The places bound it, before.
            flights: SingleFlight::new(MAX_SOCKETS),
        }
    }

    /// Asks others about names in these zones, which have to be sound ([`crate::config::Config::faults`]).
    #[must_use]
    pub fn with_zones(mut self, zones: &[ForwardZone], tls: &TlsClient) -> Self {
        for ForwardZone { zone, to } in zones {
            let upstreams = Arc::new(Upstreams::new(to.clone(), tls, MAX_ZONE_SOCKETS));
            // The configuration has refused what is no name.
            let names = zone.iter().filter_map(|name| absolute_name(name));
            self.zones.extend(names.map(|name| (name, upstreams.clone())));
        }
        self.zones.sort_by_key(|(name, _)| Reverse(name.num_labels()));
        self
    }

    /// Whether `name` is in a zone that has resolvers of its own.
    pub fn has_zone_of(&self, name: &Name) -> bool {
        self.zone_of(name).is_some()
    }

    fn zone_of(&self, name: &Name) -> Option<&Arc<Upstreams>> {
        self.zones.iter().find(|(zone, _)| zone.zone_of(name)).map(|(_, upstreams)| upstreams)
    }

    /// Whether all that are asked about other names are outside of the own network.
    pub fn asks_public_resolvers_only(&self) -> bool {
        self.upstreams.addresses().all(|address| !is_private(address.ip()))
    }

    /// Asks until an upstream answers, at most [`DEADLINE`]. Those who ask the same at once share one question to the
    /// upstream, which goes on when they leave. An answer may be SERVFAIL or REFUSED, once all upstreams say so. Its
    /// `authentic_data` is cleared where the way to the upstream could have been tampered with.
    ///
    /// Where more is asked than may be under way, the question waits for the turn of `asker`, or until somebody else
    /// asks the same.
    pub async fn ask(
        &self,
        asker: Asker,
        question: &Question,
        dnssec_ok: bool,
        checking_disabled: bool,
    ) -> Result<Arc<Message>, ForwardError> {
        let own = if self.zones.is_empty() { None } else { self.zone_of(&question.name()) };
        let flags = Flags { recursion_desired: true, dnssec_ok, checking_disabled };
        self.ask_of(own.unwrap_or(&self.upstreams), asker, question, flags).await
    }

    /// As [`Forwarder::ask`], of those who are asked about other names, also where the name begins a zone that has resolvers
    /// of its own: what the zone above knows. Not for questions that are asked the other way as well.
    pub async fn ask_outside(
        &self,
        asker: Asker,
        question: &Question,
        dnssec_ok: bool,
        checking_disabled: bool,
    ) -> Result<Arc<Message>, ForwardError> {
        let flags = Flags { recursion_desired: true, dnssec_ok, checking_disabled };
        self.ask_of(&self.upstreams, asker, question, flags).await
    }

    async fn ask_of(
        &self,
        asked: &Arc<Upstreams>,
        asker: Asker,
        question: &Question,
        flags: Flags,
    ) -> Result<Arc<Message>, ForwardError> {
        let (line, key) = (Line::from(asker), Key::new(question, flags));
        let answer = async {
            loop {
                let mut is_starter = false;
                let turn = async { timeout(LONGEST_QUEUEING, asked.turn(line)).await.ok().flatten() };
                let start = |start: Start| {
                    is_starter = true;
                    let (upstreams, question) = (asked.clone(), question.clone());
                    async move { upstreams.ask(&question, flags, line, start).await.map(Arc::new) }
                };
                match self.flights.run_in_turn(key.clone(), turn, start).await {
                    // Its starter has lost its place. That is no reason to refuse this one its own.
                    Ok(Err(ForwardError::Busy)) if !is_starter => {}
                    Ok(result) => return result,
                    Err(FlightError::Busy) => return Err(ForwardError::Busy),
                    Err(FlightError::Lost | FlightError::Refused) => return Err(ForwardError::NoAnswer),
                }
            }
        };
        // A question that is under way ends in time. What is late has waited, which was not the upstream's time.
        timeout(DEADLINE + GRACE, answer).await.unwrap_or(Err(ForwardError::Busy))
    }

    /// Whether an upstream sends back the question by which we look for loops. Such a question is not to be
    /// forwarded; what it is answered does not matter.
    pub fn is_loop_probe(&self, question: &Question) -> bool {
        self.upstreams.loop_probes.recognise(question)
    }

    /// Looks for loops now and every minute, until `shutdown`, and logs an upstream once when it begins to loop. The
    /// resolvers of zones are not looked at: a router that forwards to this server may well send other questions back. Call
    /// once the server listens.
    pub async fn watch_for_loops(&self, shutdown: CancellationToken) {
        let watch = async {
            loop {
                self.upstreams.look_for_loops().await;
                sleep(LOOP_PROBE_EVERY).await;
            }
        };
        shutdown.run_until_cancelled(watch).await;
    }

    /// Addresses of a host by name, IPv4 first; an address stands for itself. Empty when there are none or no upstream
    /// answers. Never asks the system's resolver, which may be us.
    pub async fn lookup_host(&self, name: &str) -> Vec<IpAddr> {
        if let Ok(address) = name.parse() {
            return vec![address];
        }
        let Ok(mut name) = Name::from_ascii(name) else {
            return Vec::new();
        };
        name.set_fqdn(true);
        let lookups = [RecordType::A, RecordType::AAAA].map(|record_type| self.addresses(&name, record_type));
        join_all(lookups).await.into_iter().flatten().collect()
    }

    async fn addresses(&self, name: &Name, record_type: RecordType) -> Vec<IpAddr> {
        let Some(question) = Question::new(name, record_type, DNSClass::IN) else {
            return Vec::new();
        };
        match self.ask(Asker::Own, &question, false, false).await {
            Ok(message) => addresses_in(&message.answers, name),
            Err(_) => Vec::new(),
        }
    }
}

/// What makes two questions the same: neither spelling nor who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Wire form in lower case. The length of a label is below 64, so it is never taken for a letter.
    name: Box<[u8]>,
    record_type: RecordType,
    class: DNSClass,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Key {
    fn new(question: &Question, flags: Flags) -> Self {
        Self {
            name: question.wire_name().to_ascii_lowercase().into(),
            record_type: question.record_type(),
            class: question.class(),
            dnssec_ok: flags.dnssec_ok,
            checking_disabled: flags.checking_disabled,
        }
    }
}

fn addresses_in(answers: &[Record], name: &Name) -> Vec<IpAddr> {
    let mut owners = HashSet::from([name.clone()]);
    // Each pass takes the chain a step further, in whatever order the records are.
    for _ in 0..MAX_CHAIN {
        let targets = answers.iter().filter(|record| owners.contains(&record.name)).filter_map(target);
        let targets: Vec<_> = targets.collect();
        let known = owners.len();
        owners.extend(targets);
        if owners.len() == known {
            break;
        }
    }
    let records = answers.iter().filter(|record| owners.contains(&record.name));
    records.filter_map(|record| address(&record.data)).collect()
}

fn target(record: &Record) -> Option<Name> {
    match &record.data {
        RData::CNAME(target) => Some(target.0.clone()),
        _ => None,
    }
}
