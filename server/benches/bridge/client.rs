//! The clients: many that keep a connection open, and one that downloads a file.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        client::Resumption,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::servers::{Front, Servers};

/// Connections of one address.
const PER_ADDRESS: usize = 40;

/// Clients that trust the authority of one server.
pub(crate) struct Client<'a> {
    servers: &'a Servers,
    address: SocketAddr,
    runtime: Runtime,
    connector: TlsConnector,
}

impl<'a> Client<'a> {
    pub(crate) fn new(servers: &'a Servers, front: &Front) -> Self {
        let authority = CertificateDer::from_pem_file(&front.authority).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { servers, address: front.address, runtime, connector: TlsConnector::from(Arc::new(config)) }
    }

    /// So many connections, each of which has had an answer.
    pub(crate) fn open(&self, count: usize) -> Vec<TlsStream<TcpStream>> {
        self.runtime.block_on(async {
            let mut open = Vec::new();
            for number in 0..count {
                open.push(self.connect(number).await);
            }
            open
        })
    }

    async fn connect(&self, number: usize) -> TlsStream<TcpStream> {
        let socket = TcpSocket::new_v4().unwrap();
        let [third, fourth] = u16::try_from(number / PER_ADDRESS).unwrap().to_be_bytes();
        let local = Ipv4Addr::new(127, 1 + third, 1, 1 + fourth);
        socket.bind(SocketAddr::from((local, 0))).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        let host = self.servers.host(number).to_owned();
        let request = format!("GET /small HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let mut stream = self.connector.connect(ServerName::try_from(host).unwrap(), stream).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\nsmall") {
            let mut piece = [0; 1024];
            let count = stream.read(&mut piece).await.unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&response));
            response.extend(&piece[..count]);
        }
        stream
    }
}

/// Bytes that came, and in how many seconds.
pub(crate) fn download(servers: &Servers, front: &Front) -> (u64, f64) {
    assert!(fs::exists(&front.authority).unwrap());
    let (host, port) = (servers.host(0), front.address.port());
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--http1.1", "--output", "/dev/null"])
        .arg("--cacert")
        .arg(&front.authority)
        .arg("--resolve")
        .arg(format!("{host}:{port}:127.0.0.1"))
        .args(["--write-out", "%{size_download} %{time_total}"])
        .arg(format!("https://{host}:{port}/file"))
        .output()
        .expect("curl starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let (bytes, seconds) = said.split_once(' ').unwrap();
    (bytes.parse().unwrap(), seconds.parse().unwrap())
}
