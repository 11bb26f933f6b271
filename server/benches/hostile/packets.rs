//! The cost of one query that leads through costly packets. The packets are in memory, and no socket is involved.

use std::{cell::Cell, net::Ipv4Addr, sync::Arc, time::Duration};

use hickory_proto::rr::RecordType;
use nix::{sys::time::TimeValLike, time::ClockId};
use pkdns::{
    config::Config,
    message::Reply,
    metrics::Metrics,
    resolver::Resolver,
    service::{AtOnce, Client, Respond, Service, Transport},
    sources::{
        forward::{Forwarder, TlsClient},
        packets::Packets,
    },
};
use pkdns_dht::testing::FakeNetwork;
use pkdns_testing::benchmark::random::Random;
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

use crate::{packet_plans::Plan, questions::query, upstream::Upstream};

/// The least of so many rounds counts: the rest is what else happens on the machine.
const ROUNDS: u32 = 5;

/// The service on one thread, whose time is read.
struct Bench {
    service: Service,
    network: Arc<FakeNetwork>,
    runtime: Runtime,
    /// Packets of each plan are of keys of their own.
    seeds: Cell<u32>,
}

impl Bench {
    fn start(upstream: &Upstream) -> Self {
        let mut config = Config::default();
        config.rate_limit.requests_per_minute = 0;
        config.rate_limit.dht_requests_per_minute = 0;
        // What is asked of others is bounded elsewhere.
        config.delegation.enabled = false;
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        let network = Arc::<FakeNetwork>::default();
        let forwarder =
            Arc::new(Forwarder::new(vec![upstream.address().into()], &TlsClient::new(None).unwrap()));
        let packets = Packets::new(&config.cache, network.clone());
        let resolver = Resolver::new(&config, packets, forwarder.clone());
        let service = Service::new(&config, resolver, forwarder, &Metrics::default());
        drop(_guard);
        Self { service, network, runtime, seeds: Cell::new(0) }
    }

    /// Asks over UDP.
    fn ask(&self, request: &[u8]) -> Vec<u8> {
        let client = Client {
            address: Ipv4Addr::LOCALHOST.into(),
            transport: Transport::Udp,
            reply: Reply::Datagram,
            now: Instant::now(),
        };
        let mut out = Vec::new();
        self.runtime.block_on(async {
            if let AtOnce::Later(query) = self.service.at_once(request, client, &mut out) {
                self.service.later(&query, client, &mut out).await;
            }
        });
        out
    }

    /// Microseconds of this thread for each query that `request` makes, the number of each another.
    fn cost(&self, queries: u32, request: impl Fn(u32) -> Vec<u8>) -> f64 {
        let round = |round| {
            let requests: Vec<_> = (round * queries..(round + 1) * queries).map(&request).collect();
            let before = thread_time();
            requests.iter().for_each(|request| drop(self.ask(request)));
            (thread_time() - before).as_secs_f64() * 1e6 / f64::from(queries)
        };
        (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
    }

    /// Microseconds for a query to the packets of a plan, and the last reply.
    fn cost_of(&self, plan: &Plan, queries: u32) -> (f64, Vec<u8>) {
        let seed = self.seeds.replace(self.seeds.get() + 1);
        for packet in plan.packets(seed) {
            self.network.publish(packet);
        }
        let request = |number| query(1, &plan.name(number, seed), plan.asked().into());
        // Finds the packets, each with a query of its own where there are many.
        let reply = (0..3).map(|number| self.ask(&request(1_000_000 + number))).last().unwrap();
        (self.cost(queries, request), reply)
    }
}

fn thread_time() -> Duration {
    let time = ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap();
    Duration::from_nanos(time.num_nanoseconds() as u64)
}

/// Packets by hand, packets that a search finds, and large answers of an upstream.
pub(crate) fn packets(in_full: bool) {
    let upstream = Upstream::start(Duration::ZERO);
    let bench = Bench::start(&upstream);
    let queries = if in_full { 300 } else { 3 };
    println!(
        "\nA query whose packets are in memory: µs of CPU\n\n| packets | µs | code, answers |\n|---|---|---|"
    );
    let mut worst = Vec::new();
    for (what, plan) in Plan::by_hand() {
        let (cost, reply) = bench.cost_of(&plan, queries);
        println!("| {what} | {cost:.0} | {} |", outcome(&reply));
        worst.push((cost, plan));
    }
    let (generations, children) = if in_full { (60, 40) } else { (2, 3) };
    for _ in 0..generations {
        worst.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        worst.truncate(8);
        let mut random = Random(u64::from(bench.seeds.get()));
        for _ in 0..children {
            let parent = &worst[random.below(worst.len() as u32) as usize].1;
            let plan = parent.changed(&mut random);
            let (cost, _) = bench.cost_of(&plan, if in_full { 20 } else { 2 });
            worst.push((cost, plan));
        }
    }
    worst.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    for (_, plan) in worst.iter().take(3) {
        let (cost, reply) = bench.cost_of(plan, queries);
        println!("| found: {plan:?} | {cost:.0} | {} |", outcome(&reply));
    }
    for (what, name) in [("2100 TXT", "many.example"), ("225 TXT", "big.example")] {
        let request = |_| query(1, name, RecordType::TXT);
        let reply = bench.ask(&request(0));
        let cost = bench.cost(queries, request);
        println!("| {what} of an upstream, asked for again over UDP | {cost:.1} | {} |", outcome(&reply));
    }
    let asked = upstream.questions();
    println!("\n{asked} questions to the upstream");
}

/// Code, whether it is cut, number of answers.
fn outcome(reply: &[u8]) -> String {
    let cut = if reply[2] & 2 != 0 { " TC" } else { "" };
    format!("{}{cut}, {}", reply[3] & 0x0f, u16::from_be_bytes([reply[6], reply[7]]))
}
