//! The sites of identities over TLS: each ends with the key of its identity, and passes requests on to the web server behind it.

mod activity;
mod backend;
mod body;
mod connection;
mod forward;
mod headers;
mod host;
mod key;
mod page;
mod places;
mod records;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use ipnet::IpNet;
use pkdns::{base::access::Forwarders, edge::transport::accept, resolver::name::KEY_LABEL_LENGTH};
use pkdns_dht::signed_packet::PublicKey;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::config::{self, Tls};
use crate::{failure::Failure, terminal, zone_file::ZoneRecord};
use backend::Backend;
use places::Places;
pub(super) use {backend::look, key::TlsKey};

/// All sites that are served.
pub(super) struct Sites {
    /// By the address of the configuration.
    listeners: HashMap<SocketAddr, Listening>,
    /// By key in z-base-32.
    served: HashMap<String, Arc<Served>>,
    places: Places,
}

/// A listener, which ends with this.
struct Listening {
    bound: SocketAddr,
    table: Arc<Table>,
    _stop: DropGuard,
}

/// What is served at one address, which changes while connections come.
#[derive(Default)]
struct Table(Mutex<HashMap<String, Arc<Served>>>);

/// One site.
struct Served {
    /// That of its identity in the log.
    name: String,
    /// The key of its identity in z-base-32, which may be another one than that which ends TLS.
    identity: String,
    key: Arc<TlsKey>,
    /// For the next request.
    backend: Mutex<Backend>,
    /// When it is served no more.
    stop: CancellationToken,
}

/// A site that is to be served.
pub(super) struct Wanted {
    pub(super) key: PublicKey,
    pub(super) tls: Tls,
    pub(super) tls_key: Arc<TlsKey>,
}

/// What a packet says about a site.
struct Published {
    public_key_info: Vec<u8>,
    port: u16,
    https_record: bool,
}

/// Listeners that were not there before, by the address of the configuration.
pub(super) struct Fresh(HashMap<SocketAddr, (SocketAddr, TcpListener)>);

impl Wanted {
    /// The records by which it is found and verified. `bound` is the port at which it listens, if that is known.
    pub(super) fn records(&self, bound: Option<u16>) -> Result<Vec<ZoneRecord>, Failure> {
        let Self { key, tls, tls_key } = self;
        let configured = tls.listen.first().map(SocketAddr::port);
        let port = tls.port.or(bound).or(configured).unwrap_or(config::HTTPS_PORT);
        let public_key_info = tls_key.public_key_info().to_vec();
        records::of(key, &Published { public_key_info, port, https_record: tls.https_record })
    }
}

impl Table {
    /// The site of the key that `name` is below, whatever suffix it has.
    ///
    /// A name below the key of somebody else is served as well where there is only one site: it leads here by a record of its own,
    /// and whoever follows that expects the key of this site. Any other name is not one of ours.
    fn site(&self, name: Option<&str>) -> Option<Arc<Served>> {
        let sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let only = || sites.values().next().filter(|_| sites.len() == 1).cloned();
        match name {
            None => only(),
            Some(name) => {
                let key = name.rsplit('.').find_map(key_of)?;
                sites.get(&key).cloned().or_else(only)
            }
        }
    }
}

/// A label that is a key, in its canonical spelling.
fn key_of(label: &str) -> Option<String> {
    let label = Some(label).filter(|label| label.len() == KEY_LABEL_LENGTH)?.to_ascii_lowercase();
    PublicKey::try_from(label.as_str()).ok().map(|key| key.to_z32())
}

