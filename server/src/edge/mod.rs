//! Where bytes come in and go out: sockets, connections, certificates.

pub mod bridge;
pub mod certificates;
pub mod held;
mod html;
pub mod http;
pub mod request_handler;
pub mod status;
pub mod transport;
