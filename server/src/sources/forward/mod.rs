//! Every name that is not a key: asked of the upstream resolvers, in their order, each question once at a time. Zones that the
//! operator names, such as those of a LAN, have resolvers of their own.

mod asked;
mod capabilities;
mod cookies;
mod counted;
#[cfg(feature = "tls")]
mod encrypted;
mod exchange;
mod failure;
mod inspect;
mod loops;
#[cfg(not(feature = "tls"))]
mod no_tls;
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

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use thiserror::Error;
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "tls")]
pub use encrypted::{TlsClient, TlsError};
pub use exchange::{Exchanger, Flags};
pub use failure::ExchangeError;
pub use inspect::{Over, inspect};
#[cfg(not(feature = "tls"))]
pub use no_tls::{TlsClient, TlsError};
pub use places::Asker;
pub use route::has_route;

use crate::base::{
    access::is_private,
    config::{ForwardZone, UpstreamAddress},
    message::{MAX_CHAIN, Message, Question, address},
    single_flight::FlightError,
};
use asked::Asked;
#[cfg(feature = "tls")]
use encrypted::Channel;
#[cfg(not(feature = "tls"))]
use no_tls::Channel;
use places::Line;
use upstreams::{Start, Upstreams};

/// A question is answered or given up within this time: the resolver has 4.5 s in all.
pub const DEADLINE: Duration = Duration::from_secs(4);

/// A question that was under way from the beginning has ended by then, also where timers are late.
const GRACE: Duration = Duration::from_millis(100);

/// A question that has waited this long for a place is given up.
const LONGEST_QUEUEING: Duration = Duration::from_millis(2500);

const LOOP_PROBE_EVERY: Duration = Duration::from_secs(60);

/// Sockets for the resolvers of a zone of its own. A LAN asks little, and there may be many zones.
const MAX_ZONE_SOCKETS: usize = 192;

/// Asks the upstream resolvers.
#[derive(Debug)]
pub struct Forwarder {
    asked: ArcSwap<Asked>,
    /// Told when there are others to be asked.
    changed: Notify,
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
        Self::asking(Asked::new(&upstreams, &[], tls, None))
    }

    fn asking(asked: Asked) -> Self {
        Self { asked: ArcSwap::from_pointee(asked), changed: Notify::new() }
    }

    /// Asks others about names in these zones, which have to be sound ([`crate::base::config::Config::faults`]).
    #[must_use]
    pub fn with_zones(self, zones: &[ForwardZone], tls: &TlsClient) -> Self {
        let upstreams = self.asked.load().upstreams.list.iter().map(|known| known.address.clone()).collect();
        self.reload(upstreams, zones, tls);
        self
    }

    /// Asks these from now on. Questions that are under way end as they began. Those that are asked before and after keep
    /// their connections, and what is known of them.
    pub fn reload(&self, upstreams: Vec<UpstreamAddress>, zones: &[ForwardZone], tls: &TlsClient) {
        let asked = Asked::new(&upstreams, zones, tls, Some(&self.asked.load()));
        self.asked.store(Arc::new(asked));
        self.changed.notify_one();
    }

    /// Whether `name` is in a zone that has resolvers of its own.
    pub fn has_zone_of(&self, name: &Name) -> bool {
        self.asked.load().zone_of(name).is_some()
    }

    /// Whether all that are asked about other names are outside of the own network.
    pub fn asks_public_resolvers_only(&self) -> bool {
        self.asked.load().upstreams.addresses().all(|address| !is_private(address.ip()))
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
        let all = self.asked.load_full();
        let own = if all.zones.is_empty() { None } else { all.zone_of(&question.name()) };
        let flags = Flags { recursion_desired: true, dnssec_ok, checking_disabled };
        ask_of(&all, own.unwrap_or(&all.upstreams), asker, question, flags).await
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
        let all = self.asked.load_full();
        ask_of(&all, &all.upstreams, asker, question, flags).await
    }

    /// Whether an upstream sends back the question by which we look for loops. Such a question is not to be
    /// forwarded; what it is answered does not matter.
    pub fn is_loop_probe(&self, question: &Question) -> bool {
        self.asked.load().upstreams.loop_probes.recognise(question)
    }

    /// Looks for loops now and every minute, until `shutdown`, and logs an upstream once when it begins to loop. The
    /// resolvers of zones are not looked at: a router that forwards to this server may well send other questions back. Call
    /// once the server listens.
    pub async fn watch_for_loops(&self, shutdown: CancellationToken) {
        let watch = async {
            loop {
                let asked = self.asked.load_full();
                asked.upstreams.look_for_loops().await;
                // Others are looked at when they come.
                let _ = timeout(LOOP_PROBE_EVERY, self.changed.notified()).await;
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

async fn ask_of(
    all: &Asked,
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
            match all.flights.run_in_turn(key.clone(), turn, start).await {
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
