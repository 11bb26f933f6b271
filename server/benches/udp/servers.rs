//! The programs that are measured: pkdns, and one that sends every datagram back.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{common::Process, load::Replies};

/// Makes this program the echo server.
pub(crate) const ECHO_FLAG: &str = "--serve-echo";

/// The echo server ends after so long without a datagram, should nobody be left to end it.
const ECHO_IDLE: Duration = Duration::from_secs(300);

/// A server, and what it replies.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) replies: Replies,
}

impl Server {
    pub(crate) fn echo() -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        let mut child =
            command.arg(ECHO_FLAG).stdout(Stdio::piped()).spawn().expect("the echo server starts");
        let output = child.stdout.take().unwrap();
        let address = BufReader::new(output).lines().next().unwrap().unwrap().parse().unwrap();
        Self { process: Process::new(child, address, None), replies: Replies::Echo }
    }

    /// pkdns with quotas off and no DHT, listening on `listen`.
    pub(crate) fn pkdns(listen: &str, upstream: SocketAddr) -> Self {
        let process = Process::pkdns(&format!(
            "listen = '{listen}'\nfallback_dns = '{upstream}'\n[dht]\nenabled = false\n\
             [rate_limit]\nrequests_per_minute = 0\ndht_requests_per_minute = 0\n"
        ));
        Self { process, replies: Replies::Answer }
    }
}

/// Sends every datagram back to where it came from.
pub(crate) fn echo() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(ECHO_IDLE)).unwrap();
    let mut output = std::io::stdout();
    writeln!(output, "{}", socket.local_addr().unwrap()).unwrap();
    output.flush().unwrap();
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&buffer[..length], client);
    }
}
