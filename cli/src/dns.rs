//! Questions to a DNS server, to see whether it answers and how.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
};

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RData, Record, RecordType},
};
pub(crate) use pkdns::sources::forward::Over;
use pkdns::{
    config::{DNS_PORT, parse_address},
    message::{ExtendedError, Message, Question, address, code_name},
    sources::forward::{Asker, ExchangeError, Flags, ForwardError, Forwarder, inspect},
};

use crate::terminal::printable;

/// A name that every resolver knows (RFC 2606).
pub(crate) const ORDINARY_NAME: &str = "example.com";

/// That a server finds the answer (RD).
const RECURSIVE: Flags = Flags { recursion_desired: true, dnssec_ok: false, checking_disabled: false };

/// The same, without a validation that would make a failure of the answer (CD).
pub(crate) const UNCHECKED: Flags = Flags { checking_disabled: true, ..RECURSIVE };

/// The same, with all that belongs to it (DO): systemd-resolved then hands on what it was told as it stands.
pub(crate) const WHOLE: Flags = Flags { dnssec_ok: true, ..UNCHECKED };

/// That it says what it knows itself.
const AUTHORITATIVE: Flags = Flags { recursion_desired: false, ..RECURSIVE };

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Response(Box<Response>),
    /// Nothing listens there.
    Closed,
    /// No answer in time.
    Silent,
    /// It could not be sent, or what came is no answer.
    Broken(String),
}

/// An answer, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) code: ResponseCode,
    /// Whether it speaks for the zone (AA).
    pub(crate) is_authoritative: bool,
    pub(crate) answers: Vec<Record>,
    /// Whose zone it is, if the answer says no: the owner of the SOA record, without a dot at the end.
    pub(crate) zone: Option<String>,
    /// The reason that the server gives.
    pub(crate) extended_error: Option<ExtendedError>,
}

/// What a reply about a key that nobody has published tells of who gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfKey {
    /// pkdns has answered: it says no in the name of the key.
    Answered,
    /// Somebody else says that there is no such name. Others ask the root, which knows no such top-level domain.
    Denied,
    /// SERVFAIL.
    Failed,
    Refused,
    /// Nothing that can be used.
    Unusable,
}

/// Asks `server` over UDP or TCP.
pub(crate) async fn ask(server: SocketAddr, name: &Name, record_type: RecordType, over: Over) -> Reply {
    send(server, Question::new(name, record_type, DNSClass::IN), RECURSIVE, over).await
}

/// The same over UDP, in another way.
pub(crate) async fn ask_with(
    flags: Flags,
    server: SocketAddr,
    name: &Name,
    record_type: RecordType,
) -> Reply {
    send(server, Question::new(name, record_type, DNSClass::IN), flags, Over::Udp).await
}

/// The same over UDP and over TCP.
pub(crate) async fn ask_both(server: SocketAddr, name: &Name, record_type: RecordType) -> [Reply; 2] {
    let [udp, tcp] = [Over::Udp, Over::Tcp].map(|over| ask(server, name, record_type, over));
    tokio::join!(udp, tcp).into()
}

/// Asks a name server about its own zone, as resolvers do: what does not fit a datagram is asked for again.
pub(crate) async fn ask_authority(
    server: SocketAddr,
    name: &Name,
    record_type: RecordType,
    over: Over,
) -> Reply {
    send(server, Question::new(name, record_type, DNSClass::IN), AUTHORITATIVE, over).await
}

/// What `server` says of itself, as in `version.bind` (RFC 4892).
pub(crate) async fn ask_about_itself(server: SocketAddr, name: &str) -> Reply {
    send(server, Question::new(&complete(name), RecordType::TXT, DNSClass::CH), RECURSIVE, Over::Udp).await
}

/// Asks upstream resolvers for an address, as the server does.
pub(crate) async fn ask_through(forwarder: &Forwarder, name: &Name) -> Reply {
    let Some(question) = Question::new(name, RecordType::A, DNSClass::IN) else { return too_long() };
    match forwarder.ask(Asker::Own, &question, false, false).await {
        Ok(message) => Reply::of_message(Message::clone(&message), false),
        Err(ForwardError::Unusable(what)) => Reply::Broken(what.to_string()),
        Err(_) => Reply::Silent,
    }
}

async fn send(server: SocketAddr, question: Option<Question>, flags: Flags, over: Over) -> Reply {
    let Some(question) = question else { return too_long() };
    match inspect(server, &question, flags, over).await {
        Ok((message, _)) if message.truncated && flags == AUTHORITATIVE && over == Over::Udp => {
            Box::pin(send(server, Some(question), flags, Over::Tcp)).await
        }
        Ok((message, is_authoritative)) => Reply::of_message(message, is_authoritative),
        Err(ExchangeError::Unreachable(ErrorKind::ConnectionRefused)) => Reply::Closed,
        Err(ExchangeError::Silent | ExchangeError::Unreachable(ErrorKind::TimedOut)) => Reply::Silent,
        Err(ExchangeError::Malformed) => Reply::Broken("what it sends is no answer".to_string()),
        Err(ExchangeError::Unreachable(kind) | ExchangeError::Local(kind)) => {
            Reply::Broken(format!("it cannot be asked ({kind})"))
        }
        Err(error) => Reply::Broken(format!("it cannot be asked ({})", printable(&error.to_string()))),
    }
}

fn too_long() -> Reply {
    Reply::Broken("its name is too long to ask for".to_string())
}

/// A name that is complete.
pub(crate) fn complete(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap_or_else(|_| Name::root());
    name.set_fqdn(true);
    name
}

