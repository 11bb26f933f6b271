//! In place of HTTP and the bridge where they are left out. A configuration that asks for them is refused.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::{StartError, places::Places, running::Around, seen::Sight};
use crate::{
    base::config::Config,
    edge::transport::{Ending, Purpose},
};

pub(super) struct WebParts;

pub(super) struct BridgeCertificates;

#[derive(Debug, Clone)]
pub(super) enum SharedPort {}

pub(super) struct Web;

impl WebParts {
    pub(super) fn open(_: &Config) -> Result<Self, StartError> {
        Ok(Self)
    }
}

impl BridgeCertificates {
    pub(super) fn open(_: &Config) -> Result<Self, StartError> {
        Ok(Self)
    }

    pub(super) fn differ(_: &Config, _: &Config) -> bool {
        false
    }
}

impl SharedPort {
    pub(super) fn switch(&self, _: bool) -> bool {
        match *self {}
    }

    pub(super) fn is_on(&self) -> bool {
        match *self {}
    }
}

impl Web {
    pub(super) fn start(
        _: WebParts,
        _: &Around<'_>,
        _: &Places,
        _: &Arc<Sight>,
        _: &Ending,
        _: &TaskTracker,
    ) -> Self {
        Self
    }

    pub(super) fn reload(
        &mut self,
        _: &Config,
        _: &Around<'_>,
        _: &Places,
        _: Option<&BridgeCertificates>,
        _: &Ending,
        _: &TaskTracker,
    ) {
    }

    pub(super) fn shared_port(&self, _: Purpose) -> Option<SharedPort> {
        None
    }

    pub(super) fn serve(
        &self,
        _: Purpose,
        _: TcpListener,
        _: Option<SharedPort>,
        _: Ending,
        _: &TaskTracker,
    ) {
    }
}
