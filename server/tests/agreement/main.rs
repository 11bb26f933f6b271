//! pkdns and Unbound forward to one BIND with odd zones, and say the same, but for what `explained.rs` explains. Neither of
//! the two strangers is right by itself: each answer is compared with what BIND says, too. A validator behind pkdns comes to
//! the results of one that asks BIND, and pkdns behind a validator to the results of that one.
//!
//! A hundred questions are asked, of every kind. `AGREEMENT_QUESTIONS=10000` asks all of them, as `.ci/nightly agreement` does, which
//! takes a minute; then each explanation has to be needed, too.
//!
//! Needs `named`, `dnssec-keygen`, `dnssec-signzone` and `unbound`. Without them the test says so and passes, unless `CI=true`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod compare;
mod explained;
mod questions;
mod reply;
mod world;

use std::{collections::BTreeSet, env, fmt, net::SocketAddr, time::Instant};

use compare::{Case, Pair, faults};
use domain::base::Rtype;
use explained::EXPLAINED;
use pkdns_testing::support::client::{Transport, exchange};
use questions::{ALL, Question, Questions, kinds, numbers};
use reply::Reply;
use tokio::join;
use world::World;

/// How many questions are asked; 100 without it.
const COUNT: &str = "AGREEMENT_QUESTIONS";

const SEED: u64 = 15;

/// Of how many questions the failure tells.
const SHOWN: usize = 10;

/// What the questions have shown.
#[derive(Default)]
struct Findings {
    /// How often each explanation was needed.
    explained: Vec<usize>,
    unexplained: Vec<String>,
    kinds: BTreeSet<&'static str>,
    /// Types of which there were records.
    types: BTreeSet<Rtype>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pkdns_and_unbound_agree_about_odd_zones() {
    let Some(world) = World::start() else { return };
    let count = env::var(COUNT).map_or(100, |count| count.parse().expect(COUNT));
    let questions = Questions::new(SEED);
    let start = Instant::now();
    let mut findings = Findings { explained: vec![0; EXPLAINED.len()], ..Findings::default() };
    for number in numbers(count) {
        let question = questions.number(number);
        if let Err(failure) = findings.ask(&world, &question, start).await {
            findings.unexplained.push(format!("question {number}: {question}\n    {failure}"));
        }
    }
    println!("{findings}");
    let shown: Vec<_> = findings.unexplained.iter().take(SHOWN).map(String::as_str).collect();
    assert!(shown.is_empty(), "{} in all:\n{}", findings.unexplained.len(), shown.join("\n"));
    assert_eq!(findings.kinds, kinds().into_iter().collect(), "kinds of questions");
    if count == ALL {
        assert!(findings.types.len() >= 50, "of few types are there records: {:?}", findings.types);
        let unneeded = EXPLAINED.iter().zip(&findings.explained).filter(|(_, times)| **times == 0);
        let unneeded: Vec<_> = unneeded.map(|(explained, _)| explained.what).collect();
        assert!(unneeded.is_empty(), "explained, and does not occur: {unneeded:#?}");
    }
}

impl Findings {
    /// Asks everyone and compares; nobody has an answer from before `start`. An error says what disagrees, and how to ask the
    /// same.
    async fn ask(&mut self, world: &World, question: &Question, start: Instant) -> Result<(), String> {
        let over_tcp = Question { transport: Transport::Tcp, ..question.clone() };
        let (source, pkdns, unbound, validator, validator_behind_pkdns, pkdns_behind_validator) = join!(
            ask(&over_tcp, world.named.address),
            ask(question, world.pkdns.address),
            ask(question, world.unbound.address),
            ask(question, world.validator.address),
            ask(question, world.validator_behind_pkdns.address),
            ask(question, world.pkdns_behind_validator.address),
        );
        let oldest = u32::try_from(start.elapsed().as_secs()).unwrap() + 1;
        let source = source?;
        let (pkdns, unbound, validator) = (pkdns?, unbound?, validator?);
        let (validator_behind_pkdns, pkdns_behind_validator) =
            (validator_behind_pkdns?, pkdns_behind_validator?);
        self.kinds.insert(question.kind);
        self.types.extend(pkdns.answers.iter().map(|(record, _)| record.record_type));

        let mut wrong = Vec::new();
        wrong.extend(faults(question, &pkdns, &source, Some(oldest)));
        // The validator has its own bounds for times.
        let behind = faults(question, &pkdns_behind_validator, &source, None);
        wrong.extend(behind.into_iter().map(|fault| format!("behind the validator: {fault}")));
        for (pair, ours, theirs) in [
            (Pair::Unbound, &pkdns, &unbound),
            (Pair::Source, &pkdns, &source),
            (Pair::ValidatorBehind, &validator_behind_pkdns, &validator),
            (Pair::BehindValidator, &pkdns_behind_validator, &validator),
        ] {
            let case = Case { pair, question, ours, theirs, source: &source, oldest };
            for difference in case.differences() {
                let reason = EXPLAINED.iter().position(|explained| explained.explains(&case, &difference));
                match reason {
                    Some(index) => self.explained[index] += 1,
                    None => wrong.push(format!(
                        "{pair:?}: {difference}\n    ours: {ours}\n    theirs: {theirs}\n    BIND: {source}"
                    )),
                }
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let dig = question.dig(world.pkdns.address.port());
        Err(format!("{}\n    {dig}", wrong.join("\n    ")))
    }
}

async fn ask(question: &Question, server: SocketAddr) -> Result<Reply, String> {
    const ID: u16 = 0x1234;
    let bytes = exchange(server, &question.message(ID), question.transport).await;
    let reply = bytes.and_then(|bytes| Reply::read(bytes, ID, &question.section()));
    reply.map_err(|error| format!("{error}\n    {}", question.dig(server.port())))
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, record_type, transport, .. } = self;
        write!(f, "{name} {record_type} over {transport} ({kind})")
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Disagreements that are explained:")?;
        for (explained, times) in EXPLAINED.iter().zip(&self.explained) {
            writeln!(f, "{times:>6}  {}: {}", explained.what, explained.why)?;
        }
        Ok(())
    }
}
