//! The input is what a load balancer sends first, all at once.

use std::{
    io,
    net::{self, IpAddr, Shutdown},
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use pkdns::edge::transport::proxy_protocol::{self, Proxied};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    runtime::{Builder, Runtime},
};

/// The longest headers of both versions, as the documentation gives them.
const LONGEST: [usize; 2] = [107, 16 + 4096];

/// More would not fit into the buffer of the socket.
const MAX_INPUT: usize = 16 * 1024;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    if is_unfinished(input) || input.len() > MAX_INPUT {
        return;
    }
    let (outcome, rest) = read(input);
    let taken = input.len() - rest.len();
    assert!(input.ends_with(&rest), "what follows the header has changed");
    match outcome {
        Ok(None) => {
            assert_eq!(taken, 0, "something was taken that is no header");
            assert!(!input.starts_with(b"PROXY "));
        }
        Ok(Some(proxied)) => {
            assert!(taken <= LONGEST[usize::from(input[0] != b'P')], "{taken} bytes");
            if let Proxied::For(address) = proxied {
                assert_eq!(address, IpAddr::to_canonical(&address));
            }
            let (again, rest) = read(&input[..taken]);
            assert_eq!(again.ok(), Some(Some(proxied)), "what follows the header counts");
            assert!(rest.is_empty());
        }
        Err(error) => {
            assert!([io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof].contains(&error.kind()));
        }
    }
}

/// Whether more has to come before anything is read, for which nobody waits here.
fn is_unfinished(input: &[u8]) -> bool {
    let starts = [&b"PROXY "[..], b"\r\n\r\n\0\r\nQUIT\n"];
    let is_begun = starts.iter().any(|start| start.starts_with(input));
    let line = &input[..input.len().min(LONGEST[0])];
    let has_end = line.len() == LONGEST[0] || line.windows(2).any(|pair| pair == b"\r\n");
    is_begun || (input.starts_with(starts[0]) && !has_end)
}

/// What is read from a connection that brings the input, and what is left on it.
fn read(input: &[u8]) -> (io::Result<Option<Proxied>>, Vec<u8>) {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            // To whom reads it, a socket of this kind is as one of TCP, and it takes no port.
            let (mut balancer, server) = UnixStream::pair().expect("a pair of sockets");
            io::Write::write_all(&mut balancer, input).expect("room in the buffer");
            balancer.shutdown(Shutdown::Write).expect("an open socket");
            server.set_nonblocking(true).expect("an open socket");
            let server = net::TcpStream::from(OwnedFd::from(server));
            let mut server = TcpStream::from_std(server).expect("a runtime");
            let outcome = proxy_protocol::read(&mut server).await;
            let mut rest = Vec::new();
            server.read_to_end(&mut rest).await.expect("an open socket");
            (outcome, rest)
        })
    })
}
