//! The task that owns the sockets and the engine: the only place of the client that does input and output.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::FutureExt;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::{
    DhtSettings, Event, Observer,
    engine::{Command, Engine},
    family::PerFamily,
    socket::Socket,
};

/// Batches of datagrams taken from one socket before anything else is looked at.
const MAX_BATCHES: usize = 8;

/// What the clocks may differ by without a sleep between.
const SLEEP: Duration = Duration::from_secs(5);

/// Commands taken in a row.
const MAX_COMMANDS: usize = 256;

/// Between a failure of the client and its next start.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// One socket for each family there is.
pub(super) struct Sockets(PerFamily<Option<Socket>>);

impl Sockets {
    /// Binds those that are wanted. One is enough.
    pub(super) fn bind(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> io::Result<Self> {
        let v4 = v4.map(|address| Socket::bind(SocketAddr::new(address.into(), 0)));
        let v6 = v6.map(|address| Socket::bind(SocketAddr::new(address.into(), 0)));
        match (v4, v6) {
            (None, None) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "neither IPv4 nor IPv6 is wanted"))
            }
            (None, Some(Err(error))) | (Some(Err(error)), None | Some(Err(_))) => Err(error),
            (v4, v6) => Ok(Self(PerFamily { v4, v6 }.map(|socket| match socket? {
                Ok(socket) => Some(socket),
                Err(error) => {
                    debug!(%error, "this machine has one family of addresses only");
                    None
                }
            }))),
        }
    }
}

/// Runs until `leave` is cancelled.
pub(super) async fn run(
    Sockets(mut sockets): Sockets,
    settings: DhtSettings,
    mut commands: mpsc::Receiver<Command>,
    known: watch::Sender<usize>,
    leave: CancellationToken,
) {
    let engine = async {
        while !has_ended(serve(&mut sockets, &settings, &mut commands, &known)).await {
            known.send_replace(0);
        }
    };
    leave.run_until_cancelled(engine).await;
}

/// Runs `serve`, and says whether that came to its end. Whatever a datagram might bring about, the server outlives it:
/// after a panic the client starts anew. What was under way is lost, and those who wait are told.
async fn has_ended(serve: impl Future<Output = ()>) -> bool {
    let ended = AssertUnwindSafe(serve).catch_unwind().await.is_ok();
    if !ended {
        error!("the DHT client has failed because of a mistake in pkdns, and is started again");
        sleep(RESTART_PAUSE).await;
    }
    ended
}

/// Runs until nobody can send commands any more.
async fn serve(
    sockets: &mut PerFamily<Option<Socket>>,
    settings: &DhtSettings,
    commands: &mut mpsc::Receiver<Command>,
    known: &watch::Sender<usize>,
) {
    let addresses: Vec<_> = sockets.values().flatten().map(Socket::local_address).collect();
    let mut engine = Engine::new(addresses, settings, known.clone(), Instant::now());
    let observer = &settings.observer;
    let mut dropped = PerFamily::<u64>::default();
    let mut clocks = Clocks::new();
    loop {
        let PerFamily { v4, v6 } = &*sockets;
        tokio::select! {
            biased;
            () = readable(v4.as_ref()) => {}
            () = readable(v6.as_ref()) => {}
            command = commands.recv() => match command {
                Some(command) => engine.command(command, Instant::now()),
                None => return,
            },
            () = sleep_until(engine.wake_at().into()) => {}
        }
        let now = Instant::now();
        if clocks.have_parted(SystemTime::now(), now) {
            engine.wake(now);
        }
        for (family, socket) in sockets.present_mut() {
            receive(socket, &mut engine, now);
            let in_all = socket.dropped_by_kernel();
            tell(observer, Event::DroppedByKernel, in_all.saturating_sub(dropped[family]));
            dropped[family] = in_all;
        }
        for _ in 0..MAX_COMMANDS {
            let Ok(command) = commands.try_recv() else { break };
            engine.command(command, now);
        }
        engine.tick(now);
        for (family, socket) in sockets.present_mut() {
            if let Some(outbox) = engine.outbox(family).filter(|outbox| !outbox.is_empty()) {
                let waiting = outbox.len();
                let sent = socket.send(outbox);
                tell(observer, Event::Sent, count(sent));
                tell(observer, Event::Unsent, count(waiting.saturating_sub(sent)));
            }
        }
    }
}

/// Tells of so many, if there are any.
fn tell(observer: &Arc<dyn Observer>, event: fn(u64) -> Event<'static>, many: u64) {
    if many > 0 {
        observer.observe(event(many));
    }
}

/// The clock of the wall goes on while the machine sleeps, that of the engine stands still.
struct Clocks {
    wall: SystemTime,
    engine: Instant,
}

impl Clocks {
    fn new() -> Self {
        Self { wall: SystemTime::now(), engine: Instant::now() }
    }

    /// Whether the wall's has gone on by itself since the last call. Somebody may have set it, which costs a few
    /// datagrams.
    fn have_parted(&mut self, wall: SystemTime, engine: Instant) -> bool {
        let by_wall = wall.duration_since(self.wall).unwrap_or_default();
        let by_engine = engine.saturating_duration_since(self.engine);
        (self.wall, self.engine) = (wall, engine);
        by_wall.saturating_sub(by_engine) > SLEEP
    }
}

fn count(datagrams: usize) -> u64 {
    u64::try_from(datagrams).unwrap_or(u64::MAX)
}

async fn readable(socket: Option<&Socket>) {
    match socket {
        Some(socket) => {
            if let Err(error) = socket.readable().await {
                warn!(%error, "the socket of the DHT cannot be waited for");
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}

fn receive(socket: &mut Socket, engine: &mut Engine, now: Instant) {
    for _ in 0..MAX_BATCHES {
        match socket.receive(|datagram, from| engine.receive(datagram, from, now)) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                debug!(%error, "the socket of the DHT");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_slept_is_told_from_one_that_was_busy() {
        let mut clocks = Clocks::new();
        let (mut wall, mut engine) = (clocks.wall, clocks.engine);
        for (by_wall, by_engine, have_parted) in
            [(1, 1, false), (600, 600, false), (604, 600, false), (3600, 0, true), (3600, 3600, false)]
        {
            wall += Duration::from_secs(by_wall);
            engine += Duration::from_secs(by_engine);
            assert_eq!(clocks.have_parted(wall, engine), have_parted, "{by_wall} s");
        }
        wall -= Duration::from_secs(9999);
        assert!(!clocks.have_parted(wall, engine), "it was set back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_panics_has_not_ended() {
        let mistake = async {
            tokio::task::yield_now().await;
            panic!("a mistake that a datagram has found");
        };
        assert!(!has_ended(mistake).await);
        assert!(has_ended(tokio::task::yield_now()).await);
    }
}
