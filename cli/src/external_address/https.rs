//! Services that answer a request with an address.

use std::{net::IpAddr, sync::Arc};

use http::{Method, Uri};
use http_body_util::{BodyExt, Limited};
use pkdns_dht::HostResolver;

use super::Family;
use crate::{failure::Failure, http_client::HttpClient, network, terminal::printable};

/// An address with a line end has far fewer bytes.
const MAX_BODY_SIZE: usize = 256;

/// Asks over either family.
#[derive(Clone)]
pub(super) struct Https {
    ipv4: HttpClient,
    ipv6: HttpClient,
}

impl Https {
    pub(super) fn new() -> Result<Self, Failure> {
        let tls = network::authorities()?;
        let client = |family| HttpClient::new(&tls, resolver_of(family));
        Ok(Self { ipv4: client(Family::Ipv4), ipv6: client(Family::Ipv6) })
    }

    pub(super) async fn ask(&self, uri: Uri, family: Family) -> Result<IpAddr, String> {
        let client = match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        };
        let response = client.request(Method::GET, uri).await;
        let response = response.map_err(|why| format!("it cannot be asked: {why}"))?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_BODY_SIZE).collect().await;
        let body = body.map_err(|_| "it said something else than an address".to_string())?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        text.trim().parse().map_err(|_| {
            let shown: String = text.trim().chars().take(40).collect();
            format!("it said \"{}\", which is not an address", printable(&shown))
        })
    }
}

/// The addresses of one family alone.
fn resolver_of(family: Family) -> HostResolver {
    let all = network::system_resolver();
    Arc::new(move |host| {
        let addresses = all(host);
        Box::pin(async move {
            let mut addresses = addresses.await;
            addresses.retain(|address| family.holds(*address));
            addresses
        })
    })
}
