//! Where the site of a key is served over TLS, and what shows that it is the key's.

use std::net::SocketAddr;

use hickory_proto::rr::Name;
use pkarr::PublicKey;

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
