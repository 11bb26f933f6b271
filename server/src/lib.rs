//! A DNS resolver for public-key domains: names whose last label is an Ed25519 key in z-base-32.
//!
//! The holder of a key signs a zone and stores it on the BitTorrent Mainline DHT (PKARR, BEP 44). This crate looks such
//! zones up, verifies them, keeps them and answers from them, and forwards all other names to ordinary resolvers. It is
//! the program `pkdns`, and the same as a library. A client of the DHT alone is the crate [`pkdns_dht`].
//!
//! # A server
//!
//! A [`Config`](config::Config) says everything that can be set. A [`Server`](server::Server) is made of it, binds its
//! addresses, and answers until it is told to stop.
//!
//! ```
//! use std::net::UdpSocket;
//!
//! use hickory_proto::{
//!     op::{Message, Query},
//!     rr::{Name, RecordType},
//! };
//! use pkdns::{config::Config, server::Server};
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::default();
//! config.listen = vec!["127.0.0.1:0".parse()?];
//! // Only here: this example needs no network.
//! config.dht.enabled = false;
//!
//! let server = Server::bind(config)?;
//! let address = server.addresses()[0];
//! let stop = CancellationToken::new();
//! let running = tokio::spawn(server.run(stop.clone()));
//!
//! // Any client will do.
//! let mut question = Message::query();
//! question.add_query(Query::query(Name::from_ascii("localhost.")?, RecordType::A));
//! let asked = tokio::task::spawn_blocking(move || {
//!     let socket = UdpSocket::bind("127.0.0.1:0")?;
//!     socket.send_to(&question.to_vec()?, address)?;
//!     let mut reply = [0; 512];
//!     let size = socket.recv(&mut reply)?;
//!     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Message::from_vec(&reply[..size])?)
//! });
//! let reply = asked.await?.map_err(|error| error.to_string())?;
//! assert_eq!(reply.answers[0].data.to_string(), "127.0.0.1");
//!
//! stop.cancel();
//! running.await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Config::load`](config::Config::load) reads a file.
//! [`Server::bind_to_network`](server::Server::bind_to_network) takes packets from any [`pkdns_dht::Network`] in place
//! of the DHT. [`ReloadHandle`](server::ReloadHandle) gives it another
//! configuration while it runs, and what it counts is in [`metrics`].
//!
//! # In a hickory server
//!
//! [`HickoryHandler`][handler] takes the place of a `Catalog`. The server of this crate then has no listeners of its
//! own, and runs for what it does beside: it saves what it knows, and looks after its upstreams.
//!
#![cfg_attr(feature = "hickory", doc = "[handler]: request_handler::HickoryHandler", doc = "", doc = "```")]
#![cfg_attr(not(feature = "hickory"), doc = "[handler]: #features", doc = "", doc = "```ignore")]
//! use std::sync::Arc;
//!
//! use pkdns::{config::Config, request_handler::HickoryHandler, server::Server};
//! use tokio::net::UdpSocket;
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::default();
//! config.listen.clear();
//! # config.dht.enabled = false;
//! let server = Server::bind(config)?;
//!
//! let handler = HickoryHandler::new(Arc::new(server.service().clone()));
//! let mut hickory = hickory_server::Server::new(handler);
//! let socket = UdpSocket::bind("127.0.0.1:0").await?;
//! # let address = socket.local_addr()?;
//! hickory.register_socket(socket);
//!
//! let stop = CancellationToken::new();
//! let running = tokio::spawn(server.run(stop.clone()));
//! # use hickory_proto::{op::{Message, Query}, rr::{Name, RecordType}};
//! # let mut question = Message::query();
//! # question.add_query(Query::query(Name::from_ascii("localhost.")?, RecordType::A));
//! # let client = UdpSocket::bind("127.0.0.1:0").await?;
//! # client.send_to(&question.to_vec()?, address).await?;
//! # let mut reply = [0; 512];
//! # let size = client.recv(&mut reply).await?;
//! # assert_eq!(Message::from_vec(&reply[..size])?.answers[0].data.to_string(), "127.0.0.1");
//! // …
//! hickory.shutdown_gracefully().await?;
//! stop.cancel();
//! running.await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Zone files
//!
//! [`ZoneFile`](zone_file::ZoneFile) reads what the owner of a key writes.
//!
//! ```
//! use std::path::Path;
//!
//! use pkdns::zone_file::{Limits, ZoneFile, apex};
//! use pkdns_dht::signed_packet::Keypair;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits { size: 10_000, advice: "", name_of: |path: &Path| path.display().to_string() };
//! let zone = ZoneFile::from_bytes(b"@ 300 A 192.0.2.1\nwww CNAME @\n", None, limits)?;
//! let records = zone.records_below(&apex(&Keypair::random().public_key()))?;
//! assert_eq!(records.len(), 2);
//! assert_eq!(records[0].data().to_string(), "192.0.2.1");
//!
//! let mistake = ZoneFile::from_bytes(b"@ 300 A 192.0.2\n", None, limits)?;
//! let mistake = mistake.records_below(&apex(&Keypair::random().public_key()));
//! assert!(mistake.is_err_and(|error| error.to_string().starts_with("line 1, column 9: ")));
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! All are on by default but `internal`. A configuration that asks for what was left out is an error that names the
//! feature ([`MissingFeature`](server::MissingFeature)). With none of them there is a resolver over UDP and TCP, made
//! of two fifths fewer crates.
//!
//! | Feature | Brings |
//! |---|---|
//! | `acme` | certificates from an authority that speaks ACME; needs `tls` |
//! | `bin` | the program; needs `disk`, `http` and `testnet` |
//! | `disk` | packets on disk, which survive a restart |
//! | `hickory` | the resolver as a request handler of a hickory server |
//! | `http` | DNS over HTTPS, pages, metrics for Prometheus, the relay, the bridge to sites under keys; needs `tls` |
//! | `query-log` | records of queries: lines, counts, dnstap |
//! | `redis` | packets that several servers share; needs `tls` |
//! | `testnet` | a DHT, a zone and an upstream in the own process |
//! | `tls` | DNS over TLS, certificates, encrypted upstreams, PKARR relays to ask, deny lists of other servers |
//! | `internal` | all modules, for the programs and tests of this repository; they change with any release |
//!
//! Inside, what is left out has a stand-in beside it, in a file whose name begins with `no_`. `docs/architecture.md`
//! in the repository draws the life of a query.

#![cfg_attr(
    not(feature = "internal"),
    allow(dead_code, unused_imports, unreachable_pub, reason = "only our own programs use it")
)]

#[cfg(not(feature = "internal"))]
mod base;
#[cfg(feature = "internal")]
pub mod base;
#[cfg(not(feature = "internal"))]
mod edge;
#[cfg(feature = "internal")]
pub mod edge;
#[cfg(not(feature = "internal"))]
mod program;
#[cfg(feature = "internal")]
pub mod program;
#[cfg(not(feature = "internal"))]
mod resolver;
#[cfg(feature = "internal")]
pub mod resolver;
#[cfg(not(feature = "internal"))]
mod service;
#[cfg(feature = "internal")]
pub mod service;
#[cfg(not(feature = "internal"))]
mod sources;
#[cfg(feature = "internal")]
pub mod sources;

pub use base::{config, message, metrics, zone_file};
#[cfg(feature = "hickory")]
pub use edge::request_handler;
#[cfg(feature = "bin")]
#[doc(hidden)]
pub use program::run::run;
pub use program::server;
