//! TLS of a listener that may change while it listens.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;

/// What new connections are encrypted with. Those that are open keep what they began with. Cheap to clone; clones change
/// together.
#[derive(Clone)]
pub struct SharedTls(Arc<ArcSwap<TlsAcceptor>>);

impl SharedTls {
    /// For a new connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::clone(&self.0.load())
    }

    /// Takes another one in place of this.
    pub fn replace(&self, acceptor: TlsAcceptor) {
        self.0.store(Arc::new(acceptor));
    }
}

impl From<TlsAcceptor> for SharedTls {
    fn from(acceptor: TlsAcceptor) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(acceptor)))
    }
}

impl fmt::Debug for SharedTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTls").finish_non_exhaustive()
    }
}
