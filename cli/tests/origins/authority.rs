//! An ACME authority that looks at ports 80 and 443, as those of the public do: pebble.

use std::{
    fs,
    net::SocketAddr,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pkdns_testing::{namespace::Killed, programs};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// Where it listens on the machine of the test.
const ADDRESS: &str = "127.0.0.1:14000";
const MANAGEMENT: &str = "127.0.0.1:15000";

/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(20);

/// It ends with this.
pub(crate) struct Authority {
    directory: TempDir,
    _process: Killed,
}

impl Authority {
    /// It looks names up at `resolver`. `None`: it is not installed, and that is to be accepted.
    pub(crate) fn start(resolver: SocketAddr) -> Option<Self> {
        let pebble = programs::find("pebble", |_| true, "pebble")?;
        let directory = tempfile::tempdir().unwrap();
        certify(directory.path());
        let configuration = format!(
            "{{\"pebble\": {{\"listenAddress\": \"{ADDRESS}\", \"managementListenAddress\": \"{MANAGEMENT}\", \
             \"certificate\": \"cert.pem\", \"privateKey\": \"key.pem\", \"httpPort\": 80, \"tlsPort\": 443, \
             \"ocspResponderURL\": \"\"}}}}"
        );
        fs::write(directory.path().join("pebble.json"), configuration).unwrap();
        let mut command = Command::new(pebble);
        command.args(["-config", "pebble.json", "-strict", "-dnsserver", &resolver.to_string()]);
        command.current_dir(directory.path()).env("PEBBLE_VA_NOSLEEP", "1").stdout(Stdio::null());
        let process = Killed(command.stderr(Stdio::null()).spawn().unwrap());
        let start = Instant::now();
        while TcpStream::connect(ADDRESS).is_err() {
            assert!(start.elapsed() < LIMIT, "pebble does not start");
            thread::sleep(Duration::from_millis(50));
        }
        Some(Self { directory, _process: process })
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{ADDRESS}/dir")
    }

    /// Who has certified its server.
    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Who certifies what it gives, PEM: made anew with each start.
    pub(crate) fn root(&self) -> Vec<u8> {
        let mut curl = Command::new("curl");
        curl.args(["-fsS", "--noproxy", "*", "--cacert"]).arg(self.ca());
        let output = curl.arg(format!("https://{MANAGEMENT}/roots/0")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }
}

/// A certificate for loopback, and who has signed it.
fn certify(directory: &Path) {
    let (ca_key, mut ca) = (KeyPair::generate().unwrap(), CertificateParams::default());
    // Whoever finds subject and issuer alike takes the certificate for one that signed itself.
    ca.distinguished_name.push(DnType::CommonName, "authority of a test");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    for (name, text) in
        [("ca.pem", ca_pem), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
    {
        fs::write(directory.join(name), text).unwrap();
    }
}
