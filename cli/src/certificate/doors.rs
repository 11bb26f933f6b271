//! Where an authority looks when it connects: ports that are opened for as long as an order needs them, or a directory of a
//! web server that is there already.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use axum::Router;
use pkdns::{
    base::access::{AccessList, TrustedProxies},
    edge::{
        certificates::{
            CertificateError, Challenges,
            acme::{Challenge, Proof},
        },
        http::{self, Content, Hosts, Site},
        transport::{BindError, SharedTls, bind_tcp},
    },
    metrics::Metrics,
    service::Service,
};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Connections at once. An authority makes a handful; others have no business there.
const MAX_CONNECTIONS: usize = 256;

/// How often a port that is taken is tried, and how long after each other.
const TRIES: usize = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Where the files of http-01 stand (RFC 8555 section 8.3).
const CHALLENGE_PATH: &str = ".well-known/acme-challenge";

/// Ports that are open, shared by all whose orders need them. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Doors(Arc<Mutex<Opened>>);

/// By address, and whether there is TLS.
type Opened = HashMap<(SocketAddr, bool), Weak<Door>>;

/// An open port, closed when nobody holds it any more.
pub(super) struct Door {
    challenges: Arc<Challenges>,
    _stop: DropGuard,
}

impl Door {
    pub(super) fn challenges(&self) -> Arc<Challenges> {
        self.challenges.clone()
    }
}

impl Doors {
    /// Opens `address` for http-01 or tls-alpn-01, unless it is open already.
    pub(super) async fn open(&self, address: SocketAddr, challenge: Challenge) -> Result<Arc<Door>, String> {
        let mut tries = 1;
        loop {
            match self.try_to_open(address, challenge) {
                // The order before this one may be about to close it.
                Err(Refusal::Bind(BindError::Taken { .. })) if tries < TRIES => {
                    tries += 1;
                    sleep(BETWEEN_TRIES).await;
                }
                Err(Refusal::Bind(error)) => return Err(taken(&error, address, challenge)),
                Err(Refusal::Tls(error)) => return Err(error.to_string()),
                Ok(door) => return Ok(door),
            }
        }
    }

    fn try_to_open(&self, address: SocketAddr, challenge: Challenge) -> Result<Arc<Door>, Refusal> {
        let is_tls = challenge == Challenge::TlsAlpn01;
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        doors.retain(|_, door| door.strong_count() > 0);
        if let Some(door) = doors.get(&(address, is_tls)).and_then(Weak::upgrade) {
            return Ok(door);
        }
        let door = Arc::new(serve(bind(address).map_err(Refusal::Bind)?, is_tls).map_err(Refusal::Tls)?);
        doors.insert((address, is_tls), Arc::downgrade(&door));
        Ok(door)
    }
}

/// Why a port is not open.
enum Refusal {
    Bind(BindError),
    Tls(CertificateError),
}

/// A listener takes connections of one family: `[::]` is all addresses of both, or of IPv4 where there is no IPv6.
fn bind(address: SocketAddr) -> Result<Vec<TcpListener>, BindError> {
    if address.ip() != Ipv6Addr::UNSPECIFIED {
        return Ok(vec![bind_tcp(address)?]);
    }
    let ipv6 = match bind_tcp(address) {
        Err(BindError::FamilyUnavailable { .. } | BindError::NoSuchAddress { .. }) => None,
        bound => Some(bound?),
    };
    let ipv4 = bind_tcp((Ipv4Addr::UNSPECIFIED, address.port()).into())?;
    Ok(ipv6.into_iter().chain([ipv4]).collect())
}

fn taken(error: &BindError, address: SocketAddr, challenge: Challenge) -> String {
    let port = address.port();
    match error {
        BindError::Taken { .. } => {
            let way = match challenge {
                Challenge::Http01 => {
                    "let the web server there answer, with --webroot and the directory that it serves"
                }
                Challenge::TlsAlpn01 | Challenge::Dns01 => "take --challenge http-01 with --webroot",
            };
            format!(
                "port {port} is taken, by the program that `sudo ss -ltnp 'sport = :{port}'` shows: {way}, or prove the name by \
                 --challenge dns-01"
            )
        }
        BindError::NotPermitted { .. } => format!(
            "port {port} needs a right that this process does not have: run it with sudo, or give it the right \
             (AmbientCapabilities=CAP_NET_BIND_SERVICE in a unit of systemd), or use --challenge dns-01"
        ),
        BindError::NoSuchAddress { .. } => format!(
            "no interface of this machine has the address {}: name one that it has with --listen",
            address.ip()
        ),
        BindError::FamilyUnavailable { .. } | BindError::Other { .. } => error.to_string(),
    }
}

