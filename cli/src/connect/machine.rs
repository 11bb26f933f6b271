//! Looks at a machine, or at the image of one: which program resolves its names, and how its services are started.

use std::{
    fs::{self, File},
    io::Read,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use pkdns::config::DNS_PORT;

use super::{
    plan::{Machine, Services},
    settings::Server,
    system::{NetworkManager, Seen},
};
use crate::dns;

/// Files that are read have a few kilobytes.
const MOST: u64 = 1024 * 1024;

/// Where programs are.
const PROGRAMS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/usr/local/sbin"];

/// Where systemd has its own library, whose name bears its version.
const SYSTEMD: [&str; 6] = [
    "/usr/lib/systemd",
    "/lib/systemd",
    "/usr/lib64/systemd",
    "/usr/lib/x86_64-linux-gnu/systemd",
    "/usr/lib/aarch64-linux-gnu/systemd",
    "/usr/lib/arm-linux-gnueabihf/systemd",
];

/// The files of a machine.
#[derive(Debug, Clone)]
pub(super) struct Root(Option<PathBuf>);

impl Root {
    /// Those of this machine, or those below a directory.
    pub(super) fn new(directory: Option<&Path>) -> Self {
        Self(directory.map(Path::to_path_buf))
    }

    /// Whether they are those of another machine than this one.
    pub(super) fn is_image(&self) -> bool {
        self.0.is_some()
    }

    /// Where `path`, which is absolute, is to be found.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        match &self.0 {
            Some(root) => root.join(path.trim_start_matches('/')),
            None => PathBuf::from(path),
        }
    }

    fn has(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    fn text(&self, path: &Path) -> String {
        let mut bytes = Vec::new();
        let _ = File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn entries(&self, path: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().filter_map(Result::ok);
        let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    }

    /// The name servers that programs of the machine ask.
    pub(super) fn name_servers(&self) -> Vec<IpAddr> {
        let text = self.text(&self.at("/etc/resolv.conf"));
        let addresses = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
        addresses.filter_map(|rest| rest.trim().parse().ok()).collect()
    }

    fn leads_to_resolved(&self) -> bool {
        let target = fs::read_link(self.at("/etc/resolv.conf")).unwrap_or_default();
        let target = target.to_string_lossy();
        target.contains("run/systemd/resolve/") || target.ends_with("lib/systemd/resolv.conf")
    }

    fn network_manager(&self) -> Option<NetworkManager> {
        if !self.has("/etc/NetworkManager") {
            return None;
        }
        let main = self.at("/etc/NetworkManager/NetworkManager.conf");
        let more =
            ["/usr/lib/NetworkManager/conf.d", "/run/NetworkManager/conf.d", "/etc/NetworkManager/conf.d"];
        let more = more.iter().flat_map(|directory| self.entries(directory));
        let files = std::iter::once(main)
            .chain(more)
            .filter(|path| path.extension().is_some_and(|end| end == "conf"));
        let texts: Vec<_> = files.map(|path| self.text(&path)).collect();
        // The last one counts.
        let mut options = texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.split_once('='));
        let said = options.rfind(|(name, _)| name.trim() == "dns");
        if said.is_some_and(|(_, value)| value.trim() == "dnsmasq") {
            return Some(NetworkManager::Dnsmasq);
        }
        let is_there = |directory: &&str| self.has(&format!("{directory}/dnsmasq"));
        Some(if PROGRAMS.iter().any(is_there) {
            NetworkManager::CanRunDnsmasq
        } else {
            NetworkManager::Other
        })
    }

    fn systemd(&self) -> Option<u32> {
        let names = SYSTEMD.iter().flat_map(|directory| self.entries(directory));
        let versions = names.filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_prefix("libsystemd-shared-")?.to_owned();
            name.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
        });
        versions.max()
    }

    /// How services are started again.
    pub(super) fn services(&self) -> Services {
        // The first is there while systemd runs, the second where it is installed.
        let has_systemd = self.has("/run/systemd/system") || self.is_image() && self.systemd().is_some();
        match () {
            () if has_systemd => Services::Systemd,
            () if self.has("/sbin/rc-service") => Services::OpenRc,
            () => Services::Other,
        }
    }

    /// What shows which program resolves names.
    pub(super) async fn look(&self) -> Seen {
        let name_servers = self.name_servers();
        let version = match name_servers.first() {
            Some(ip) if ip.is_loopback() && !self.is_image() => version(*ip).await,
            _ => None,
        };
        Seen {
            leads_to_resolved: self.leads_to_resolved(),
            name_servers,
            version,
            network_manager: self.network_manager(),
            has_pi_hole: self.has("/etc/pihole/pihole.toml") || self.has("/etc/pihole/setupVars.conf"),
            is_openwrt: self.has("/etc/openwrt_release"),
            has_dnsmasq: self.has("/etc/dnsmasq.d"),
            has_unbound: self.has("/etc/unbound/unbound.conf.d"),
        }
    }

    /// What a plan needs to know.
    pub(super) fn machine(&self, server: &Server) -> Machine {
        let is_server_here =
            if self.is_image() { server.0.ip().is_loopback() } else { server.is_on_this_machine() };
        Machine {
            services: self.services(),
            systemd: self.systemd(),
            network_manager: self.network_manager(),
            is_server_here,
        }
    }
}

