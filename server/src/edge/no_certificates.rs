//! In place of certificates where they are left out. There are none.

use thiserror::Error;

use crate::base::metrics::CertificateReading;

#[derive(Debug, Clone)]
pub enum Certificates {}

#[derive(Debug, Error)]
pub enum CertificateError {}

impl Certificates {
    pub fn reading(&self) -> Option<CertificateReading> {
        match *self {}
    }
}
