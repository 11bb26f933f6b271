//! The resolvers of the world find keys below an origin: real ones, which begin at a root of the test's own and validate, and
//! are told nothing of keys. The names of keys have the answers that an ordinary zone with the same records has.
//!
//! Needs `unshare` and `ip`, `dig`, `named` with its tools, `unbound`, `kresd` and `dnsmasq`. Without them the tests say so and
//! pass, unless `CI=true`; without the right to make network namespaces they always do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod origin;
mod published;

use std::{collections::BTreeSet, future::Future, process::Command};

use origin::Origin;
use pkdns_testing::{
    dig::{Dig, Reply},
    lab::{
        internet::{self, Internet, LIKE, ORIGIN, SERVERS},
        resolvers::{self, Manner, Resolver},
    },
    namespace, programs, wait,
};
use published::{Outcome, QUESTIONS, key};
use tokio::task::spawn_blocking;

const MANNERS: [Manner; 3] = [Manner::AsItComes, Manner::Strict, Manner::OverTcp];

/// What a program makes of ordinary names without signatures, too; and why.
const ODD: [(&str, Manner, &str, &str, &str); 2] = [
    (
        "named",
        Manner::Strict,
        "deep.below.nope.KEY",
        "AAAA",
        "ends at the name above that does not exist, and says so as if it had been signed",
    ),
    (
        "dnsmasq",
        Manner::AsItComes,
        "KEY",
        "DS",
        "wants a proof for the absence of DS, as between signed zones",
    ),
];

/// Runs a test in a network namespace, with an internet and who asks there.
fn in_the_world<F: Future>(
    name: &str,
    manners: &[Manner],
    test: impl FnOnce(Internet, Vec<Resolver>, Dig) -> F,
) {
    namespace::on_a_machine_of_its_own(name, async {
        let Some(dig) = Dig::find() else { return };
        let [above, inside] = SERVERS;
        let delegation = format!("pk NS ns1\nns1 A {above}\npk NS ns2.pk\nns2.pk A {inside}\n");
        let Some(internet) = Internet::start(&delegation, &published::like_zone()) else { return };
        let Some(resolvers) = resolvers::start(&internet, manners) else { return };
        test(internet, resolvers, dig).await;
    });
}

/// What a resolver says, in words that are the same for both zones.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    status: String,
    is_authentic: bool,
    /// Owner, type and data.
    answers: Vec<String>,
    /// The zones whose SOA records deny.
    denied_by: BTreeSet<String>,
}

impl Said {
    fn read(reply: &Reply, zone: &str) -> Self {
        let in_words = |record: &String| {
            let words: Vec<_> = record.split(' ').collect();
            let (owner, data) = (words[0], words[3..].join(" "));
            format!("{owner} {data}").to_lowercase().replace(zone, "HERE")
        };
        let mut answers: Vec<_> = reply.answers().iter().map(in_words).collect();
        answers.sort();
        let authority = reply.authority();
        let denying = authority.iter().map(in_words).filter(|record| record.contains(" soa "));
        let denied_by = denying.map(|record| record.split(' ').next().unwrap().to_owned()).collect();
        Self { status: reply.status().into(), is_authentic: reply.is_authentic(), answers, denied_by }
    }

    fn has(&self, outcome: Outcome) -> bool {
        let status = if outcome == Outcome::NoName { "NXDOMAIN" } else { "NOERROR" };
        let counts = match outcome {
            Outcome::Data => !self.answers.is_empty() && self.denied_by.is_empty(),
            Outcome::Alias => self.answers.len() == 1 && self.denied_by.len() == 1,
            Outcome::NoData | Outcome::NoName => {
                self.answers.is_empty() && self.denied_by.iter().eq(["HERE."])
            }
        };
        // Nothing here is signed: secure would be as wrong as bogus.
        self.status == status && counts && !self.is_authentic
    }
}

