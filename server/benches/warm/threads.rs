//! The code path of a cached answer, without the network: [`Service::at_once`] in a loop.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use nix::time::ClockId;
use pkdns::{
    message::Reply,
    server::Server,
    service::{AtOnce, Client, Respond, Service, Transport},
};
use pkdns_testing::benchmark::{names::query, pin};
use tokio::runtime::Runtime;

use crate::{
    check::{SAMPLE, check_answer},
    compare::{Scale, print},
    servers::{CACHE, pkdns_configuration},
    tables::NAMES,
};

/// Calls of a thread in a round.
const CALLS: u32 = 2_000_000;

/// One thread, and then one on each core, in turns.
pub(crate) fn service(scale: Scale, upstream: SocketAddr, cores: [usize; 2]) {
    let runtime = Runtime::new().unwrap();
    let service = filled(&runtime, upstream);
    let calls = scale.of(CALLS);
    let (mut one, mut two) = (Total::default(), Total::default());
    for round in 0..scale.rounds {
        // Each core once, since another program may keep one of them busy.
        let core = cores[round as usize % cores.len()];
        one.add(&run(&service, &[core], calls));
        two.add(&run(&service, &cores, calls));
    }
    println!(
        "\nthreads: {NAMES} names in the cache, without the network; {} rounds of {calls} calls\n",
        scale.rounds
    );
    let row = |name: &str, total: &Total| {
        [
            name.to_string(),
            format!("{:.0}", total.rate()),
            format!("{:.0}", total.cpu.as_secs_f64() * 1e9 / f64::from(total.calls)),
            format!("{:.2}", total.rate() / one.rate()),
        ]
    };
    let rows = vec![row("one thread", &one), row("two threads", &two)];
    print(["`Service::at_once`", "Calls/s", "CPU ns/call", "Ratio"], rows);
}

/// The service of a server that does not run, with all names in its cache.
fn filled(runtime: &Runtime, upstream: SocketAddr) -> Service {
    let configuration = toml::from_str(&pkdns_configuration("127.0.0.1:0", upstream, CACHE)).unwrap();
    let _guard = runtime.enter();
    let service = Server::bind(configuration).unwrap().service().clone();
    let client = client(0);
    let mut reply = Vec::new();
    for number in 0..NAMES {
        if let AtOnce::Later(question) = service.at_once(&query(0, number), client, &mut reply) {
            runtime.block_on(service.later(&question, client, &mut reply));
        }
    }
    service
}

#[derive(Debug, Default)]
struct Total {
    calls: u32,
    elapsed: Duration,
    cpu: Duration,
}

impl Total {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.elapsed += other.elapsed;
        self.cpu += other.cpu;
    }

    fn rate(&self) -> f64 {
        f64::from(self.calls) / self.elapsed.as_secs_f64()
    }
}

/// One thread on each of `cores`. They start together and the last one counts.
fn run(service: &Service, cores: &[usize], calls: u32) -> Total {
    let start = Barrier::new(cores.len());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(cores)
            .map(|(thread, core)| {
                let start = &start;
                scope.spawn(move || {
                    pin(&[*core]);
                    start.wait();
                    call(service, client(thread), calls)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(
            Total::default(),
            |mut total, thread| {
                total.calls += thread.calls;
                total.elapsed = total.elapsed.max(thread.elapsed);
                total.cpu += thread.cpu;
                total
            },
        )
    })
}

/// Asks for the names in turn, as a transport would.
fn call(service: &Service, client: Client, calls: u32) -> Total {
    let queries: Vec<_> = (0..NAMES).map(|number| query(0, number)).collect();
    let mut reply = Vec::new();
    let (started, cpu_before) = (Instant::now(), cpu_time());
    for (number, query) in (0..NAMES).cycle().zip(queries.iter().cycle()).take(calls as usize) {
        reply.clear();
        let replied = service.at_once(query, client, &mut reply);
        assert!(matches!(replied, AtOnce::Replied), "{number} is not in the cache");
        if number.is_multiple_of(SAMPLE) {
            check_answer(&reply, number);
        }
    }
    Total { calls, elapsed: started.elapsed(), cpu: cpu_time() - cpu_before }
}

/// What this thread has computed.
fn cpu_time() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap().into()
}

fn client(thread: u8) -> Client {
    Client {
        address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + thread)),
        transport: Transport::Udp,
        reply: Reply::Datagram,
        now: Instant::now().into(),
    }
}
