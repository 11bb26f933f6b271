//! Who may connect, and who it is: places for connections, and the word of trusted proxies about their clients.

use std::{io, net::IpAddr, sync::Arc};

use tokio::net::TcpStream;

use super::{
    Slot, Slots,
    proxy_protocol::{self, Proxied},
};
use crate::access::{Forwarders, TrustedProxies};

/// Gives places to connections. All listeners of a kind share one.
#[derive(Debug)]
pub struct Entrance {
    places: Arc<Slots>,
    trusted: TrustedProxies,
}

/// A connection that has a place, until this is dropped.
#[derive(Debug)]
pub struct Guest {
    /// The client, as far as is known: the peer, or whom a trusted proxy names.
    pub address: IpAddr,
    /// Whether `address` is a trusted proxy, which may name the client of each request.
    pub is_proxy: bool,
    _slot: Slot,
}

impl Entrance {
    /// At most `cap` connections, `cap_per_client` for each client that is no trusted proxy.
    pub fn new(cap: usize, cap_per_client: usize, trusted: TrustedProxies) -> Self {
        Self { places: Slots::new(cap, cap_per_client), trusted }
    }

    /// Gives forwarders more places than one client has.
    #[must_use]
    pub fn with_forwarders(self, forwarders: Forwarders) -> Self {
        Self { places: self.places.with_forwarders(forwarders), ..self }
    }

    /// A place for a connection from `peer`, or `None` when it has to be closed.
    pub fn admit(&self, peer: IpAddr) -> Option<Guest> {
        let is_proxy = self.trusted.contains(peer);
        let slot = if is_proxy { self.places.take_for_many() } else { self.places.take(peer) };
        Some(Guest { address: peer, is_proxy, _slot: slot? })
    }

    /// Reads what a trusted proxy says of its client before the first byte of the client itself (PROXY protocol v2).
    /// The caller has the deadline.
    ///
    /// # Errors
    ///
    /// When the connection ends, what the proxy says is malformed, or the client has too many connections.
    pub async fn identify(&self, guest: Guest, stream: &mut TcpStream) -> io::Result<Guest> {
        if !guest.is_proxy {
            return Ok(guest);
        }
        match proxy_protocol::read(stream).await? {
            Some(Proxied::For(client)) => {
                drop(guest);
                self.admit(client).ok_or_else(|| io::Error::other("too many connections"))
            }
            Some(Proxied::Own) | None => Ok(guest),
        }
    }

    /// Whether more than three quarters of the places are taken.
    pub fn is_crowded(&self) -> bool {
        self.places.are_scarce()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_proxy_is_many_clients_and_everyone_else_is_one() {
        let entrance = Entrance::new(5, 2, TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]));
        let (client, proxy) = ("192.0.2.1".parse().unwrap(), "10.0.0.1".parse().unwrap());
        let _of_client = [entrance.admit(client).unwrap(), entrance.admit(client).unwrap()];
        assert!(entrance.admit(client).is_none());
        let of_proxy: Vec<_> = (0..3).map(|_| entrance.admit(proxy).unwrap()).collect();
        assert!(of_proxy.iter().all(|guest| guest.is_proxy));
        assert!(entrance.admit(proxy).is_none(), "the cap over all holds");
        assert!(entrance.is_crowded());
        drop(of_proxy);
        assert!(!entrance.is_crowded());
    }
}
