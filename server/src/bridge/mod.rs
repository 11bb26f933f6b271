//! The bridge: takes HTTPS connections for names under keys, connects to the site itself, verifies that it is the key's,
//! and shows the browser a certificate of an authority of our own.

mod connect;
mod verify;

pub use connect::{ConnectError, Connected, SiteConnector};
