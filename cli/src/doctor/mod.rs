//! `doctor`: looks at everything that keys need to be published and answered, and says what to do about each.

mod authorities;
mod bridge;
mod clock;
mod dht;
mod finding;
mod front;
mod measured;
mod origin;
mod relay;
mod rights;
mod round_trip;
mod server;
mod settings;
mod upstream;

use std::{
    env, io,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use futures_util::future::join_all;
use http::Uri;
use pkdns::{
    config::{Config, DNS_PORT, RelayUrl, UpstreamAddress, UpstreamEntry},
    metrics::RelayOutcomes,
    sources::{forward::TlsClient, relay_client::Relays},
};
use pkdns_dht::signed_packet::PublicKey;
use serde::Serialize;
use tokio::time::timeout_at;

use crate::{
    dns::server_address,
    failure::Failure,
    http_client::web_address,
    network::{self, Network, NetworkArguments},
    terminal::{self, printable},
    trust,
};
use finding::{Finding, Verdict};
use origin::OriginArguments;
use server::{Kind, Subject};

/// All of it ends within this time.
const DEADLINE: Duration = Duration::from_secs(20);

/// Check this machine's resolver, its network and the DHT, and say what to do
///
/// Checks the configuration of pkdns and what its authorities may sign for, the server on port 53 and the right to listen there, the
/// upstream resolvers, the clock, the DHT and the relays. Then it publishes a packet under a temporary key, and looks it up again.
/// All of this takes at most 20 seconds. The exit code is 1 if any check has failed; warnings do not count.
///
/// With KEY, it also checks whether https://KEY.key/ opens: whether the server directs that name to a bridge, whether this machine
/// trusts the authority of the bridge, and whether the bridge could verify the site.
///
/// With --origin, it checks something else: whether the world can reach the sites of an origin. It looks at the delegation of the
/// origin, at each of its name servers and, with KEY, at who may certify the site, its ports and the certificate that it shows.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Server to look at [default: where the configuration says, on this machine]
    ///
    /// Port 53 unless another is given.
    #[arg(long, value_name = "ADDR", value_parser = server_address)]
    server: Option<SocketAddr>,
    /// Upstream resolver to look at; repeat it for more [default: fallback_dns]
    ///
    /// As `pkdns --forward` takes it.
    #[arg(long, value_name = "UPSTREAM")]
    forward: Vec<UpstreamEntry>,
    /// Configuration file of pkdns [default: ~/.pkdns/pkdns.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Web server to compare the clock with; repeat it for more
    ///
    /// Without it, the relays and three servers on the Internet.
    #[arg(long, value_name = "URL", value_parser = web_address)]
    clock: Vec<Uri>,
    #[command(flatten)]
    origin: OriginArguments,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    /// How long it took.
    milliseconds: u64,
    checks: Vec<Finding>,
}

pub(crate) fn run(arguments: &Arguments, network: &NetworkArguments) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut checks = Vec::new();
    if let Some(route) = arguments.origin.route()? {
        network::block_on(async {
            checks = route.examine().await;
            Ok(())
        })?;
    } else {
        let (config, configuration) = settings::read(arguments.config.as_deref());
        let checkup = Checkup { arguments, config: &config, network, key: arguments.origin.key()? };
        checks.push(configuration);
        let directory = env::home_dir().unwrap_or_default().join(trust::DIRECTORY);
        let directory = trust::certificates_of(&config, &directory);
        checks.extend(authorities::judge(&authorities::observe(&directory)));
        network::block_on(async {
            checks.extend(checkup.examine().await?);
            Ok(())
        })?;
    }
    let failed = checks.iter().filter(|finding| finding.verdict == Verdict::Failed).count();
    let total = checks.len();
    if arguments.json {
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        terminal::print_json(&Report { ok: failed == 0, milliseconds, checks })?;
    } else {
        let stdout = std::io::stdout();
        terminal::print(&checks.iter().map(|finding| finding.text(&stdout)).collect::<String>())?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Failed(format!(
            "{failed} of {total} checks failed: do what stands below each of them"
        ))),
    }
}

/// What is looked at.
struct Checkup<'a> {
    arguments: &'a Arguments,
    config: &'a Config,
    network: &'a NetworkArguments,
    /// Whose site is to be opened.
    key: Option<PublicKey>,
}

