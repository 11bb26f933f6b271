//! A server that gets its certificate from a real ACME authority.

use std::{fs, net::IpAddr, time::Duration};

use hickory_proto::rr::{RData, Record, RecordType, rdata::A};
use pkdns::config::AcmeChallenge;
use pkdns_testing::{
    pebble::{self},
    server::{TestServer, Upstream},
    tls_client::{CLIENT, shown, shown_after},
    wait::eventually,
};
use tempfile::TempDir;
use tokio::time::sleep;

use super::start;

/// An authority that sees our HTTPS and HTTP listeners where it looks for them.
struct Pebble {
    authority: pebble::Pebble,
    _names: Upstream,
}

impl Pebble {
    /// Gives certificates that live for so many seconds. `None` where there is no pebble.
    async fn start(lifetime: u32) -> Option<Self> {
        let names = Upstream::start(|query, response| {
            let name = query.queries[0].name().clone();
            if query.queries[0].query_type() == RecordType::A {
                response.add_answer(Record::from_rdata(name, 300, RData::A(A::new(127, 0, 0, 1))));
            }
        });
        Some(Self { authority: pebble::Pebble::start(lifetime, names.address)?, _names: names })
    }

    /// A server that asks this authority for a certificate, and keeps it in `state`.
    fn client(&self, state: &TempDir, names: &[&str], challenge: AcmeChallenge) -> TestServer {
        start(|config| {
            config.doh.listen = vec![([127, 0, 0, 1], self.authority.https).into()];
            config.doh.plain_listen = vec![([127, 0, 0, 1], self.authority.http).into()];
            // The authority is a stranger.
            config.access.allow = vec![IpAddr::from(CLIENT).into()];
            config.certificate.names = names.iter().map(|name| (*name).to_owned()).collect();
            config.certificate.path = Some(state.path().into());
            config.acme.enabled = true;
            config.acme.directory = self.authority.url();
            config.acme.ca_path = Some(self.authority.ca_path());
            config.acme.contact = "mailto:admin@example.com".into();
            config.acme.challenge = challenge;
        })
    }

    fn log(&self) -> String {
        self.authority.log()
    }
}

/// Those of the certificates here, as they are shown.
const NAMES: &str = "DNSName(dns.example);IPAddress(7f:00:00:01);";

/// The names in a certificate.
fn names_of(certificate: &[u8]) -> String {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    assert!(parsed.issuer().to_string().contains("Pebble"), "{}", parsed.issuer());
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    names.value.general_names.iter().map(|name| format!("{name};")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_obtained_and_renewed_by_tls_alpn_01_for_names_and_addresses() {
    let Some(pebble) = Pebble::start(15).await else { return };
    let state = tempfile::tempdir().unwrap();
    let server = pebble.client(&state, &["dns.example", "127.0.0.1"], AcmeChallenge::TlsAlpn01);
    assert_eq!(shown(server.https()).await, None, "there is nothing to show yet");
    let first = shown_after(server.https(), None).await;
    assert_eq!(names_of(&first), NAMES, "{}", pebble.log());
    assert_eq!(shown(server.tls()).await.unwrap(), first);
    let second = shown_after(server.https(), Some(&first)).await;
    assert_eq!(names_of(&second), names_of(&first), "it is renewed before its end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_obtained_by_http_01_and_kept_for_the_next_start() {
    let Some(pebble) = Pebble::start(86_400).await else { return };
    let state = tempfile::tempdir().unwrap();
    let server = pebble.client(&state, &["dns.example", "127.0.0.1"], AcmeChallenge::Http01);
    let first = shown_after(server.https(), None).await;
    assert_eq!(names_of(&first), NAMES, "{}", pebble.log());
    drop(server);
    for name in ["acme.pem", "acme-account.json"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(state.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let orders = pebble.log().matches("order").count();
    // The address is free when the first server has let go of it.
    let is_free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let are_free = async || is_free(pebble.authority.https) && is_free(pebble.authority.http);
    eventually("both are free", are_free).await;
    let next = pebble.client(&state, &["dns.example", "127.0.0.1"], AcmeChallenge::Http01);
    assert_eq!(shown(next.https()).await.unwrap(), first, "at once, and the same");
    // An order would be made in the first moments.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(pebble.log().matches("order").count(), orders, "nothing was ordered: {}", pebble.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_authority_is_away_one_of_our_own_is_shown_if_that_is_wanted() {
    let state = tempfile::tempdir().unwrap();
    let server = start(|config| {
        config.certificate.names = vec!["localhost".into()];
        config.certificate.path = Some(state.path().into());
        config.certificate.self_signed = true;
        config.acme.enabled = true;
        config.acme.directory = format!("https://127.0.0.1:{}/dir", pkdns_testing::pebble::free_port());
    });
    assert!(shown(server.https()).await.is_some());
}
