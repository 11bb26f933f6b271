//! The memory that a cached key takes, and the cost of asking for it.

use pkdns_testing::benchmark::{CpuTime, Process, cores, on_core, random::Random};

use crate::{
    Scale,
    connection::{Connection, Expected, Outcome},
    echo,
    key_server::{KeyServer, Settings},
    zones::Names,
};

/// Shares of the keys after which the memory is looked at.
const STEPS: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 1.0];

/// Queries in flight at once.
const WINDOW: usize = 128;

/// A day: nothing ends while this runs.
const LIFETIME: u32 = 86_400;

struct Total {
    answers: f64,
    cpu: CpuTime,
}

pub(crate) fn memory(names: &Names, scale: Scale) {
    let (server_core, client_core) = cores();
    let mut server =
        on_core(server_core, client_core, || KeyServer::start(names, &Settings::of(names, LIFETIME, false)));
    let mut client = Connection::new(server.process.address(), 1, names, Expected::Address);
    let mut random = Random(1);

    println!(
        "\nmemory: {} keys, each with a packet of 200 bytes of DNS message and an answer",
        names.count()
    );
    println!(
        "{:>10}{:>10}{:>12}{:>13}{:>14}{:>12}{:>9}{:>6}",
        "keys", "RSS MB", "RSS B/key", "anon B/key", "B/key, step", "CPU us/key", "keys/s", "lost"
    );
    let empty = server.memory();
    let (mut before, mut asked) = (empty, 0);
    for share in STEPS {
        let until = (f64::from(names.count()) * share) as u32;
        let cpu = server.process.cpu_time();
        let outcome = client.ask_all(asked..until, WINDOW);
        let cpu = server.process.cpu_time() - cpu;
        assert_eq!((outcome.answers, outcome.failed), (until - asked, 0), "answers, failures");
        let now = server.memory();
        println!(
            "{until:>10}{:>10.1}{:>12.0}{:>13.0}{:>14.0}{:>12.1}{:>9.0}{:>6}",
            now.resident / 1e6,
            (now.resident - empty.resident) / f64::from(until),
            (now.anonymous - empty.anonymous) / f64::from(until),
            (now.anonymous - before.anonymous) / f64::from(until - asked),
            cpu.total() * 1e6 / f64::from(until - asked),
            f64::from(outcome.answers) / outcome.elapsed.as_secs_f64(),
            outcome.lost,
        );
        (before, asked) = (now, until);
    }
    println!("{:>10}{:>10.1}  (before any key)", 0, empty.resident / 1e6);

    // An answer from a packet that may not be the newest is kept for seconds only. The second one is kept for long.
    client.ask_all(random.shuffled(names.count()), WINDOW);
    let full = server.memory();
    println!(
        "asked for again: {:.0} bytes per key",
        (full.resident - empty.resident) / f64::from(names.count())
    );

    let echo = on_core(server_core, client_core, echo::start);
    let mut echo_client = Connection::new(echo.address(), 1, names, Expected::Echo);
    let counted = server.counts();
    let mut totals = [(); 2].map(|()| Total { answers: 0.0, cpu: CpuTime::default() });
    for _ in 0..scale.rounds {
        let numbers: Vec<_> = (0..scale.queries).map(|_| random.below(names.count())).collect();
        measure(&echo, &mut echo_client, &numbers, &mut totals[0]);
        measure(&server.process, &mut client, &numbers, &mut totals[1]);
    }
    let counts = server.counts() - counted;
    println!(
        "\ncached: {} rounds of {} queries for any of these keys, {WINDOW} in flight at once\n",
        scale.rounds, scale.queries
    );
    println!("{:24}{:>10}{:>14}{:>8}{:>9}{:>8}", "", "answers", "CPU us/query", "user", "system", "ratio");
    for (name, total) in ["echo, recvmmsg", "pkdns"].iter().zip(&totals) {
        let microseconds = |total: &Total, seconds: f64| seconds * 1e6 / total.answers;
        println!(
            "{name:24}{:>10}{:>14.2}{:>8.2}{:>9.2}{:>8.2}",
            total.answers,
            microseconds(total, total.cpu.total()),
            microseconds(total, total.cpu.user),
            microseconds(total, total.cpu.system),
            microseconds(total, total.cpu.total()) / microseconds(&totals[0], totals[0].cpu.total()),
        );
    }
    println!("from the cache: {}, lookups: {}", counts.hits, counts.lookups);
}

fn measure(server: &Process, client: &mut Connection<'_>, numbers: &[u32], total: &mut Total) {
    let before = server.cpu_time();
    let Outcome { answers, failed, lost, .. } = client.ask_all(numbers.iter().copied(), WINDOW);
    assert_eq!(failed, 0, "failures");
    total.cpu += server.cpu_time() - before;
    // A query that was lost may have been answered.
    total.answers += f64::from(answers + lost);
}
