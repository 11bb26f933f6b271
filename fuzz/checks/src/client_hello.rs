//! The input is what a client sends first to the bridge.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use pkdns::{
    edge::bridge::{
        SiteName,
        hello::{Hello, MAX_HELLO_SIZE},
    },
    resolver::name::Suffixes,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes in which the input comes at most.
const PIECE: usize = 700;

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    let mut stream = Client { input, read: 0, written: Vec::new() };
    let Some(outcome) = Hello::read(&mut stream).now_or_never() else {
        unreachable!("a stream that never waits was waited for");
    };
    let outcome = outcome.map(|hello| (hello.server_name(), hello.protocols()));
    assert!(stream.read <= MAX_HELLO_SIZE, "{} bytes were read", stream.read);
    let Ok((server_name, protocols)) = outcome else {
        // An alert at most.
        assert!(stream.written.len() <= 7, "{:02x?}", stream.written);
        return;
    };
    assert!(stream.written.is_empty(), "something was said before the name was known");
    assert!(protocols.unwrap_or_default().iter().all(|protocol| !protocol.is_empty()));
    let Some(server_name) = server_name else { return };
    assert_eq!(server_name, server_name.to_ascii_lowercase());
    if let Some(site) = SiteName::read(&server_name, &Suffixes::new(["key"])) {
        assert!(site.text.ends_with(".key") && site.name.is_fqdn());
        assert!(site.text.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>&\"'/\\".contains(&byte)));
    }
}

/// Sends the input, and then ends.
struct Client<'a> {
    input: &'a [u8],
    read: usize,
    written: Vec<u8>,
}

impl AsyncRead for Client<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.input.get(self.read..).unwrap_or_default();
        let count = rest.len().min(buffer.remaining()).min(PIECE);
        buffer.put_slice(rest.get(..count).unwrap_or_default());
        self.read += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Client<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
