//! The servers that are measured, with the same certificate and the same names.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use pkdns_testing::benchmark::Process;
use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

/// How long a server may take to start, in steps of 100 ms.
const START_STEPS: u32 = 100;

/// A server with its ports.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) https: u16,
    pub(crate) http: u16,
    pub(crate) tls: u16,
}

/// pkdns, and dnsdist if it is installed.
pub(crate) struct Pair {
    pub(crate) pkdns: Server,
    pub(crate) dnsdist: Option<Server>,
}

impl Pair {
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        Self { pkdns: Server::pkdns(upstream, ""), dnsdist: Server::dnsdist(upstream) }
    }
}

impl Server {
    /// Quotas off, since one client exceeds any, and no DHT. `more` goes into `[doh]`.
    pub(crate) fn pkdns(upstream: SocketAddr, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = certificate(&directory);
        // They have to outlive the start.
        let directory = directory.keep();
        let [https, http, tls] = free_ports();
        let process = Process::pkdns(&format!(
            "listen = '127.0.0.1:0'\nfallback_dns = '{upstream}'\n[dht]\nenabled = false\n\
             [rate_limit]\nrequests_per_minute = 0\ndht_requests_per_minute = 0\n\
             [doh]\nenabled = true\nlisten = '127.0.0.1:{https}'\nplain_listen = '127.0.0.1:{http}'\n\
             cert_path = '{}'\nkey_path = '{}'\n{more}\n[dot]\nenabled = true\nlisten = '127.0.0.1:{tls}'\n",
            certificate.display(),
            key.display()
        ));
        let _ = fs::remove_dir_all(directory);
        let server = Self { process, https, http, tls };
        server.wait();
        server
    }

    /// One thread for each kind of listener, a packet cache with room for every name. `None`: it is not installed.
    fn dnsdist(upstream: SocketAddr) -> Option<Self> {
        let program = find("dnsdist")?;
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = certificate(&directory);
        let (certificate, key) = (certificate.display(), key.display());
        let [https, http, tls] = free_ports();
        let [udp] = free_ports();
        let configuration = format!(
            "setLocal('127.0.0.1:{udp}')\n\
             addDOHLocal('127.0.0.1:{https}', '{certificate}', '{key}', '/dns-query')\n\
             addDOHLocal('127.0.0.1:{http}', nil, nil, '/dns-query')\n\
             addTLSLocal('127.0.0.1:{tls}', '{certificate}', '{key}')\n\
             newServer('{upstream}'):setUp()\n\
             getPool(''):setCache(newPacketCache(100000, {{maxTTL=86400}}))\n"
        );
        let path = directory.path().join("dnsdist.conf");
        fs::write(&path, configuration).unwrap();
        let mut command = Command::new(program);
        command.args(["--supervised", "-C"]).arg(path).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn().expect("dnsdist starts");
        let address = (Ipv4Addr::LOCALHOST, udp).into();
        let server = Self { process: Process::new(child, address, Some(directory)), https, http, tls };
        server.wait();
        Some(server)
    }

    fn wait(&self) {
        for port in [self.https, self.http, self.tls] {
            let is_up = |_: &u32| {
                sleep(Duration::from_millis(100));
                TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
            };
            (0..START_STEPS).find(is_up).unwrap_or_else(|| panic!("nobody listens on {port}"));
        }
    }
}

fn certificate(directory: &TempDir) -> (PathBuf, PathBuf) {
    let made = generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let paths = ["cert.pem", "key.pem"].map(|name| directory.path().join(name));
    fs::write(&paths[0], made.cert.pem()).unwrap();
    fs::write(&paths[1], made.signing_key.serialize_pem()).unwrap();
    paths.into()
}

/// Where a program is, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories = env::split_paths(&path).chain([Path::new("/usr/sbin").into()]);
    directories.find_map(|directory| Some(directory.join(program)).filter(|path| path.is_file()))
}

/// Ports that nobody listens on.
fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
