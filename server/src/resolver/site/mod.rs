//! Where the site of a key is served over TLS, and what shows that it is the key's.

mod at_hand;
mod decision;
mod lookup;
mod service_record;
mod tlsa;

use std::net::SocketAddr;

use hickory_proto::rr::Name;
use pkdns_dht::signed_packet::PublicKey;
use thiserror::Error;

use super::error::ResolveError;
pub(super) use decision::{Decided, Wanted};

/// A site over TLS, as the packets of its keys have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The name at which its records stand, after every alias, below a key in its canonical spelling.
    pub end_point: Name,
    /// Where it may be reached, with its port, in the order in which to try. Never empty.
    pub addresses: Vec<SocketAddr>,
    /// What it has to show.
    pub proof: Proof,
}

/// What a site has to show in its handshake: any of these is enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The key that the end point stands under, as a raw public key (RFC 7250) or as that of any certificate.
    pub key: Option<PublicKey>,
    /// TLSA records of the end point (RFC 6698) of which we know what they mean: usage 3 alone.
    pub certificates: Vec<Tlsa>,
}

/// A TLSA record of usage 3, DANE-EE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tlsa {
    /// What of the certificate it is about.
    pub selector: Selector,
    /// How it is compared.
    pub matching: Matching,
    /// What it is compared with.
    pub data: Vec<u8>,
}

/// What of a certificate a TLSA record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selector {
    /// All of it, 0.
    Certificate,
    /// Its public key (SubjectPublicKeyInfo), 1; a raw public key has that, too.
    PublicKey,
}

/// How a TLSA record is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matching {
    /// As it is, 0.
    Exact,
    /// By SHA-256, 1.
    Sha256,
    /// By SHA-512, 2.
    Sha512,
}

/// Why there is no site at a name. What is shown is a sentence for whoever wanted to see the site.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SiteError {
    /// The name is not below a key and a suffix of `[names]`.
    #[error("This name is not below a public key and a suffix that this server knows.")]
    NotUnderAKey,
    /// `bridge.exempt` has it.
    #[error(
        "This name is exempt from the bridge of this server, so that it is reached at its own addresses alone."
    )]
    Exempt,
    /// A list of `[denied_keys]` has a key that the name leads to.
    #[error("This server does not answer for a key that this name leads to.")]
    Denied,
    /// The keys have published no such name.
    #[error("There is no such name: its key has published nothing about it.")]
    Unknown,
    /// There are records, and none that says how TLS is verified.
    #[error(
        "The records of this name do not say how its encryption is verified. Its owner has to publish an HTTPS record that \
         leads to a key, or a TLSA record of usage 3."
    )]
    NoTls,
    /// There is no address, or none that this server connects to.
    #[error(
        "The records of this name have no address that this server connects to. Addresses of private networks are left out \
         unless the operator allows them."
    )]
    NoAddress,
    /// The records lead in a circle, or too far.
    #[error("The records of this name lead in a circle, or to too many other names.")]
    Chain,
    /// A packet or an address could not be looked up.
    #[error("The records of this name could not be looked up: {0}.")]
    Lookup(String),
}

impl From<ResolveError> for SiteError {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Chain | ResolveError::WorkBudget => Self::Chain,
            error => Self::Lookup(error.to_string()),
        }
    }
}
