//! The one door: every transport hands the bytes of a request to this.

use std::net::IpAddr;

use crate::message::{Query, Reply};

/// Who asks, and how the reply travels.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The client's address, as the limits count it.
    pub address: IpAddr,
    /// Datagram or stream.
    pub reply: Reply,
}

/// What became of a request without waiting for anything.
#[derive(Debug)]
pub enum AtOnce {
    /// The reply was appended to the buffer.
    Replied,
    /// There is no reply to this.
    Silence,
    /// The answer is not at hand: pass this to [`Respond::later`].
    Later(Box<Query>),
}

/// Answers requests. Transports are written against this, so that they can be tested with answers of any speed.
pub trait Respond: Send + Sync + 'static {
    /// Replies from what is at hand, where the bytes arrived: refusals and cached answers. Never blocks.
    fn at_once(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce;

    /// Finds the answer and appends the reply. Ends within [`crate::resolver::DEADLINE`].
    fn later(&self, query: &Query, client: Client, out: &mut Vec<u8>) -> impl Future<Output = ()> + Send;
}
