//! Where bytes come in and go out: sockets, connections, certificates.

#[cfg(feature = "http")]
pub mod bridge;
#[cfg(feature = "tls")]
pub mod certificates;
pub mod held;
#[cfg(feature = "http")]
mod html;
#[cfg(feature = "http")]
pub mod http;
pub mod http_limits;
#[cfg(not(feature = "tls"))]
pub mod no_certificates;
#[cfg(feature = "hickory")]
pub mod request_handler;
pub mod status;
pub mod transport;

#[cfg(not(feature = "tls"))]
pub use no_certificates as certificates;
