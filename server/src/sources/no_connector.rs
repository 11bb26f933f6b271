//! In place of connections to HTTP servers where they are left out.

use pkdns_dht::HostResolver;

#[derive(Clone)]
pub struct Connector;

impl Connector {
    pub fn new<T>(_: T, _: HostResolver) -> Self {
        Self
    }
}
