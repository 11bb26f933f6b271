//! Where answers come from.

/// Where an answer came from, as logs and metrics say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The answer cache: nobody was asked.
    Cache,
    /// An answer past its time, because those who know could not be asked.
    Stale,
    /// The packet of a key.
    Key,
    /// An origin: its zone file, or the packet of a key in it.
    Origin,
    /// The name servers of a key's zone.
    NameServer,
    /// An upstream resolver.
    Upstream,
    /// Names of the own network: `[local]`, and the zones of this server itself.
    Local,
    /// The table of names that are answered by nobody else.
    Special,
    /// It was refused, or is nothing that is answered.
    Refused,
    /// Nobody who knows gave an answer.
    Failed,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Cache,
        Self::Stale,
        Self::Key,
        Self::Origin,
        Self::NameServer,
        Self::Upstream,
        Self::Local,
        Self::Special,
        Self::Refused,
        Self::Failed,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Stale => "stale",
            Self::Key => "key",
            Self::Origin => "origin",
            Self::NameServer => "name_server",
            Self::Upstream => "upstream",
            Self::Local => "local",
            Self::Special => "special",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}
