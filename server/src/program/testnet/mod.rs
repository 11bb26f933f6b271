//! What stands in for the world outside when things are tried out: a sample zone to store in a DHT of this machine, and an
//! upstream in the place of the public DNS.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    op::{Message, OpCode},
    rr::{Name, RecordSet, RrKey},
    serialize::txt::Parser,
};
use hickory_server::{
    Server,
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType},
};
use pkdns_dht::signed_packet::{Keypair, SignedPacket};
use tokio::net::TcpListener;

/// The secret of the sample zone's key. It is public, a test vector of PKARR: anyone can sign for its key,
/// `8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy`.
pub const SAMPLE_SECRET: [u8; 32] = [
    0x29, 0x2b, 0xbf, 0xb6, 0xa5, 0xbc, 0x1e, 0xc3, 0xf6, 0xd0, 0x1a, 0x7c, 0x8e, 0x3f, 0xac, 0x17, 0x82,
    0xd3, 0x64, 0xca, 0x41, 0xa1, 0x84, 0x74, 0x97, 0xe9, 0xe3, 0xbc, 0x94, 0x9d, 0xbb, 0x9a,
];

/// What a client may find in a zone of its own: every kind of name that a key's zone usually has.
const SAMPLE_ZONE: &str = "\
@       300  IN A     127.0.0.1
@       300  IN AAAA  ::1
@       300  IN TXT   \"a sample zone, signed with a key that everyone knows\"
@       300  IN MX    10 mail
@       3600 IN HTTPS 1 . port=8443 ipv4hint=127.0.0.1
www     300  IN CNAME {apex}
mail    300  IN A     127.0.0.2
*.any   300  IN A     127.0.0.3
_pubky  3600 IN HTTPS 0 {apex}
";

/// Addresses for documentation only (RFC 5737 and RFC 3849).
const SAMPLE_UPSTREAM: [(&str, &str); 3] = [
    (
        "example.com.",
        "\
@    3600 IN SOA   ns hostmaster 1 7200 3600 1209600 300
@    3600 IN NS    ns
@    300  IN A     192.0.2.1
@    300  IN A     192.0.2.2
@    300  IN AAAA  2001:db8::1
@    300  IN MX    10 mail
@    300  IN TXT   \"v=spf1 -all\"
ns   3600 IN A     192.0.2.53
mail 300  IN A     192.0.2.25
www  300  IN CNAME {apex}
",
    ),
    (
        "example.org.",
        "\
@    3600 IN SOA   ns hostmaster 1 7200 3600 1209600 300
@    3600 IN NS    ns
@    300  IN A     198.51.100.1
@    300  IN AAAA  2001:db8::2
ns   3600 IN A     198.51.100.53
",
    ),
    (
        ".",
        "\
@    86400 IN SOA  a.root. hostmaster.root. 1 1800 900 604800 300
@    86400 IN NS   a.root.
",
    ),
];

/// How often a port of UDP that somebody has over TCP is replaced by another.
const ATTEMPTS: usize = 3;

/// The key of the sample zone.
pub fn sample_keypair() -> Keypair {
    Keypair::from_secret_key(&SAMPLE_SECRET)
}

/// A zone with some of everything for any key, signed at `timestamp` (microseconds since 1970).
pub fn sample_packet(keypair: &Keypair, timestamp: u64) -> io::Result<SignedPacket> {
    let mut message = Message::response(0, OpCode::Query);
    let records = parse(SAMPLE_ZONE, &format!("{}.", keypair.public_key().to_z32()))?;
    message.answers.extend(records.into_values().flatten());
    let dns = message.to_vec().map_err(io::Error::other)?;
    SignedPacket::sign(keypair, timestamp, &dns).map_err(io::Error::other)
}

/// An upstream resolver on 127.0.0.1, over UDP and TCP, as long as this is held. It knows example.com and example.org
/// and says NXDOMAIN for the rest.
pub struct SampleUpstream {
    address: SocketAddr,
    _server: Server<Catalog>,
}

