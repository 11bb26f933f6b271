//! Tries per second of the program's search for a key, compared with a search that makes a key for each try. Run it
//! with `cargo bench -p pkdns-cli --bench vanity`; `docs/performance.md` explains the table.
//!
//! The benchmark checks no times, only that each key that is found has the wanted text and belongs to its secret.
//! Without `--bench`, as under `cargo test --all-targets`, there is one short round.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may fail where it stands"
)]

use std::{
    env,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use ed25519_dalek::{VerifyingKey, hazmat::ExpandedSecretKey};
use nix::time::{ClockId, clock_gettime};
use pkdns_cli::vanity::{Found, Method, Pattern, Secret, Task};
use pkdns_dht::signed_packet::{Keypair, PublicKey};

/// The first is not one of the program's.
const WAYS: [(&str, Option<Method>); 3] = [
    ("a new key pair and its text for each try", None),
    ("`--portable`: a new seed for each try", Some(Method::Seeds)),
    ("additions", Some(Method::Walk)),
];

/// What a way came to in all rounds.
#[derive(Default, Clone, Copy)]
struct Sum {
    tries: u64,
    cpu: f64,
    wall: f64,
    found: u64,
}

fn main() {
    let in_full = env::args().any(|argument| argument == "--bench");
    // A pattern that each way meets often enough to be checked, and seldom enough to cost nothing.
    let (rounds, length, pattern) =
        if in_full { (5, Duration::from_secs(4), "pkd") } else { (1, Duration::from_millis(200), "p") };
    if !in_full {
        println!("Short rounds: the figures mean nothing.");
    }
    let began = Instant::now();
    drop(Task::new(vec![Pattern::beginning(pattern).unwrap()], Method::Walk));
    println!(
        "Keys that begin with {pattern}; the table of points is made in {:.1} ms.",
        began.elapsed().as_secs_f64() * 1e3
    );
    for threads in [1, 2] {
        let mut sums = [Sum::default(); WAYS.len()];
        for _ in 0..rounds {
            for ((_, way), sum) in WAYS.iter().zip(&mut sums) {
                sum.add(round(*way, pattern, threads, length));
            }
        }
        print(threads, &sums);
    }
}

fn print(threads: usize, sums: &[Sum]) {
    println!("\n{threads} thread{}, in turn", if threads == 1 { "" } else { "s" });
    println!("\n| Tries | Number | Found | CPU us/try | Tries per CPU second | Ratio | Tries/s |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let per_cpu = |sum: &Sum| sum.tries as f64 / sum.cpu;
    for ((name, _), sum) in WAYS.iter().zip(sums) {
        let Sum { tries, cpu, wall, found } = *sum;
        println!(
            "| {name} | {tries} | {found} | {:.3} | {:.0} | {:.1} | {:.0} |",
            cpu / tries as f64 * 1e6,
            per_cpu(sum),
            per_cpu(sum) / per_cpu(&sums[0]),
            tries as f64 / wall,
        );
    }
}

/// Tries on so many threads until the time is over.
fn round(way: Option<Method>, pattern: &str, threads: usize, length: Duration) -> Sum {
    let task = Task::new(vec![Pattern::beginning(pattern).unwrap()], way.unwrap_or(Method::Seeds));
    let sum = Mutex::new(Sum::default());
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let start = cpu_time();
                let (tries, found) = match way {
                    None => key_pairs(pattern, began, length),
                    Some(_) => {
                        let mut found = 0;
                        task.run(|key| count(&key, pattern, &mut found)).unwrap();
                        (0, found)
                    }
                };
                sum.lock().unwrap().add(Sum { tries, found, cpu: cpu_time() - start, wall: 0.0 });
            });
        }
        thread::sleep(length);
        task.stop();
    });
    let mut sum = sum.into_inner().unwrap();
    sum.tries += task.tries();
    sum.wall = began.elapsed().as_secs_f64();
    sum
}

/// The plain method: a new key pair, its text, and a look at the text.
fn key_pairs(pattern: &str, began: Instant, length: Duration) -> (u64, u64) {
    let (mut tries, mut found) = (0, 0);
    while began.elapsed() < length {
        for _ in 0..64 {
            let pair = Keypair::random();
            tries += 1;
            if pair.to_z32().starts_with(pattern) {
                found += 1;
            }
        }
    }
    (tries, found)
}

/// Checks a key that was found by other means than those of the search.
fn count(found: &Found, pattern: &str, number: &mut u64) -> bool {
    let expanded = match &found.secret {
        Secret::Seed(seed) => ExpandedSecretKey::from(&**seed),
        Secret::Expanded(bytes) => ExpandedSecretKey::from_bytes(bytes),
    };
    let key = VerifyingKey::from(&expanded);
    assert_eq!(key.to_bytes(), found.key);
    assert!(PublicKey::from(key).to_z32().starts_with(pattern));
    *number += 1;
    true
}

/// Seconds that this thread has computed.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.tries += other.tries;
        self.cpu += other.cpu;
        self.wall += other.wall;
        self.found += other.found;
    }
}
