//! In place of encrypted listeners where they are left out. A configuration that asks for them is refused.

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::StartError;
use crate::{
    base::config::Config,
    edge::{certificates::Certificates, transport::SharedTls},
    sources::forward::Forwarder,
};

#[derive(Default)]
pub(super) struct EncryptedListeners {
    pub(super) shown: Vec<Certificates>,
}

impl EncryptedListeners {
    pub(super) fn differ(_: &Config, _: &Config) -> bool {
        false
    }

    pub(super) fn new(_: &Config, _: &Arc<Forwarder>) -> Result<Self, StartError> {
        Ok(Self::default())
    }

    pub(super) fn watch(&self, _: &CancellationToken, _: &TaskTracker) {}

    pub(super) fn encrypt_dot(&self, _: &mut Option<SharedTls>) {}

    pub(super) fn https_certificate(&self) -> Option<Vec<u8>> {
        None
    }
}
