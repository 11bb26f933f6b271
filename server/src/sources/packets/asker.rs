//! On whose behalf a search begins, and what for.

use std::net::IpAddr;

use crate::base::client::Line;

/// Who wants to know about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A client, which waits in its line.
    Client(Line),
    /// Whoever asks for a name in an origin: resolvers, behind which anybody may be.
    Strangers,
}

/// What a search would be for. Whoever has it begun says whether it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// For a key of which nothing is held.
    Unseen,
    /// For a newer packet than the one that is held, whose time is over.
    Held,
    /// For a newer packet than one that may still be served. Nobody waits for it.
    Ahead,
    /// For what the network says now, because what is held may be served and is too old for this question.
    Fresh,
}

/// On whose behalf a search waits for its turn.
///
/// Who joins a search that has begun neither waits in line nor pays, and gets its result as soon as its starter. Who asks
/// for what another client still waits for stands in its own line, and pays for its own search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Starter {
    Client(Line),
    /// All packets that are fetched ahead of time have one turn together. Nobody waits for them.
    Refresh,
    /// All strangers have one turn together for keys that nobody knows here, and one for the others: made-up keys stand in
    /// nobody's way but in that of each other.
    Unseen,
    Known,
}

impl Asker {
    pub(super) fn starter(self, search: Search) -> Starter {
        match (self, search) {
            (_, Search::Ahead) => Starter::Refresh,
            (Self::Client(line), _) => Starter::Client(line),
            (Self::Strangers, Search::Unseen) => Starter::Unseen,
            (Self::Strangers, Search::Held | Search::Fresh) => Starter::Known,
        }
    }
}

impl From<Line> for Asker {
    fn from(line: Line) -> Self {
        Self::Client(line)
    }
}

impl From<IpAddr> for Asker {
    fn from(address: IpAddr) -> Self {
        Self::Client(address.into())
    }
}