#[test]
fn the_resolvers_of_the_world_answer_for_keys_as_for_ordinary_names() {
    let name = "the_resolvers_of_the_world_answer_for_keys_as_for_ordinary_names";
    in_the_world(name, &MANNERS, async |internet, resolvers, dig| {
        let origin = Origin::start(&internet, 300, "");
        let mut failures = Vec::new();
        for resolver in &resolvers {
            let before = ["udp", "tcp"].map(|protocol| origin.questions(protocol));
            // They do validate.
            assert!(
                dig.ask(resolver.address, "www.example.net A").is_authentic(),
                "{resolver}: {}",
                resolver.log()
            );
            assert_eq!(dig.ask(resolver.address, "broken.net A").status(), "SERVFAIL", "{resolver}");
            let [ours, ordinary] = [ORIGIN, LIKE].map(|zone| {
                let questions = QUESTIONS
                    .iter()
                    .map(|(name, record_type, _)| format!("{} {record_type}", published::name(name, zone)));
                let questions: Vec<_> = questions.collect();
                let replies = dig.ask_all(resolver.address, &questions);
                for (question, reply) in questions.iter().zip(&replies) {
                    let is_echoed = question.starts_with(reply.question().trim_end_matches('.'));
                    assert!(is_echoed, "{resolver}, {question}: {reply:?}");
                }
                replies.iter().map(|reply| Said::read(reply, zone)).collect::<Vec<_>>()
            });
            for ((ours, ordinary), (name, record_type, outcome)) in ours.iter().zip(&ordinary).zip(QUESTIONS)
            {
                let is_odd = ODD.iter().any(|(program, manner, odd, odd_type, _)| {
                    (resolver.program, resolver.manner, name, record_type)
                        == (program, *manner, odd, odd_type)
                });
                if ours != ordinary || ours.has(*outcome) == is_odd {
                    failures.push(format!(
                        "{resolver}, {name} {record_type}: {ours:?}\n    ordinary: {ordinary:?}"
                    ));
                }
            }
            let servers = dig.ask(resolver.address, &format!("{ORIGIN} NS")).data();
            assert_eq!(servers, ["NS ns1.example.net.", &format!("NS ns2.{ORIGIN}.")], "{resolver}");
            let [udp, tcp] = ["udp", "tcp"].map(|protocol| origin.questions(protocol));
            let asked = (udp > before[0], tcp > before[1]);
            // dnsmasq asks another one, which knows already.
            let expected = match resolver.manner {
                _ if resolver.program == "dnsmasq" => asked,
                Manner::AsItComes => (true, false),
                Manner::Strict => (true, true),
                Manner::OverTcp => (false, true),
            };
            assert_eq!(asked, expected, "{resolver} asked over UDP, over TCP");
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    });
}

#[test]
fn a_stranger_is_answered_for_the_origin_and_refused_the_rest() {
    in_the_world(
        "a_stranger_is_answered_for_the_origin_and_refused_the_rest",
        &[Manner::AsItComes],
        async |internet, resolvers, dig| {
            let _origin = Origin::start(&internet, 300, "");
            let stranger = resolvers[0].address.ip();
            for server in SERVERS {
                for transport in ["+notcp", "+tcp"] {
                    let ask = |question: &str| {
                        dig.ask(
                            (server, internet::DNS_PORT).into(),
                            &format!("-b {stranger} {transport} {question}"),
                        )
                    };
                    let reply = ask(&format!("{} A", published::name("KEY", ORIGIN)));
                    assert_eq!(
                        (reply.status(), reply.data()),
                        ("NOERROR", vec!["A 203.0.113.77".to_owned()]),
                        "{reply:?}"
                    );
                    assert_eq!(reply.flags(), ["qr", "aa", "rd"], "{reply:?}");
                    for question in ["www.example.net A", &format!("{} A", published::name("KEY", "key"))] {
                        let reply = ask(question);
                        assert_eq!(
                            (reply.status(), reply.flags().contains(&"ra")),
                            ("REFUSED", false),
                            "{reply:?}"
                        );
                    }
                }
            }
        },
    );
}

/// Asks until the answer is as it should be.
fn eventually(what: &str, dig: impl Fn() -> Reply, is_right: impl Fn(&Reply) -> bool) {
    wait::found(|| {
        let reply = dig();
        if is_right(&reply) { Ok(()) } else { Err((what, reply)) }
    });
}

#[test]
fn what_a_key_publishes_anew_is_seen_and_what_is_held_is_told_while_nobody_can_be_asked() {
    let name = "what_a_key_publishes_anew_is_seen_and_what_is_held_is_told_while_nobody_can_be_asked";
    in_the_world(name, &[Manner::AsItComes], async |internet, resolvers, dig| {
        let origin = Origin::start(&internet, 1, "[cache]\nttl_seconds = 1\n");
        let address = format!("{} A", published::name("KEY", ORIGIN));
        for resolver in &resolvers {
            assert_eq!(dig.ask(resolver.address, &address).data(), ["A 203.0.113.77"], "{resolver}");
        }
        let newer = published::records("@ A 203.0.113.99\n_acme-challenge.new TXT \"now\"\n", &key(), 1);
        origin.put(&key(), 1_790_000_000_000_001, &newer).await;
        for resolver in &resolvers {
            // Nobody asked for it before, so nobody holds anything else.
            let challenge = format!("{} TXT", published::name("_acme-challenge.new.KEY", ORIGIN));
            assert_eq!(dig.ask(resolver.address, &challenge).data(), ["TXT \"now\""], "{resolver}");
            let ask = || dig.ask(resolver.address, &address);
            eventually(resolver.program, ask, |reply| reply.data() == ["A 203.0.113.99"]);
        }

        let direct = |question: &str| {
            let stranger = resolvers[0].address.ip();
            dig.ask((SERVERS[0], internet::DNS_PORT).into(), &format!("-b {stranger} +norecurse {question}"))
        };
        let held = |record: &str| published::name(record, ORIGIN);
        assert_eq!(direct(&format!("{} TXT", held("large.OTHER"))).answers().len(), 1);
        origin.cut_off();
        let is_stale = |reply: &Reply| reply.extended_error() == Some(STALE);
        eventually("a stale answer", || direct(&format!("{} TXT", held("large.OTHER"))), is_stale);
        for resolver in &resolvers {
            // dnsmasq asks one that has the answer of before.
            let question = format!("{} A", held("www.OTHER"));
            assert_eq!(dig.ask(resolver.address, &question).data(), ["A 203.0.113.90"], "{resolver}");
            let question = format!("{} A", held("ABSENT"));
            assert_eq!(dig.ask(resolver.address, &question).status(), "SERVFAIL", "{resolver}");
        }
    });
}

/// Stale Answer (RFC 8914).
const STALE: u16 = 3;

#[test]
fn endpoints_of_iroh_find_each_other_through_a_resolver_and_the_origin() {
    let name = "endpoints_of_iroh_find_each_other_through_a_resolver_and_the_origin";
    in_the_world(name, &[Manner::AsItComes], async |internet, resolvers, dig| {
        let Some(iroh) = programs::find(IROH, |_| true, "the relay clients as CONTRIBUTING.md says") else {
            return;
        };
        let origin = Origin::start(&internet, 300, "");
        let mut command = Command::new("timeout");
        command.arg("60").arg(iroh).arg(format!("http://{}/pkarr", origin.http()));
        command.arg(resolvers[0].address.to_string()).arg(ORIGIN);
        let output = spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        let key = String::from_utf8(output.stdout).unwrap();
        let question = format!("_iroh.{}.{ORIGIN} TXT", key.trim());
        for resolver in &resolvers {
            let data = dig.ask(resolver.address, &question).data();
            assert!(data.iter().any(|data| data.starts_with("TXT \"addr=")), "{resolver}: {data:?}");
        }
    });
}

/// Where CONTRIBUTING.md builds it.
const IROH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/interop/cargo/debug/iroh");
