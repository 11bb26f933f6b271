//! The recipes of docs/lan-resolvers.md, run as they stand there with the real dnsmasq and the real Unbound; only the
//! ports are others. The root that these ask through pkdns is signed, as the public one is.
//!
//! Needs `dnsmasq`, `unbound` and `dig`. Without them the tests say so and pass, unless `CI=true`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod kept_back;
mod reserved;

use pkdns::{
    config::Config,
    program::testnet::{SampleUpstream, sample_keypair},
};
use pkdns_testing::{
    daemon::Program,
    dig::{Dig, Reply},
    server::{TestServer, sample_network},
    signed_root::{self, SignedRoot},
};

const DOCUMENT: &str = include_str!("../../../docs/lan-resolvers.md");

/// The key of the sample zone, whose address is 127.0.0.1: private, as the addresses of many keys are.
const KEY: &str = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";

/// What validators are told about the root. The recipes leave that to the distribution, which knows the public root.
const PUBLIC_ANCHORS: &str = "conf-file=/usr/share/dnsmasq-base/trust-anchors.conf";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_through_dnsmasq() {
    let (Some(dig), Some(dnsmasq)) = (Dig::find(), Program::dnsmasq()) else { return };
    let pkdns = Pkdns::start().await;
    let daemon = dnsmasq.run_dnsmasq(&pkdns.recipe("dnsmasq.conf"));
    let ask = |question: &str| dig.ask(daemon.address, question);
    for transport in ["+notcp", "+tcp"] {
        for name in ["KEY", "KEY.key", "www.KEY", "www.KEY.key", "a.any.KEY.key"] {
            assert!(has_address(&ask(&format!("{transport} {}", address_of(name)))), "{transport} {name}");
        }
        assert_eq!(ask(&format!("{transport} example.com A")).data(), ["A 192.0.2.1"]);
        assert_eq!(ask(&format!("{transport} {KEY}.key MX")).data(), [format!("MX 10 mail.{KEY}.key.")]);
    }
    // dnsmasq keeps an absence only when it comes with a SOA record.
    let missing = format!("nope.{KEY}.key A");
    let reply = ask(&missing);
    assert_eq!((reply.status(), reply.authority().len()), ("NXDOMAIN", 1), "{reply:?}");
    let forwarded = || ask("misses.bind CH TXT").data();
    let before = forwarded();
    assert_eq!(ask(&missing).status(), "NXDOMAIN");
    assert_eq!(forwarded(), before, "asked for again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dnsmasq_with_domain_needed_never_forwards_a_bare_key() {
    let (Some(dig), Some(dnsmasq)) = (Dig::find(), Program::dnsmasq()) else { return };
    let pkdns = Pkdns::start().await;
    let daemon = dnsmasq.run_dnsmasq(&(pkdns.recipe("dnsmasq.conf") + "domain-needed\n"));
    assert_eq!(dig.ask(daemon.address, &address_of("KEY")).status(), "NXDOMAIN");
    for name in ["KEY.key", "www.KEY", "www.KEY.key"] {
        assert!(has_address(&dig.ask(daemon.address, &address_of(name))), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dnsmasq_that_validates_lets_keys_pass() {
    let (Some(dig), Some(dnsmasq)) = (Dig::find(), Program::dnsmasq()) else { return };
    let pkdns = Pkdns::start().await;
    let recipe = pkdns.recipe("dnsmasq-dnssec.conf");
    assert!(recipe.contains(PUBLIC_ANCHORS), "{recipe}");
    let recipe = recipe.replace(PUBLIC_ANCHORS, signed_root::DNSMASQ_ANCHOR);
    let daemon = dnsmasq.run_dnsmasq(&recipe);
    assert_eq!(dig.ask(daemon.address, "example.com A").data(), ["A 192.0.2.1"]);
    assert_eq!(dig.ask(daemon.address, "key. A").status(), "NXDOMAIN", "{}", daemon.log());
    for name in ["KEY", "KEY.key", "www.KEY.key"] {
        assert!(has_address(&dig.ask(daemon.address, &address_of(name))), "{name}: {}", daemon.log());
    }
    assert_eq!(dig.ask(daemon.address, &address_of("www.KEY")).status(), "SERVFAIL");

    let without: String = recipe.split_inclusive('\n').filter(|line| !line.starts_with("server=/")).collect();
    let daemon = dnsmasq.run_dnsmasq(&without);
    assert_eq!(dig.ask(daemon.address, "example.com A").data(), ["A 192.0.2.1"]);
    for name in ["KEY", "KEY.key", "www.KEY.key"] {
        let reply = dig.ask(daemon.address, &address_of(name));
        // DNSSEC Bogus.
        assert_eq!((reply.status(), reply.extended_error()), ("SERVFAIL", Some(6)), "{name}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pi_hole_with_dnssec_lets_keys_pass() {
    let (Some(dig), Some(dnsmasq)) = (Dig::find(), Program::dnsmasq()) else { return };
    let pkdns = Pkdns::start().await;
    // Pi-hole's own resolver is dnsmasq; this is what the two commands amount to.
    let servers: String =
        pi_hole_list("dns.upstreams").iter().map(|upstream| format!("server={upstream}\n")).collect();
    let lines = pi_hole_list("misc.dnsmasq_lines").join("\n");
    let recipe = format!("no-resolv\n{servers}{lines}\ndnssec\n{}\n", signed_root::DNSMASQ_ANCHOR);
    let daemon = dnsmasq.run_dnsmasq(&pkdns.with_port(&recipe));
    assert_eq!(dig.ask(daemon.address, "example.com A").data(), ["A 192.0.2.1"]);
    for name in ["KEY", "KEY.key", "www.KEY.key"] {
        assert!(has_address(&dig.ask(daemon.address, &address_of(name))), "{name}: {}", daemon.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dnsmasq_against_rebinding_lets_keys_have_private_addresses() {
    let (Some(dig), Some(dnsmasq)) = (Dig::find(), Program::dnsmasq()) else { return };
    let pkdns = Pkdns::start().await;
    let recipe = pkdns.recipe("dnsmasq-rebind.conf");
    let daemon = dnsmasq.run_dnsmasq(&recipe);
    for name in ["KEY", "KEY.key", "www.KEY.key"] {
        assert!(has_address(&dig.ask(daemon.address, &address_of(name))), "{name}: {}", daemon.log());
    }
    assert!(is_empty(&dig.ask(daemon.address, &address_of("www.KEY"))));

    let daemon = dnsmasq.run_dnsmasq(&recipe.replace("rebind-domain-ok", "#"));
    for name in ["KEY", "KEY.key", "www.KEY", "www.KEY.key"] {
        assert!(is_empty(&dig.ask(daemon.address, &address_of(name))), "{name}: {}", daemon.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dnsmasq_sends_only_keys_and_the_rest_to_its_present_upstream() {
    let (Some(dig), Some(dnsmasq)) = (Dig::find(), Program::dnsmasq()) else { return };
    let pkdns = Pkdns::start().await;
    // It has more addresses of example.com than the upstream behind pkdns.
    let upstream = SampleUpstream::start().await.unwrap();
    let present = format!("no-resolv\nserver=127.0.0.1#{}\n", upstream.address().port());
    let daemon = dnsmasq.run_dnsmasq(&(present + &pkdns.recipe("dnsmasq-keys-only.conf")));
    for name in ["KEY", "KEY.key", "www.KEY.key"] {
        assert!(has_address(&dig.ask(daemon.address, &address_of(name))), "{name}: {}", daemon.log());
    }
    assert_eq!(dig.ask(daemon.address, "example.com A").data(), ["A 192.0.2.1", "A 192.0.2.2"]);
    assert_eq!(dig.ask(daemon.address, &address_of("www.KEY")).status(), "NXDOMAIN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_a_search_domain_resolves_where_that_is_a_suffix() {
    let (Some(dig), Some(dnsmasq)) = (Dig::find(), Program::dnsmasq()) else { return };
    let (_, rest) = DOCUMENT.split_once("`suffixes = ").unwrap();
    let suffixes = format!("[names]\nsuffixes = {}\n", rest.split_once('`').unwrap().0);
    for (more, status) in [(suffixes.as_str(), "NOERROR"), ("", "NXDOMAIN")] {
        let pkdns = Pkdns::start_with(more).await;
        let daemon = dnsmasq.run_dnsmasq(&pkdns.recipe("dnsmasq.conf"));
        assert_eq!(dig.ask(daemon.address, &address_of("KEY.lan")).status(), status);
        assert!(has_address(&dig.ask(daemon.address, &address_of("www.KEY.key"))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_goes_through_unbound_that_validates() {
    let (Some(dig), Some(unbound)) = (Dig::find(), Program::unbound()) else { return };
    let pkdns = Pkdns::start().await;
    // Mixed case has to come back as it was sent, and private addresses to stay where the recipe says.
    let strict = format!(
        "server:\n    trust-anchor: \"{}\"\n    use-caps-for-id: yes\n    private-address: 127.0.0.0/8\n",
        signed_root::UNBOUND_ANCHOR
    );
    let recipe = pkdns.recipe("unbound.conf");
    let daemon = unbound.run_unbound(&format!("{strict}{recipe}"));
    let ask = |question: &str| dig.ask(daemon.address, question);
    assert_eq!(ask("example.com A").data(), ["A 192.0.2.1"], "{}", daemon.log());
    // Proofs about other names, and about the suffix itself, must not hide what is below it (RFC 8198, RFC 8020).
    for absent in ["kez. A", "key. A"] {
        assert_eq!(ask(absent).status(), "NXDOMAIN", "{absent}: {}", daemon.log());
    }
    for transport in ["+notcp", "+tcp"] {
        for name in ["KEY.key", "www.KEY.key"] {
            assert!(
                has_address(&ask(&format!("{transport} {}", address_of(name)))),
                "{name}: {}",
                daemon.log()
            );
        }
    }
    let reply = ask(&format!("WwW.{KEY}.KeY A"));
    assert_eq!(reply.question(), format!("WwW.{KEY}.KeY."));
    assert!(has_address(&reply));
    assert_eq!(ask(&format!("nope.{KEY}.key A")).status(), "NXDOMAIN");
    for name in ["KEY", "www.KEY"] {
        // Bogus, or denied out of hand from what is known about the neighbours.
        let status = ask(&address_of(name)).status().to_owned();
        assert!(["SERVFAIL", "NXDOMAIN"].contains(&status.as_str()), "{name}: {status}, {}", daemon.log());
    }

    let daemon = unbound.run_unbound(&format!("{strict}{}", recipe.replace("domain-insecure", "#")));
    let reply = dig.ask(daemon.address, &address_of("KEY.key"));
    assert_eq!(reply.status(), "SERVFAIL", "{}", daemon.log());
    let daemon = unbound.run_unbound(&format!("{strict}{}", recipe.replace("private-domain", "#")));
    assert!(is_empty(&dig.ask(daemon.address, &address_of("KEY.key"))), "{}", daemon.log());
    let (without_the_suffix, _) = recipe.rsplit_once("forward-zone:").unwrap();
    let daemon = unbound.run_unbound(&format!("{strict}{without_the_suffix}"));
    assert!(has_address(&dig.ask(daemon.address, &address_of("KEY.key"))), "{}", daemon.log());
    dig.ask(daemon.address, "key. A");
    let reply = dig.ask(daemon.address, &address_of("www.KEY.key"));
    assert_eq!(reply.status(), "NXDOMAIN", "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unbound_sends_only_keys() {
    let (Some(dig), Some(unbound)) = (Dig::find(), Program::unbound()) else { return };
    let pkdns = Pkdns::start().await;
    let strict = format!(
        "server:\n    trust-anchor: \"{}\"\n    private-address: 127.0.0.0/8\n",
        signed_root::UNBOUND_ANCHOR
    );
    // There is no root to resolve the rest from.
    let daemon = unbound.run_unbound(&format!("{strict}{}", pkdns.recipe("unbound-keys-only.conf")));
    assert_eq!(dig.ask(daemon.address, "key. A").status(), "NXDOMAIN", "{}", daemon.log());
    for name in ["KEY.key", "www.KEY.key"] {
        assert!(has_address(&dig.ask(daemon.address, &address_of(name))), "{name}: {}", daemon.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unbound_that_does_not_validate_resolves_bare_keys() {
    let (Some(dig), Some(unbound)) = (Dig::find(), Program::unbound()) else { return };
    let pkdns = Pkdns::start().await;
    // The distribution's own files may still say so.
    let validating = format!("server:\n    trust-anchor: \"{}\"\n", signed_root::UNBOUND_ANCHOR);
    let daemon = unbound.run_unbound(&format!("{validating}{}", pkdns.recipe("unbound-bare-keys.conf")));
    assert_eq!(dig.ask(daemon.address, "example.com A").data(), ["A 192.0.2.1"]);
    assert_eq!(dig.ask(daemon.address, "key. A").status(), "NXDOMAIN");
    for name in ["KEY", "KEY.key", "www.KEY", "www.KEY.key"] {
        assert!(has_address(&dig.ask(daemon.address, &address_of(name))), "{name}: {}", daemon.log());
    }
}

/// A server with the sample zone, set up as the document says.
struct Pkdns {
    server: TestServer,
    root: SignedRoot,
}

impl Pkdns {
    async fn start() -> Self {
        Self::start_with("").await
    }

    /// With `more` at the end of the document's configuration.
    async fn start_with(more: &str) -> Self {
        Self::start_behind(signed_root::start().await, more).await
    }

    async fn start_behind(root: SignedRoot, more: &str) -> Self {
        let config: Config = toml::from_str(&(block("toml", "pkdns.toml") + more)).unwrap();
        assert_eq!(config.listen, ["127.0.0.1:5300".parse().unwrap()]);
        let config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            fallback_dns: vec![root.address.into()],
            ..config
        };
        assert_eq!(sample_keypair().to_z32(), KEY);
        let server = TestServer::builder().config(config).network(sample_network()).start();
        Self { server, root }
    }

    /// The recipe of this title, with the port of this server.
    fn recipe(&self, title: &str) -> String {
        self.with_port(&block("conf", title))
    }

    fn with_port(&self, recipe: &str) -> String {
        let changed = recipe
            .replace("127.0.0.1#5300", &format!("127.0.0.1#{}", self.server.address.port()))
            .replace("127.0.0.1@5300", &format!("127.0.0.1@{}", self.server.address.port()));
        assert_ne!(changed, recipe, "nothing is sent to pkdns");
        changed
    }
}

/// The fenced block of this language whose first line is a comment with this title.
fn block(language: &str, title: &str) -> String {
    let fence = format!("```{language}\n");
    let blocks = DOCUMENT.split(&fence).skip(1);
    let mut blocks = blocks.map(|rest| rest.split_once("```").unwrap().0);
    blocks
        .find(|block| block.starts_with(&format!("# {title}\n")))
        .unwrap_or_else(|| panic!("no {title}"))
        .into()
}

/// The strings in the option of Pi-hole, a list in JSON, whose notation TOML shares.
fn pi_hole_list(option: &str) -> Vec<String> {
    let (_, rest) = DOCUMENT.split_once(&format!("pihole-FTL --config {option} '")).unwrap();
    let list = rest.split_once('\'').unwrap().0;
    let table: toml::Table = format!("list = {list}").parse().unwrap();
    table["list"].clone().try_into().unwrap()
}

/// The question for the address of a name, in which `KEY` stands for the key.
fn address_of(name: &str) -> String {
    name.replace("KEY", KEY) + " A"
}

fn has_address(reply: &Reply) -> bool {
    reply.status() == "NOERROR" && reply.data().iter().any(|data| data.starts_with("A 127.0.0."))
}

/// What is left when an address was taken out.
fn is_empty(reply: &Reply) -> bool {
    reply.status() == "NOERROR" && reply.data().iter().all(|data| !data.starts_with("A "))
}
