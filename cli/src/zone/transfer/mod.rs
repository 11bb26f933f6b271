//! Copies a zone from a name server (AXFR, RFC 5936).

use std::{net::SocketAddr, str::FromStr, time::Duration};

use bytes::Bytes;
use domain::base::{
    Message, MessageBuilder, Name, Rtype,
    iana::{Opcode, Rcode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::stand_in;
use crate::{
    failure::Failure,
    records::{self, TextRecord},
};

/// How long a copy may take in all.
const DEADLINE: Duration = Duration::from_secs(30);

/// Bytes that are taken: hundreds of times what a packet holds, for what is left out.
const MAX_SIZE: usize = 512 * 1024;

/// The zone that is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) name: Name<Bytes>,
    /// As [`crate::records`] writes names.
    pub(super) text: String,
}

/// A copied zone.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) server: SocketAddr,
    /// All but the SOA.
    pub(super) records: Vec<TextRecord>,
    /// SOA records, of which a zone has one.
    pub(super) authorities: usize,
}

/// Reads the name of a zone, with or without a dot at its end.
pub(super) fn origin(text: &str) -> Result<Origin, String> {
    let name: Name<Bytes> =
        Name::from_str(text).map_err(|_| "expected a name, for example example.com".to_string())?;
    let text = records::escaped_name(&name).to_ascii_lowercase();
    Ok(Origin { name, text })
}

/// Copies the zone `origin` from `server`.
pub(super) async fn copy(server: SocketAddr, origin: &Origin) -> Result<Copy, Failure> {
    let zone = origin.text.trim_end_matches('.');
    let fail = |reason: String| Failure::Failed(format!("cannot copy {zone} from {server}: {reason}"));
    timeout(DEADLINE, transfer(server, origin))
        .await
        .map_err(|_| {
            fail(format!(
                "the server took longer than {} seconds; try again when it has less to do",
                DEADLINE.as_secs()
            ))
        })?
        .map_err(fail)
}

async fn transfer(server: SocketAddr, origin: &Origin) -> Result<Copy, String> {
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(|error| format!("no random bytes: {error}"))?;
    let id = u16::from_be_bytes(id);
    let mut stream = TcpStream::connect(server).await.map_err(|error| {
        format!("{error}; is this the address of the name server, and its port open for TCP?")
    })?;
    stream.write_all(&question(id, origin)?).await.map_err(|error| error.to_string())?;
    let mut records = Transferred::default();
    let mut room = MAX_SIZE;
    while !records.is_complete() {
        let message = message(&mut stream, &mut room).await?;
        records.take(&message, id, origin)?;
    }
    let authorities = records.authorities.min(1);
    Ok(Copy { server, records: records.records, authorities })
}

fn question(id: u16, origin: &Origin) -> Result<Vec<u8>, String> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_opcode(Opcode::QUERY);
    let mut questions = builder.question();
    questions.push((&origin.name, Rtype::AXFR)).map_err(|_| "the name is too long".to_string())?;
    let message = questions.finish();
    let length = u16::try_from(message.len()).map_err(|_| "the name is too long".to_string())?;
    Ok([&length.to_be_bytes(), message.as_slice()].concat())
}

async fn message(stream: &mut TcpStream, room: &mut usize) -> Result<Vec<u8>, String> {
    let closed =
        |_| "the server closed the connection before the end of the zone; its log says why".to_string();
    let length = usize::from(stream.read_u16().await.map_err(closed)?);
    *room = room.checked_sub(length).ok_or_else(|| {
        format!("the zone has more than {MAX_SIZE} bytes, and a packet holds 1000; copy a smaller one")
    })?;
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await.map_err(closed)?;
    Ok(message)
}

/// What has come so far. A zone begins and ends with its SOA record.
#[derive(Debug, Default)]
struct Transferred {
    records: Vec<TextRecord>,
    authorities: usize,
}

impl Transferred {
    fn is_complete(&self) -> bool {
        self.authorities >= 2
    }

    fn take(&mut self, bytes: &[u8], id: u16, origin: &Origin) -> Result<(), String> {
        const MALFORMED: &str = "the server sent what is no answer to the question; is it a name server?";
        let message = Message::from_slice(bytes).map_err(|_| MALFORMED)?;
        let header = message.header();
        if header.id() != id || !header.qr() || header.tc() || header.opcode() != Opcode::QUERY {
            return Err(MALFORMED.to_string());
        }
        if header.rcode() != Rcode::NOERROR {
            return Err(format!(
                "the server answers {}: it must have the zone, and allow this machine to copy it (BIND: allow-transfer, \
                 Knot: acl, NSD: provide-xfr)",
                header.rcode()
            ));
        }
        let read = records::read(bytes, &stand_in().public_key());
        if read.is_empty() || read.len() != usize::from(message.header_counts().ancount()) {
            return Err(MALFORMED.to_string());
        }
        for record in read {
            let is_authority = record.record_type == "SOA" && record.name == origin.text;
            if self.is_complete() || (self.authorities == 0 && !is_authority) {
                return Err(
                    "what the server sent does not begin and end with the SOA record of the zone; is --origin right?".to_string()
                );
            }
            self.authorities += usize::from(is_authority);
            if !is_authority {
                self.records.push(record);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
