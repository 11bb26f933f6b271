//! Joining the DHT and staying in it, for as long as anybody holds the [`Dht`](super::Dht).

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::{BoxFuture, join_all};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    DhtSettings,
    engine::{Command, NODES_AT_ONCE, Piece, Step},
    reach::may_be_joined_through,
    saved_nodes::{self, SavedNodes},
    table::Contact,
};

/// Turns the host name of a bootstrap node into addresses. Never the system's resolver, which may be asking us.
/// No addresses: try again later.
pub type HostResolver = Arc<dyn Fn(String) -> BoxFuture<'static, Vec<IpAddr>> + Send + Sync>;

/// Longest pause between attempts to join.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Longest that a host name may take to resolve.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);

/// Most addresses taken from one host name. All are asked at once.
const MAX_ADDRESSES: usize = 8;

/// How often known nodes are saved, besides at a clean stop.
const SAVE_EVERY: Duration = Duration::from_secs(600);

/// How long nodes of an earlier run have to answer before the bootstrap nodes are asked.
const REMEMBRANCE: Duration = Duration::from_millis(500);

/// How often we look whether anybody still answers.
const CHECK_EVERY: Duration = Duration::from_secs(20);

/// How often a family of addresses in which nobody is known is tried again while the other one is well. On a machine
/// without IPv6 this is all that is ever sent there.
const REJOIN_EVERY: Duration = Duration::from_secs(600);

/// How often we look while we join.
const FOUND_EVERY: Duration = Duration::from_millis(50);

/// Takes `HOST:PORT` apart. An IPv6 address stands in brackets, which are taken off.
pub fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port != 0)?;
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok().then_some((address, port));
    }
    (!host.is_empty() && !host.contains(':')).then_some((host, port))
}

/// Joins, and joins again whenever nobody answers any more. Ends with the client.
pub(super) async fn keep_joined(
    settings: Arc<DhtSettings>,
    resolve_host: HostResolver,
    commands: mpsc::WeakSender<Command>,
    mut known: watch::Receiver<usize>,
) {
    remember(&settings, &commands).await;
    // What is remembered gets a moment to answer, so that a restart disturbs no bootstrap node.
    if *known.borrow() > 0 {
        let _ = timeout(REMEMBRANCE, found_again(&commands)).await;
    }
    let mut has_joined = false;
    let mut pause = settings.first_retry;
    let mut saved = Instant::now();
    let mut rejoined = Instant::now();
    loop {
        match is_disconnected(&commands).await {
            None => return,
            Some(false) => {
                if !has_joined {
                    has_joined = true;
                    info!("joined the DHT");
                }
                pause = settings.first_retry;
                let emptied = known.wait_for(|&known| known == 0);
                // Looked at in any case, now and then: nodes that are known may all be gone.
                let _ = timeout(CHECK_EVERY, emptied).await;
                if saved.elapsed() >= SAVE_EVERY {
                    saved = Instant::now();
                    save(&settings, &commands).await;
                }
                // One family of addresses may have nobody although the other is well.
                if rejoined.elapsed() >= REJOIN_EVERY {
                    rejoined = Instant::now();
                    join(&settings, &resolve_host, &commands).await;
                }
                continue;
            }
            Some(true) => {}
        }
        let asked = join(&settings, &resolve_host, &commands).await;
        // Known nodes do not mean that anybody answers: the table keeps them through an outage.
        match timeout(pause, found_again(&commands)).await {
            Ok(Some(())) => {
                has_joined = true;
                info!("joined the DHT");
            }
            Ok(None) => return,
            Err(_) if asked == 0 && !settings.bootstrap.is_empty() => {
                warn!(
                    ?pause,
                    "no node to join the DHT through was asked, because none of their names could be looked up: check the \
                     network and fallback_dns. Trying again"
                );
                pause = pause.saturating_mul(2).min(MAX_PAUSE);
            }
            Err(_) => {
                warn!(asked, ?pause, "none of the nodes to join the DHT through has answered, trying again");
                pause = pause.saturating_mul(2).min(MAX_PAUSE);
            }
        }
    }
}

/// Asks the bootstrap nodes where nobody is known. Returns how many there are.
async fn join(
    settings: &DhtSettings,
    resolve_host: &HostResolver,
    commands: &mpsc::WeakSender<Command>,
) -> usize {
    // The names may lead elsewhere by now.
    let addresses = resolve(&settings.bootstrap, resolve_host).await;
    let asked = addresses.len();
    if let Some(sender) = commands.upgrade() {
        let _ = sender.try_send(Command::Join(addresses));
    }
    asked
}

/// Hands over the nodes of an earlier run.
async fn remember(settings: &DhtSettings, commands: &mpsc::WeakSender<Command>) {
    let Some(path) = settings.nodes_path.clone() else { return };
    let bootstrap = settings.bootstrap.clone();
    let load = move || saved_nodes::load(&path, &bootstrap, SystemTime::now());
    match tokio::task::spawn_blocking(load).await {
        Ok(Ok(nodes)) => hand_over(nodes, settings, commands).await,
        Err(_) => {}
        Ok(Err(error)) => warn!("{error}"),
    }
}

