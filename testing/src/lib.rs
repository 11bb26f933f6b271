//! What integration tests and benchmarks of `pkdns` and `pkdns-cli` share: servers, clients and networks in their own process,
//! programs of others, and machines of their own to run them on. Helpers panic where a test would fail.
//!
//! Unit tests of `pkdns` cannot use it: it is built with the library as others see it, whose types are not those of the library that is
//! being tested.

// Programs of others: how they are found and run.
pub mod chromium;
pub mod daemon;
pub mod dig;
pub mod pebble;
pub mod programs;
pub mod signer;

// DHTs of other implementations.
pub mod bittorrent_dht;
pub mod libtorrent;
pub mod mainline_network;
pub mod network_process;
pub mod silence;
pub mod world;

// Machines of their own.
pub mod internet;
pub mod lab;
pub mod namespace;

// Our own programs and servers.
pub mod benchmark;
pub mod dyndns;
pub mod identities;
pub mod process;
pub mod program;
pub mod shell;
pub mod support;
pub mod upgrade;
pub mod wait;

// Clients and servers in this process.
pub mod authority;
pub mod http_client;
pub mod relay;
pub mod server;
pub mod signed_root;
pub mod tls_client;
