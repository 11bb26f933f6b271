//! systemd-resolved, which knows zones by link, and from version 258 on by delegate.
//!
//! A file in `resolved.conf.d` with `DNS=` and `Domains=~key` looks like the way and is none: its server joins the global ones,
//! which are asked about every name that no link claims, beside those of the links. Measured with version 252: of eight ordinary
//! names all eight went to pkdns as well, and of eight names with a link of its own none. If there are other global servers,
//! names of keys go to these, too.
//!
//! So an older one gets a link that leads nowhere, to which the server and the zone belong, and which is no default route. A
//! server of a link is asked through that link unless it has an address of this machine, so that this works for these alone.

use super::plan::{Machine, Plan, Undo, Wish, Words, file, words};

/// The first version that has delegates (systemd.dns-delegate(5)).
const WITH_DELEGATES: u32 = 258;

/// The first version whose servers may have a port.
const WITH_PORTS: u32 = 246;

pub(super) const DELEGATE: &str = "/etc/systemd/dns-delegate.d/pkdns.dns-delegate";
pub(super) const UNIT: &str = "/etc/systemd/system/pkdns-connect.service";
pub(super) const UNMANAGED: &str = "/etc/NetworkManager/conf.d/pkdns-link.conf";

const SERVICE: &str = "pkdns-connect.service";

/// The link, and the address that makes it count as connected: the one for this purpose (RFC 7600).
const LINK: &str = "pkdns";
const LINK_ADDRESS: &str = "192.0.0.8/32";

pub(super) fn plan(machine: &Machine, wish: &Wish) -> Result<Plan, String> {
    let version = machine.systemd.unwrap_or(WITH_PORTS);
    if version >= WITH_DELEGATES {
        let domains: Vec<_> = wish.suffixes.iter().map(|suffix| format!("~{suffix}")).collect();
        let text =
            format!("[Delegate]\nDNS={}\nDomains={}\nDefaultRoute=no\n", address(wish), domains.join(" "));
        return Ok(Plan {
            files: vec![file(DELEGATE, text)],
            commands: vec![words(["systemctl", "restart", "systemd-resolved"])],
            ..Plan::default()
        });
    }
    if !machine.is_server_here {
        return Err(format!(
            "systemd-resolved of {} asks a server for single zones only if it has an address of this machine; from version 258 \
             on it asks others, too: run pkdns on this machine, or connect the resolver of your network to {}",
            machine.systemd.map_or("this machine".to_owned(), |version| format!("version {version}")),
            wish.server.0
        ));
    }
    if version < WITH_PORTS && !wish.server.has_usual_port() {
        return Err(format!(
            "this systemd-resolved (before version {WITH_PORTS}) asks servers on port 53 alone: let pkdns listen on port 53 of \
             an address of this machine, such as 127.0.0.2:53"
        ));
    }
    let mut files = vec![file(UNIT, unit(wish))];
    if machine.network_manager.is_some() {
        // It would take the settings of the link for its own.
        let text = format!("[keyfile]\nunmanaged-devices+=interface-name:{LINK}\n");
        files.push(file(UNMANAGED, text));
    }
    let mut commands: Vec<Words> = Vec::new();
    if machine.network_manager.is_some() {
        commands.push(words(["nmcli", "general", "reload"]));
    }
    commands.push(words(["systemctl", "daemon-reload"]));
    commands.push(words(["systemctl", "enable", SERVICE]));
    commands.push(words(["systemctl", "restart", SERVICE]));
    Ok(Plan { files, commands, ..Plan::default() })
}

/// Of the two ways, the one whose files there are.
pub(super) fn undo(found: &[&str]) -> Undo {
    let mut undo = Undo::default();
    if found.contains(&UNIT) {
        // systemd forgets how to stop it with its file.
        undo.before.push(words(["systemctl", "disable", "--now", SERVICE]));
        undo.after.push(words(["systemctl", "daemon-reload"]));
    }
    if found.contains(&UNMANAGED) {
        undo.after.push(words(["nmcli", "general", "reload"]));
    }
    if found.contains(&DELEGATE) {
        undo.after.push(words(["systemctl", "restart", "systemd-resolved"]));
    }
    undo
}

fn address(wish: &Wish) -> String {
    match wish.server.has_usual_port() {
        true => wish.server.host(),
        false => wish.server.0.to_string(),
    }
}

fn unit(wish: &Wish) -> String {
    let domains: Vec<_> = wish.suffixes.iter().map(|suffix| format!("~{suffix}")).collect();
    format!(
        "[Unit]\n\
         Description=Sends names of public keys to pkdns, through a link for systemd-resolved\n\
         Wants=systemd-resolved.service\n\
         After=systemd-resolved.service\n\
         \n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         ExecStartPre=-ip link delete {LINK}\n\
         ExecStart=ip link add {LINK} type dummy\n\
         ExecStart=ip address add {LINK_ADDRESS} dev {LINK}\n\
         ExecStart=ip link set {LINK} up\n\
         ExecStart=resolvectl dns {LINK} {}\n\
         ExecStart=resolvectl domain {LINK} {}\n\
         ExecStart=resolvectl default-route {LINK} no\n\
         ExecStart=resolvectl dnssec {LINK} no\n\
         ExecStart=resolvectl llmnr {LINK} no\n\
         ExecStart=resolvectl mdns {LINK} no\n\
         ExecStopPost=-ip link delete {LINK}\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        // A percent sign would begin a specifier (systemd.unit(5)).
        address(wish).replace('%', "%%"),
        domains.join(" ")
    )
}
