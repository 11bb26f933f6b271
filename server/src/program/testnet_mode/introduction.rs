//! What a testnet says at its start: commands that work as they stand.

use std::{fmt, net::SocketAddr};

/// Where `pkdns-cli --testnet` joins the DHT.
const USUAL_BOOTSTRAP: &str = "127.0.0.1:6881";

/// What there is to try.
pub(super) struct Introduction {
    pub(super) nodes: usize,
    /// Nodes that hold the sample zone.
    pub(super) stored: u32,
    pub(super) key: String,
    /// Command lines that open the site of the key.
    pub(super) browsers: Vec<String>,
    pub(super) dns: SocketAddr,
    pub(super) http: Option<SocketAddr>,
    /// Whether names that are no keys are answered in this process.
    pub(super) is_upstream_ours: bool,
    /// How `pkdns-cli` is called.
    pub(super) cli: String,
    pub(super) bootstrap: String,
}

impl fmt::Display for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, stored, key, dns, cli, bootstrap, .. } = self;
        write!(
            f,
            "\nA DHT of {nodes} nodes runs in this process, at {bootstrap}. {stored} of them hold a sample zone: that of the \
             key of a small site.\n\n"
        )?;
        if !self.browsers.is_empty() {
            f.write_str(
                "Open the site in a browser. The profile is a new one, so that yours stays as it is. In another terminal:\n\n",
            )?;
            for line in &self.browsers {
                writeln!(f, "  {line}")?;
            }
            f.write_str("\n")?;
        }
        let dig = format!("dig @{} -p {}", dns.ip(), dns.port());
        let icann = match self.is_upstream_ours {
            true => "answered by a stand-in in this process; for the real one add -f 8.8.8.8",
            false => "answered by the resolver that -f names",
        };
        let terminal = if self.browsers.is_empty() { " In another terminal:" } else { "" };
        write!(
            f,
            "Ask for its records.{terminal}\n\
             \n  {dig} {key}\
             \n  {dig} www.{key}.key\
             \n  {dig} +tcp _pubky.{key} HTTPS\
             \n  {dig} example.com                # {icann}\n\n"
        )?;
        if let Some(http) = self.http {
            write!(
                f,
                "Over HTTP, where http://{http}/ shows how to set up a browser:\n\
                 \n  dig +http-plain @{} -p {} www.{key}.key\
                 \n  curl 'http://{http}/resolve?name={key}'\n\
                 \n\
                 To PKARR clients, http://{http} is a relay.\n\n",
                http.ip(),
                http.port()
            )?;
        }
        let network = match &**bootstrap {
            USUAL_BOOTSTRAP => "--testnet".to_owned(),
            other => format!("--bootstrap {other}"),
        };
        write!(
            f,
            "Publish a zone of your own into this DHT:\n\
             \n  {cli} generate --out my.seed\
             \n  echo '@ 300 A 127.0.0.1' > my.zone\
             \n  {cli} {network} publish my.seed my.zone\n\
             \n\
             Ctrl-C ends it all{}.\n\n",
            if self.browsers.is_empty() { "" } else { ", and removes the profile" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn introduction() -> Introduction {
        Introduction {
            nodes: 20,
            stored: 20,
            key: "KEY".into(),
            browsers: vec!["chromium https://KEY.key:8443/".into()],
            dns: "127.0.0.1:5300".parse().unwrap(),
            http: "127.0.0.1:5380".parse().ok(),
            is_upstream_ours: true,
            cli: "pkdns-cli".into(),
            bootstrap: USUAL_BOOTSTRAP.into(),
        }
    }

    #[test]
    fn a_dht_at_the_usual_port_needs_no_address_in_commands() {
        let text = introduction().to_string();
        assert!(text.contains("\n  pkdns-cli --testnet publish my.seed my.zone\n"), "{text}");
        let other = Introduction { bootstrap: "127.0.0.1:6882".into(), ..introduction() }.to_string();
        assert!(other.contains("\n  pkdns-cli --bootstrap 127.0.0.1:6882 publish"), "{other}");
    }

    #[test]
    fn what_is_not_there_is_not_offered() {
        let bare = Introduction { browsers: Vec::new(), http: None, ..introduction() }.to_string();
        assert!(!bare.contains("browser") && !bare.contains("HTTP,") && !bare.contains("relay"), "{bare}");
        assert!(bare.contains("Ask for its records. In another terminal:"), "{bare}");
    }
}
