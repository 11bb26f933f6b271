//! `[metrics]` and `[status]`: what is seen of a running server, and by whom.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Fault, NO_PORT, address};
use crate::base::access::{AccessList, Allowed};

/// What the address of a Unix socket holds on any system, in bytes, less what its name has at first.
const LONGEST_PATH: usize = 102;

/// Counters for Prometheus.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Addresses of `/metrics`.
    #[serde(deserialize_with = "address::list::<NO_PORT, _>")]
    pub listen: Vec<SocketAddr>,
}

/// What `pkdns status` asks, and who may see `/status`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Status {
    /// The socket. An empty path stands for none.
    pub path: Option<PathBuf>,
    /// Who may see the page. Nobody when empty.
    #[serde(deserialize_with = "address::allowed")]
    pub allow: Vec<Allowed>,
}

impl Default for Status {
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1/128"];
        Self { path: None, allow: loopback.iter().filter_map(|range| range.parse().ok()).collect() }
    }
}

impl Status {
    /// Who may see the page.
    pub fn list(&self) -> AccessList {
        AccessList::new(self.allow.clone(), Vec::new())
    }

    /// The socket, if there is to be one.
    pub fn socket(&self) -> Option<&Path> {
        self.path.as_deref().filter(|path| !path.as_os_str().is_empty())
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        let socket = self.socket().filter(|path| !is_socket_path(path))?;
        let length = socket.as_os_str().len();
        let advice = format!(
            "has {length} bytes, and the path of a socket may have {LONGEST_PATH}; write a shorter one, such as \
             /run/pkdns/status.sock"
        );
        Some(Fault { key: "status.path", others: &[], advice })
    }
}

/// Whether a path is short enough for a socket.
pub fn is_socket_path(path: &Path) -> bool {
    path.as_os_str().len() <= LONGEST_PATH
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::base::config::{Config, ConfigError, ConfigFile};

    fn parse(text: &str) -> Result<Config, ConfigError> {
        ConfigFile::parse(Path::new("pkdns.toml"), text)?.check()
    }

    #[test]
    fn a_socket_with_a_path_that_no_system_takes_is_an_error_with_its_line() {
        let long = format!("[status]\npath = \"/{}\"", "x".repeat(102));
        let message = parse(&long).expect_err("too long").to_string();
        assert!(message.starts_with("pkdns.toml:2: status.path: has 103 bytes"), "{message}");
        let config = parse("[status]\npath = \"/run/pkdns/status.sock\"").expect("short enough");
        assert_eq!(config.status.socket(), Some(Path::new("/run/pkdns/status.sock")));
        assert_eq!(parse("[status]\npath = \"\"").expect("none").status.socket(), None);
    }

    #[test]
    fn the_page_of_the_operator_is_for_this_machine_unless_the_file_says_for_whom_else() {
        let allows = |text: &str, client: &str| {
            parse(text).expect("sound").status.list().allows(client.parse().expect("an address"))
        };
        for (text, client, is_allowed) in [
            ("", "127.0.0.1", true),
            ("", "::1", true),
            ("", "192.168.1.9", false),
            ("status.allow = '192.168.1.0/24'", "192.168.1.9", true),
            ("status.allow = '192.168.1.0/24'", "127.0.0.1", false),
            ("status.allow = []", "127.0.0.1", false),
        ] {
            assert_eq!(allows(text, client), is_allowed, "{text}: {client}");
        }
    }
}
