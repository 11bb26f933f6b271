//! A query as it is recorded.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use hickory_proto::op::ResponseCode;

use crate::base::{message::Question, metrics::Source};

/// What a query came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// TCP in the clear.
    Tcp,
    /// DNS over TLS.
    Tls,
    /// DNS over HTTPS, or over HTTP behind a proxy.
    Http,
}

impl Protocol {
    /// The word for it, as in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "dot",
            Self::Http => "doh",
        }
    }
}

/// A query, and what became of it.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// Who asked.
    pub client: IpAddr,
    /// What the query came over.
    pub protocol: Protocol,
    /// Its bytes, where they are at hand.
    pub request: Option<&'a [u8]>,
    /// What was asked for, where that could be read.
    pub question: Option<&'a Question>,
    /// The reply. Empty where there is none.
    pub reply: &'a [u8],
    /// What the client was told without a reply.
    pub code: Option<ResponseCode>,
    /// Where the answer came from.
    pub source: Source,
    /// When the query came.
    pub asked: SystemTime,
    /// From then to now.
    pub took: Duration,
}
