//! Servers that ours asks: upstream resolvers, and the name servers of a zone.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::{
    op::{Edns, Header, HeaderCounts, Metadata, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use hickory_server::{
    Server,
    net::runtime::Time,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::net::{TcpListener, UdpSocket};

/// Longest chain of CNAME records that [`resolve`] follows.
const MAX_CHAIN: usize = 20;

/// A server on loopback, over UDP and TCP, as long as this is held.
pub struct NameServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<(Name, RecordType)>>>,
    _server: Server<Handler>,
}

/// What it says.
#[derive(Debug, Clone)]
pub struct Said {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
}

/// What it says to a question, its name in lower case. Nothing at all where that is `None`.
type Script = dyn Fn(&Name, RecordType) -> Option<Said> + Send + Sync;

impl NameServer {
    /// Starts a server at `address`, whose port is 0, that says what `script` returns.
    pub async fn start(
        address: impl Into<SocketAddr>,
        script: impl Fn(&Name, RecordType) -> Option<Said> + Send + Sync + 'static,
    ) -> Self {
        let address = address.into();
        loop {
            let tcp = TcpListener::bind(address).await.expect("an address of this machine");
            // The port may be taken for UDP.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("it is bound")).await {
                return Self::serve(udp, tcp, script);
            }
        }
    }

    /// As [`NameServer::start`], with `records` and their absences.
    pub async fn with(address: impl Into<SocketAddr>, records: Vec<Record>) -> Self {
        Self::start(address, move |name, record_type| Some(resolve(&records, name, record_type))).await
    }

    /// As [`NameServer::start`], on sockets with the same address.
    pub fn serve(
        udp: UdpSocket,
        tcp: TcpListener,
        script: impl Fn(&Name, RecordType) -> Option<Said> + Send + Sync + 'static,
    ) -> Self {
        let address = tcp.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut server = Server::new(Handler { script: Box::new(script), asked: asked.clone() });
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 16);
        Self { address, asked, _server: server }
    }

    /// The questions it was asked so far, in order, without those by which a server looks for loops.
    pub fn asked(&self) -> Vec<(Name, RecordType)> {
        let asked = self.asked.lock().expect("no panic while held");
        let is_probe = |name: &Name| name.iter().next_back() == Some(b"pkdns-loop");
        asked.iter().filter(|(name, _)| !is_probe(name)).cloned().collect()
    }
}

/// What a resolver says that knows `records` alone: CNAME records are followed, and an absence comes with the SOA
/// record of its zone, if there is one.
pub fn resolve(records: &[Record], name: &Name, record_type: RecordType) -> Said {
    let mut answers = Vec::new();
    let mut at = name.clone();
    for _ in 0..MAX_CHAIN {
        let own: Vec<&Record> = records.iter().filter(|record| record.name == at).collect();
        let set: Vec<_> = own.iter().filter(|record| record.record_type() == record_type).collect();
        if !set.is_empty() {
            answers.extend(set.into_iter().map(|record| (*record).clone()));
            return Said { code: ResponseCode::NoError, answers, authorities: Vec::new() };
        }
        let alias = own.iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(((*record).clone(), target.0.to_lowercase())),
            _ => None,
        });
        let Some((alias, target)) = alias else {
            let exists = records.iter().any(|record| at.zone_of(&record.name));
            let code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
            let zones = records.iter().filter(|record| record.record_type() == RecordType::SOA);
            let zone = zones.filter(|soa| soa.name.zone_of(&at)).max_by_key(|soa| soa.name.iter().count());
            return Said { code, answers, authorities: zone.cloned().into_iter().collect() };
        };
        answers.push(alias);
        at = target;
    }
    Said { code: ResponseCode::ServFail, answers: Vec::new(), authorities: Vec::new() }
}

struct Handler {
    script: Box<Script>,
    asked: Arc<Mutex<Vec<(Name, RecordType)>>>,
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut handle: R,
    ) -> ResponseInfo {
        let info = request.request_info().expect("one question");
        let (name, record_type) = (Name::from(info.query.name().clone()), info.query.query_type());
        self.asked.lock().expect("no panic while held").push((name.clone(), record_type));
        let mut metadata = Metadata::response_from_request(info.metadata);
        let Some(said) = (self.script)(&name, record_type) else {
            return Header { metadata, counts: HeaderCounts::default() }.into();
        };
        metadata.recursion_available = true;
        metadata.response_code = said.code;
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if request.edns.is_some() {
            builder.edns(&edns);
        }
        let none = std::iter::empty::<&Record>;
        let response = builder.build(metadata, &said.answers, &said.authorities, none(), none());
        handle.send_response(response).await.expect("a reply that fits")
    }
}
