//! PROXY protocol, versions 1 and 2: the first bytes of a connection that a load balancer passes on, with the address of
//! the client it is passed on for.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::TcpStream, time::sleep};

/// What every header of version 2 starts with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What every header of version 1 starts with, its end, and how long it may be, in bytes: a line of text.
const LINE_START: &[u8] = b"PROXY ";
const LINE_END: &[u8] = b"\r\n";
const MAX_LINE_SIZE: usize = 107;

/// Signature, version and command, family, length of the rest.
const HEAD_SIZE: usize = 16;

/// Addresses and extensions together, in bytes. Certificates of the client in there would be the longest.
const MAX_BODY_SIZE: usize = 4096;

/// A start that comes in pieces is looked at again after this.
const NEXT_LOOK: Duration = Duration::from_millis(5);

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    /// The connection is passed on for this client.
    For(IpAddr),
    /// It is the proxy's own, such as a health check, or passed on for somebody without an IP address.
    Own,
}

/// Takes the header off `stream`; `None` if it starts with something else, of which nothing is taken. Waits for as
/// long as the start could still become one: the caller has the deadline.
///
/// # Errors
///
/// When the connection ends or the header is malformed.
pub async fn read(stream: &mut TcpStream) -> io::Result<Option<Proxied>> {
    let mut start = [0; MAX_LINE_SIZE];
    loop {
        let seen = stream.peek(&mut start).await?;
        let seen = start.get(..seen).unwrap_or_default();
        let may_be = |whole: &[u8]| {
            let both = whole.len().min(seen.len());
            !seen.is_empty() && whole.get(..both) == seen.get(..both)
        };
        if may_be(&SIGNATURE) {
            if seen.len() >= SIGNATURE.len() {
                return read_binary(stream).await.map(Some);
            }
        } else if may_be(LINE_START) {
            if let Some(end) = seen.windows(LINE_END.len()).position(|end| end == LINE_END) {
                return read_line(stream, end).await.map(Some);
            }
            if seen.len() == MAX_LINE_SIZE {
                return Err(malformed());
            }
        } else {
            return Ok(None);
        }
        sleep(NEXT_LOOK).await;
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed PROXY header")
}

async fn read_binary(stream: &mut TcpStream) -> io::Result<Proxied> {
    let mut head = [0; HEAD_SIZE];
    stream.read_exact(&mut head).await?;
    let size = body_size(&head).ok_or_else(malformed)?;
    let mut body = vec![0; size];
    stream.read_exact(&mut body).await?;
    parse(&head, &body).ok_or_else(malformed)
}

/// `length`: of the line without its end.
async fn read_line(stream: &mut TcpStream, length: usize) -> io::Result<Proxied> {
    let mut line = vec![0; length + LINE_END.len()];
    stream.read_exact(&mut line).await?;
    let text = line.strip_suffix(LINE_END).and_then(|line| str::from_utf8(line).ok());
    text.and_then(parse_line).ok_or_else(malformed)
}

/// `PROXY TCP4 SOURCE DESTINATION PORT PORT`, or `PROXY UNKNOWN` and anything.
fn parse_line(line: &str) -> Option<Proxied> {
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Proxied::Own);
    }
    let (source, destination) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let ports = [words.next()?, words.next()?].map(str::parse::<u16>);
    let is_sound = ports.iter().all(Result::is_ok) && words.next().is_none();
    match (family, source, destination) {
        ("TCP4", IpAddr::V4(_), IpAddr::V4(_)) if is_sound => Some(Proxied::For(source)),
        ("TCP6", IpAddr::V6(_), IpAddr::V6(_)) if is_sound => Some(Proxied::For(source.to_canonical())),
        _ => None,
    }
}

/// The length of what follows the head.
fn body_size(head: &[u8; HEAD_SIZE]) -> Option<usize> {
    let size = usize::from(u16::from_be_bytes([head[14], head[15]]));
    (head[12] >> 4 == 2 && size <= MAX_BODY_SIZE).then_some(size)
}