impl Served {
    fn backend(&self) -> Backend {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the backend is another one than before.
    fn set_backend(&self, address: &config::Backend) -> bool {
        let mut backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
        let is_other = backend.address() != address;
        if is_other {
            *backend = Backend::new(address.clone());
        }
        is_other
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Sites {
    pub(super) fn new() -> Self {
        Self { listeners: HashMap::new(), served: HashMap::new(), places: Places::new(Forwarders::default()) }
    }

    /// Binds what is not bound yet. Nothing is served there before [`Self::take`].
    pub(super) fn bind<'a>(&self, wanted: impl Iterator<Item = &'a Wanted>) -> Result<Fresh, Failure> {
        let mut fresh = HashMap::new();
        for address in wanted.flat_map(|wanted| &wanted.tls.listen) {
            if !self.listeners.contains_key(address) && !fresh.contains_key(address) {
                fresh.insert(*address, bind(*address)?);
            }
        }
        Ok(Fresh(fresh))
    }

    /// The port at which a site listens.
    pub(super) fn port(&self, wanted: &Wanted, fresh: &Fresh) -> Option<u16> {
        let address = wanted.tls.listen.first()?;
        let fresh = fresh.0.get(address).map(|(bound, _)| bound);
        fresh.or_else(|| self.listeners.get(address).map(|listening| &listening.bound)).map(SocketAddr::port)
    }

    /// Whose addresses stand for many visitors, from now on.
    pub(super) fn set_bridges(&self, bridges: Vec<IpNet>) {
        self.places.bridges().replace(bridges);
    }

    /// Serves these and no others from now on. Connections of sites that stay go on, and their next request goes to the web server
    /// that is named now.
    pub(super) fn take<'a>(&mut self, wanted: impl Iterator<Item = &'a Wanted>, fresh: Fresh) {
        let wanted: Vec<_> = wanted.collect();
        for (address, (bound, listener)) in fresh.0 {
            let listening = self.listen(bound, listener);
            self.listeners.insert(address, listening);
        }
        self.listeners.retain(|address, _| wanted.iter().any(|wanted| wanted.tls.listen.contains(address)));
        let before = std::mem::take(&mut self.served);
        for wanted in &wanted {
            let key = wanted.key.to_z32();
            let served = serve(&key, wanted, before.get(&key));
            self.served.insert(key, served);
        }
        for (address, listening) in &self.listeners {
            let here = wanted.iter().filter(|wanted| wanted.tls.listen.contains(address));
            let here = here.map(|wanted| wanted.key.to_z32());
            let sites =
                here.filter_map(|key| self.served.get(&key).map(|served| (key, served.clone()))).collect();
            *listening.table.0.lock().unwrap_or_else(PoisonError::into_inner) = sites;
        }
        // Connections hold their site, so that it would not end with the last that knows its key here.
        for (key, served) in before {
            if !self.served.get(&key).is_some_and(|new| Arc::ptr_eq(new, &served)) {
                served.stop.cancel();
            }
        }
    }

    fn listen(&self, bound: SocketAddr, listener: TcpListener) -> Listening {
        let (stop, table) = (CancellationToken::new(), Arc::new(Table::default()));
        let places = self.places.clone();
        let (stopped, shown) = (stop.clone(), table.clone());
        tokio::spawn(async move {
            accept(listener, &stopped, |stream, address| {
                let Some(seat) = places.connection(address) else { return };
                tokio::spawn(connection::serve(stream, address, shown.clone(), seat, places.clone()));
            })
            .await;
        });
        Listening { bound, table, _stop: stop.drop_guard() }
    }
}

/// The site as it was served before, if it has the same key.
fn serve(key: &str, wanted: &Wanted, before: Option<&Arc<Served>>) -> Arc<Served> {
    let Wanted { tls, tls_key, .. } = wanted;
    let name = super::identities::short(key);
    let addresses: Vec<String> = tls.listen.iter().map(ToString::to_string).collect();
    let note = || {
        let addresses = addresses.join(", ");
        terminal::note_about(&name, &format!("https at {addresses} for the web server at {}", tls.backend));
    };
    match before {
        Some(served) if served.key.public_key_info() == tls_key.public_key_info() => {
            if served.set_backend(&tls.backend) {
                note();
            }
            served.clone()
        }
        _ => {
            note();
            Arc::new(Served {
                name,
                identity: key.to_string(),
                key: tls_key.clone(),
                backend: Mutex::new(Backend::new(tls.backend.clone())),
                stop: CancellationToken::new(),
            })
        }
    }
}

fn bind(address: SocketAddr) -> Result<(SocketAddr, TcpListener), Failure> {
    let fail = |error: std::io::Error| {
        let advice = match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "give the program the right to it, with AmbientCapabilities=CAP_NET_BIND_SERVICE in its unit or \
                 setcap cap_net_bind_service=+ep on the file, or write another port with tls_port = 443"
            }
            std::io::ErrorKind::AddrNotAvailable => "write an address that this machine has, or 0.0.0.0",
            _ => "stop what listens there, or write another address",
        };
        Failure::Failed(format!("tls: cannot listen on {address}: {error}; {advice}"))
    };
    let listener = std::net::TcpListener::bind(address).map_err(fail)?;
    listener.set_nonblocking(true).map_err(fail)?;
    let bound = listener.local_addr().map_err(fail)?;
    Ok((bound, TcpListener::from_std(listener).map_err(fail)?))
}
