//! Which program resolves names for a machine, by what is seen of it.

use std::net::{IpAddr, Ipv4Addr};

use clap::ValueEnum;

use super::settings::{Server, Suffix};

/// A program that can send one zone elsewhere, and the rest where it went before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum System {
    /// systemd-resolved, as in Ubuntu and Fedora
    #[value(name = "systemd-resolved")]
    Resolved,
    /// NetworkManager, with a dnsmasq of its own
    #[value(name = "networkmanager")]
    NetworkManager,
    /// dnsmasq, for this machine or for a network
    Dnsmasq,
    /// Unbound, for this machine or for a network
    Unbound,
}

impl System {
    pub(super) const ALL: [Self; 4] = [Self::Resolved, Self::NetworkManager, Self::Dnsmasq, Self::Unbound];

    /// As people call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Resolved => "systemd-resolved",
            Self::NetworkManager => "NetworkManager",
            Self::Dnsmasq => "dnsmasq",
            Self::Unbound => "Unbound",
        }
    }
}

/// What is seen of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// `/etc/resolv.conf` leads to a file of systemd-resolved.
    pub(super) leads_to_resolved: bool,
    /// The name servers in `/etc/resolv.conf`.
    pub(super) name_servers: Vec<IpAddr>,
    /// What the first of them says that it is, if it is on this machine.
    pub(super) version: Option<String>,
    /// NetworkManager is there, and what it says about `dns=`.
    pub(super) network_manager: Option<NetworkManager>,
    pub(super) has_pi_hole: bool,
    pub(super) is_openwrt: bool,
    /// `/etc/dnsmasq.d` is there.
    pub(super) has_dnsmasq: bool,
    /// `/etc/unbound/unbound.conf.d` is there.
    pub(super) has_unbound: bool,
}

/// How NetworkManager is told to resolve names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkManager {
    /// By a dnsmasq that it runs itself.
    Dnsmasq,
    /// In another way, though the program dnsmasq is installed.
    CanRunDnsmasq,
    /// In another way.
    Other,
}

/// The addresses at which systemd-resolved answers.
const STUBS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(127, 0, 0, 54)];

/// The one that the machine uses.
///
/// # Errors
///
/// What to do instead, for people.
pub(super) fn choose(seen: &Seen, server: &Server, suffixes: &[Suffix]) -> Result<System, String> {
    if seen.is_openwrt {
        return Err(openwrt(server, suffixes));
    }
    let first = seen.name_servers.first().copied();
    let is_stub = |ip: IpAddr| STUBS.iter().any(|stub| ip == IpAddr::V4(*stub));
    if seen.leads_to_resolved || first.is_some_and(is_stub) {
        return Ok(System::Resolved);
    }
    if seen.has_pi_hole {
        return Err(pi_hole(server, suffixes));
    }
    if seen.network_manager == Some(NetworkManager::Dnsmasq) {
        return Ok(System::NetworkManager);
    }
    match first {
        Some(ip) if ip.is_loopback() => on_this_machine(seen, ip),
        Some(_) if seen.network_manager == Some(NetworkManager::CanRunDnsmasq) => Ok(System::NetworkManager),
        Some(ip) => Err(elsewhere(seen, ip)),
        None => Err(
            "/etc/resolv.conf names no server, so that nothing shows what resolves names here: say it with \
                     --system"
                .to_owned(),
        ),
    }
}

fn on_this_machine(seen: &Seen, ip: IpAddr) -> Result<System, String> {
    let version = seen.version.as_deref().unwrap_or_default();
    match () {
        () if version.starts_with("dnsmasq") => Ok(System::Dnsmasq),
        () if version.starts_with("unbound") => Ok(System::Unbound),
        () if version.is_empty() && seen.has_dnsmasq && !seen.has_unbound => Ok(System::Dnsmasq),
        () if version.is_empty() && seen.has_unbound && !seen.has_dnsmasq => Ok(System::Unbound),
        () => Err(format!(
            "nothing shows which program answers on {ip}, which /etc/resolv.conf names: say it with --system. For AdGuard \
             Home and others, docs/lan-resolvers.md has the lines"
        )),
    }
}

/// A machine that asks another one. The resolver of the C library knows no zones.
fn elsewhere(seen: &Seen, ip: IpAddr) -> String {
    let own = match (seen.has_dnsmasq, seen.has_unbound) {
        (true, _) => " For the dnsmasq that this machine runs for others, add --system dnsmasq.",
        (_, true) => " For the Unbound that this machine runs for others, add --system unbound.",
        _ => "",
    };
    let install = match seen.network_manager {
        Some(_) => "install dnsmasq-base, which NetworkManager then runs for this machine, and try again",
        None => "install systemd-resolved, which most distributions have, and try again",
    };
    format!(
        "/etc/resolv.conf sends all names to {ip}, and cannot send some elsewhere.{own} Either connect the resolver on {ip} \
         to pkdns, which then does it for the whole network; or {install}; or let pkdns resolve all names of this machine, \
         as docs/lan-resolvers.md says at its end"
    )
}

