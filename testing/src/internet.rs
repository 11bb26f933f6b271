//! What a machine needs of the internet as it comes: a default resolver, and a DHT, here of IPv6.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
};

use tempfile::TempDir;

use crate::{
    libtorrent, namespace::Internet, network_process::NetworkProcess, process::Killed, programs, wait,
};

/// The default resolver, which has an address in each family.
const RESOLVER_V4: &str = "8.8.8.8";
const RESOLVER_V6: &str = "2001:4860:4860::8888";

/// Nodes of the DHT, which have a network each, as almost all have.
const NODES: [&str; 4] = ["2a01:4f8:1::1", "2a01:4f8:2::1", "2a01:4f8:3::1", "2a01:4f8:4::1"];

/// A node to join through, as the default configuration has it.
const BOOTSTRAP_NAME: &str = "router.bittorrent.com";
const BOOTSTRAP_PORT: u16 = 6881;

/// An internet of IPv6, which ends with this.
pub struct Ipv6Internet {
    nodes: NetworkProcess,
    _resolver: Resolver,
}

impl Ipv6Internet {
    /// For a machine without any address. `None`: a program is not installed, and that is to be accepted.
    pub fn start() -> Option<Self> {
        let internet =
            Internet::connect("2a01:4f9:1::2", "2a01:4f9:1::1", &[&[RESOLVER_V6], &NODES[..]].concat());
        let command = libtorrent::command(&NODES.join(","), 1, &[])?;
        let mut there = internet.command(command.get_program());
        there.args(command.get_args()).env("FIRST_PORT", BOOTSTRAP_PORT.to_string());
        let nodes = NetworkProcess::start(there);
        let mut hosts: Vec<_> = NODES.iter().map(|node| (*node, BOOTSTRAP_NAME)).collect();
        hosts.extend([("2001:db8::1", "example.com"), ("192.0.2.1", "example.com")]);
        Some(Self { nodes, _resolver: Resolver::start(internet, RESOLVER_V6, &hosts)? })
    }

    /// The DHT, with a client.
    pub fn nodes(&mut self) -> &mut NetworkProcess {
        &mut self.nodes
    }
}

/// dnsmasq on port 53 of the internet, which ends with this.
pub struct Resolver {
    _dnsmasq: Killed,
    _directory: TempDir,
    _internet: Internet,
}

impl Resolver {
    /// On an internet of IPv4 and nothing else, for a machine without any address.
    pub fn start_on_ipv4(hosts: &[(&str, &str)]) -> Option<Self> {
        Self::start(Internet::connect("198.51.100.2", "198.51.100.1", &[RESOLVER_V4]), RESOLVER_V4, hosts)
    }

    /// Refuses all names but those of `hosts`, each behind its address. `None`: there is no dnsmasq, and that is to be
    /// accepted.
    fn start(internet: Internet, address: &str, hosts: &[(&str, &str)]) -> Option<Self> {
        let dnsmasq = programs::find("dnsmasq", |_| true, "Debian's dnsmasq-base")?;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        let lines: String = hosts.iter().map(|(address, name)| format!("{address} {name}\n")).collect();
        fs::write(&path, lines).unwrap();
        let mut command = internet.command(dnsmasq);
        command.args(["--keep-in-foreground", "--log-facility=-", "--pid-file=", "--user=root"]);
        command.args(["--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"]);
        command.arg(format!("--listen-address={address}")).arg(format!("--addn-hosts={}", path.display()));
        let dnsmasq = Killed(command.spawn().unwrap());
        let resolver = Self { _dnsmasq: dnsmasq, _directory: directory, _internet: internet };
        let address = SocketAddr::new(address.parse().unwrap(), 53);
        wait::until("dnsmasq does not start", || TcpStream::connect(address).is_ok());
        Some(resolver)
    }
}
