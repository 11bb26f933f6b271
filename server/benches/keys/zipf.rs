//! Few names are asked for often, and most hardly ever: which queries wait for the network?

use std::time::{Duration, Instant};

use pkdns_testing::benchmark::{
    cores, on_core,
    random::{Random, Zipf},
};

use crate::{
    Scale,
    connection::{Connection, Expected, Reply},
    histogram::Histogram,
    key_server::{KeyServer, Settings},
    zones::Names,
};

/// How long a lookup takes.
const LATENCY: Duration = Duration::from_millis(200);

/// If a query that was due this much later is answered first, the query has waited for a lookup.
const WAITED: Duration = Duration::from_millis(100);

/// A reply that has not arrived by then is lost. Common clients ask again after five seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Clients take turns, so that the limits per client are not what is measured.
const CLIENTS: u8 = 4;

/// Queries that are due at the same time: at 100,000 a second there are ten every 0.1 ms.
const BURST: u32 = 10;

/// Queries in flight at once in the first pass.
const WINDOW: usize = 256;

/// How many of the popular names that waited are shown.
const SHOWN: usize = 20;

/// What became of the queries for names up to a rank.
struct Decade {
    last_rank: u32,
    latencies: Histogram,
    waited: u64,
}

struct Results {
    decades: Vec<Decade>,
    /// Of the most popular hundredth, those that waited: the time since the start, the rank, and how long.
    popular: Vec<(Duration, u32, Duration)>,
    failed: u64,
    lost: u64,
    /// How many of all bursts were sent more than a millisecond late. The client causes that delay, not the server.
    late: u32,
    bursts: u32,
    elapsed: Duration,
}

/// An open loop: queries are due at their times, whatever becomes of those before.
struct Load<'n> {
    clients: Vec<Connection<'n>>,
    zipf: Zipf,
    random: Random,
    /// Between two bursts.
    interval: Duration,
}

pub(crate) fn zipf(names: &Names, scale: Scale) {
    let Scale { rate, lifetime, .. } = scale;
    println!(
        "\nzipf: {} names, s = 1; a lookup takes {} ms; packets and TTLs last {lifetime} s; {rate} queries per second",
        names.count(),
        LATENCY.as_millis()
    );
    let (server_core, client_core) = cores();
    let mut server =
        on_core(server_core, client_core, || KeyServer::start(names, &Settings::of(names, lifetime, true)));
    let address = server.process.address();
    let client = |number| Connection::new(address, number, names, Expected::Address);
    let mut random = Random(2);
    let every_name = random.shuffled(names.count());
    let first = client(1).ask_all(every_name, WINDOW);
    eprintln!("every name once, in {:.0} s", first.elapsed.as_secs_f64());
    server.set_latency(LATENCY);
    let mut load = Load {
        clients: (1..=CLIENTS).map(client).collect(),
        zipf: Zipf::new(names.count()),
        random,
        interval: Duration::from_secs(BURST.into()) / rate,
    };
    let lifetime = Duration::from_secs(lifetime.into());
    load.run(lifetime);
    eprintln!("one lifetime has passed");

    let (counted, cpu) = (server.counts(), server.process.cpu_time());
    let results = load.run(lifetime * 2);
    let (counts, cpu) = (server.counts() - counted, server.process.cpu_time() - cpu);
    results.print();
    let seconds = results.elapsed.as_secs_f64();
    println!(
        "from the answer cache {:.3} %, {:.0} lookups per second, server's core {:.0} % busy",
        counts.hits as f64 * 100.0 / (counts.hits + counts.misses) as f64,
        counts.lookups as f64 / seconds,
        cpu.total() * 100.0 / seconds
    );
}

impl Load<'_> {
    fn run(&mut self, duration: Duration) -> Results {
        let count = self.zipf.count();
        let mut results = Results::new(count);
        results.bursts = (duration.as_nanos() / self.interval.as_nanos()) as u32;
        let start = Instant::now();
        let mut sent = 0;
        let mut cleaned = start;
        while sent < results.bursts || self.clients.iter().any(|client| client.in_flight() > 0) {
            let now = Instant::now();
            let due = start + self.interval * sent;
            if sent < results.bursts && due <= now {
                let numbers: [u32; BURST as usize] =
                    std::array::from_fn(|_| self.zipf.draw(&mut self.random));
                let turn = sent as usize % self.clients.len();
                self.clients[turn].send(&numbers, due);
                results.late += u32::from(now - due > Duration::from_millis(1));
                sent += 1;
            }
            for client in &mut self.clients {
                client.receive(false, |reply| results.add(reply, start.elapsed()));
            }
            if now - cleaned > PATIENCE / 5 {
                cleaned = now;
                let lost = self.clients.iter_mut().flat_map(|client| client.give_up(now - PATIENCE));
                results.lost += lost.count() as u64;
            }
        }
        results.elapsed = start.elapsed();
        results
    }
}

impl Results {
    fn new(count: u32) -> Self {
        let ranks = (1..).map(|power| 10u32.pow(power).min(count));
        let whole = ranks.clone().take_while(|rank| *rank < count).count() + 1;
        let decade = |last_rank| Decade { last_rank, latencies: Histogram::default(), waited: 0 };
        Self {
            decades: ranks.take(whole).map(decade).collect(),
            popular: Vec::new(),
            failed: 0,
            lost: 0,
            late: 0,
            bursts: 0,
            elapsed: Duration::ZERO,
        }
    }

    fn add(&mut self, reply: Reply, time: Duration) {
        let Reply { number, latency, overtaken, is_answer } = reply;
        self.failed += u64::from(!is_answer);
        let count = self.decades.last().map_or(0, |last| last.last_rank);
        let decade = self.decades.iter_mut().find(|decade| number < decade.last_rank).unwrap();
        decade.latencies.add(latency);
        if overtaken >= WAITED {
            decade.waited += 1;
            if number < count / 100 {
                self.popular.push((time, number + 1, latency));
            }
        }
    }

    fn print(&self) {
        println!(
            "{:>20}{:>12}{:>10}{:>11}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "ranks", "queries", "waited", "waited %", "p50 ms", "p90 ms", "p99 ms", "p99.9", "max"
        );
        let (mut all, mut waited, mut first) = (Histogram::default(), 0, 1);
        for decade in &self.decades {
            print_row(&format!("{first} to {}", decade.last_rank), &decade.latencies, decade.waited);
            all.merge(&decade.latencies);
            waited += decade.waited;
            first = decade.last_rank + 1;
        }
        print_row("all", &all, waited);
        println!(
            "failed {}, lost {}; bursts sent late {:.3} %",
            self.failed,
            self.lost,
            f64::from(self.late) * 100.0 / f64::from(self.bursts)
        );
        println!("of the most popular hundredth of the names, {} waited", self.popular.len());
        for (time, rank, latency) in self.popular.iter().take(SHOWN) {
            println!("  after {:.3} s, rank {rank}: {}", time.as_secs_f64(), milliseconds(*latency));
        }
    }
}

fn print_row(title: &str, latencies: &Histogram, waited: u64) {
    print!("{title:>20}{:>12}{waited:>10}", latencies.count());
    print!("{:>11.4}", waited as f64 * 100.0 / latencies.count() as f64);
    for share in [0.5, 0.9, 0.99, 0.999] {
        print!("{:>9}", milliseconds(latencies.percentile(share)));
    }
    println!("{:>9}", milliseconds(latencies.longest()));
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}
