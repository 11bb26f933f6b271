//! Web servers on a free port of 127.0.0.1, and certificates for them.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use pkdns_testing::{process::Killed, programs};
use tempfile::TempDir;
use x509_parser::pem::parse_x509_pem;

use super::OURS;

/// How long one may take to start.
const LIMIT: Duration = Duration::from_secs(30);

/// What stands before the seed of a key of Ed25519 in PKCS #8 (RFC 8410 section 7).
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    OpenSsl,
    Nginx,
    Caddy,
    HaProxy,
}

/// `None`: it is not installed, and that is to be accepted.
pub(crate) fn openssl() -> Option<PathBuf> {
    programs::find("openssl", |_| true, "Debian's openssl")
}

/// A certificate and its key, each in a file and both in one.
pub(crate) struct Certificate {
    pem: String,
    key: String,
}

impl Certificate {
    pub(crate) fn ed25519(openssl: &Path, directory: &Path, seed: u8) -> Self {
        let key = STANDARD.encode([&PKCS8_PREFIX[..], &[seed; 32]].concat());
        let key = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
        Self::of(openssl, directory, key)
    }

    pub(crate) fn rsa(openssl: &Path, directory: &Path) -> Self {
        Self::generate(openssl, directory, &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
    }

    pub(crate) fn p256(openssl: &Path, directory: &Path) -> Self {
        Self::generate(openssl, directory, &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"])
    }

    fn generate(openssl: &Path, directory: &Path, arguments: &[&str]) -> Self {
        let key = Command::new(openssl).arg("genpkey").args(arguments).output().unwrap().stdout;
        Self::of(openssl, directory, String::from_utf8(key).unwrap())
    }

    fn of(openssl: &Path, directory: &Path, key: String) -> Self {
        let path = directory.join("of.pem");
        fs::write(&path, &key).unwrap();
        // Caddy shows only certificates for the name that it is asked for.
        let name = format!("subjectAltName=DNS:{}", super::key(OURS).to_z32());
        let made = Command::new(openssl)
            .args([
                "req",
                "-x509",
                "-new",
                "-subj",
                "/CN=old.example.com",
                "-days",
                "1",
                "-addext",
                &name,
                "-key",
            ])
            .arg(&path)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { pem: String::from_utf8(made.stdout).unwrap(), key }
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        parse_x509_pem(self.pem.as_bytes()).unwrap().1.contents
    }

    /// Its SubjectPublicKeyInfo.
    pub(crate) fn public_key(&self) -> Vec<u8> {
        let (_, pem) = parse_x509_pem(self.pem.as_bytes()).unwrap();
        pem.parse_x509().unwrap().public_key().raw.to_vec()
    }
}

/// A running web server, which ends with this.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Killed,
    directory: TempDir,
}

impl Server {
    /// `version` is the only one of TLS that is spoken, `1.2`, or empty. `None`: it is not installed, and that is to be accepted.
    pub(crate) fn start(kind: Kind, certificate: &Certificate, version: &str) -> Option<Self> {
        let (name, package) = match kind {
            Kind::OpenSsl => ("openssl", "Debian's openssl"),
            Kind::Nginx => ("nginx", "Debian's nginx"),
            Kind::Caddy => ("caddy", "Debian's caddy"),
            Kind::HaProxy => ("haproxy", "Debian's haproxy"),
        };
        let program = programs::find(name, |_| true, package)?;
        let directory = tempfile::tempdir().unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let cert = write("cert.pem", &certificate.pem);
        let key = write("key.pem", &certificate.key);
        let both = write("both.pem", &[certificate.pem.as_str(), &certificate.key].concat());
        let folder = directory.path().display();
        let mut command = Command::new(program);
        match kind {
            Kind::OpenSsl => {
                let port = address.to_string();
                command.args(["s_server", "-www", "-quiet", "-accept", &port, "-cert", &cert, "-key", &key]);
                command.args((!version.is_empty()).then_some("-tls1_2"));
            }
            Kind::Nginx => {
                let versions = if version.is_empty() { "TLSv1.2 TLSv1.3" } else { "TLSv1.2" };
                let config = write(
                    "nginx.conf",
                    &format!(
                        "daemon off; master_process off; pid {folder}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off;\n\
                         client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};\n\
                         uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
                         server {{ listen {address} ssl; ssl_certificate {cert}; ssl_certificate_key {key};\n\
                         ssl_protocols {versions}; return 200 here; }} }}\n"
                    ),
                );
                command.args(["-c", &config, "-e", "stderr"]);
            }
            Kind::Caddy => {
                let tls = match version.is_empty() {
                    true => format!("tls {cert} {key}"),
                    false => format!("tls {cert} {key} {{\nprotocols tls1.2 tls1.2\n}}"),
                };
                let config = write(
                    "Caddyfile",
                    &format!(
                        "{{\nadmin off\nauto_https off\nstorage file_system {folder}\n}}\nhttps://:{} {{\nbind 127.0.0.1\n{tls}\n\
                         respond here\n}}\n",
                        address.port()
                    ),
                );
                command
                    .args(["run", "--adapter", "caddyfile", "--config", &config])
                    .env("HOME", directory.path());
            }
            Kind::HaProxy => {
                let versions = if version.is_empty() { "" } else { "ssl-max-ver TLSv1.2" };
                let config = write(
                    "haproxy.cfg",
                    &format!(
                        "defaults\nmode http\ntimeout connect 5s\ntimeout client 5s\ntimeout server 5s\nfrontend site\n\
                         bind {address} ssl crt {both} {versions}\n\
                         http-request return status 200 content-type text/plain string here\n"
                    ),
                );
                command.args(["-db", "-f", &config]);
            }
        }
        let log = File::create(directory.path().join("log")).unwrap();
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut server = Self { address, child: Killed(child), directory };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            let is_running = server.child.try_wait().unwrap().is_none();
            assert!(is_running && start.elapsed() < LIMIT, "{kind:?}: {}", server.log());
            thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}
