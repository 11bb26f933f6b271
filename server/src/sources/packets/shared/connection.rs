//! The connection to a Redis or to a cluster of them, and what becomes of it when it fails.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use tracing::{debug, info, warn};

use super::printable;
use crate::base::{
    config::{RedisAddress, RedisUrl},
    health::Health,
};

/// For a connection to be made, the name looked up and all handshakes included. No lookup waits for it.
const DIAL_TIME: Duration = Duration::from_secs(2);

/// From a request to its reply. A store next door takes about 1 ms. The network, which is asked after it, takes some
/// 300 ms: what is slower than this saves little.
const REPLY_BUDGET: Duration = Duration::from_millis(100);

/// After this long without a word the connection is probed: a NAT on the way may have forgotten it.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Requests under way at once on one connection; at 1 ms each, a million a second. More wait.
const MAX_UNDER_WAY: usize = 1024;

/// A store that goes on failing is tried again after this long.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Failures in a row until a cluster is left alone: while one node is down, the keys of the others are still found.
const CLUSTER_PATIENCE: u32 = 10;

/// A store, up or down. Nothing waits for a connection to it: who finds none goes without, and the next one is made
/// meanwhile.
pub(super) struct Link {
    url: RedisUrl,
    /// Authorities in PEM that may certify it, in the place of the public ones.
    authorities: Option<Arc<[u8]>>,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    health: Health,
    /// When it failed last. Requests that were under way then fail for the same reason, which counts once.
    failed: Option<Instant>,
}

enum Stage {
    Down,
    Dialling(JoinHandle<()>),
    Up(Connection),
}

#[derive(Clone)]
enum Connection {
    Single(MultiplexedConnection),
    /// Mends the connections to its nodes by itself.
    Cluster(ClusterConnection),
}

/// Why there is no reply.
pub(super) enum NoReply {
    /// It was not asked: it is not connected.
    NotAsked,
    /// It was, in vain.
    Failed,
    /// It answers, but does not do what it is asked.
    Refused(RedisError),
}

impl Link {
    /// Does not touch the network.
    pub(super) fn new(url: &RedisUrl, authorities: Option<Arc<[u8]>>) -> Arc<Self> {
        let health = Health::new(MAX_PAUSE);
        let health = if url.is_cluster { health.with_patience(CLUSTER_PATIENCE) } else { health };
        let state = Mutex::new(State { stage: Stage::Down, health, failed: None });
        Arc::new(Self { url: url.clone(), authorities, state })
    }

    /// What the store replies, within [`REPLY_BUDGET`]; a cluster, of which two nodes may be asked, within twice that.
    pub(super) async fn ask(self: &Arc<Self>, command: &Cmd) -> Result<Value, NoReply> {
        let mut connection = self.connection().ok_or(NoReply::NotAsked)?;
        let started = Instant::now();
        let reply = async {
            match &mut connection {
                Connection::Single(single) => timeout(REPLY_BUDGET, command.query_async(single)).await,
                Connection::Cluster(cluster) => timeout(2 * REPLY_BUDGET, command.query_async(cluster)).await,
            }
        };
        match reply.await {
            Ok(Err(error)) if error.code().is_none() => self.fail(started, &error.to_string()),
            Ok(reply) => {
                if self.state().health.succeeded() {
                    info!("the shared store at {} answers again", self.addresses());
                }
                return reply.map_err(NoReply::Refused);
            }
            Err(_) => self.fail(started, "no reply in time"),
        }
        Err(NoReply::Failed)
    }

    /// Whether it has not answered since it failed several times in a row.
    pub(super) fn has_failed(&self) -> bool {
        self.state().health.has_failed()
    }

    /// Begins to connect unless there is a connection, or the store is left alone.
    pub(super) fn connect(self: &Arc<Self>) {
        drop(self.connection());
    }

    fn connection(self: &Arc<Self>) -> Option<Connection> {
        let mut state = self.state();
        match &state.stage {
            Stage::Up(connection) => return Some(connection.clone()),
            Stage::Dialling(task) if !task.is_finished() => return None,
            Stage::Dialling(_) | Stage::Down => {}
        }
        if !state.health.is_paused(Instant::now()) {
            let link = self.clone();
            state.stage = Stage::Dialling(tokio::spawn(async move { link.dial().await }));
        }
        None
    }

