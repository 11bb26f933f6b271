//! The matrix of upstreams over TLS and HTTPS.

use hickory_proto::op::ResponseCode;
use rcgen::{CertifiedKey, KeyPair};
use tokio::task::JoinSet;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::{
    Cost, Expected, Row, cost,
    encrypted::{self, MEDIA_TYPE, Speaks, acceptor, expired, start},
    raw_http,
};

/// Scheme, certificate, protocols to agree on, what is spoken, what comes of it, and what the first and the tenth question
/// cost.
type Line<'a> =
    (&'static str, &'static str, &'a CertifiedKey<KeyPair>, &'a [&'a str], Speaks, Expected, Cost, Cost);

/// The matrix, and what has to be held while it is worked through.
pub(crate) async fn rows(certificate: &CertifiedKey<KeyPair>) -> (Vec<Row>, Vec<JoinSet<()>>) {
    use Expected::{Address, Because, Code, Second};
    use Speaks::{
        Dns, DnsForDot, Encoded, Gibberish, Http, HttpGarbage, HttpOnce, Nothing, Raw, Redirects, Silence,
    };
    use raw_http::Way::{HintsFirst, NeverEnds};
    let (stranger, expired) = (encrypted::certificate(), expired());
    let (ours, both) = (certificate, &["h2", "http/1.1"][..]);
    let answers = Dns(|asked| asked.answer(1));
    let well = Http(200, Some(MEDIA_TYPE));
    let fails = |expected| Because(expected);
    let table: Vec<Line<'_>> = vec![
        ("TLS", "tls", ours, &[], answers, Address, cost(1, 1), cost(1, 0)),
        ("DNS over TLS 1.2 alone", "tls", ours, &["dot"], answers, Address, cost(1, 1), cost(1, 0)),
        ("HTTPS over TLS 1.2 alone", "https", ours, both, well, Address, cost(1, 1), cost(1, 0)),
        ("TLS with ALPN dot", "tls", ours, &["dot"], answers, Address, cost(1, 1), cost(1, 0)),
        ("TLS for ALPN dot alone", "tls", ours, &["dot"], DnsForDot, Address, cost(1, 1), cost(1, 0)),
        ("TLS with another ALPN", "tls", ours, &["h2"], answers, Address, cost(1, 2), cost(1, 0)),
        (
            "TLS that refuses EDNS",
            "tls",
            ours,
            &[],
            Dns(|asked| if asked.bytes[11] == 1 { asked.code(1) } else { asked.answer(1) }),
            Address,
            cost(2, 1),
            cost(1, 0),
        ),
        (
            "TLS, a header with SERVFAIL",
            "tls",
            ours,
            &[],
            Dns(|asked| [&asked.code(2)[..5], &[0; 7]].concat()),
            Code(ResponseCode::ServFail),
            cost(1, 1),
            cost(1, 0),
        ),
        (
            "TLS that closes",
            "tls",
            ours,
            &[],
            Nothing,
            fails("it closes connections"),
            cost(0, 2),
            cost(0, 2),
        ),
        ("TLS of a stranger", "tls", &stranger, &[], answers, fails("certificate"), cost(0, 1), cost(0, 1)),
        ("TLS of a stranger before a second", "tls", &stranger, &[], answers, Second, cost(0, 1), cost(0, 1)),
        (
            "TLS with a certificate that has expired",
            "tls",
            &expired,
            &[],
            answers,
            fails("its certificate expired on Sat, 29 Feb 2020 00:00:00 GMT"),
            cost(0, 1),
            cost(0, 1),
        ),
        (
            "HTTPS with a certificate that has expired",
            "https",
            &expired,
            both,
            well,
            fails("its certificate expired on Sat, 29 Feb 2020"),
            cost(0, 1),
            cost(0, 1),
        ),
        (
            "an expired certificate before a second",
            "tls",
            &expired,
            &[],
            answers,
            Second,
            cost(0, 1),
            cost(0, 1),
        ),
        (
            "a TLS handshake without end",
            "tls",
            ours,
            &[],
            Silence,
            fails("no TLS connection to it can be made in time"),
            cost(0, 1),
            cost(0, 1),
        ),
        (
            "a TLS handshake without end before a second",
            "tls",
            ours,
            &[],
            Silence,
            Second,
            cost(0, 1),
            cost(0, 1),
        ),
        ("HTTP/2", "https", ours, both, well, Address, cost(1, 1), cost(1, 0)),
        ("HTTP/1.1", "https", ours, &["http/1.1"], well, Address, cost(1, 1), cost(1, 0)),
        ("HTTP/1.1 without ALPN", "https", ours, &[], well, Address, cost(1, 1), cost(1, 0)),
        ("HTTP/1.1 that closes", "https", ours, &["http/1.1"], HttpOnce, Address, cost(1, 1), cost(1, 1)),
        (
            "a charset",
            "https",
            ours,
            both,
            Http(200, Some("application/dns-message; charset=utf-8")),
            Address,
            cost(1, 1),
            cost(1, 0),
        ),
        (
            "a media type in capitals",
            "https",
            ours,
            both,
            Http(200, Some("Application/DNS-Message")),
            Address,
            cost(1, 1),
            cost(1, 0),
        ),
        (
            "text/html",
            "https",
            ours,
            both,
            Http(200, Some("text/html")),
            fails("text/html"),
            cost(1, 1),
            cost(1, 0),
        ),
        ("no media type", "https", ours, both, Http(200, None), fails("media type"), cost(1, 1), cost(1, 0)),
        (
            "404",
            "https",
            ours,
            both,
            Http(404, Some(MEDIA_TYPE)),
            fails("status 404"),
            cost(1, 1),
            cost(1, 0),
        ),
        (
            "503 over HTTP/1.1",
            "https",
            ours,
            &[],
            Http(503, None),
            fails("status 503"),
            cost(1, 1),
            cost(1, 1),
        ),
        ("a redirect", "https", ours, both, Http(302, None), fails("redirects"), cost(1, 1), cost(1, 0)),
        (
            "301 to elsewhere",
            "https",
            ours,
            both,
            Redirects(301),
            fails("status 301"),
            cost(1, 1),
            cost(1, 0),
        ),
        (
            "307 to elsewhere over HTTP/1.1",
            "https",
            ours,
            &[],
            Redirects(307),
            fails("redirects elsewhere (HTTP status 307)"),
            cost(1, 1),
            cost(1, 1),
        ),
        ("307 before a second", "https", ours, both, Redirects(307), Second, cost(1, 1), cost(1, 0)),
        (
            "gzip, for which nobody asked",
            "https",
            ours,
            both,
            Encoded("gzip"),
            fails("Content-Encoding gzip"),
            cost(1, 1),
            cost(1, 0),
        ),
        ("gzip before a second", "https", ours, both, Encoded("gzip"), Second, cost(1, 1), cost(1, 0)),
        ("103 first", "https", ours, both, Raw(HintsFirst), Address, cost(1, 1), cost(1, 0)),
        (
            "100 and 103 first over HTTP/1.1",
            "https",
            ours,
            &["http/1.1"],
            Raw(HintsFirst),
            Address,
            cost(1, 1),
            cost(1, 0),
        ),
        ("a body without end", "https", ours, &[], Raw(NeverEnds), Second, cost(1, 1), cost(1, 1)),
        ("garbage over HTTPS", "https", ours, both, HttpGarbage, fails("malformed"), cost(1, 1), cost(1, 0)),
        ("404 before a second", "https", ours, both, Http(404, None), Second, cost(1, 1), cost(1, 0)),
        ("gibberish over HTTPS", "https", ours, &[], Gibberish, fails("not HTTP"), cost(0, 1), cost(0, 1)),
    ];
    let (mut rows, mut held) = (Vec::new(), Vec::new());
    for (what, scheme, certificate, protocols, speaks, expected, first, tenth) in table {
        let versions = if what.ends_with("TLS 1.2 alone") { vec![&TLS12] } else { vec![&TLS13, &TLS12] };
        let (address, counts, tasks) = start(acceptor(certificate, protocols, &versions), speaks).await;
        let upstream = format!("{scheme}://{address}").parse().unwrap();
        rows.push(Row { what, upstream, counts, expected, first, tenth });
        held.push(tasks);
    }
    (rows, held)
}
