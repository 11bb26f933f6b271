//! The clients whose lookups are compared: our server, and others.

use std::{
    collections::HashMap,
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use mainline::async_dht::AsyncDht;
use pkdns_dht::simulator::Simulator;
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use crate::{
    clients,
    load::{self, Said},
    row::Came,
    stage::SETTLING,
    zones::{NEW, Zone},
};

/// The longest wait for the other clients.
const PATIENCE: Duration = Duration::from_secs(10);

/// Somebody who looks for keys.
pub(crate) trait Asker {
    /// Looks for each of them, so many at once. `each` is told the place of a key when its first answer is read.
    fn ask(&mut self, zones: &[Zone], at_once: usize, each: &mut dyn FnMut(usize)) -> Vec<(Came, Duration)>;
}

/// Our server, over UDP, and what its answers are worth.
pub(crate) struct Server {
    address: SocketAddr,
    judge: fn(&Zone, Said) -> Came,
}

impl Server {
    /// For keys that there are.
    pub(crate) fn found(address: SocketAddr) -> Self {
        let judge = |zone: &Zone, said| match said {
            Said::Address(address) if address == zone.address(NEW) => Came::Right,
            Said::Address(_) | Said::Other => Came::Wrong,
            Said::NoSuchName | Said::Failure(_) | Said::Nothing => Came::Lost,
        };
        Self { address, judge }
    }

    /// For keys that there are not.
    pub(crate) fn denied(address: SocketAddr) -> Self {
        let judge = |_: &Zone, said| match said {
            Said::NoSuchName => Came::Right,
            Said::Address(_) | Said::Other => Came::Wrong,
            Said::Failure(_) | Said::Nothing => Came::Lost,
        };
        Self { address, judge }
    }

    /// In a network in which nobody answers: it has to say so (RFC 8914, extended error 22).
    pub(crate) fn unreachable(address: SocketAddr) -> Self {
        let judge = |_: &Zone, said| match said {
            Said::Failure(Some(22)) => Came::Right,
            Said::Nothing => Came::Lost,
            Said::Address(_) | Said::NoSuchName | Said::Failure(_) | Said::Other => Came::Wrong,
        };
        Self { address, judge }
    }
}

impl Asker for Server {
    fn ask(&mut self, zones: &[Zone], at_once: usize, each: &mut dyn FnMut(usize)) -> Vec<(Came, Duration)> {
        let replies = load::ask(self.address, zones, at_once, each).replies;
        let mut instead: HashMap<String, usize> = HashMap::new();
        let judged = zones.iter().zip(replies).map(|(zone, reply)| {
            let came = (self.judge)(zone, reply.said);
            if came != Came::Right {
                let said = match reply.said {
                    Said::Address(_) => "another address".to_owned(),
                    said => format!("{said:?}"),
                };
                *instead.entry(said).or_default() += 1;
            }
            (came, reply.latency)
        });
        let judged = judged.collect();
        if !instead.is_empty() {
            eprintln!("  instead of what is right: {instead:?}");
        }
        judged
    }
}

/// The `mainline` client.
pub(crate) struct Mainline {
    pub(crate) dht: AsyncDht,
    pub(crate) runtime: Runtime,
}

impl Mainline {
    pub(crate) fn join(simulator: &Simulator) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let dht = runtime.block_on(clients::mainline(simulator));
        sleep(SETTLING);
        Self { dht, runtime }
    }
}

impl Asker for Mainline {
    fn ask(&mut self, zones: &[Zone], at_once: usize, each: &mut dyn FnMut(usize)) -> Vec<(Came, Duration)> {
        let searches = zones.iter().enumerate().map(|(place, zone)| {
            let (dht, key) = (self.dht.clone(), zone.keypair.public_key().to_bytes());
            async move {
                let start = Instant::now();
                let mut items = dht.get_mutable(&key, None, None);
                let first = timeout(PATIENCE, items.next()).await.ok().flatten();
                (place, first.map(|item| item.seq()), start.elapsed())
            }
        });
        let collect = stream::iter(searches).buffer_unordered(at_once).map(|(place, first, time)| {
            each(place);
            (came(&zones[place], first), time)
        });
        self.runtime.block_on(collect.collect())
    }
}

/// What an item with this number is to who looks for the newest.
pub(crate) fn came(zone: &Zone, seq: Option<i64>) -> Came {
    match seq {
        Some(seq) if seq.unsigned_abs() == zone.timestamp(NEW) => Came::Right,
        Some(_) => Came::Wrong,
        None => Came::Lost,
    }
}