/// A name for people, without the dot at its end.
pub(crate) fn shown(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    printable(text.strip_suffix('.').filter(|text| !text.is_empty()).unwrap_or(&text))
}

/// The address of a server on a command line, on port 53 unless another one is given.
pub(crate) fn server_address(text: &str) -> Result<SocketAddr, String> {
    parse_address(text, DNS_PORT).map_err(|error| error.to_string())
}

impl Reply {
    fn of_message(message: Message, is_authoritative: bool) -> Self {
        let Message { code, answers, authorities, extended_error, .. } = message;
        let soa = authorities.iter().find(|record| matches!(record.data, RData::SOA(_)));
        let zone = soa.map(|record| record.name.to_ascii().trim_end_matches('.').to_ascii_lowercase());
        Self::Response(Box::new(Response { code, is_authoritative, answers, zone, extended_error }))
    }

    pub(crate) fn response(&self) -> Option<&Response> {
        match self {
            Self::Response(response) => Some(response),
            Self::Closed | Self::Silent | Self::Broken(_) => None,
        }
    }

    pub(crate) fn code(&self) -> Option<ResponseCode> {
        self.response().map(|response| response.code)
    }

    pub(crate) fn answers(&self) -> &[Record] {
        self.response().map_or(&[], |response| &response.answers)
    }

    /// Whether it says yes or no.
    pub(crate) fn is_conclusive(&self) -> bool {
        matches!(self.code(), Some(ResponseCode::NoError | ResponseCode::NXDomain))
    }

    /// What it tells of `key`, which nobody has published.
    pub(crate) fn of_key(&self, key: &str) -> OfKey {
        let Some(response) = self.response() else { return OfKey::Unusable };
        let is_of_key = |zone: &str| zone.split('.').any(|label| label == key);
        match response.code {
            ResponseCode::NoError | ResponseCode::NXDomain
                if response.zone.as_deref().is_some_and(is_of_key) =>
            {
                OfKey::Answered
            }
            ResponseCode::NoError | ResponseCode::NXDomain => OfKey::Denied,
            ResponseCode::ServFail => OfKey::Failed,
            ResponseCode::Refused => OfKey::Refused,
            _ => OfKey::Unusable,
        }
    }

    /// The first string of each TXT record in it.
    pub(crate) fn texts(&self) -> Vec<String> {
        let texts = self.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(text) => Some(String::from_utf8_lossy(text.txt_data.first()?).into_owned()),
            _ => None,
        });
        texts.collect()
    }

    /// For people, as the end of "over UDP …".
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Response(response) => format!("it answers {}", code(response.code)),
            Self::Closed => "nothing listens".to_string(),
            Self::Silent => "there is no answer".to_string(),
            Self::Broken(why) => why.clone(),
        }
    }
}

/// The addresses in an answer.
pub(crate) fn addresses_in(reply: &Reply) -> Vec<IpAddr> {
    reply.answers().iter().filter_map(|record| address(&record.data)).collect()
}

/// A response code as it is written in the standards.
pub(crate) fn code(code: ResponseCode) -> String {
    code_name(code).map_or_else(|| format!("with response code {}", u16::from(code)), str::to_string)
}

#[cfg(test)]
use hickory_proto::rr::rdata::{NULL, TXT};

#[cfg(test)]
impl Reply {
    /// An answer for the tests of verdicts, with so many records.
    pub(crate) fn of(code: ResponseCode, records: usize, zone: Option<&str>) -> Self {
        let record = Record::from_rdata(Name::root(), 30, RData::NULL(NULL::new()));
        Self::with(code, vec![record; records], zone)
    }

    pub(crate) fn with(code: ResponseCode, answers: Vec<Record>, zone: Option<&str>) -> Self {
        let (is_authoritative, zone) = (false, zone.map(String::from));
        Self::Response(Box::new(Response { code, is_authoritative, answers, zone, extended_error: None }))
    }

    /// TXT records of these texts.
    pub(crate) fn of_texts(texts: &[&str]) -> Self {
        let text = |text: &&str| RData::TXT(TXT::new(vec![(*text).to_string()]));
        let records = texts.iter().map(|it| Record::from_rdata(Name::root(), 30, text(it)));
        Self::with(ResponseCode::NoError, records.collect(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_that_of_pkdns_only_if_it_comes_from_the_zone_of_the_key() {
        const KEY: &str = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
        let own = format!("{KEY}.key");
        for (code, records, zone, expected) in [
            (ResponseCode::NXDomain, 0, Some(own.as_str()), OfKey::Answered),
            (ResponseCode::NXDomain, 0, Some(""), OfKey::Denied),
            (ResponseCode::NoError, 0, None, OfKey::Denied),
            // Some invent addresses for names that do not exist.
            (ResponseCode::NoError, 1, None, OfKey::Denied),
            (ResponseCode::ServFail, 0, Some(own.as_str()), OfKey::Failed),
            (ResponseCode::Refused, 0, None, OfKey::Refused),
            (ResponseCode::NotImp, 0, None, OfKey::Unusable),
        ] {
            assert_eq!(Reply::of(code, records, zone).of_key(KEY), expected, "{code}");
        }
        assert_eq!(Reply::Closed.of_key(KEY), OfKey::Unusable);
    }

    #[test]
    fn a_server_has_an_address_and_perhaps_a_port() {
        for (text, expected) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            assert_eq!(server_address(text).unwrap().to_string(), expected);
        }
        assert!(server_address("ns.example.com").is_err());
    }
}
