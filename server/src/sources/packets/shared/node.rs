//! One Redis: its connection, and what becomes of it when it fails.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

use super::{
    dial::{Connection, Dialler, MAX_UNDER_WAY},
    printable,
};
use crate::base::{config::RedisAddress, health::Health};

/// From a request to its reply. A store next door takes about 1 ms. The network, which is asked after it, takes some
/// 300 ms: what is slower than this saves little.
const REPLY_BUDGET: Duration = Duration::from_millis(100);

/// A Redis that goes on failing is tried again after this long.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A Redis, up or down. Nothing waits for a connection to it: who finds none goes without, and the next one is made
/// meanwhile.
pub(super) struct Node {
    pub(super) address: RedisAddress,
    dialler: Arc<Dialler>,
    state: Mutex<State>,
    under_way: Semaphore,
}

struct State {
    link: Link,
    health: Health,
}

enum Link {
    Down,
    Dialling(JoinHandle<()>),
    Up(Arc<Connection>),
}

/// Why there is no reply.
pub(super) enum NoReply {
    /// It was not asked: it is not connected, or too much is under way.
    NotAsked,
    /// It was, in vain.
    Failed,
}

impl Node {
    /// Does not touch the network.
    pub(super) fn new(address: RedisAddress, dialler: Arc<Dialler>) -> Arc<Self> {
        let state = State { link: Link::Down, health: Health::new(MAX_PAUSE) };
        Arc::new(Self {
            address,
            dialler,
            state: Mutex::new(state),
            under_way: Semaphore::new(MAX_UNDER_WAY),
        })
    }

    /// What the node says, which may be an error. Within [`REPLY_BUDGET`].
    pub(super) async fn ask(self: &Arc<Self>, command: &Cmd) -> Result<Value, NoReply> {
        let connection = self.connection().ok_or(NoReply::NotAsked)?;
        let _permit = self.under_way.try_acquire().map_err(|_| NoReply::NotAsked)?;
        let started = Instant::now();
        let error = match timeout(REPLY_BUDGET, connection.request(command)).await {
            Ok(Ok(reply)) => {
                connection.has_answered.store(true, Ordering::Relaxed);
                if self.state().health.succeeded() {
                    info!("the shared store at {} answers again", self.address);
                }
                return Ok(reply);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no reply within {REPLY_BUDGET:?}"),
        };
        self.retire(&connection, started, &error);
        Err(NoReply::Failed)
    }

    /// Whether it has not answered since it failed several times in a row.
    pub(super) fn has_failed(&self) -> bool {
        self.state().health.has_failed()
    }

    /// Whether it is left alone, or about to be.
    pub(super) fn is_resting(&self) -> bool {
        self.state().health.is_paused(Instant::now())
    }

    /// The connection, if it is up. Otherwise begins to make one, unless the node rests.
    pub(super) fn connection(self: &Arc<Self>) -> Option<Arc<Connection>> {
        let mut state = self.state();
        let now = Instant::now();
        match &state.link {
            Link::Up(connection) if connection.is_alive() => return Some(connection.clone()),
            Link::Dialling(task) if !task.is_finished() => return None,
            Link::Up(connection) => {
                // Closing one that has been idle is a server's right; taking none in use is not.
                let (made, has_answered) = (connection.made, connection.has_answered.load(Ordering::Relaxed));
                if !has_answered {
                    state.health.failed(made, now);
                }
                state.link = Link::Down;
            }
            Link::Dialling(_) | Link::Down => {}
        }
        if !state.health.is_paused(now) {
            let node = self.clone();
            state.link = Link::Dialling(tokio::spawn(async move { node.dial().await }));
        }
        None
    }

    async fn dial(&self) {
        let started = Instant::now();
        match self.dialler.dial(&self.address).await {
            // Whether it is of use shows with the first request.
            Ok(connection) => self.state().link = Link::Up(Arc::new(connection)),
            Err(error) => self.fail(&mut self.state(), started, &error.to_string()),
        }
    }

    /// A connection that has failed once is not used again. The others that wait on it fail for the same reason, which
    /// counts once.
    fn retire(&self, connection: &Arc<Connection>, started: Instant, error: &str) {
        let mut state = self.state();
        if let Link::Up(current) = &state.link
            && Arc::ptr_eq(current, connection)
        {
            state.link = Link::Down;
            self.fail(&mut state, started, error);
        }
    }

    fn fail(&self, state: &mut State, started: Instant, error: &str) {
        let (address, error) = (&self.address, printable(error));
        match state.health.failed(started, Instant::now()) {
            Some(pause) if pause.is_first => {
                warn!(
                    "the shared store at {address} fails, so that packets are not shared for a while: {error}"
                );
            }
            Some(pause) => debug!("the shared store at {address} rests for {:?}: {error}", pause.length),
            None => debug!("the shared store at {address}: {error}"),
        }
    }

    /// Nothing is left half done under this lock, so that a panic elsewhere leaves it whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