/// It keeps its settings in a file of its own, and writes that of dnsmasq anew at each change.
fn pi_hole(server: &Server, suffixes: &[Suffix]) -> String {
    let lines: Vec<_> =
        suffixes.iter().map(|suffix| format!("\"server=/{suffix}/{}\"", server.with_number_sign())).collect();
    format!(
        "this machine runs Pi-hole, which keeps such lines among its own settings: run sudo pihole-FTL --config \
         misc.dnsmasq_lines '[{}]'. That replaces the lines that are there, so name those as well; pihole-FTL --config \
         misc.dnsmasq_lines shows them, and '[]' takes all away",
        lines.join(", ")
    )
}

/// Its files are made from its own settings at each start.
fn openwrt(server: &Server, suffixes: &[Suffix]) -> String {
    let lines: Vec<_> = suffixes
        .iter()
        .map(|suffix| {
            format!("uci add_list dhcp.@dnsmasq[0].server='/{suffix}/{}'", server.with_number_sign())
        })
        .collect();
    format!(
        "this is OpenWrt, which keeps the settings of dnsmasq itself: run {} && uci commit dhcp && service dnsmasq restart; \
         uci del_list with the same words takes it away",
        lines.join(" && ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(seen: &Seen) -> Result<System, String> {
        let server = Server("127.0.0.1:5300".parse().unwrap());
        choose(seen, &server, &["key".parse().unwrap()])
    }

    fn asking(ip: &str) -> Seen {
        Seen { name_servers: vec![ip.parse().unwrap()], ..Seen::default() }
    }

    #[test]
    fn each_machine_has_its_system() {
        let with_version = |version: &str| Seen { version: Some(version.into()), ..asking("127.0.0.1") };
        for (seen, system) in [
            (asking("127.0.0.53"), System::Resolved),
            (Seen { leads_to_resolved: true, ..asking("192.168.1.1") }, System::Resolved),
            // NetworkManager may hand names on to systemd-resolved.
            (Seen { network_manager: Some(NetworkManager::Other), ..asking("127.0.0.53") }, System::Resolved),
            (
                Seen { network_manager: Some(NetworkManager::Dnsmasq), ..with_version("dnsmasq-2.90") },
                System::NetworkManager,
            ),
            (
                Seen { network_manager: Some(NetworkManager::CanRunDnsmasq), ..asking("192.168.1.1") },
                System::NetworkManager,
            ),
            (with_version("dnsmasq-2.90"), System::Dnsmasq),
            (with_version("unbound 1.17.1"), System::Unbound),
            (Seen { has_unbound: true, ..asking("::1") }, System::Unbound),
            (Seen { has_dnsmasq: true, ..asking("127.0.0.1") }, System::Dnsmasq),
        ] {
            assert_eq!(chosen(&seen), Ok(system), "{seen:?}");
        }
    }

    #[test]
    fn who_cannot_be_connected_is_told_what_to_do() {
        for (seen, parts) in [
            (asking("192.168.1.1"), ["install systemd-resolved", "the resolver on 192.168.1.1"]),
            (
                Seen { network_manager: Some(NetworkManager::Other), ..asking("192.168.1.1") },
                ["install dnsmasq-base", "lan-resolvers.md"],
            ),
            (Seen { has_dnsmasq: true, ..asking("9.9.9.9") }, ["--system dnsmasq", "9.9.9.9"]),
            (
                Seen { has_pi_hole: true, ..asking("127.0.0.1") },
                ["pihole-FTL --config misc.dnsmasq_lines '[\"server=/key/127.0.0.1#5300\"]'", "'[]'"],
            ),
            (
                Seen { is_openwrt: true, ..asking("127.0.0.1") },
                ["add_list dhcp.@dnsmasq[0].server='/key/127.0.0.1#5300'", "del_list"],
            ),
            (
                Seen { version: Some("other 1".into()), has_dnsmasq: true, ..asking("127.0.0.1") },
                ["--system", "AdGuard"],
            ),
            (Seen::default(), ["--system", "resolv.conf"]),
        ] {
            let told = chosen(&seen).unwrap_err();
            assert!(parts.iter().all(|part| told.contains(part)), "{seen:?}: {told}");
        }
    }
}
