//! `[log]`, `[query_log]` and `[dnstap]`: what is written about the server and about queries, and where.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{Config, NO_PORT, check::Faults, parse_address};

const TCP_SCHEME: &str = "tcp://";

/// Longest path of a Unix socket in bytes (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// Longest identity in bytes: as much as a host name may have.
const MAX_IDENTITY: usize = 255;

/// What the server says about itself, on stderr.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How lines are written.
    pub format: LogFormat,
}

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// As text. Where stderr leads to systemd's journal, that has the time and the priority of each line, and the line does not.
    #[default]
    Auto,
    /// As text with a time, wherever it goes.
    Text,
    /// Each line a JSON object.
    Json,
}

/// A line for each query, or counts of them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryLog {
    /// What is written of clients and names.
    pub level: QueryLogLevel,
    /// The file. The log of the server when absent or empty.
    pub path: Option<PathBuf>,
    /// How lines of the file are written. Those in the log of the server are as `[log]` says.
    pub format: QueryLogFormat,
}

/// What the query log holds of clients and names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryLogLevel {
    /// Nothing is written.
    #[default]
    Off,
    /// Once a minute, how many queries ended in which way. No names and no clients.
    Counts,
    /// A line for each query, with the client's network: a /24 of IPv4, a /48 of IPv6.
    Truncated,
    /// A line for each query, with the client's address.
    Full,
}

/// How lines of a query log in a file are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueryLogFormat {
    /// `key=value`, with spaces between.
    #[default]
    Logfmt,
    /// Each line a JSON object.
    Json,
}

/// Queries and replies as dnstap, for a collector.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dnstap {
    /// The collector. Nothing is sent when absent.
    #[serde(deserialize_with = "optional_target")]
    pub to: Option<DnstapTarget>,
    /// What it is told of the addresses of clients.
    pub clients: DnstapClients,
    /// The name by which it knows this server. That of the machine when empty.
    pub identity: String,
}

/// What a dnstap collector is told of the addresses of clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DnstapClients {
    /// The network: a /24 of IPv4, a /48 of IPv6.
    #[default]
    Truncated,
    /// The address.
    Full,
}

impl QueryLog {
    /// The file, where there is one.
    pub fn file(&self) -> Option<&Path> {
        self.path.as_deref().filter(|path| !path.as_os_str().is_empty())
    }
}

/// Where a dnstap collector listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnstapTarget {
    /// At the Unix socket of this path.
    Unix(PathBuf),
    /// At this address, over TCP.
    Tcp(SocketAddr),
}

impl fmt::Display for DnstapTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "{TCP_SCHEME}{address}"),
        }
    }
}

impl Serialize for DnstapTarget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads `/PATH` or `tcp://ADDRESS:PORT`. An empty text stands for none.
fn optional_target<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DnstapTarget>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(match text.strip_prefix(TCP_SCHEME) {
        Some(address) => Some(DnstapTarget::Tcp(parse_address(address, NO_PORT).map_err(D::Error::custom)?)),
        None if text.is_empty() => None,
        None if text.starts_with('/') => Some(DnstapTarget::Unix(text.into())),
        None => {
            let advice = "is neither the path of a Unix socket nor tcp://ADDRESS:PORT";
            return Err(D::Error::custom(format!("`{text}` {advice}; write one such as /run/dnstap.sock")));
        }
    })
}

impl Config {
    pub(super) fn check_logs(&self, faults: &mut Faults) {
        let Dnstap { to, identity, .. } = &self.dnstap;
        let is_long = |to: &DnstapTarget| matches!(to, DnstapTarget::Unix(path) if path.as_os_str().len() > MAX_SOCKET_PATH);
        faults.add_if(
            to.as_ref().is_some_and(is_long),
            "dnstap.to",
            "is longer than the 107 bytes that the path of a socket may have",
        );
        faults.add_if(identity.len() > MAX_IDENTITY, "dnstap.identity", "must not be longer than 255 bytes");
        let is_directory = |path: &Path| path.as_os_str().as_encoded_bytes().ends_with(b"/");
        faults.add_if(
            self.query_log.file().is_some_and(is_directory),
            "query_log.path",
            "is a directory; write the name of a file in it",
        );
    }
}
