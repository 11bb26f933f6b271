//! What the program does with a server that runs, besides stopping it.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pkdns_dht::Dht;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{CLOSE_DEADLINE, listeners::Wanted};
use crate::{
    edge::transport::{Ending, Heirloom, udp},
    sources::packets::DiskStore,
};

/// When another process goes on in our place, connections may go on for so long while they have something to say.
const LEAVE_DEADLINE: Duration = Duration::from_secs(30);

/// A server that runs, or will. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    pub(super) state: Arc<State>,
    pub(super) disk: Option<DiskStore>,
    pub(super) dht: Option<Arc<Dht>>,
}

/// How far a server has come.
#[derive(Default)]
pub(super) struct State {
    started: CancellationToken,
    leave: CancellationToken,
    listening: Mutex<Vec<Listening>>,
}

/// What there is of an address that is listened on.
struct Listening {
    wanted: Wanted,
    /// Its sockets, for another process.
    heirlooms: Vec<Heirloom>,
    pulses: Vec<udp::Pulse>,
}

impl Control {
    /// Returns when everything listens and is answered.
    pub async fn started(&self) {
        self.state.started.cancelled().await;
    }

    /// Whether the threads that answer over UDP do so. That the runtime does, is shown by who can ask.
    pub fn is_alive(&self) -> bool {
        let now = Instant::now();
        lock(&self.state.listening)
            .iter_mut()
            .flat_map(|listening| &mut listening.pulses)
            .all(|pulse| pulse.is_there(now))
    }

    /// Takes out further descriptors of everything that is listened on now, for another process.
    ///
    /// # Errors
    ///
    /// When there are too many descriptors.
    pub fn heirlooms(&self) -> io::Result<Vec<Heirloom>> {
        let listening = lock(&self.state.listening);
        listening.iter().flat_map(|listening| &listening.heirlooms).map(Heirloom::try_clone).collect()
    }

    /// Leaves the files of packets and of DHT nodes to another process, and goes on from memory. False if the disk takes too
    /// long; they are left all the same, then or later.
    pub async fn lend_files(&self) -> bool {
        let nodes = async {
            if let Some(dht) = &self.dht {
                dht.save_nodes().await;
            }
        };
        let packets = async {
            match &self.disk {
                Some(disk) => timeout(CLOSE_DEADLINE, disk.lend()).await.is_ok(),
                None => true,
            }
        };
        tokio::join!(nodes, packets).1
    }

    /// Takes the files back, which the other process must have closed. Blocks on the disk in a thread of its own.
    pub async fn take_files_back(&self) {
        if let Some(disk) = &self.disk {
            disk.take_back().await;
        }
    }

    /// Takes in nothing more, since another process does, and ends when connections have nothing more to say.
    pub fn leave(&self) {
        self.state.leave.cancel();
    }

    /// Whether [`Control::leave`] has been called.
    pub fn has_left(&self) -> bool {
        self.state.leave.is_cancelled()
    }
}

impl State {
    /// Everything is answered.
    pub(super) fn start(&self) {
        self.started.cancel();
    }

    /// One more address is listened on. `heirlooms` are kept for another process; without them it gets none of this address.
    pub(super) fn add(&self, wanted: Wanted, heirlooms: io::Result<Vec<Heirloom>>, pulses: Vec<udp::Pulse>) {
        let heirlooms = heirlooms.unwrap_or_else(|error| {
            warn!("{} cannot be handed over to a successor: {error}", wanted.address);
            Vec::new()
        });
        lock(&self.listening).push(Listening { wanted, heirlooms, pulses });
    }

    /// An address is listened on no more.
    pub(super) fn remove(&self, wanted: &Wanted) {
        lock(&self.listening).retain(|listening| listening.wanted != *wanted);
    }

    /// Returns when the server has to stop: when it is told to, or when it has left and nothing is under way any more. Says
    /// whether it has left.
    pub(super) async fn until_the_end(&self, ending: &Ending, tasks: &TaskTracker) -> bool {
        tokio::select! {
            () = ending.stop().cancelled() => {}
            () = self.leave.cancelled() => {
                ending.leave();
                self.close_heirlooms();
                tasks.close();
                let rest = timeout(LEAVE_DEADLINE, tasks.wait());
                if let Some(Err(_)) = ending.stop().run_until_cancelled(rest).await {
                    info!("the connections that are still open after {LEAVE_DEADLINE:?} are closed now");
                }
            }
        }
        // Whoever connects from now on is to be refused, not to wait in vain.
        self.close_heirlooms();
        ending.stop().cancel();
        self.leave.is_cancelled()
    }

    fn close_heirlooms(&self) {
        lock(&self.listening).iter_mut().for_each(|listening| listening.heirlooms.clear());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
