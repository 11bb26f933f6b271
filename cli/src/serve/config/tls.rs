//! `tls` of an identity: its site over TLS, and what serves it.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de};

use super::Identity;

/// The port of HTTPS, which visitors come to unless an HTTPS record names another one.
pub(in crate::serve) const HTTPS_PORT: u16 = 443;

/// Addresses of one identity.
const MAX_ADDRESSES: usize = 16;

/// What stands before the path of a socket.
const UNIX: &str = "unix:";

/// The site of an identity over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve) struct Tls {
    /// Where visitors come to. Never empty.
    pub(in crate::serve) listen: Vec<SocketAddr>,
    /// Who answers them.
    pub(in crate::serve) backend: Backend,
    /// The port that visitors are told of, if it is another one than that of `listen`.
    pub(in crate::serve) port: Option<u16>,
    /// Whether an HTTPS record is published.
    pub(in crate::serve) https_record: bool,
}

/// A web server that speaks HTTP/1.1 in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::serve) enum Backend {
    /// `HOST:PORT`.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Backend {
    /// Its path, which is relative to the folder of the configuration.
    pub(super) fn path(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Backend {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        backend(&text).ok_or_else(|| {
            de::Error::custom("expected an address such as 127.0.0.1:8080, or unix:/run/app.sock")
        })
    }
}

fn backend(text: &str) -> Option<Backend> {
    if let Some(path) = text.strip_prefix(UNIX) {
        return (!path.is_empty()).then(|| Backend::Unix(Path::new(path).to_path_buf()));
    }
    let address = text.strip_prefix("http://").unwrap_or(text);
    let address = address.strip_suffix('/').unwrap_or(address);
    let (host, port) = address.rsplit_once(':')?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port != 0);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_host = !host.is_empty() && host.bytes().all(is_name) || address.parse::<SocketAddr>().is_ok();
    (is_port && is_host).then(|| Backend::Tcp(address.to_string()))
}

/// One address, or a list of them.
pub(super) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }
    let wrong = || de::Error::custom("expected addresses such as 0.0.0.0:443");
    let texts = match OneOrMore::deserialize(deserializer).map_err(|_| wrong())? {
        OneOrMore::One(text) => vec![text],
        OneOrMore::More(texts) => texts,
    };
    texts.iter().map(|text| text.parse().map_err(|_| wrong())).collect()
}

impl Identity {
    /// Takes out what is about its site, which is served by itself.
    pub(in crate::serve) fn take_tls(&mut self) -> Option<Tls> {
        let (listen, port) = (std::mem::take(&mut self.tls), self.tls_port.take());
        let (backend, https_record) = (self.backend.take(), std::mem::take(&mut self.https_record));
        self.tls_key = None;
        backend.filter(|_| !listen.is_empty()).map(|backend| Tls { listen, backend, port, https_record })
    }

    /// What of it does not go together.
    pub(super) fn tls_faults(&self, is_known: impl Fn(&[&str]) -> bool) -> Vec<&'static str> {
        let has_tls = !self.tls.is_empty();
        let has_more = self.tls_key.is_some() || self.tls_port.is_some() || self.https_record;
        let is_standard = match (self.tls_port, self.tls.first()) {
            (Some(port), _) => port == HTTPS_PORT,
            (None, first) => first.is_none_or(|first| first.port() == HTTPS_PORT),
        };
        let rules: [(bool, &[&str], &'static str); 6] = [
            (
                has_tls && self.backend.is_none(),
                &["backend", "?"],
                "tls needs the web server that answers, such as backend = \"127.0.0.1:8080\"",
            ),
            (
                !has_tls && self.backend.is_some(),
                &["tls", "?"],
                "backend needs where visitors come to, such as tls = \"0.0.0.0:443\"",
            ),
            (!has_tls && has_more, &["tls", "?"], "tls_key, tls_port and https_record need tls and backend"),
            (
                self.tls.len() > MAX_ADDRESSES,
                &[],
                "tls names more than 16 addresses; leave some out, or write 0.0.0.0:443",
            ),
            (
                self.tls_port == Some(0),
                &[],
                "tls_port is 0, to which nobody can connect; write the port that visitors come to",
            ),
            (
                has_tls && !is_standard && !self.https_record,
                &["tls_port", "https_record", "?"],
                "visitors come to port 443 unless an HTTPS record says otherwise: add tls_port = 443 if a router passes that \
                 port on to here, or https_record = true",
            ),
        ];
        let faults = rules.into_iter().filter(|(is_wrong, keys, _)| *is_wrong && is_known(keys));
        faults.map(|(_, _, advice)| advice).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_an_address_or_a_socket() {
        let tcp = |text: &str| Some(Backend::Tcp(text.to_string()));
        for (text, expected) in [
            ("127.0.0.1:80", tcp("127.0.0.1:80")),
            ("[::1]:8080", tcp("[::1]:8080")),
            ("app:3000", tcp("app:3000")),
            ("http://localhost:3000/", tcp("localhost:3000")),
            ("unix:/run/app.sock", Some(Backend::Unix("/run/app.sock".into()))),
            ("unix:", None),
            ("127.0.0.1", None),
            ("127.0.0.1:0", None),
            ("::1:80", None),
            ("https://localhost:443", None),
            ("localhost:80/path", None),
            ("", None),
        ] {
            assert_eq!(backend(text), expected, "{text}");
        }
    }
}
