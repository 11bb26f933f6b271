//! The bridge, HAProxy in its place, the site behind both, and a relay that has the site's packets.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::{self, sleep},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hickory_proto::{
    rr::{
        Name, RData, Record,
        rdata::{
            A, HTTPS, SVCB, TLSA,
            svcb::{SvcParamKey, SvcParamValue},
            tlsa::{CertUsage, Matching, Selector},
        },
    },
    serialize::binary::{BinEncodable, BinEncoder},
};
use pkdns_dht::signed_packet::{Keypair, SignedPacket};
use pkdns_testing::benchmark::Process;
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::on_server_core;

/// Sites, of which each has a limit of connections, the last quarter of them for clients with few.
const KEYS: u8 = 16;

/// How long a server may take to start, in steps of 100 ms.
const START_STEPS: u32 = 100;

/// A server that clients come to.
pub(crate) struct Front {
    pub(crate) name: &'static str,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// The certificate of whom clients have to trust.
    pub(crate) authority: PathBuf,
}

pub(crate) struct Servers {
    pub(crate) bridge: Front,
    /// Where it is installed.
    pub(crate) haproxy: Option<Front>,
    pub(crate) file_size: u64,
    hosts: Vec<String>,
    _site: Process,
    _directory: TempDir,
}

impl Servers {
    /// With a file of so many bytes at `/file`, and one of a few at `/small`.
    pub(crate) fn start(server_core: usize, client_core: usize, file_size: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let keys: Vec<_> = (1..=KEYS).map(|seed| Keypair::from_secret_key(&[seed; 32])).collect();
        let hosts: Vec<_> = keys.iter().map(|key| format!("{}.key", key.to_z32())).collect();
        let key = KeyPair::generate().unwrap();
        let mut names = hosts.clone();
        names.push("site".into());
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        fs::write(path("cert.pem"), certificate.pem()).unwrap();
        fs::write(path("cert.pem.key"), key.serialize_pem()).unwrap();
        fs::create_dir(path("root")).unwrap();
        fs::write(path("root/file"), vec![b'x'; usize::try_from(file_size).unwrap()]).unwrap();
        fs::write(path("root/small"), "small").unwrap();
        let site_port = free_port();
        let site = nginx(directory.path(), site_port);
        let packets = keys.iter().map(|keypair| (keypair.to_z32(), packet(keypair, site_port, &key)));
        let relay = relay(packets.collect());
        let (bridge, haproxy) = on_server_core((server_core, client_core), || {
            (bridge(relay), haproxy(directory.path(), site_port))
        });
        Self { bridge, haproxy, file_size, hosts, _site: site, _directory: directory }
    }

    pub(crate) fn host(&self, number: usize) -> &str {
        &self.hosts[number % self.hosts.len()]
    }

    pub(crate) fn keys(&self) -> usize {
        self.hosts.len()
    }
}

/// Quotas off, since one client exceeds any.
fn bridge(relay: SocketAddr) -> Front {
    let port = free_port();
    let certificates = tempfile::tempdir().unwrap().keep();
    let process = Process::pkdns(&format!(
        "listen = '127.0.0.1:0'\nfallback_dns = '127.0.0.1:9'\nconnections_per_client = 200\n\
         [dht]\nbootstrap = ['127.0.0.1:9']\nrelays = ['http://{relay}']\n[delegation]\nallow_private = true\n\
         [rate_limit]\nrequests_per_minute = 0\ndht_requests_per_minute = 0\n\
         [certificate]\npath = '{}'\n[bridge]\nlisten = '127.0.0.1:{port}'\n",
        certificates.display()
    ));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_for(address);
    let authority = certificates.join("bridge-ca.pem");
    Front { name: "the bridge", process, address, authority }
}

/// Copies bytes between two connections over TLS, as the bridge does.
fn haproxy(directory: &Path, site_port: u16) -> Option<Front> {
    let port = free_port();
    let certificate = directory.join("cert.pem");
    let configuration = format!(
        "global\n  nbthread 1\n  maxconn 5000\n  ca-base /\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  \
         timeout server 1h\nfrontend front\n  bind 127.0.0.1:{port} ssl crt {certificate}\n  default_backend site\n\
         backend site\n  server site 127.0.0.1:{site_port} ssl verify required ca-file {certificate} verifyhost site\n",
        certificate = certificate.display()
    );
    let path = directory.join("haproxy.cfg");
    fs::write(&path, configuration).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().inspect_err(|error| println!("SKIPPED: HAProxy: {error}")).ok()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let process = Process::new(child, address, None);
    wait_for(address);
    Some(Front { name: "HAProxy", process, address, authority: certificate })
}

fn nginx(directory: &Path, port: u16) -> Process {
    let display = directory.display();
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {display}/nginx.pid;\nerror_log {display}/error.log;\nworker_rlimit_nofile 10000;\n\
         events {{ worker_connections 8192; }}\nhttp {{\n  access_log off;\n  keepalive_timeout 600s;\n  keepalive_requests 100000;\n  \
         server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate {display}/cert.pem;\n    \
         ssl_certificate_key {display}/cert.pem.key;\n    root {display}/root;\n  }}\n}}\n"
    );
    let path = directory.join("nginx.conf");
    fs::write(&path, configuration).unwrap();
    let child =
        Command::new("nginx").arg("-p").arg(directory).arg("-c").arg(path).spawn().expect("nginx starts");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    wait_for(address);
    Process::new(child, address, None)
}

/// Where the site is, and what it shows.
fn packet(keypair: &Keypair, port: u16, shown: &KeyPair) -> Vec<u8> {
    let apex = Name::from_ascii(format!("{}.", keypair.to_z32())).unwrap();
    let owner = Name::from_ascii(format!("_{port}._tcp.{apex}")).unwrap();
    let hash = Sha256::digest(shown.subject_public_key_info()).to_vec();
    let service = SVCB::new(1, Name::root(), vec![(SvcParamKey::Port, SvcParamValue::Port(port))]);
    let records = [
        (apex.clone(), RData::A(A::new(127, 0, 0, 1))),
        (apex, RData::HTTPS(HTTPS(service))),
        (owner, RData::TLSA(TLSA::new(CertUsage::DaneEe, Selector::Spki, Matching::Sha256, hash))),
    ];
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0]).unwrap();
    for (name, data) in records {
        Record::from_rdata(name, 3600, data).emit(&mut encoder).unwrap();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    SignedPacket::sign(keypair, now, &bytes).unwrap().to_payload()
}

/// Answers `GET /<key>` for as long as the benchmark runs.
fn relay(packets: Vec<(String, Vec<u8>)>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            let Ok(size) = stream.read(&mut request) else { continue };
            let line = String::from_utf8_lossy(&request[..size]).into_owned();
            let found = packets.iter().find(|(key, _)| line.contains(key));
            let (status, body) = found.map_or((404, &[][..]), |(_, packet)| (200, packet));
            let head = format!(
                "HTTP/1.1 {status} said\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), body].concat());
        }
    });
    address
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn wait_for(address: SocketAddr) {
    let is_there = |_: &u32| {
        sleep(Duration::from_millis(100));
        TcpStream::connect(address).is_ok()
    };
    (0..START_STEPS).find(is_there).unwrap_or_else(|| panic!("nobody listens at {address}"));
}
