//! A real ACME authority: pebble, from Debian. It looks at ports of the test in place of 80 and 443.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::{programs, wait};

/// An authority, which ends with this.
pub struct Pebble {
    process: Child,
    port: u16,
    management: u16,
    /// Where it looks for tls-alpn-01 and http-01, on whatever address the name has.
    pub https: u16,
    pub http: u16,
    directory: TempDir,
}

impl Pebble {
    /// Gives certificates that live for so many seconds, and looks names up at `names`. `None` where there is no pebble.
    pub fn start(lifetime: u32, names: SocketAddr) -> Option<Self> {
        let [https, http] = [(); 2].map(|()| free_port());
        Self::start_with(lifetime, names, https, http)
    }

    /// As [`Pebble::start`], for certificates of three months, and looks at the ports 80 and 443, as those of the public do.
    pub fn start_as_public(names: SocketAddr) -> Option<Self> {
        Self::start_with(90 * 86_400, names, 443, 80)
    }

    fn start_with(lifetime: u32, names: SocketAddr, https: u16, http: u16) -> Option<Self> {
        let program = programs::find("pebble", |_| true, "pebble")?;
        let directory = tempfile::tempdir().unwrap();
        certify(directory.path());
        let [port, management] = [(); 2].map(|()| free_port());
        let configuration = format!(
            "{{\"pebble\": {{\"listenAddress\": \"127.0.0.1:{port}\", \
             \"managementListenAddress\": \"127.0.0.1:{management}\", \
             \"certificate\": \"cert.pem\", \"privateKey\": \"key.pem\", \"httpPort\": {http}, \"tlsPort\": {https}, \
             \"ocspResponderURL\": \"\", \"certificateValidityPeriod\": {lifetime}}}}}"
        );
        fs::write(directory.path().join("pebble.json"), configuration).unwrap();
        let process = Command::new(program)
            .args(["-config", "pebble.json", "-strict", "-dnsserver", &names.to_string()])
            .current_dir(directory.path())
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "10")
            .stdout(Stdio::from(fs::File::create(directory.path().join("log")).unwrap()))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pebble = Self { process, port, management, https, http, directory };
        wait::until_or_show(|| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(), || pebble.log());
        Some(pebble)
    }

    /// The address of the authority.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// Who has certified the server of the authority.
    pub fn ca_path(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Who certifies what it gives, PEM: made anew with each start.
    pub fn root(&self) -> Option<String> {
        let curl = programs::find("curl", |_| true, "curl")?;
        let output = Command::new(curl)
            .args(["--silent", "--fail", "--noproxy", "*", "--cacert"])
            .arg(self.ca_path())
            .arg(format!("https://127.0.0.1:{}/roots/0", self.management))
            .output()
            .unwrap();
        let root = String::from_utf8(output.stdout).unwrap();
        assert!(root.contains("BEGIN CERTIFICATE"), "{root}{:?}", output.status);
        Some(root)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            println!("{}", self.log());
        }
    }
}

/// A certificate for loopback and whoever has signed it.
fn certify(directory: &Path) {
    let (ca_key, mut ca) = (KeyPair::generate().unwrap(), CertificateParams::default());
    // Whoever finds subject and issuer alike takes the certificate for one that signed itself.
    ca.distinguished_name.push(DnType::CommonName, "authority of a test");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate =
        CertificateParams::new(names).unwrap().signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    for (name, text) in
        [("ca.pem", ca_pem), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
    {
        fs::write(directory.join(name), text).unwrap();
    }
}

/// A port that was free a moment ago, below those that the system gives to connections and to whoever asks for any: one of
/// these is often taken before its program has come up.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let number = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(10_000 + (process::id() * 97 + number) % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}
