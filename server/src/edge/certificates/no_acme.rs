//! In place of ACME where it is left out. A configuration that asks for it is refused.

use std::{fmt, future::pending, path::Path, sync::Arc};

use tokio_rustls::rustls::sign::CertifiedKey;

use super::{CertificateError, Connections, shown::Shown};
use crate::base::config;

#[derive(Debug)]
pub(super) struct Acme;

impl Acme {
    pub(super) fn new(_: &config::Certificate, _: &config::Acme, _: Connections) -> Self {
        Self
    }

    pub(super) fn stored(&self) -> Result<Option<Arc<CertifiedKey>>, CertificateError> {
        Ok(None)
    }

    pub(super) async fn run(&self, _: &Shown) {
        pending().await
    }
}

pub(super) fn check(_: &Path) -> Result<(), CertificateError> {
    Ok(())
}

impl fmt::Display for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody")
    }
}
