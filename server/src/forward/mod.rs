//! Every name that is not a key: asked of the upstream resolvers, in their order, each question once at a time.

mod encrypted;
mod exchange;
mod failure;
mod loops;
mod race;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod upstream;

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use thiserror::Error;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

pub use encrypted::{TlsClient, TlsError};
pub use exchange::{Exchanger, Flags};
pub use failure::ExchangeError;
pub use loops::is_own_address;

use crate::{
    config::UpstreamAddress,
    message::{Message, Question, address},
    single_flight::{FlightError, SingleFlight},
};
use loops::LoopProbes;
use upstream::Upstream;

/// A question is answered or given up within this time: the resolver has 4.5 s in all.
pub const DEADLINE: Duration = Duration::from_secs(4);

/// Different questions under way at once.
const MAX_QUESTIONS: usize = 4096;

/// Datagrams under way at once, each with a socket of its own. A question to silent upstreams has three of them.
const MAX_EXCHANGES: usize = 1024;

const LOOP_PROBE_EVERY: Duration = Duration::from_secs(60);
const LOOP_PROBE_TIME: Duration = Duration::from_secs(3);

/// Longest chain of CNAMEs that [`Forwarder::lookup_host`] follows within an answer.
const MAX_CHAIN: usize = 11;

/// Asks the upstream resolvers.
#[derive(Debug)]
pub struct Forwarder {
    upstreams: Arc<Upstreams>,
    flights: SingleFlight<Key, Result<Arc<Message>, ForwardError>>,
}

/// Why there is no answer from any upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ForwardError {
    /// All are silent or unreachable.
    #[error("no upstream resolver answered: check the network and fallback_dns")]
    NoAnswer,
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
            upstreams: Arc::new(Upstreams {
                loop_probes: LoopProbes::new(upstreams.len()),
                list: upstreams.into_iter().map(|address| Upstream::new(address, tls)).collect(),
                exchanger: Exchanger::new(MAX_EXCHANGES),
            }),
            flights: SingleFlight::new(MAX_QUESTIONS),
        }
    }

    /// Asks until an upstream answers, at most [`DEADLINE`]. Those who ask the same at once share one question to the
    /// upstream, which goes on when they leave. An answer may be SERVFAIL or REFUSED, once all upstreams say so. Its
    /// `authentic_data` is cleared where the way to the upstream could have been tampered with.
    pub async fn ask(
        &self,
        question: &Question,
        dnssec_ok: bool,
        checking_disabled: bool,
    ) -> Result<Arc<Message>, ForwardError> {
        let flags = Flags { recursion_desired: true, dnssec_ok, checking_disabled };
        let start = || {
            let (upstreams, question) = (self.upstreams.clone(), question.clone());
            Some(async move { upstreams.ask(&question, flags).await.map(Arc::new) })
        };
        match self.flights.run(Key::new(question, flags), start).await {
            Ok(result) => result,
            Err(FlightError::Busy) => Err(ForwardError::Busy),
            Err(FlightError::Lost | FlightError::Refused) => Err(ForwardError::NoAnswer),
        }
    }

    /// Whether an upstream sends back the question by which we look for loops. Such a question is not to be
    /// forwarded; what it is answered does not matter.
    pub fn is_loop_probe(&self, question: &Question) -> bool {
        self.upstreams.loop_probes.recognise(question)
    }

    /// Looks for loops now and every minute, until `shutdown`; logs an upstream once when it begins to loop. Call once the server listens.
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
        match self.ask(&question, false, false).await {
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

/// What a question that is under way needs, whoever waits for it.
#[derive(Debug)]
struct Upstreams {
    list: Vec<Upstream>,
    exchanger: Exchanger,
    loop_probes: LoopProbes,
}

impl Upstreams {
    async fn ask(&self, question: &Question, flags: Flags) -> Result<Message, ForwardError> {
        let turns = upstream::in_order(&self.list, Instant::now());
        if turns.is_empty() && !self.list.is_empty() {
            return Err(ForwardError::Loop);
        }
        race::ask_in_turn(&self.list, turns, |upstream, deadline| {
            self.exchange(upstream, question, flags, deadline)
        })
        .await
    }

    async fn exchange(
        &self,
        upstream: &Upstream,
        question: &Question,
        flags: Flags,
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        match &upstream.channel {
            Some(channel) => channel.exchange(question, flags, deadline).await,
            None => {
                let address = upstream.address.socket_address();
                self.exchanger.exchange(address, question, flags, deadline).await
            }
        }
    }

    async fn look_for_loops(&self) {
        let Some(token) = self.loop_probes.begin_round() else {
            return;
        };
        join_all((0..self.list.len()).map(|index| self.send_loop_probe(index, &token))).await;
    }

    async fn send_loop_probe(&self, index: usize, token: &str) {
        let (Some(upstream), Some(probe)) = (self.list.get(index), loops::probe(index, token)) else {
            return;
        };
        let flags = Flags { recursion_desired: true, dnssec_ok: false, checking_disabled: false };
        let deadline = Instant::now() + LOOP_PROBE_TIME;
        let result = self.exchange(upstream, &probe, flags, deadline).await;
        let is_looping = self.loop_probes.came_back(index);
        if !is_looping && result.is_err_and(ExchangeError::is_ours) {
            // Nothing was sent, so that nothing is known.
            return;
        }
        match (upstream.is_looping.swap(is_looping, Ordering::Relaxed), is_looping) {
            (false, true) => error!(
                "upstream {} sends our questions back to us: set fallback_dns to a resolver that does not forward here",
                upstream.address
            ),
            (true, false) => info!("upstream {} no longer sends our questions back to us", upstream.address),
            (false, false) | (true, true) => {}
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
