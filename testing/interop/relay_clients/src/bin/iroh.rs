//! Endpoints of iroh that find each other through a relay, and through DNS below an origin.
//!
//!     iroh RELAY DNS ORIGIN     prints the key of the endpoint that was found both ways

use std::{env::args, net::SocketAddr, time::Duration};

use iroh::{
    Endpoint, EndpointId, RelayMode,
    address_lookup::{AddrFilter, DnsAddressLookup, PkarrPublisher, PkarrResolver},
    dns::DnsResolver,
    endpoint::{Builder, presets::Minimal},
};

const ALPN: &[u8] = b"pkdns-test";

/// An endpoint publishes when it knows its own addresses.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() {
    let [_, relay, dns, origin] = args().collect::<Vec<_>>().try_into().expect("three arguments");
    let relay: url::Url = relay.parse().expect("a URL");
    let dns: SocketAddr = dns.parse().expect("an address");
    let publisher = PkarrPublisher::builder(relay.clone()).addr_filter(AddrFilter::ip_only());
    let found =
        endpoint(dns).alpns(vec![ALPN.to_vec()]).address_lookup(publisher).bind().await.expect("an endpoint");
    let key = found.id();
    let accepting = found.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            if let Ok(connection) = incoming.await {
                tokio::spawn(async move { connection.closed().await });
            }
        }
    });
    let by_relay =
        endpoint(dns).address_lookup(PkarrResolver::builder(relay)).bind().await.expect("an endpoint");
    connect(&by_relay, key).await;
    let by_dns =
        endpoint(dns).address_lookup(DnsAddressLookup::builder(origin)).bind().await.expect("an endpoint");
    connect(&by_dns, key).await;
    println!("{}", key.to_z32());
}

fn endpoint(dns: SocketAddr) -> Builder {
    Endpoint::builder(Minimal).relay_mode(RelayMode::Disabled).dns_resolver(DnsResolver::with_nameserver(dns))
}

async fn connect(endpoint: &Endpoint, key: EndpointId) {
    let mut failure = None;
    for _ in 0..TRIES {
        match endpoint.connect(key, ALPN).await {
            Ok(connection) => return connection.close(0_u8.into(), b""),
            Err(error) => failure = Some(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{key} is not found: {failure:?}");
}