fn serve(listeners: Vec<TcpListener>, is_tls: bool) -> Result<Door, CertificateError> {
    let challenges = Arc::<Challenges>::default();
    let acceptor = if is_tls { Some(SharedTls::from(challenges.acceptor()?)) } else { None };
    let everyone = ["0.0.0.0/0", "::/0"].iter().filter_map(|range| range.parse().ok()).collect();
    let content = Content {
        pages: Router::new(),
        access: AccessList::new(everyone, Vec::new()),
        trusted: TrustedProxies::new(Vec::new()),
        hosts: Hosts::default(),
        challenges: challenges.clone(),
        notices: None,
        sample_site: None,
        status_access: AccessList::new(Vec::new(), Vec::new()),
    };
    let limits = http::Limits {
        connections: MAX_CONNECTIONS,
        head: Duration::from_secs(5),
        idle: Duration::from_secs(5),
        ..http::Limits::default()
    };
    let site = Arc::new(Site::<Service>::with_content(content, limits, &Metrics::default()));
    let stop = CancellationToken::new();
    for listener in listeners {
        http::serve(listener, acceptor.clone(), site.clone(), stop.clone(), &TaskTracker::new());
    }
    Ok(Door { challenges, _stop: stop.drop_guard() })
}

/// Files that a web server shows, until this is dropped.
#[derive(Debug, Default)]
pub(super) struct InWebroot(Vec<PathBuf>);

impl InWebroot {
    /// Puts the file of `proof` below `root`, for everybody to read.
    pub(super) fn add(&mut self, root: &Path, proof: &Proof) -> io::Result<()> {
        // The authority has chosen the token: what is no plain name (RFC 8555 section 8.3) leads elsewhere.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if proof.token.is_empty() || !proof.token.bytes().all(is_plain) {
            return Err(io::Error::other("the authority wants a file of an odd name"));
        }
        if !root.is_dir() {
            return Err(io::Error::other("there is no such directory"));
        }
        let folder = open_folder(root)?;
        let path = folder.join(&proof.token);
        // Not through a link that somebody has put there.
        let _ = fs::remove_file(&path);
        self.0.push(path.clone());
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
        io::Write::write_all(&mut file, proof.authorization.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(0o644))
    }
}

/// The directory of the challenges. What of it is made here is for everybody to pass, whatever the umask: the web server is
/// another user.
fn open_folder(root: &Path) -> io::Result<PathBuf> {
    let mut folder = root.to_owned();
    for part in CHALLENGE_PATH.split('/') {
        folder.push(part);
        match DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(folder)
}

impl Drop for InWebroot {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_challenges_are_open_to_a_web_server_and_what_was_there_stays_as_it_was() {
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777;
        for well_known in [0o755, 0o750] {
            open_folder(root.path()).unwrap();
            assert_eq!((mode(".well-known"), mode(CHALLENGE_PATH)), (well_known, 0o755));
            let theirs = fs::Permissions::from_mode(0o750);
            fs::set_permissions(root.path().join(".well-known"), theirs).unwrap();
        }
    }

    #[tokio::test]
    async fn a_port_is_open_to_ipv4_where_it_is_open_to_all() {
        let doors = Doors::default();
        let port = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let _door = doors.open((Ipv6Addr::UNSPECIFIED, port).into(), Challenge::Http01).await.unwrap();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_is_shared_and_closed_after_the_last_and_one_that_is_taken_says_what_else_there_is() {
        let doors = Doors::default();
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let one = doors.open(address, Challenge::Http01).await.unwrap();
        let two = doors.open(address, Challenge::Http01).await.unwrap();
        assert!(Arc::ptr_eq(&one.challenges(), &two.challenges()));
        for (challenge, part) in
            [(Challenge::TlsAlpn01, "http-01 with --webroot"), (Challenge::Http01, "with --webroot")]
        {
            let others = Doors::default();
            let message = others.open(address, challenge).await.err().unwrap();
            assert!(message.contains("is taken") && message.contains(part), "{message}");
        }
        drop((one, two));
        loop {
            // The task that accepts lets go of it when it runs next.
            tokio::task::yield_now().await;
            if std::net::TcpListener::bind(address).is_ok() {
                break;
            }
        }
    }
}
