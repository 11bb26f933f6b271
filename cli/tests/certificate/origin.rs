//! The origin.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, SOA},
    },
};
use pkdns::{dht::Dht, signed_packet::PublicKey};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

use super::program::World;

/// Its name.
pub(crate) const ORIGIN: &str = "pk.example.net";

/// A stand-in that answers for keys from the DHT.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// Whether challenges are left out, as by a name server that is behind.
    pub(crate) is_behind: Arc<AtomicBool>,
}

impl Origin {
    pub(crate) async fn start(world: &World) -> Self {
        let dht = Arc::new(world.dht().await);
        let is_behind = Arc::new(AtomicBool::new(false));
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let (told, behind) = (dht.clone(), is_behind.clone());
        tokio::spawn(async move {
            let mut bytes = vec![0; 4096];
            while let Ok((size, peer)) = udp.recv_from(&mut bytes).await {
                let reply = answer(&told, &behind, &bytes[..size]).await;
                let _ = udp.send_to(&reply, peer).await;
            }
        });
        let behind = is_behind.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let Ok(size) = stream.read_u16().await else { continue };
                let mut bytes = vec![0; size.into()];
                if stream.read_exact(&mut bytes).await.is_ok() {
                    let reply = answer(&dht, &behind, &bytes).await;
                    let _ = stream.write_u16(reply.len() as u16).await;
                    let _ = stream.write_all(&reply).await;
                }
            }
        });
        Self { address, is_behind }
    }
}

async fn answer(dht: &Dht, is_behind: &AtomicBool, bytes: &[u8]) -> Vec<u8> {
    let query = Message::from_vec(bytes).unwrap();
    let mut reply = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    reply.metadata.authoritative = true;
    reply.queries = query.queries.clone();
    reply.edns = query.edns.clone();
    let (name, kind) = (query.queries[0].name().to_lowercase(), query.queries[0].query_type());
    let zone = Name::from_ascii(format!("{ORIGIN}.")).unwrap();
    if name == zone {
        if kind == RecordType::SOA {
            let soa = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86_400, 60);
            reply.add_answer(Record::from_rdata(name, 60, RData::SOA(soa)));
        }
        return reply.to_vec().unwrap();
    }
    let labels: Vec<String> = name.iter().map(|label| String::from_utf8_lossy(label).into_owned()).collect();
    let key = labels.len().checked_sub(4).and_then(|at| PublicKey::try_from(labels[at].as_str()).ok());
    let packet = match key {
        _ if !zone.zone_of(&name) => None,
        Some(key) => dht.most_recent(&key).await.unwrap().0,
        None => None,
    };
    let Some(packet) = packet else {
        let code = match kind {
            _ if zone.zone_of(&name) => ResponseCode::NXDomain,
            // As the resolver that it is asked as, about the zones above it.
            RecordType::CAA => ResponseCode::NoError,
            _ => ResponseCode::Refused,
        };
        reply.metadata.response_code = code;
        return reply.to_vec().unwrap();
    };
    let records = Message::from_vec(packet.dns()).unwrap().answers;
    let inside = labels[..labels.len() - 3].join(".");
    let owned: Vec<_> = records
        .into_iter()
        .filter(|record| record.name.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(&inside))
        .collect();
    if owned.is_empty() {
        reply.metadata.response_code = ResponseCode::NXDomain;
    }
    let is_left_out = inside.starts_with("_acme-challenge") && is_behind.load(Ordering::SeqCst);
    let mut seen = HashSet::new();
    for mut record in owned.into_iter().filter(|record| record.record_type() == kind && !is_left_out) {
        record.name = name.clone();
        if seen.insert(record.to_string()) {
            reply.add_answer(record);
        }
    }
    // An alias to the key itself is all that the zones here have.
    if reply.answers.is_empty() && kind == RecordType::A && inside.starts_with("www.") {
        reply.metadata.response_code = ResponseCode::NoError;
        reply.add_answer(Record::from_rdata(name, 60, RData::A(A::new(127, 0, 0, 1))));
    }
    reply.to_vec().unwrap()
}
