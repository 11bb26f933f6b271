//! The programs that are measured: pkdns, unbound and the echo servers.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use pkdns_testing::benchmark::{Process, names::query};

use crate::{
    check::Replies,
    echo::{self, Echo},
};

/// Answers that each server has room for where the table does not need more: the default of pkdns.
pub(crate) const CACHE: usize = 50_000;

/// How long unbound may take to start.
const START: Duration = Duration::from_secs(10);

/// The configuration of pkdns: quotas off, since one client exceeds any, and no DHT.
pub(crate) fn pkdns_configuration(listen: &str, upstream: SocketAddr, max_entries: usize) -> String {
    format!(
        "listen = '{listen}'\n\
         fallback_dns = '{upstream}'\n\
         [dht]\nenabled = false\n\
         [cache]\nmax_entries = {max_entries}\n\
         [rate_limit]\nrequests_per_minute = 0\ndht_requests_per_minute = 0\n"
    )
}

/// A server, and what it replies.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) replies: Replies,
}

impl Server {
    /// pkdns, listening on `listen`.
    pub(crate) fn pkdns(listen: &str, upstream: SocketAddr, max_entries: usize) -> Self {
        let process = Process::pkdns(&pkdns_configuration(listen, upstream, max_entries));
        Self { process, replies: Replies::Answer }
    }

    /// This program as an echo server.
    pub(crate) fn echo(kind: Echo) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([echo::FLAG, kind.name()]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the echo server starts");
        let output = child.stdout.take().unwrap();
        let address = BufReader::new(output).lines().next().unwrap().unwrap().parse().unwrap();
        Self { process: Process::new(child, address, None), replies: Replies::Echo }
    }

    /// unbound as a forwarder on one thread, without DNSSEC validation and prefetching, as pkdns is. Its caches have
    /// their default sizes; the receive buffer is as large as that of pkdns. `None`: it is not installed.
    pub(crate) fn unbound(upstream: SocketAddr) -> Option<Self> {
        let program = find("unbound")?;
        let directory = tempfile::tempdir().unwrap();
        let address = free_port();
        let (port, home) = (address.port(), directory.path().display());
        let (upstream_address, upstream_port) = (upstream.ip(), upstream.port());
        let configuration = format!(
            "server:\n\
         interface: 127.0.0.1\nport: {port}\ndo-ip6: no\nnum-threads: 1\nso-rcvbuf: 4m\n\
         module-config: \"iterator\"\nprefetch: no\ndo-not-query-localhost: no\n\
         verbosity: 0\nuse-syslog: no\nlog-queries: no\nstatistics-interval: 0\n\
         chroot: \"\"\nusername: \"\"\npidfile: \"\"\ndirectory: \"{home}\"\n\
         remote-control:\ncontrol-enable: no\n\
         forward-zone:\nname: \".\"\nforward-addr: {upstream_address}@{upstream_port}\n"
        );
        let path = directory.path().join("unbound.conf");
        fs::write(&path, configuration).unwrap();
        let mut command = Command::new(program);
        // It reports its start and end there.
        command.arg("-d").arg("-c").arg(path).stderr(Stdio::null());
        let child = command.spawn().expect("unbound starts");
        let process = Process::new(child, address, Some(directory));
        wait_until_it_answers(address);
        Some(Self { process, replies: Replies::Answer })
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers in /usr/sbin, where not every user looks.
    let mut directories = env::split_paths(&path).chain(["/usr/sbin".into()]);
    directories.find_map(|directory| Some(directory.join(program)).filter(|path| path.is_file()))
}

/// An address that nobody listens on, over UDP or TCP. unbound does not say which port it was given.
fn free_port() -> SocketAddr {
    loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = udp.local_addr().unwrap();
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

fn wait_until_it_answers(server: SocketAddr) {
    let step = Duration::from_millis(100);
    for _ in 0..START.as_millis() / step.as_millis() {
        // Anew each time: an earlier refusal would come back as an error of the next call.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(step)).unwrap();
        socket.send_to(&query(0, 0), server).unwrap();
        if socket.recv(&mut [0; 512]).is_ok() {
            return;
        }
    }
    panic!("{server} does not answer");
}
