//! What one client may ask, and that nobody who forges its address takes it away.

// What a test waits for holds all that the resolver may wait for.
#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod cookies;
mod dig;
mod floods;
mod messages;
mod strangers;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use pkdns::{
    config::Config,
    message::Reply,
    metrics::Metrics,
    resolver::Resolver,
    service::{AtOnce, Client, Respond, Service, Transport},
    sources::{
        forward::{Forwarder, TlsClient},
        packets::Packets,
    },
};
use pkdns_dht::testing::FakeNetwork;
use tokio::time::Instant;

/// A client like any other.
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7));

/// The service behind all transports, without one of them. It knows names such as `localhost` and absent keys.
pub(crate) struct Door {
    service: Service,
    pub(crate) metrics: Metrics,
}

impl Door {
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let forwarder = Arc::new(Forwarder::new(Vec::new(), &TlsClient::new(None).unwrap()));
        let packets = Packets::new(&config.cache, Arc::<FakeNetwork>::default());
        let resolver = Resolver::new(&config, packets, forwarder.clone());
        let metrics = Metrics::default();
        Self { service: Service::new(&config, resolver, forwarder, &metrics), metrics }
    }

    /// The reply to `request` from [`CLIENT`].
    pub(crate) async fn ask(&self, request: &[u8], transport: Transport) -> Option<Vec<u8>> {
        self.ask_from(CLIENT, request, transport).await
    }

    pub(crate) async fn ask_from(
        &self,
        address: IpAddr,
        request: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let reply = match transport {
            Transport::Udp => Reply::Datagram,
            _ => Reply::Stream { idle_timeout: None, is_encrypted: transport != Transport::Tcp },
        };
        let client = Client { address, transport, reply, now: Instant::now() };
        let mut out = Vec::new();
        match self.service.at_once(request, client, &mut out) {
            AtOnce::Replied => {}
            AtOnce::OverQuota if transport == Transport::Udp => {
                assert!(out.is_empty(), "a flood is answered");
            }
            AtOnce::OverQuota => {}
            AtOnce::Silence => return None,
            AtOnce::Later(query) => self.service.later(&query, client, &mut out).await,
        }
        (!out.is_empty()).then_some(out)
    }

    /// As many datagrams in the name of [`CLIENT`].
    pub(crate) async fn forge(&self, count: usize, request: &[u8]) -> Vec<Vec<u8>> {
        let mut replies = Vec::new();
        for _ in 0..count {
            replies.extend(self.ask(request, Transport::Udp).await);
        }
        replies
    }
}
