//! The name servers of a zone, as the rest of the world finds them, and what each of them says.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

use futures_util::future::join_all;
use hickory_proto::rr::{Name, RData, RecordType};
use pkdns::config::DNS_PORT;

use crate::{
    dns::{self, Over, Reply, addresses_in},
    failure::Failure,
    terminal::printable,
};

/// Where the system keeps its resolvers (resolv.conf(5)).
const SYSTEM: &str = "/etc/resolv.conf";

/// As many as the system's own library asks.
const MAX_RESOLVERS: usize = 3;

/// Name servers of a zone that are looked at, and addresses of each. No zone that works has more.
const MAX_SERVERS: usize = 13;
const MAX_ADDRESSES: usize = 4;

/// Resolvers that find whatever there is, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolvers(Vec<SocketAddr>);

/// One name server of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameServer {
    pub(crate) name: String,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// The reply of one address of a name server.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    /// The server, by name and address.
    pub(crate) server: String,
    pub(crate) reply: Reply,
}

impl Resolvers {
    /// The one that was chosen, or those of the system.
    pub(crate) fn new(chosen: Option<SocketAddr>) -> Result<Self, Failure> {
        if let Some(chosen) = chosen {
            return Ok(Self(vec![chosen]));
        }
        let text = fs::read_to_string(SYSTEM).unwrap_or_default();
        let resolvers = read(&text);
        if resolvers.is_empty() {
            return Err(Failure::Failed(format!(
                "{SYSTEM} names no resolver: name one with --resolver, such as 9.9.9.9"
            )));
        }
        Ok(Self(resolvers))
    }

    /// The first answer that says yes or no, or else the last that there is.
    pub(crate) async fn ask(&self, name: &Name, record_type: RecordType) -> Reply {
        let mut last = Reply::Silent;
        for resolver in &self.0 {
            last = dns::ask(*resolver, name, record_type, Over::Udp).await;
            if last.is_conclusive() {
                break;
            }
        }
        last
    }

    /// The addresses of a name, wherever its aliases lead.
    pub(crate) async fn addresses(&self, name: &Name) -> Vec<IpAddr> {
        let (v4, v6) = tokio::join!(self.ask(name, RecordType::A), self.ask(name, RecordType::AAAA));
        [v4, v6].iter().flat_map(addresses_in).take(MAX_ADDRESSES).collect()
    }

    /// The name servers that the delegation of `zone` names.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be found out.
    pub(crate) async fn name_servers(&self, zone: &Name) -> Result<Vec<NameServer>, Failure> {
        let shown = dns::shown(zone);
        let reply = self.ask(zone, RecordType::NS).await;
        let Some(response) = reply.response() else {
            return Err(Failure::Failed(format!(
                "the name servers of {shown} cannot be found out, because from the resolver {} {}: check the network, or name \
                 another with --resolver",
                self,
                reply.describe()
            )));
        };
        let names = response.answers.iter().filter_map(|record| match &record.data {
            RData::NS(name) if record.name == *zone => Some(name.0.clone()),
            _ => None,
        });
        let names: Vec<Name> = names.take(MAX_SERVERS).collect();
        if names.is_empty() {
            return Err(Failure::Failed(format!(
                "{shown} has no name servers ({} answers {}): its operator has to delegate it, with NS records in the zone \
                 above it",
                self,
                dns::code(response.code)
            )));
        }
        let servers = names.iter().map(async |name| NameServer {
            name: dns::shown(name),
            addresses: self
                .addresses(name)
                .await
                .into_iter()
                .map(|address| (address, DNS_PORT).into())
                .collect(),
        });
        Ok(join_all(servers).await)
    }
}

impl std::fmt::Display for Resolvers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resolvers: Vec<String> = self.0.iter().map(SocketAddr::to_string).collect();
        f.write_str(&resolvers.join(", "))
    }
}

impl NameServer {
    /// One that was named by its address.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { name: address.to_string(), addresses: vec![address] }
    }

    /// What each of its addresses says of a name in its zone.
    pub(crate) async fn ask(&self, name: &Name, record_type: RecordType, over: Over) -> Vec<Statement> {
        let statements = self.addresses.iter().map(async |address| Statement {
            server: self.title(*address),
            reply: dns::ask_authority(*address, name, record_type, over).await,
        });
        join_all(statements).await
    }

    fn title(&self, address: SocketAddr) -> String {
        match () {
            () if self.name == address.to_string() => self.name.clone(),
            () if address.port() == DNS_PORT => format!("{} ({})", self.name, address.ip()),
            () => format!("{} ({address})", self.name),
        }
    }
}

