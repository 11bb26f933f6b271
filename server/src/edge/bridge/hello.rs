//! The ClientHello, by which a client says whose site it wants: read before anything else is decided.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake, rustls::server::Acceptor};

/// Bytes that a ClientHello may take with the headers of its records. Those of browsers take up to 2 kB, with keys for
/// after quantum computers and ECH.
pub const MAX_HELLO_SIZE: usize = 16 << 10;

/// A record with the alert `unrecognized_name`, fatal (RFC 6066 section 3). Before keys are agreed on it goes in the clear.
pub const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A ClientHello, and the connection that it came over.
pub struct Hello<S> {
    start: StartHandshake<S>,
}

/// A stream of which only so much may be read.
struct FirstBytes<S> {
    stream: S,
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Hello<S> {
    /// Reads it off `stream`. The deadline is the caller's.
    ///
    /// # Errors
    ///
    /// When the connection ends before, what comes is none, or it takes more than [`MAX_HELLO_SIZE`].
    pub async fn read(stream: S) -> io::Result<Self> {
        let stream = FirstBytes { stream, left: MAX_HELLO_SIZE };
        let StartHandshake { accepted, io, .. } =
            LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        Ok(Self { start: StartHandshake::from_parts(accepted, io.stream) })
    }

    /// The host name that the client wants, in lower case (SNI, RFC 6066).
    pub fn server_name(&self) -> Option<String> {
        self.start.client_hello().server_name().map(str::to_ascii_lowercase)
    }

    /// What the client would speak, as it prefers it (ALPN); `None` if it does not say.
    pub fn protocols(&self) -> Option<Vec<Vec<u8>>> {
        let hello = self.start.client_hello();
        Some(hello.alpn()?.map(<[u8]>::to_vec).collect())
    }

    /// To go on with the handshake.
    pub fn into_start(self) -> StartHandshake<S> {
        self.start
    }

    /// Ends the handshake, because there is nothing here by the name that the client wants.
    ///
    /// # Errors
    ///
    /// When the client is gone.
    pub async fn refuse_name(mut self) -> io::Result<()> {
        self.start.io.write_all(&UNRECOGNIZED_NAME).await?;
        self.start.io.shutdown().await
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the ClientHello is too long",
            )));
        }
        let most = self.left.min(buffer.remaining());
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        let outcome = Pin::new(&mut self.stream).poll_read(context, &mut part);
        let read = part.filled().len();
        buffer.advance(read);
        self.left = self.left.saturating_sub(read);
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    /// Records of the handshake with a ClientHello that has so many bytes of padding, in an extension that nobody knows.
    fn hello(padding: usize) -> Vec<u8> {
        in_records(&message(b"www.example.key", padding), 8192)
    }

    fn message(name: &[u8], padding: usize) -> Vec<u8> {
        let padding = vec![0; padding];
        let unknown = [&[0xfa, 0xfa][..], &(padding.len() as u16).to_be_bytes(), &padding].concat();
        let entry = [&[0][..], &(name.len() as u16).to_be_bytes(), name].concat();
        let list = [&(entry.len() as u16).to_be_bytes()[..], &entry].concat();
        let sni = [&[0, 0][..], &(list.len() as u16).to_be_bytes(), &list].concat();
        let schemes = [0, 13, 0, 4, 0, 2, 8, 4];
        let extensions = [&sni[..], &schemes, &unknown].concat();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[0],
            &[0, 2, 0x13, 1],
            &[1, 0],
            &(extensions.len() as u16).to_be_bytes(),
            &extensions,
        ]
        .concat();
        [&[1, 0][..], &(body.len() as u16).to_be_bytes(), &body].concat()
    }

    fn in_records(message: &[u8], size: usize) -> Vec<u8> {
        let mut records = Vec::new();
        for part in message.chunks(size) {
            records.extend([22, 3, 1]);
            records.extend((part.len() as u16).to_be_bytes());
            records.extend(part);
        }
        records
    }

    async fn read(bytes: &[u8]) -> io::Result<Hello<tokio::io::DuplexStream>> {
        let (mut client, server) = duplex(64 << 10);
        client.write_all(bytes).await.unwrap();
        let read = Hello::read(server).await;
        drop(client);
        read
    }

    #[tokio::test]
    async fn a_hello_of_16_kib_is_read_and_one_byte_more_is_too_long() {
        let shortest = hello(0).len();
        // Two records more have headers of five bytes.
        let longest = hello(MAX_HELLO_SIZE - shortest - 5);
        assert_eq!(longest.len(), MAX_HELLO_SIZE);
        assert_eq!(read(&longest).await.unwrap().server_name().as_deref(), Some("www.example.key"));
        let longer = hello(MAX_HELLO_SIZE + 1 - shortest - 5);
        assert_eq!(longer.len(), MAX_HELLO_SIZE + 1);
        let error = read(&longer).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    }

    #[tokio::test]
    async fn a_hello_may_come_in_records_of_one_byte() {
        let records = in_records(&message(b"www.example.key", 2000), 1);
        assert!(records.len() > 12_000 && records.len() < MAX_HELLO_SIZE);
        assert_eq!(read(&records).await.unwrap().server_name().as_deref(), Some("www.example.key"));
    }

    #[tokio::test]
    async fn a_name_is_read_as_it_may_be_sent_and_whatever_else_stands_there_is_none() {
        for (name, expected) in [
            (&b"WWW.Example.KEY"[..], Some("www.example.key")),
            (b"xn--bcher-kva.example.key", Some("xn--bcher-kva.example.key")),
            (b"a_b.example.key", Some("a_b.example.key")),
            (b"192.0.2.1", None),
            // The name behind it is the same.
            (b"example.key.", Some("example.key.")),
            (b"b\xc3\xbccher.key", None),
            (b"a\0b.key", None),
            (b"", None),
            (&[b'a'; 300], None),
        ] {
            let hello = read(&in_records(&message(name, 0), 8192)).await;
            let found = hello.ok().and_then(|hello| hello.server_name());
            assert_eq!(found.as_deref(), expected, "{}", String::from_utf8_lossy(name));
        }
    }

    #[tokio::test]
    async fn who_asks_for_a_name_that_is_not_here_is_told_so() {
        let (mut client, server) = duplex(4096);
        client.write_all(&hello(0)).await.unwrap();
        Hello::read(server).await.unwrap().refuse_name().await.unwrap();
        let mut said = Vec::new();
        client.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, UNRECOGNIZED_NAME);
    }
}
