//! What transports ask of a responder.

use std::net::IpAddr;

use tokio::time::Instant;

use crate::base::message::{Query, Reply};

/// What a request came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// TCP in the clear.
    Tcp,
    /// DNS over TLS.
    Tls,
    /// DNS over HTTPS.
    Http,
    /// DNS over HTTP in the clear, behind a proxy.
    PlainHttp,
}

/// Who asks, and how the reply travels.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The client's address, as the limits count it.
    pub address: IpAddr,
    /// What the request came over.
    pub transport: Transport,
    /// How the reply travels.
    pub reply: Reply,
    /// When the request came: the clock is read once for requests that come together.
    pub now: Instant,
}

impl Client {
    /// Whether the way that the request came shows that the client is where it says. A datagram shows nothing; by its
    /// cookie it can, see [`Query::is_proven`].
    pub fn has_shaken_hands(&self) -> bool {
        self.transport != Transport::Udp
    }
}

/// What became of a request without waiting for anything.
#[derive(Debug)]
pub enum AtOnce {
    /// The reply was appended to the buffer.
    Replied,
    /// The client's quota is spent. Over a stream, a refusal was appended; over UDP there is no reply.
    OverQuota,
    /// There is no reply to this.
    Silence,
    /// The answer is not at hand: pass this to [`Respond::later`].
    Later(Box<Query>),
}

/// Why a client may not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is not served.
    Access,
    /// Its quota is spent.
    Quota,
}

/// Answers requests. Transports are written against this, so that they can be tested with answers of any speed.
pub trait Respond: Send + Sync + 'static {
    /// Replies from what is at hand, where the bytes arrived: refusals and cached answers. Never blocks.
    fn at_once(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce;

    /// Whether a client may ask, before its request is read, and charges it for the one that comes.
    ///
    /// # Errors
    ///
    /// Why it may not.
    fn admit(&self, _client: Client) -> Result<(), Refused> {
        Ok(())
    }

    /// As [`Respond::at_once`], for the request of a client that [`Respond::admit`] has let pass: nothing is charged
    /// twice.
    fn at_once_admitted(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce {
        self.at_once(request, client, out)
    }

    /// Finds the answer and appends the reply. Ends within [`crate::resolver::DEADLINE`].
    fn later(&self, query: &Query, client: Client, out: &mut Vec<u8>) -> impl Future<Output = ()> + Send;

    /// Whether a TLS handshake may be begun with a client, which costs it as much as a query.
    fn admit_handshake(&self, _address: IpAddr) -> bool {
        true
    }

    /// Whether there are names for everybody, so that those whom `[access]` does not serve are not only refused.
    fn has_names_for_everybody(&self) -> bool {
        false
    }

    /// Takes note of a query that gets no reply because too many wait for theirs.
    fn turned_away(&self, _client: Client) {}

    /// Takes note of a reply that was ready too late to be sent.
    fn too_late(&self, _client: Client) {}
}