/// In pieces, so that searches go on between them.
async fn hand_over(nodes: SavedNodes, settings: &DhtSettings, commands: &mpsc::WeakSender<Command>) {
    debug!(nodes = nodes.len(), "DHT nodes known from an earlier run");
    // The file of a large table has far more than a small one can use. The first ones are of the whole key space.
    let most = settings.max_nodes.saturating_mul(2);
    let mut nodes = nodes
        .take(most)
        .filter(|contact| may_be_joined_through(&settings.bootstrap, contact.address))
        .peekable();
    while nodes.peek().is_some() {
        let piece = nodes.by_ref().take(NODES_AT_ONCE).collect();
        let Some(sender) = commands.upgrade() else { return };
        if sender.send(Command::Remember(piece)).await.is_err() {
            return;
        }
    }
}

/// Keeps the nodes that are known for the next run.
pub(super) async fn save(settings: &DhtSettings, commands: &mpsc::WeakSender<Command>) {
    let Some(path) = settings.nodes_path.clone().filter(|_| !settings.reads_nodes_only) else { return };
    // With no nodes at all, those of last time are better than none.
    let Some((first, mut next)) =
        list_nodes(Step::default(), commands).await.filter(|(first, _)| !first.is_empty())
    else {
        return;
    };
    let (pieces, received) = mpsc::channel::<Option<Vec<Contact>>>(1);
    let bootstrap = settings.bootstrap.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let nodes = Received { pieces: received, piece: Vec::new().into_iter(), has_all: false };
        saved_nodes::save_while(&path, &bootstrap, nodes, SystemTime::now())
    });
    let _ = pieces.send(Some(first)).await;
    let mut is_whole = true;
    while let Some(step) = next {
        let Some((piece, after)) = list_nodes(step, commands).await else {
            is_whole = false;
            break;
        };
        next = after;
        if pieces.send(Some(piece)).await.is_err() {
            break;
        }
    }
    if is_whole {
        let _ = pieces.send(None).await;
    }
    drop(pieces);
    if let Ok(Err(error)) = writing.await {
        warn!("{error}");
    }
}

/// Nodes that come in pieces from where one must not block to where one may. `None` is the end; half of the nodes must
/// not replace all of them.
struct Received {
    pieces: mpsc::Receiver<Option<Vec<Contact>>>,
    piece: std::vec::IntoIter<Contact>,
    has_all: bool,
}

impl Iterator for Received {
    type Item = io::Result<Contact>;

    fn next(&mut self) -> Option<io::Result<Contact>> {
        loop {
            if let Some(contact) = self.piece.next() {
                return Some(Ok(contact));
            }
            if self.has_all {
                return None;
            }
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.piece = piece.into_iter(),
                Some(None) => self.has_all = true,
                None => {
                    self.has_all = true;
                    return Some(Err(io::ErrorKind::Interrupted.into()));
                }
            }
        }
    }
}

/// Some of the nodes that are known. `None`: the client has ended.
async fn list_nodes(step: Step, commands: &mpsc::WeakSender<Command>) -> Option<Piece> {
    let (reply, answer) = oneshot::channel();
    commands.upgrade()?.send(Command::ListNodes(step, reply)).await.ok()?;
    answer.await.ok()
}

/// `None`: the client has gone.
async fn is_disconnected(commands: &mpsc::WeakSender<Command>) -> Option<bool> {
    let (reply, answer) = oneshot::channel();
    commands.upgrade()?.send(Command::IsDisconnected(reply)).await.ok()?;
    answer.await.ok()
}

/// Waits until somebody answers. `None`: the client has gone.
async fn found_again(commands: &mpsc::WeakSender<Command>) -> Option<()> {
    while is_disconnected(commands).await? {
        sleep(FOUND_EVERY).await;
    }
    Some(())
}

async fn resolve(bootstrap: &[String], resolve_host: &HostResolver) -> Vec<SocketAddr> {
    let mut addresses: Vec<_> =
        join_all(bootstrap.iter().map(|node| resolve_one(node, resolve_host))).await.concat();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

async fn resolve_one(node: &str, resolve_host: &HostResolver) -> Vec<SocketAddr> {
    if let Ok(address) = node.parse() {
        return vec![address];
    }
    let Some((host, port)) = split_host_port(node) else {
        warn!(%node, "a bootstrap node is written HOST:PORT");
        return Vec::new();
    };
    let (resolve_host, name) = (resolve_host.clone(), host.to_owned());
    // Whatever happens to the resolver, the joining goes on.
    let found = tokio::spawn(async move { timeout(RESOLVE_DEADLINE, resolve_host(name)).await });
    let Ok(Ok(found)) = found.await else {
        debug!(%host, "cannot resolve a bootstrap node");
        return Vec::new();
    };
    let written = [node.to_owned()];
    let nodes = found.into_iter().map(|address| SocketAddr::new(address, port));
    nodes.filter(|node| may_be_joined_through(&written, *node)).take(MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests;
