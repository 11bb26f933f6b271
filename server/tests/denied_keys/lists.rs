//! Lists on another server.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use pkdns_testing::{
    relay::{Received, Reply, ScriptedRelay},
    tls_client,
    wait::eventually,
};
use tokio_rustls::rustls::{
    DEFAULT_VERSIONS,
    pki_types::{PrivateKeyDer, pem::PemObject},
};

use super::{BLOCKED, SERVED, Stage, deny, hash_by_the_manual, z32};

/// A server of lists over TLS, with a certificate of its own, and what it says now.
struct ListServer {
    server: ScriptedRelay,
    says: Arc<Mutex<(u16, String, String)>>,
    authority: PathBuf,
}

impl ListServer {
    async fn start(directory: &Path) -> Self {
        let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let authority = directory.join("authority.pem");
        fs::write(&authority, certificate.cert.pem()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(certificate.signing_key.serialize_pem().as_bytes()).unwrap();
        let acceptor = tls_client::acceptor(certificate.cert.der().clone(), key, DEFAULT_VERSIONS, &[]);
        let says = Arc::new(Mutex::new((200, String::new(), String::new())));
        let script = says.clone();
        let server = ScriptedRelay::start_over(
            move |tcp| {
                let acceptor = acceptor.clone();
                async move { acceptor.accept(tcp).await }
            },
            move |request: &Received| {
                let (status, etag, body) = script.lock().unwrap().clone();
                if !etag.is_empty() && request.headers.get("if-none-match") == Some(&etag) {
                    return Reply::status(304);
                }
                Reply::answer(status, &[&format!("etag: {etag}")], body.as_bytes())
            },
        )
        .await;
        Self { server, says, authority }
    }

    fn url(&self) -> String {
        format!("https://{}/keys?format=pkdns", self.server.address)
    }

    fn say(&self, status: u16, etag: &str, body: &str) {
        *self.says.lock().unwrap() = (status, etag.into(), body.into());
    }

    fn stage(&self, cache: &Path) -> Stage {
        Stage::set(|config| {
            deny(config, "blocked", &[&self.url()]);
            config.fallback_ca_path = Some(self.authority.clone());
            config.cache.path = Some(cache.to_owned());
        })
    }

    async fn wait_for_requests(&self, count: usize) -> Vec<Received> {
        eventually("as many requests", async || self.server.received().len() >= count).await;
        self.server.received()
    }
}

impl Stage {
    /// Ends the server, and gives its directory free.
    async fn end(self) {
        self.0.stop().await;
    }

    async fn wait_for_series(&self, series: &str) {
        eventually(series, async || self.counts(series)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_on_another_server_denies_also_after_a_restart_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let lists = ListServer::start(directory.path()).await;
    lists.say(200, "\"one\"", &format!("# phishing\n{}\nnonsense\n", hash_by_the_manual(&z32(1)).trim()));
    // Each start has a directory of its own, into which the copy is brought: that of the packets is free only when the
    // last task of a server has ended.
    let cache = |number: u8| directory.path().join(format!("cache{number}"));
    let stage = lists.stage(&cache(1));
    stage.wait_for(1, BLOCKED).await;
    assert_eq!(stage.of(3).await, SERVED);
    let copies: Vec<_> = fs::read_dir(cache(1).join("denied-keys")).unwrap().collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    stage.end().await;
    let bring = |from: u8, to: u8| {
        fs::create_dir_all(cache(to).join("denied-keys")).unwrap();
        for copy in fs::read_dir(cache(from).join("denied-keys")).unwrap() {
            let copy = copy.unwrap();
            fs::copy(copy.path(), cache(to).join("denied-keys").join(copy.file_name())).unwrap();
        }
    };

    // Nothing new: what is kept holds from the first question on, and the server is asked for news alone.
    bring(1, 2);
    let stage = lists.stage(&cache(2));
    assert_eq!(stage.of(1).await, BLOCKED);
    let received = lists.wait_for_requests(2).await;
    assert_eq!(received[0].line, "GET /keys?format=pkdns");
    assert_eq!(received[0].headers.get("if-none-match"), None);
    assert_eq!(received[1].headers["if-none-match"], "\"one\"");
    assert_eq!(stage.of(1).await, BLOCKED);
    stage.end().await;

    // An error, a page that is no list, another place, and nothing: what came last holds.
    for (number, (status, body)) in [(404, ""), (200, "<html>\n"), (302, ""), (200, "")].iter().enumerate() {
        lists.say(*status, "\"bad\"", body);
        let to = 3 + number as u8;
        bring(2, to);
        let stage = lists.stage(&cache(to));
        stage.wait_for_series("pkdns_denied_lists_failed 1").await;
        assert_eq!(stage.of(1).await, BLOCKED, "{status}");
        stage.end().await;
    }

    // Another list takes its place, in the copy as well.
    lists.say(200, "\"two\"", &z32(3));
    bring(2, 8);
    let stage = lists.stage(&cache(8));
    stage.wait_for(3, BLOCKED).await;
    assert_eq!(stage.of(1).await, SERVED);
    stage.end().await;
    bring(8, 9);
    drop(lists.server);
    let stage = Stage::set(|config| {
        let address = "https://127.0.0.1:1/keys";
        deny(config, "blocked", &[address]);
        config.cache.path = Some(cache(9));
    });
    // The copy is that of another address, and is removed.
    assert_eq!(stage.of(3).await, SERVED);
    stage.wait_for_series("pkdns_denied_lists_failed 1").await;
    assert_eq!(fs::read_dir(cache(9).join("denied-keys")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_can_give_a_list_in_the_place_of_its_server() {
    let directory = tempfile::tempdir().unwrap();
    let lists = ListServer::start(directory.path()).await;
    lists.say(200, "", &z32(1));
    // Its certificate is of an authority that is not trusted.
    let stage = Stage::set(|config| deny(config, "blocked", &[&lists.url()]));
    stage.wait_for_series("pkdns_denied_lists_failed 1").await;
    assert_eq!(stage.of(1).await, SERVED);
    assert!(lists.server.received().is_empty());
}
