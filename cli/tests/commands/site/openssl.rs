//! What a program that knows nothing of raw keys sees.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use pkdns_dht::signed_packet::Keypair;
use pkdns_testing::{program::KEY, programs};

use super::{Scene, backend, client::of_key};

impl Scene {
    /// What `openssl s_client` says to a server name.
    fn s_client(&self, name: &str) -> String {
        let address = self.address.to_string();
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &address, "-servername", name, "-alpn", "h2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(b"Q\n").unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_knows_no_raw_keys_gets_a_certificate_of_the_key_and_a_stranger_s_name_an_alert() {
    if programs::find("openssl", |_| true, "Debian's openssl").is_none() {
        return;
    }
    let scene = Scene::new().await;
    scene.configure(&backend::start("first").await.to_string(), "tls_key = 'hot'");
    let _publisher = scene.start();
    for name in [KEY.to_string(), format!("www.{KEY}"), format!("www.{KEY}.key")] {
        let said = scene.s_client(&name);
        assert!(said.contains("ALPN protocol: h2") && said.contains("TLSv1.3"), "{said}");
        let start = said.find("-----BEGIN CERTIFICATE-----").expect(&said);
        let pem = &said[start..said.find("-----END CERTIFICATE-----").unwrap()];
        let certificate = format!("{pem}-----END CERTIFICATE-----\n");
        scene.world.file("shown.pem", &certificate);
        let path = scene.world.path().join("shown.pem");
        let arguments = ["x509", "-noout", "-pubkey", "-subject", "-in"];
        let read = Command::new("openssl").args(arguments).arg(path).output().unwrap();
        let read = String::from_utf8(read.stdout).unwrap();
        assert!(read.contains(&format!("CN = {KEY}")), "{read}");
        // RFC 8410 section 4.
        let prefix = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        let hot = Keypair::from_secret_key(&[0x22; 32]).public_key();
        let expected = STANDARD.encode([&prefix[..], hot.as_bytes()].concat());
        assert!(read.contains(&expected), "{read}");
    }
    for name in ["example.com", "www.example.com"] {
        let said = scene.s_client(name);
        assert!(said.contains("unrecognized name"), "{said}");
    }
    // What is published is what is shown.
    scene.connect(scene.published(), "h2").await.unwrap();
    let hot = scene.world.run(&["publickey", "hot"]).out;
    scene.connect(of_key(hot.trim()), "h2").await.unwrap();
    assert!(scene.connect(of_key(KEY), "h2").await.is_err());
}
