//! Sites that `serve` ends TLS for, from the packet of the key to the web server behind it.

mod backend;
mod client;
mod configuration;
mod doctor;
mod openssl;
mod requests;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
};

use pkdns_testing::{
    process::Process,
    program::{HEX, World},
};

/// A key with a site.
struct Scene {
    world: World,
    /// Where its site is.
    address: SocketAddr,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        for (name, seed) in [("seed", HEX.to_string()), ("hot", "22".repeat(32))] {
            world.file(name, &seed);
            fs::set_permissions(world.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self { world, address: free_address() }
    }

    /// Writes the configuration of one identity.
    fn configure(&self, backend: &str, more: &str) {
        let Self { address, .. } = self;
        let text = format!(
            "state = 'state'\n[[identity]]\nseed = 'seed'\nrecords = '@ 300 A 127.0.0.1'\ntls = '{address}'\n\
             backend = '{backend}'\nhttps_record = true\n{more}\n"
        );
        self.world.file("publisher.toml", &text);
    }

    fn start(&self) -> Process {
        let mut publisher = self.world.start(&["serve", "--config", "publisher.toml"]);
        publisher.wait_for("https at");
        publisher
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