fn parse(head: &[u8; HEAD_SIZE], body: &[u8]) -> Option<Proxied> {
    let (version, command) = (head[12] >> 4, head[12] & 0x0f);
    match (version, command) {
        (2, 0) => return Some(Proxied::Own),
        (2, 1) => {}
        _ => return None,
    }
    match head[13] >> 4 {
        // Source and destination, then their ports.
        1 => {
            let (source, _) = body.get(..12)?.split_first_chunk::<4>()?;
            Some(Proxied::For(Ipv4Addr::from(*source).into()))
        }
        2 => {
            let (source, _) = body.get(..36)?.split_first_chunk::<16>()?;
            Some(Proxied::For(IpAddr::from(Ipv6Addr::from(*source)).to_canonical()))
        }
        // Unspecified, or a unix socket.
        0 | 3 => Some(Proxied::Own),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    fn header(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    fn parsed(bytes: &[u8]) -> Option<Proxied> {
        let (head, body) = bytes.split_first_chunk().unwrap();
        (body_size(head)? == body.len()).then(|| parse(head, body)).flatten()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 127, 0, 0, 1, 0x30, 0x39, 1, 187];

    #[test]
    fn the_source_address_is_the_client() {
        let client = |address: &str| Some(Proxied::For(address.parse().unwrap()));
        assert_eq!(parsed(&header(0x21, 0x11, &V4)), client("192.0.2.7"));
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(parsed(&header(0x21, 0x21, &v6)), client("2001:db8::7"));
        v6[..16].copy_from_slice(&"::ffff:192.0.2.7".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(parsed(&header(0x21, 0x21, &v6)), client("192.0.2.7"));
        let with_extension = [&V4[..], &[4, 0, 1, 0]].concat();
        assert_eq!(parsed(&header(0x21, 0x11, &with_extension)), client("192.0.2.7"));
    }

    #[test]
    fn health_checks_and_unix_sockets_are_the_proxy_itself() {
        assert_eq!(parsed(&header(0x20, 0x00, &[])), Some(Proxied::Own));
        assert_eq!(parsed(&header(0x20, 0x11, &V4)), Some(Proxied::Own));
        assert_eq!(parsed(&header(0x21, 0x00, &[])), Some(Proxied::Own));
        assert_eq!(parsed(&header(0x21, 0x31, &[0; 216])), Some(Proxied::Own));
    }

    #[test]
    fn other_versions_commands_and_short_addresses_are_malformed() {
        for bytes in [
            header(0x11, 0x11, &V4),
            header(0x22, 0x11, &V4),
            header(0x21, 0x41, &V4),
            header(0x21, 0x11, &V4[..11]),
            header(0x21, 0x21, &[0; 35]),
            header(0x21, 0x11, &[0; MAX_BODY_SIZE + 1]),
        ] {
            assert_eq!(parsed(&bytes), None, "{:02x?}", &bytes[12..16]);
        }
    }

    #[test]
    fn lines_of_version_1_name_the_client_or_nobody() {
        let client = |address: &str| Some(Proxied::For(address.parse().unwrap()));
        for (line, proxied) in [
            ("PROXY TCP4 192.0.2.7 127.0.0.1 12345 443", client("192.0.2.7")),
            ("PROXY TCP6 2001:db8::7 ::1 12345 443", client("2001:db8::7")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2", client("192.0.2.7")),
            ("PROXY UNKNOWN", Some(Proxied::Own)),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535", Some(Proxied::Own)),
            ("PROXY", None),
            ("PROXY TCP4", None),
            ("PROXY TCP4 192.0.2.7 127.0.0.1 12345", None),
            ("PROXY TCP4 192.0.2.7 127.0.0.1 12345 443 more", None),
            ("PROXY TCP4 192.0.2.7 127.0.0.1 12345 65536", None),
            ("PROXY TCP4 2001:db8::7 ::1 12345 443", None),
            ("PROXY TCP6 192.0.2.7 127.0.0.1 12345 443", None),
            ("PROXY  TCP4 192.0.2.7 127.0.0.1 12345 443", None),
            ("PROXY UDP4 192.0.2.7 127.0.0.1 12345 443", None),
        ] {
            assert_eq!(parse_line(line), proxied, "{line}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn any_line_is_read_or_refused(line in "(PROXY )?(TCP4 |TCP6 |UNKNOWN)?[ -~]{0,100}") {
            let _ = parse_line(&line);
        }

        #[test]
        fn any_header_is_read_or_refused(head: [u8; HEAD_SIZE], body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (body_size(&head), parse(&head, &body));
        }
    }

    /// What is read from a connection that sends `pieces`, and what is left to read.
    async fn sent(pieces: &[&[u8]]) -> (io::Result<Option<Proxied>>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let sending = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                sleep(Duration::from_millis(20)).await;
            }
            client.shutdown().await.unwrap();
        };
        let (outcome, ()) = tokio::join!(read(&mut stream), sending);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (outcome, rest)
    }

    #[tokio::test]
    async fn a_header_is_taken_off_and_nothing_else_is() {
        let whole = [header(0x21, 0x11, &V4), b"GET / HTTP/1.1".to_vec()].concat();
        let client = Some(Proxied::For("192.0.2.7".parse().unwrap()));
        for pieces in [vec![&whole[..]], vec![&whole[..5], &whole[5..14], &whole[14..20], &whole[20..]]] {
            let (proxied, rest) = sent(&pieces).await;
            assert_eq!((proxied.unwrap(), &rest[..]), (client, &b"GET / HTTP/1.1"[..]));
        }
        for start in [&b"GET / HTTP/1.1"[..], b"\r\n\r\n\0\r\nQUIP\n", b"\x16\x03\x01", b""] {
            let (proxied, rest) = sent(&[start]).await;
            assert_eq!((proxied.unwrap(), &rest[..]), (None, start));
        }
        for pieces in [
            vec![&b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 443\r\nGET / HTTP/1.1"[..]],
            vec![&b"PRO"[..], b"XY TCP4 192.0.2.7 127.0.0.1 123", b"45 443\r", b"\nGET / HTTP/1.1"],
        ] {
            let (proxied, rest) = sent(&pieces).await;
            assert_eq!((proxied.unwrap(), &rest[..]), (client, &b"GET / HTTP/1.1"[..]));
        }
        let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; MAX_LINE_SIZE]].concat();
        for malformed in [&b"PROXY TCP4 192.0.2.7\r\n"[..], &endless] {
            assert!(sent(&[malformed]).await.0.is_err());
        }
        assert!(sent(&[&header(0x21, 0x11, &V4)[..20]]).await.0.is_err());
        assert!(sent(&[&header(0x21, 0x41, &V4)]).await.0.is_err());
    }
}