/// What each address of all of them says.
pub(crate) async fn ask_all(servers: &[NameServer], name: &Name, record_type: RecordType) -> Vec<Statement> {
    let statements = servers.iter().map(|server| server.ask(name, record_type, Over::Udp));
    join_all(statements).await.into_iter().flatten().collect()
}

/// The texts of TXT records at `name` itself, in full.
pub(crate) fn texts_at(reply: &Reply, name: &Name) -> Vec<String> {
    let texts = reply.answers().iter().filter_map(|record| match &record.data {
        RData::TXT(text) if record.name == *name => {
            Some(printable(&String::from_utf8_lossy(&text.txt_data.concat())))
        }
        _ => None,
    });
    texts.collect()
}

/// The resolvers in a resolv.conf(5).
fn read(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == "nameserver").then(|| words.next())?
    });
    // An address of a link has an interface behind it.
    let addresses = lines.filter_map(|text| match text.split_once('%') {
        None => text.parse::<IpAddr>().ok().map(|address| (address, DNS_PORT).into()),
        Some(_) => format!("[{text}]:{DNS_PORT}").parse().ok(),
    });
    addresses.take(MAX_RESOLVERS).collect()
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Message, MessageType, ResponseCode},
        rr::{
            Record,
            rdata::{A, AAAA, NS},
        },
    };
    use tokio::net::UdpSocket;

    use super::*;

    /// A resolver that knows a zone with two name servers, one of which is lost.
    async fn resolver() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut bytes = vec![0; 4096];
            while let Ok((size, peer)) = socket.recv_from(&mut bytes).await {
                let query = Message::from_vec(&bytes[..size]).unwrap();
                let mut reply =
                    Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
                reply.queries = query.queries.clone();
                let (name, kind) = (query.queries[0].name().clone(), query.queries[0].query_type());
                let server = |text| RData::NS(NS(dns::complete(text)));
                let data = match (dns::shown(&name).as_str(), kind) {
                    ("pk.test", RecordType::NS) => vec![server("ns1.pk.test"), server("ns2.test")],
                    ("ns1.pk.test", RecordType::A) => vec![RData::A(A::new(192, 0, 2, 1))],
                    ("ns1.pk.test", RecordType::AAAA) => {
                        vec![RData::AAAA(AAAA("2001:db8::1".parse().unwrap()))]
                    }
                    ("no.test", _) => {
                        reply.metadata.response_code = ResponseCode::NXDomain;
                        Vec::new()
                    }
                    _ => Vec::new(),
                };
                for data in data {
                    reply.add_answer(Record::from_rdata(name.clone(), 60, data));
                }
                let _ = socket.send_to(&reply.to_vec().unwrap(), peer).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn the_name_servers_of_a_zone_are_found_with_their_addresses_and_what_is_missing_is_told() {
        let resolvers = Resolvers::new(Some(resolver().await)).unwrap();
        let servers = resolvers.name_servers(&dns::complete("pk.test")).await.unwrap();
        let addresses = ["192.0.2.1:53", "[2001:db8::1]:53"].map(|text| text.parse().unwrap()).to_vec();
        let expected = [("ns1.pk.test", addresses), ("ns2.test", Vec::new())]
            .map(|(name, addresses)| NameServer { name: name.to_string(), addresses });
        assert_eq!(servers, expected);
        let failure = resolvers.name_servers(&dns::complete("no.test")).await.unwrap_err().to_string();
        assert!(failure.contains("answers NXDOMAIN") && failure.contains("delegate it"), "{failure}");
        let nobody = Resolvers::new(Some("127.0.0.1:9".parse().unwrap())).unwrap();
        let failure = nobody.name_servers(&dns::complete("pk.test")).await.unwrap_err().to_string();
        assert!(failure.contains("nothing listens") && failure.contains("--resolver"), "{failure}");
    }

    #[test]
    fn the_resolvers_of_the_system_are_read_as_its_library_reads_them() {
        let text = "# nameserver 192.0.2.9\nsearch example.net\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 \n\
                    nameserver nonsense\nnameserver\nnameserver 192.0.2.2\nnameserver 192.0.2.3\noptions edns0\n";
        let expected = ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"];
        assert_eq!(read(text), expected.map(|text| text.parse().unwrap()));
        assert_eq!(read(""), []);
    }
}
