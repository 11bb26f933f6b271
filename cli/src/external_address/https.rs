//! Services that answer a request with an address.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Uri, header::USER_AGENT};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use pkdns::{connector::Connector, dht::HostResolver};

use super::Family;
use crate::{failure::Failure, network, terminal::printable};

/// An address with a line end has far fewer bytes.
const MAX_BODY_SIZE: usize = 256;

/// Asks over either family.
#[derive(Clone)]
pub(super) struct Https {
    ipv4: Client<Connector, Empty<Bytes>>,
    ipv6: Client<Connector, Empty<Bytes>>,
}

impl Https {
    pub(super) fn new() -> Result<Self, Failure> {
        let client = |family| -> Result<_, Failure> {
            let tls = (*network::authorities()?.for_tls()).clone();
            let connector = Connector::new(tls, resolver_of(family));
            // An address may change while a connection stays.
            Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
        };
        Ok(Self { ipv4: client(Family::Ipv4)?, ipv6: client(Family::Ipv6)? })
    }

    pub(super) async fn ask(&self, uri: Uri, family: Family) -> Result<IpAddr, String> {
        let client = match family {
            Family::Ipv4 => &self.ipv4,
            Family::Ipv6 => &self.ipv6,
        };
        let request = Request::get(uri).header(USER_AGENT, "pkdns-cli").body(Empty::new());
        let request = request.map_err(|error| error.to_string())?;
        let response = client
            .request(request)
            .await
            .map_err(|error| format!("it cannot be asked: {}", cause(&error)))?;
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

/// What lies at the bottom of an error, which says more than its top.
fn cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    printable(&error.to_string())
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
