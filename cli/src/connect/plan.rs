//! What is written and run to connect a system to pkdns, and to take that back. Pure.

use super::{
    resolved,
    settings::{Server, Suffix},
    system::{NetworkManager, System},
};

/// A file that is to be there. Its path is absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedFile {
    pub(super) path: String,
    pub(super) text: String,
}

/// A program and its arguments.
pub(super) type Words = Vec<String>;

/// What connects a system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) files: Vec<PlannedFile>,
    /// Run once the files are there. If one fails, all is taken back.
    pub(super) commands: Vec<Words>,
    /// What whoever is asked should know besides.
    pub(super) remarks: Vec<String>,
}

/// What takes it back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Undo {
    /// Run while the files are there.
    pub(super) before: Vec<Words>,
    /// Run when they are gone.
    pub(super) after: Vec<Words>,
}

/// What is known of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) services: Services,
    /// The version of systemd.
    pub(super) systemd: Option<u32>,
    pub(super) network_manager: Option<NetworkManager>,
    /// Whether pkdns has an address of this machine.
    pub(super) is_server_here: bool,
}

/// How services are started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Services {
    Systemd,
    OpenRc,
    Other,
}

/// What is sent where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) server: Server,
    pub(super) suffixes: Vec<Suffix>,
    /// Keys may have addresses of the own network.
    pub(super) with_private_addresses: bool,
}

pub(super) const DNSMASQ: &str = "/etc/dnsmasq.d/pkdns.conf";
pub(super) const UNBOUND: &str = "/etc/unbound/unbound.conf.d/pkdns.conf";
pub(super) const NETWORK_MANAGER: &str = "/etc/NetworkManager/conf.d/pkdns.conf";
pub(super) const NETWORK_MANAGER_DNSMASQ: &str = "/etc/NetworkManager/dnsmasq.d/pkdns.conf";

/// How `system` is connected.
///
/// # Errors
///
/// Why it cannot be, and what to do instead.
pub(super) fn plan(system: System, machine: &Machine, wish: &Wish) -> Result<Plan, String> {
    match system {
        System::Resolved => resolved::plan(machine, wish),
        System::NetworkManager => network_manager(machine, wish),
        System::Dnsmasq => Ok(Plan {
            files: vec![file(DNSMASQ, dnsmasq(wish))],
            commands: vec![restart(machine.services, "dnsmasq")],
            ..Plan::default()
        }),
        System::Unbound => Ok(Plan {
            files: vec![file(UNBOUND, unbound(wish))],
            commands: vec![words(["unbound-checkconf"]), restart(machine.services, "unbound")],
            ..Plan::default()
        }),
    }
}

/// The system of a file that is written here.
pub(super) fn system_of(path: &str) -> Option<System> {
    match path {
        DNSMASQ => Some(System::Dnsmasq),
        UNBOUND => Some(System::Unbound),
        NETWORK_MANAGER | NETWORK_MANAGER_DNSMASQ => Some(System::NetworkManager),
        resolved::UNIT | resolved::DELEGATE | resolved::UNMANAGED => Some(System::Resolved),
        _ => None,
    }
}

/// The files that may be there.
pub(super) const PATHS: [&str; 7] = [
    DNSMASQ,
    UNBOUND,
    NETWORK_MANAGER_DNSMASQ,
    NETWORK_MANAGER,
    resolved::DELEGATE,
    resolved::UNIT,
    resolved::UNMANAGED,
];

/// How it is taken back, of which these files are left. It depends on nothing else that may have changed since.
pub(super) fn undo(system: System, services: Services, found: &[&str]) -> Undo {
    match system {
        System::Resolved => resolved::undo(found),
        System::NetworkManager => Undo { before: Vec::new(), after: vec![reload_network_manager()] },
        System::Dnsmasq => Undo { before: Vec::new(), after: vec![restart(services, "dnsmasq")] },
        System::Unbound => Undo { before: Vec::new(), after: vec![restart(services, "unbound")] },
    }
}

/// Without a dnsmasq, NetworkManager writes the servers of the network into `/etc/resolv.conf`, which knows no zones.
fn network_manager(machine: &Machine, wish: &Wish) -> Result<Plan, String> {
    let mut files = vec![file(NETWORK_MANAGER_DNSMASQ, dnsmasq(wish))];
    let mut remarks = Vec::new();
    match machine.network_manager {
        Some(NetworkManager::Dnsmasq) => {}
        Some(NetworkManager::CanRunDnsmasq) => {
            files.push(file(NETWORK_MANAGER, "[main]\ndns=dnsmasq\n".to_owned()));
            remarks.push(
                "NetworkManager will run a dnsmasq for this machine, which asks the servers that it asks now"
                    .to_owned(),
            );
        }
        Some(NetworkManager::Other) => {
            return Err("NetworkManager needs the program dnsmasq to send some names elsewhere: install dnsmasq-base (Debian) \
                        or dnsmasq, and try again"
                .to_owned());
        }
        None => return Err("there is no /etc/NetworkManager here: name another --system".to_owned()),
    }
    Ok(Plan { files, commands: vec![reload_network_manager()], remarks })
}

/// A server for a domain is not asked about others, and dnsmasq does not validate what it says.
fn dnsmasq(wish: &Wish) -> String {
    let lines = wish.suffixes.iter().map(|suffix| {
        let server = format!("server=/{suffix}/{}\n", wish.server.with_number_sign());
        if wish.with_private_addresses { format!("{server}rebind-domain-ok=/{suffix}/\n") } else { server }
    });
    lines.collect()
}

/// The root proves that there are no such zones, which therefore are not to be validated.
fn unbound(wish: &Wish) -> String {
    let mut text = String::from("server:\n");
    // It asks nobody on its own machine unless it is told to.
    if wish.server.0.ip().is_loopback() {
        text.push_str("    do-not-query-localhost: no\n");
    }
    for suffix in &wish.suffixes {
        text.push_str(&format!("    domain-insecure: \"{suffix}\"\n"));
        if wish.with_private_addresses {
            text.push_str(&format!("    private-domain: \"{suffix}\"\n"));
        }
    }
    for suffix in &wish.suffixes {
        let server = wish.server.with_at();
        text.push_str(&format!("forward-zone:\n    name: \"{suffix}\"\n    forward-addr: {server}\n"));
    }
    text
}

fn reload_network_manager() -> Words {
    words(["nmcli", "general", "reload"])
}

/// dnsmasq reads such files at its start alone.
fn restart(services: Services, service: &str) -> Words {
    match services {
        Services::Systemd => words(["systemctl", "restart", service]),
        Services::OpenRc => words(["rc-service", service, "restart"]),
        Services::Other => words(["service", service, "restart"]),
    }
}

pub(super) fn words<const N: usize>(words: [&str; N]) -> Words {
    words.map(String::from).to_vec()
}

pub(super) fn file(path: &str, text: String) -> PlannedFile {
    PlannedFile { path: path.to_owned(), text }
}
