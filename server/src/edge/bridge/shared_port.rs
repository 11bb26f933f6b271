//! A port that the bridge shares with a listener of HTTPS: the name that a client asks for decides who answers it.

use std::{
    fmt,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::net::TcpStream;

use super::{Bridge, Sites, hello::Hello};
use crate::edge::transport::Ending;

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The bridge as another listener sees it. Clones are switched together.
#[derive(Clone)]
pub struct SharedPort {
    bridge: Arc<dyn Neighbour>,
    is_on: Arc<AtomicBool>,
}

trait Neighbour: Send + Sync {
    fn is_for(&self, server_name: Option<&str>) -> bool;
    fn take_over(self: Arc<Self>, hello: Hello<TcpStream>, client: IpAddr, ending: Ending) -> Serving;
}

impl SharedPort {
    /// Switched off.
    pub fn new<S: Sites>(bridge: Arc<Bridge<S>>) -> Self {
        Self { bridge, is_on: Arc::default() }
    }

    /// From now on the port is shared, or is not. Returns whether it was.
    pub fn switch(&self, on: bool) -> bool {
        self.is_on.swap(on, Ordering::Relaxed)
    }

    /// Whether clients have to be asked for whom they come.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether a client that asks for `server_name` is for the bridge.
    pub fn is_for(&self, server_name: Option<&str>) -> bool {
        self.bridge.is_for(server_name)
    }

    /// Goes on with a connection of `client`, which has been charged for its handshake, until it ends.
    pub fn take_over(
        &self,
        hello: Hello<TcpStream>,
        client: IpAddr,
        ending: Ending,
    ) -> impl Future<Output = ()> + Send + use<> {
        self.bridge.clone().take_over(hello, client, ending)
    }
}

impl fmt::Debug for SharedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPort").field("is_on", &self.is_on).finish_non_exhaustive()
    }
}

impl<S: Sites> Neighbour for Bridge<S> {
    fn is_for(&self, server_name: Option<&str>) -> bool {
        Bridge::is_for(self, server_name)
    }

    fn take_over(self: Arc<Self>, hello: Hello<TcpStream>, client: IpAddr, ending: Ending) -> Serving {
        Box::pin(Bridge::take_over(self, hello, client, ending))
    }
}
