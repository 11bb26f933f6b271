//! A bridge whose names lead where a test says.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hickory_proto::rr::Name;
use pkdns::{
    base::access::{AccessList, TrustedProxies},
    edge::{
        bridge::{Bridge, ClientTls, Connected, Failure, Sites, Terms, serve, serve_plain},
        held::Budget,
        transport::{Admission, Ending, Entrance},
    },
    metrics::Metrics,
    resolver::{
        name::Suffixes,
        site::{Proof, Site},
    },
    service::Service,
};
use pkdns_testing::{tls_client, wait::eventually};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName},
        sign::CertifiedKey,
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longest wait for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const KEY: &str = "yqrx81zchh6aotjj85s96gdqbmsoprxr3ks6ks6y8eccpj8b7oiy";

/// A name below that key.
pub(crate) fn host() -> String {
    format!("www.{KEY}.key")
}

/// Where names lead.
pub(crate) struct Script {
    pub(crate) sites: Mutex<HashMap<String, Result<SocketAddr, Failure>>>,
    pub(crate) plain: Mutex<HashMap<String, SocketAddr>>,
    /// Whether all addresses are those that clients are told nothing of.
    pub(crate) withholds: AtomicBool,
    roots: Mutex<RootCertStore>,
}

#[derive(Clone)]
struct Scripted(Arc<Script>);

impl Default for Script {
    fn default() -> Self {
        let roots = Mutex::new(RootCertStore::empty());
        Self { sites: Mutex::default(), plain: Mutex::default(), withholds: AtomicBool::default(), roots }
    }
}

impl Script {
    /// `host` is at `address` from now on, which has to show `certificate`.
    pub(crate) fn lead(&self, host: &str, address: SocketAddr, certificate: &CertificateDer<'static>) {
        self.sites.lock().unwrap().insert(format!("{host}."), Ok(address));
        self.roots.lock().unwrap().add(certificate.clone()).unwrap();
    }

    pub(crate) fn fail(&self, host: &str, failure: Failure) {
        self.sites.lock().unwrap().insert(format!("{host}."), Err(failure));
    }
}

impl Sites for Scripted {
    type Responder = Service;

    fn responder(&self) -> Option<&Service> {
        None
    }

    async fn find(&self, name: &Name, _: IpAddr) -> Result<Site, Failure> {
        let found = self.0.sites.lock().unwrap().get(&name.to_ascii()).cloned();
        let address = found.unwrap_or(Err(Failure::Absent("there is no such name".into())))?;
        Ok(site(name, address))
    }

    async fn find_plain(&self, name: &Name, _: IpAddr) -> Result<Site, Failure> {
        let found = self.0.plain.lock().unwrap().get(&name.to_ascii()).copied();
        found.map(|address| site(name, address)).ok_or(Failure::Absent("there is no address".into()))
    }

    fn withholds(&self, _: IpAddr) -> bool {
        self.0.withholds.load(Ordering::Relaxed)
    }

    async fn connect(&self, site: &Site, protocols: &[Vec<u8>]) -> Result<Connected, Failure> {
        let mut config = client_config(self.0.roots.lock().unwrap().clone());
        config.alpn_protocols = protocols.to_vec();
        let unreachable = |error: io::Error| Failure::Unreachable(error.to_string());
        let stream = TcpStream::connect(site.addresses[0]).await.map_err(unreachable)?;
        let name = ServerName::try_from("site").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
            Failure::AnotherKey { expected: "the key of this very test".into(), shown: error.to_string() }
        })?;
        let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        Ok(Connected { stream, alpn })
    }
}

fn site(name: &Name, address: SocketAddr) -> Site {
    let proof = Proof { key: None, certificates: Vec::new() };
    Site { end_point: name.clone(), addresses: vec![address], proof }
}