async fn version(ip: IpAddr) -> Option<String> {
    let reply = dns::ask_about_itself(SocketAddr::new(ip, DNS_PORT), "version.bind.").await;
    reply.texts().into_iter().next()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn image(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = Root::new(Some(directory.path()));
        (directory, root)
    }

    #[tokio::test]
    async fn a_desktop_is_seen_by_its_files() {
        let (directory, root) = image(&[
            ("etc/NetworkManager/NetworkManager.conf", "[main]\nplugins=ifupdown\n"),
            ("usr/lib/systemd/libsystemd-shared-257.so", ""),
            ("etc/other", ""),
        ]);
        symlink("../run/systemd/resolve/stub-resolv.conf", directory.path().join("etc/resolv.conf")).unwrap();
        let seen = root.look().await;
        assert!(seen.leads_to_resolved && !seen.has_dnsmasq);
        assert_eq!(seen.network_manager, Some(NetworkManager::Other));
        let machine = root.machine(&"127.0.0.1:5300".parse().unwrap());
        assert_eq!(
            (machine.systemd, machine.services, machine.is_server_here),
            (Some(257), Services::Systemd, true)
        );
        assert!(!root.machine(&"192.168.1.2".parse().unwrap()).is_server_here);
    }

    #[tokio::test]
    async fn the_last_word_about_dns_in_network_manager_counts() {
        let conf = "etc/NetworkManager/NetworkManager.conf";
        for (files, expected) in [
            (vec![(conf, "[main]\ndns=dnsmasq\n")], NetworkManager::Dnsmasq),
            (
                vec![(conf, "[main]\ndns=dnsmasq\n"), ("etc/NetworkManager/conf.d/a.conf", "dns=default")],
                NetworkManager::Other,
            ),
            (
                vec![(conf, ""), ("etc/NetworkManager/conf.d/a.conf", "dns=none\ndns = dnsmasq")],
                NetworkManager::Dnsmasq,
            ),
            (vec![(conf, ""), ("usr/sbin/dnsmasq", "")], NetworkManager::CanRunDnsmasq),
        ] {
            let (_directory, root) = image(&files);
            assert_eq!(root.look().await.network_manager, Some(expected), "{files:?}");
        }
    }

    #[tokio::test]
    async fn name_servers_are_those_of_resolv_conf() {
        let text =
            "# a comment\nsearch lan\nnameserver 127.0.0.1\nnameserver\t::1\noptions edns0\nnameserver x\n";
        let (_directory, root) = image(&[("etc/resolv.conf", text), ("etc/pihole/pihole.toml", "")]);
        let seen = root.look().await;
        assert_eq!(seen.name_servers, ["127.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert!(seen.has_pi_hole && seen.version.is_none());
    }
}