impl SampleUpstream {
    /// Starts it on a free port.
    pub async fn start() -> io::Result<Self> {
        let (udp, tcp) = bind_both().await?;
        let address = udp.local_addr()?;
        let mut catalog = Catalog::new();
        for (origin, zone) in SAMPLE_UPSTREAM {
            let name = Name::from_ascii(origin).map_err(io::Error::other)?;
            let records = parse(zone, origin)?;
            let zone: InMemoryZoneHandler =
                InMemoryZoneHandler::new(name.clone(), records, ZoneType::Primary, AxfrPolicy::Deny)
                    .map_err(io::Error::other)?;
            let zone: Arc<dyn ZoneHandler> = Arc::new(zone);
            catalog.upsert(name.into(), vec![zone]);
        }
        let mut server = Server::new(catalog);
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 32);
        Ok(Self { address, _server: server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A UDP and a TCP socket with the same port.
async fn bind_both() -> io::Result<(tokio::net::UdpSocket, TcpListener)> {
    let mut failure = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let udp = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn parse(zone: &str, origin: &str) -> io::Result<BTreeMap<RrKey, RecordSet>> {
    let origin = Name::from_ascii(origin).map_err(io::Error::other)?;
    // The parser takes `@` for an owner only.
    let zone = zone.replace("{apex}", &origin.to_ascii());
    let (_, records) = Parser::new(zone, None, Some(origin)).parse().map_err(io::Error::other)?;
    Ok(records)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use hickory_proto::{
        op::{Edns, MessageType, Query, ResponseCode},
        rr::{RData, RecordType},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[test]
    fn the_sample_key_is_the_published_one() {
        assert_eq!(
            sample_keypair().public_key().to_z32(),
            "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy"
        );
    }

    #[test]
    fn the_sample_packet_is_one_that_pkarr_reads() {
        let keypair = sample_keypair();
        let packet = sample_packet(&keypair, 1_700_000_000_000_000).unwrap();
        let mut payload = Vec::new();
        payload.extend_from_slice(packet.to_item().signature());
        payload.extend_from_slice(&packet.timestamp().to_be_bytes());
        payload.extend_from_slice(packet.dns());
        let read = pkarr::SignedPacket::from_relay_payload(&keypair.public_key(), &payload.into()).unwrap();
        assert_eq!(read.all_resource_records().count(), 9);
        assert_eq!(read.resource_records("@").count(), 5);
        assert_eq!(read.resource_records("_pubky").count(), 1);
    }

    async fn ask(upstream: &SampleUpstream, name: &str, record_type: RecordType, over_tcp: bool) -> Message {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.queries.push(Query::query(Name::from_ascii(name).unwrap(), record_type));
        question.edns = Some(Edns::new());
        let bytes = question.to_vec().unwrap();
        let answer = async {
            if over_tcp {
                let mut stream = tokio::net::TcpStream::connect(upstream.address()).await.unwrap();
                stream.write_u16(bytes.len() as u16).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut answer).await.unwrap();
                answer
            } else {
                let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                socket.send_to(&bytes, upstream.address()).await.unwrap();
                let mut answer = vec![0; 4096];
                let size = socket.recv(&mut answer).await.unwrap();
                answer.truncate(size);
                answer
            }
        };
        Message::from_vec(&timeout(LIMIT, answer).await.unwrap()).unwrap()
    }

    #[tokio::test]
    async fn the_sample_upstream_answers_over_udp_and_tcp() {
        let upstream = SampleUpstream::start().await.unwrap();
        for over_tcp in [false, true] {
            let answer = ask(&upstream, "example.com.", RecordType::A, over_tcp).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
            assert_eq!(answer.answers.len(), 2);
            assert!(answer.edns.is_some());
        }
        let answer = ask(&upstream, "example.org.", RecordType::AAAA, false).await;
        let expected = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
        assert_eq!(answer.answers[0].data, RData::AAAA(expected.into()));
    }

    #[tokio::test]
    async fn the_sample_upstream_denies_everything_else_with_a_soa() {
        let upstream = SampleUpstream::start().await.unwrap();
        for name in ["nothing.example.com.", "example.net.", "single."] {
            let answer = ask(&upstream, name, RecordType::A, false).await;
            assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain, "{name}");
            assert_eq!(answer.authorities[0].record_type(), RecordType::SOA, "{name}");
        }
        let answer = ask(&upstream, "example.com.", RecordType::SRV, false).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert_eq!(answer.authorities[0].record_type(), RecordType::SOA);
    }
}