fn client_config(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A bridge that runs until this is dropped.
pub(crate) struct Stage {
    pub(crate) script: Arc<Script>,
    pub(crate) address: SocketAddr,
    pub(crate) plain: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) ending: Ending,
    pub(crate) tasks: TaskTracker,
    unread: Budget,
    authority: CertificateDer<'static>,
}

/// How many connections a stage has, and for whom.
pub(crate) struct Settings {
    pub(crate) connections: usize,
    pub(crate) connections_per_client: usize,
    pub(crate) access: AccessList,
    pub(crate) trusted: TrustedProxies,
    pub(crate) https_port: u16,
    pub(crate) held_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 1000,
            connections_per_client: 100,
            access: AccessList::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new()),
            trusted: TrustedProxies::new(Vec::new()),
            https_port: 443,
            held_bytes: 64 << 20,
        }
    }
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Self {
        let metrics = Metrics::default();
        let script = Arc::new(Script::default());
        let (authority, tls) = authority();
        let terms = Terms { suffixes: Suffixes::new(["key"]), tls, https_port: settings.https_port };
        let admission = Admission {
            access: settings.access,
            trusted: settings.trusted,
            answers_strangers: false,
            refusals: metrics.refusals.clone(),
            connections: metrics.connections.clone(),
        };
        let entrance = Entrance::new(settings.connections, settings.connections_per_client, admission);
        let unread = Budget::new(settings.held_bytes, metrics.refusals.clone());
        let sites = Scripted(script.clone());
        let bridge =
            Arc::new(Bridge::new(sites, Some(terms), entrance, unread.clone(), metrics.bridge.clone()));
        let (ending, tasks) = (Ending::new(CancellationToken::new()), TaskTracker::new());
        let [over_tls, in_the_clear] = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let (address, plain) = (over_tls.local_addr().unwrap(), in_the_clear.local_addr().unwrap());
        serve(over_tls, bridge.clone(), ending.clone(), &tasks);
        serve_plain(in_the_clear, bridge, ending.clone(), &tasks);
        Self { script, address, plain, metrics, ending, tasks, unread, authority }
    }

    /// A browser that trusts the authority, on a connection to `host`.
    pub(crate) async fn connect(&self, host: &str, protocols: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        self.shake_hands(TcpStream::connect(self.address).await?, host, protocols).await
    }

    /// The same on a connection that is there.
    pub(crate) async fn shake_hands(
        &self,
        stream: TcpStream,
        host: &str,
        protocols: &[&str],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let mut config = client_config(roots);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        tls_client::connect_over(stream, host, config).await
    }

    /// What is counted under `outcome` of connections over TLS.
    pub(crate) fn counted(&self, outcome: &str) -> u64 {
        let readings = self.metrics.bridge.connections.readings();
        readings.into_iter().find(|(label, _)| *label == outcome).unwrap().1
    }

    /// Bytes that wait for slow peers.
    pub(crate) fn held(&self) -> usize {
        self.unread.held()
    }

    /// Waits until `holds`.
    pub(crate) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        eventually("it comes to that", async || holds(self)).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.ending.end();
    }
}

/// An authority and what signs for every name in its place.
fn authority() -> (CertificateDer<'static>, ClientTls) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let certificate = parameters.self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::new(parameters, key);
    let leaf = move |name: &str| {
        let key = KeyPair::generate().ok()?;
        let leaf = CertificateParams::new([name.to_owned()]).ok()?.signed_by(&key, &issuer).ok()?;
        let private = PrivateKeyDer::try_from(key.serialize_der()).ok()?;
        let signer = ring::default_provider().key_provider.load_private_key(private).ok()?;
        Some(Arc::new(CertifiedKey::new(vec![leaf.der().clone()], signer)))
    };
    (certificate, ClientTls::new(Arc::new(leaf)).unwrap())
}

/// All that is still to come, and whether it ended well.
pub(crate) async fn rest(stream: &mut TlsStream<TcpStream>) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    let outcome = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("an end");
    (all, outcome.map(|_| ()))
}

/// This host, for which another address may connect from.
pub(crate) const OTHER_CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
