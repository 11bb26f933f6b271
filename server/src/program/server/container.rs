//! Whether this process runs in a container behind a proxy of the host, and who that proxy is.
//!
//! A published port of a container is often reached through a proxy (Docker over IPv6, rootless, on a desktop; the ports
//! of Kubernetes). Whoever comes through it, from anywhere, has the address of the container's gateway.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use nix::ifaddrs::getifaddrs;

use super::own_networks::is_of_containers;
use crate::base::{
    access::{AccessList, Allowed},
    config::Config,
};

/// Files that there are in containers of Docker and of Podman.
const MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// Parts of the names of control groups, where those of the host are seen.
const GROUPS: [&str; 4] = ["docker", "libpod", "kubepods", "containerd"];

/// Kinds of interfaces by which a container is a machine of the host's own network, as the kernel calls them. Nothing is
/// published there, and the gateway is the router of that network.
const BESIDE_THE_HOST: [&str; 2] = ["DEVTYPE=macvlan", "DEVTYPE=ipvlan"];

/// The address from which strangers may come, if there is one.
pub(super) fn gateway() -> Option<IpAddr> {
    let is_marked = MARKS.iter().any(|mark| Path::new(mark).exists());
    let groups = || fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
    if !is_marked && !is_container_group(&groups()) {
        return None;
    }
    let (interface, gateway) = default_route(&fs::read_to_string("/proc/net/route").ok()?)?;
    // With the network of the host there is no proxy.
    let device = Path::new("/sys/class/net").join(&interface);
    let is_hardware = device.join("device").exists();
    let is_beside_host = fs::read_to_string(device.join("uevent")).is_ok_and(|event| is_beside_host(&event));
    let has_containers =
        || getifaddrs().is_ok_and(|mut all| all.any(|interface| is_of_containers(&interface.interface_name)));
    (!is_hardware && !is_beside_host && !has_containers()).then_some(gateway.into())
}

/// What to say to whoever runs a server in a container that serves strangers whom it takes for neighbours.
pub fn open_container(config: &Config) -> Option<String> {
    warning(config, gateway()?)
}

/// Where the access list serves the gateway, and nobody has said so for it alone.
fn warning(config: &Config, gateway: IpAddr) -> Option<String> {
    let access = &config.access;
    let is_meant = |allowed: &Allowed| matches!(allowed, Allowed::Range(range) if *range == gateway.into());
    let serves = access.list().allows(gateway);
    let is_public = AccessList::new(access.allow.clone(), Vec::new()).is_public();
    let (doh, dot) = (&config.doh, &config.dot);
    let encrypted = [(&doh.listen, doh.enabled), (&dot.listen, dot.enabled)];
    let encrypted = encrypted.into_iter().filter(|(_, enabled)| *enabled).flat_map(|(listen, _)| listen);
    let mut listeners = config.listen.iter().chain(&doh.plain_listen).chain(encrypted);
    let is_local = listeners.all(|address| address.ip().is_loopback());
    (serves && !is_public && !is_local && !access.allow.iter().any(is_meant)).then(|| {
        format!(
            "access.allow: this is a container, and {gateway} is served, from which strangers come as well where a proxy of \
             the host passes on what reaches a published port (over IPv6, rootless, or on a desktop): publish ports on an \
             address of the own network alone, as in 192.168.1.2:53:5300/udp, then add \"{gateway}/32\" to access.allow; or \
             add it to access.deny"
        )
    })
}

fn is_beside_host(event: &str) -> bool {
    event.lines().any(|line| BESIDE_THE_HOST.contains(&line))
}

fn is_container_group(groups: &str) -> bool {
    groups.lines().any(|line| GROUPS.iter().any(|group| line.contains(group)))
}

/// The interface and the gateway of the default route, as the kernel lists routes of IPv4: in hexadecimal, in the order of
/// the machine's bytes.
fn default_route(routes: &str) -> Option<(String, Ipv4Addr)> {
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (interface, destination, gateway) = (fields.next()?, fields.next()?, fields.next()?);
        let mask = fields.nth(4)?;
        let bits = u32::from_str_radix(gateway, 16).ok()?;
        let is_default = destination == "00000000" && mask == "00000000" && bits != 0;
        is_default.then(|| (interface.to_owned(), Ipv4Addr::from(bits.to_ne_bytes())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a container of Docker.
    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0
";

    #[cfg(target_endian = "little")]
    #[test]
    fn the_gateway_of_a_container_is_read_from_its_routes() {
        assert_eq!(default_route(ROUTES), Some(("eth0".to_owned(), Ipv4Addr::new(172, 17, 0, 1))));
        for none in [
            "",
            "Iface\n",
            &ROUTES[..ROUTES.len() / 2],
            "Iface\neth0\t00000000\n",
            "Iface\neth0 0 g 0 0 0 0 0\n",
        ] {
            assert_eq!(default_route(none), None, "{none}");
        }
    }

    #[test]
    fn a_container_is_known_by_its_control_group() {
        for (groups, expected) in [
            ("12:cpu:/docker/0123abc\n", true),
            ("0::/kubepods.slice/kubepods-besteffort.slice/cri-containerd-1.scope\n", true),
            ("0::/init.scope\n", false),
            ("", false),
        ] {
            assert_eq!(is_container_group(groups), expected, "{groups}");
        }
    }

    #[test]
    fn an_interface_of_the_own_network_is_known_by_its_kind() {
        for (event, expected) in [
            ("DEVTYPE=macvlan\nINTERFACE=eth0\nIFINDEX=7\n", true),
            ("DEVTYPE=ipvlan\nINTERFACE=eth0\nIFINDEX=7\n", true),
            ("INTERFACE=eth0\nIFINDEX=7\n", false),
            ("DEVTYPE=vlan\nINTERFACE=macvlan\n", false),
            ("", false),
        ] {
            assert_eq!(is_beside_host(event), expected, "{event}");
        }
    }

    #[test]
    fn who_serves_the_gateway_without_having_said_so_is_warned() {
        let gateway: IpAddr = "172.17.0.1".parse().unwrap();
        let listening = "listen = '0.0.0.0:5300'\n";
        for (text, expected) in [
            (String::new(), true),
            ("[access]\nallow = ['127.0.0.0/8', '192.168.0.0/16']\n".into(), false),
            ("[access]\nallow = ['172.17.0.0/16']\n".into(), true),
            ("[access]\nallow = ['172.17.0.1']\n".into(), false),
            ("[access]\ndeny = '172.17.0.1'\n".into(), false),
            // Whoever is public has been told.
            ("[access]\nallow = ['0.0.0.0/0']\n".into(), false),
        ] {
            let config: Config = toml::from_str(&format!("{listening}{text}")).unwrap();
            let warning = warning(&config, gateway);
            assert_eq!(warning.is_some(), expected, "{text}");
            assert!(warning.is_none_or(|warning| warning.contains("\"172.17.0.1/32\"")));
        }
        let local: Config = toml::from_str("listen = '127.0.0.1:5300'").unwrap();
        assert!(warning(&local, gateway).is_none());
    }
}
