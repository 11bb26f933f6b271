//! A site as a browser sees it: the certificate, who has signed that, and the beginning of an answer.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    client::TlsStream,
    rustls::{
        RootCertStore,
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    },
};
use x509_parser::parse_x509_certificate;

use super::{look::connect, trust};

/// How long all of it may take: a bridge looks for the site and connects to it first, which may take so long.
const DEADLINE: Duration = Duration::from_secs(17);

/// How much of that is for the answer at most.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Bytes of the head of an answer, and its fields.
const MAX_HEAD_SIZE: usize = 16 << 10;
const MAX_FIELDS: usize = 64;

/// Certificates that are tried of one text: systems believe some 150 authorities.
const MAX_AUTHORITIES: usize = 1024;

/// What was seen.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Who has signed the certificate, by the name that stands there.
    pub issuer: String,
    /// What a request for `/` was answered with, if it was.
    pub answer: Option<SiteAnswer>,
    chain: Vec<CertificateDer<'static>>,
    name: ServerName<'static>,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteAnswer {
    /// The status code.
    pub status: u16,
    /// The field `Proxy-Status` (RFC 9209), by which somebody in between says why the site has not answered.
    pub proxy_status: Option<String>,
}

/// Visits the site `name` at `address`, whoever answers there. Nothing may be believed that is read there until
/// [`Visit::is_signed_by`] says so.
///
/// # Errors
///
/// When nobody can be connected to there, or does not speak TLS.
pub async fn visit(address: SocketAddr, name: &str) -> io::Result<Visit> {
    let server = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut stream = connect(address, &server, vec![b"http/1.1".to_vec()], DEADLINE).await?;
    let chain: Vec<_> = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
    let issuer = chain.first().and_then(|leaf| issuer(leaf)).unwrap_or_default();
    let answer = timeout(ANSWER_TIME, ask(&mut stream, name)).await.ok().and_then(Result::ok).flatten();
    Ok(Visit { issuer, answer, chain, name: server })
}

impl Visit {
    /// Whether a client takes the certificate that believes the authorities in a text in PEM and no others.
    pub fn is_signed_by(&self, authorities: &[u8]) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(
            CertificateDer::pem_slice_iter(authorities).take(MAX_AUTHORITIES).flatten(),
        );
        !roots.is_empty() && trust::verify(&self.chain, roots, &self.name, UnixTime::now()).is_ok()
    }
}

fn issuer(leaf: &[u8]) -> Option<String> {
    let (_, certificate) = parse_x509_certificate(leaf).ok()?;
    let common_name = certificate.issuer().iter_common_name().next().and_then(|name| name.as_str().ok());
    Some(common_name.map_or_else(|| certificate.issuer().to_string(), str::to_owned))
}

/// `None` where what comes is no answer.
async fn ask(stream: &mut TlsStream<TcpStream>, name: &str) -> io::Result<Option<SiteAnswer>> {
    let request =
        format!("GET / HTTP/1.1\r\nhost: {name}\r\nuser-agent: pkdns-cli\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while head.len() < MAX_HEAD_SIZE {
        let mut piece = [0; 2048];
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            break;
        }
        head.extend_from_slice(piece.get(..count).unwrap_or_default());
        let answer = read(&head);
        if answer.is_some() {
            return Ok(answer);
        }
    }
    Ok(None)
}

/// `None` for what is none, or is not whole.
fn read(head: &[u8]) -> Option<SiteAnswer> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let is_whole = response.parse(head).is_ok_and(|status| status.is_complete());
    let status = response.code.filter(|_| is_whole)?;
    let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case("proxy-status"));
    let proxy_status = field.map(|field| String::from_utf8_lossy(field.value).into_owned());
    Some(SiteAnswer { status, proxy_status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_answer_is_read_once_it_is_whole() {
        let head = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\nPROXY-status: a; error=b\r\n\r\nbody";
        let answer = Some(SiteAnswer { status: 502, proxy_status: Some("a; error=b".into()) });
        for end in 0..=head.len() {
            let expected = answer.clone().filter(|_| end >= head.len() - "body".len());
            assert_eq!(read(&head.as_bytes()[..end]), expected, "{end}");
        }
        assert_eq!(read(b"HTTP/1.0 200 OK\r\n\r\n"), Some(SiteAnswer { status: 200, proxy_status: None }));
        assert_eq!(read(b"\0\r\n\r\n"), None);
    }
}