    async fn dial(&self) {
        let started = Instant::now();
        match timeout(DIAL_TIME, self.open()).await {
            // Whether it is of use shows with the first request.
            Ok(Ok(connection)) => self.state().stage = Stage::Up(connection),
            Ok(Err(error)) => self.fail(started, &error.to_string()),
            Err(_) => self.fail(started, "no connection in time"),
        }
    }

    /// A connection over which the store has answered something.
    async fn open(&self) -> RedisResult<Connection> {
        let certificates =
            TlsCertificates { client_tls: None, root_cert: self.authorities.as_deref().map(<[u8]>::to_vec) };
        let mut nodes = Vec::new();
        for address in &self.url.addresses {
            nodes.push(self.node(address)?);
        }
        if self.url.is_cluster {
            let mut client = ClusterClientBuilder::new(nodes)
                .connection_timeout(DIAL_TIME)
                .response_timeout(REPLY_BUDGET)
                .connection_concurrency_limit(MAX_UNDER_WAY)
                .tcp_settings(tcp_settings());
            if self.url.is_tls {
                client = client.certs(certificates);
            }
            return Ok(Connection::Cluster(client.build()?.get_async_connection().await?));
        }
        let no_address = || RedisError::from((ErrorKind::InvalidClientConfig, "no address"));
        let node = nodes.pop().ok_or_else(no_address)?;
        let client =
            if self.url.is_tls { Client::build_with_tls(node, certificates)? } else { Client::open(node)? };
        // Who asks has a deadline of its own, and so has this.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_concurrency_limit(MAX_UNDER_WAY);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        // A server that needs a password, or is not ready, is not one to ask yet. One that does not let us say `PING`
        // is.
        match redis::cmd("PING").query_async::<Value>(&mut connection).await {
            Err(error) if error.kind() != ErrorKind::Server(ServerErrorKind::NoPerm) => Err(error),
            _ => Ok(Connection::Single(connection)),
        }
    }

    fn node(&self, address: &RedisAddress) -> RedisResult<ConnectionInfo> {
        let address = match (address.clone(), self.url.is_tls) {
            (RedisAddress::Unix(path), _) => ConnectionAddr::Unix(path),
            (RedisAddress::Tcp(host, port), false) => ConnectionAddr::Tcp(host, port),
            (RedisAddress::Tcp(host, port), true) => {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            }
        };
        // `CLIENT SETINFO` is one command more that a user would need the right to.
        let mut login =
            RedisConnectionInfo::default().set_skip_set_lib_name().set_db(self.url.database.into());
        if let Some(user) = &self.url.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.url.password {
            login = login.set_password(password.expose());
        }
        let info = address.into_connection_info()?;
        Ok(info.set_redis_settings(login).set_tcp_settings(tcp_settings()))
    }

    /// A connection to a single server that has failed once is not used again, nor is one to a cluster that is left
    /// alone.
    fn fail(&self, started: Instant, error: &str) {
        let mut state = self.state();
        let now = Instant::now();
        if state.failed.is_some_and(|failed| started < failed) {
            return;
        }
        state.failed = Some(now);
        let pause = state.health.failed(started, now);
        if pause.is_some() || !self.url.is_cluster {
            state.stage = Stage::Down;
        }
        drop(state);
        let (addresses, error) = (self.addresses(), printable(error));
        match pause {
            Some(pause) if pause.is_first => {
                warn!(
                    "the shared store at {addresses} fails, so that packets are not shared for a while: {error}"
                );
            }
            Some(pause) => debug!("the shared store at {addresses} rests for {:?}: {error}", pause.length),
            None => debug!("the shared store at {addresses}: {error}"),
        }
    }

    /// For the log.
    fn addresses(&self) -> String {
        self.url.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// Nothing is left half done under this lock, so that a panic elsewhere leaves it whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true).set_keepalive(TcpKeepalive::new().with_time(KEEPALIVE))
}