impl Checkup<'_> {
    /// All checks but that of the configuration.
    async fn examine(&self) -> Result<Vec<Finding>, Failure> {
        let end = tokio::time::Instant::now() + DEADLINE;
        // Its authorities may be what is wrong with the configuration.
        let tls =
            TlsClient::new(self.config.fallback_ca_path.as_deref()).or_else(|_| network::authorities())?;
        let relays = self.network.relays(&self.config.dht.relays);
        let (way, upstreams, clock, relays, measured) = tokio::join!(
            self.way(end),
            within(end, "upstream", self.upstreams(&tls)),
            within(end, "clock", self.clock(&relays, &tls)),
            within(end, "relay", relay_checks(&relays, &tls)),
            within(end, "measured", async {
                vec![measured::judge(measured::observe(&self.config.metrics.listen, &tls).await.as_ref())]
            }),
        );
        let [server, dht, trip] = way?;
        Ok([server, upstreams, clock, dht, relays, trip, measured].concat())
    }

    /// From a packet to an answer: the server and the DHT at once, and then a packet through both.
    async fn way(&self, end: tokio::time::Instant) -> Result<[Vec<Finding>; 3], Failure> {
        let bootstrap = self.network.bootstrap(&self.config.dht.bootstrap);
        let network = Network::join(&bootstrap)?;
        let listen = self.config.listen.first().copied().unwrap_or(([0, 0, 0, 0], DNS_PORT).into());
        let subject = Subject {
            address: self.arguments.server.unwrap_or_else(|| server::reached_at(listen)),
            is_named: self.arguments.server.is_some(),
        };
        // Before anybody is asked there: it takes the port for a moment.
        let attempt = rights::observe(listen);
        let (probe, another) = (round_trip::throw_away()?, round_trip::throw_away()?);
        let suffix = self.config.names.suffixes.first().map_or("key", String::as_str);
        let (dht, server) = tokio::join!(
            timeout_at(end, dht::observe(network.dht(), probe.key())),
            timeout_at(end, server::observe(subject.address, [probe.key(), another.key()], suffix))
        );
        let (server, kind) = match server {
            Ok(observed) => server::judge(subject, &probe.key().to_z32(), &observed),
            Err(_) => (late("server"), Kind::Other),
        };
        let is_served = kind == Kind::Pkdns && subject.address == server::reached_at(listen);
        let rights = rights::judge(listen, &attempt, rights::first_free_port(), is_served);
        done("server");
        let is_reached = dht.as_ref().is_ok_and(dht::Observed::is_reached);
        let dht = match dht {
            Ok(observed) => vec![dht::judge(&observed, &bootstrap), dht::judge_address(&observed)],
            Err(_) => vec![late("dht")],
        };
        done("dht");
        let site = self.site(subject.address, kind, suffix);
        let trip = self.trip(end, &network, is_reached, subject.address, kind, suffix);
        let (site, trip) = tokio::join!(within(end, "bridge", site), trip);
        Ok([vec![server, rights], dht, [trip?, site].concat()])
    }

    /// A packet to the DHT, and from there through the server.
    async fn trip(
        &self,
        end: tokio::time::Instant,
        network: &Network,
        is_reached: bool,
        server: SocketAddr,
        kind: Kind,
        suffix: &str,
    ) -> Result<Vec<Finding>, Failure> {
        let mut trip = Vec::new();
        let packet = round_trip::throw_away()?;
        let mut reply = None;
        if is_reached {
            terminal::progress("publishing under a key that is thrown away…");
            match timeout_at(end, round_trip::observe(network.dht(), &packet)).await {
                Ok(observed) => {
                    trip.push(round_trip::judge(&observed));
                    if matches!(kind, Kind::Pkdns | Kind::Front) && round_trip::is_stored(&observed) {
                        let asked = round_trip::ask_server(server, kind, &packet, suffix);
                        reply = timeout_at(end, asked).await.ok();
                    }
                }
                Err(_) => trip.push(late("round trip")),
            }
        } else {
            trip.push(round_trip::not_reached());
        }
        trip.push(round_trip::judge_served(server, kind, reply.as_ref()));
        let bridge = reply.map(|served| served.bridge).unwrap_or_default();
        if self.key.is_none() && !bridge.is_empty() {
            // A name that does not exist, which a bridge says at once.
            let host = format!("absent.{}", round_trip::site_of(&packet, suffix));
            let observed = bridge::observe_without_site(bridge, host, self.arguments.origin.https_port());
            trip.extend(within(end, "bridge", async { bridge::judge_without_site(&observed.await) }).await);
        }
        Ok(trip)
    }

    /// The site that somebody wants to open.
    async fn site(&self, server: SocketAddr, kind: Kind, suffix: &str) -> Vec<Finding> {
        let Some(key) = &self.key else { return Vec::new() };
        if let Some(finding) = bridge::not_asked(server, kind) {
            return vec![finding];
        }
        let host = format!("{}.{suffix}", key.to_z32());
        bridge::judge(&bridge::observe(server, host, self.arguments.origin.https_port()).await)
    }

    async fn upstreams(&self, tls: &TlsClient) -> Vec<Finding> {
        let chosen: Vec<UpstreamAddress> =
            self.arguments.forward.iter().flat_map(|entry| entry.0.clone()).collect();
        let upstreams = if chosen.is_empty() { &self.config.fallback_dns } else { &chosen };
        let observed = upstreams.iter().map(async |one| (one, upstream::observe(one, tls).await));
        upstream::judge_all(&join_all(observed).await)
    }

    async fn clock(&self, relays: &[RelayUrl], tls: &TlsClient) -> Vec<Finding> {
        let relays: Vec<String> = relays.iter().map(RelayUrl::to_string).collect();
        let servers = clock::servers(&self.arguments.clock, &relays);
        vec![clock::judge(&clock::observe(&servers, tls).await)]
    }
}

async fn relay_checks(urls: &[RelayUrl], tls: &TlsClient) -> Vec<Finding> {
    let relays = Relays::new(urls, &tls.for_tls(), network::system_resolver(), &RelayOutcomes::default());
    let findings = relays.iter().map(async |relay| match round_trip::throw_away() {
        Ok(packet) => relay::judge(relay.url(), &relay::observe(relay, &packet).await),
        Err(failure) => Finding::failed("relay", failure.to_string(), "try again"),
    });
    join_all(findings).await
}

/// What `checks` find, if they end in time.
async fn within(
    end: tokio::time::Instant,
    check: &'static str,
    checks: impl Future<Output = Vec<Finding>>,
) -> Vec<Finding> {
    let findings = timeout_at(end, checks).await.unwrap_or_else(|_| vec![late(check)]);
    done(check);
    findings
}

fn late(check: &'static str) -> Finding {
    Finding::failed(
        check,
        format!("it did not end within {} s", DEADLINE.as_secs()),
        "do what the other lines say, then try again",
    )
}

fn done(check: &str) {
    terminal::progress(&format!("looked at {check}"));
}

/// Why nobody could be connected to.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        io::ErrorKind::ConnectionRefused => "nothing listens".to_owned(),
        _ => printable(&error.to_string()),
    }
}
