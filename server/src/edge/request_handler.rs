//! The service behind any hickory server, as its request handler: for programs that have one already. Types of
//! hickory-server stay in this file, since their interface changes with every version.
//!
//! Our own listeners promise more than a hickory server can; `docs/architecture.md` has the list. Two things to know before
//! mounting this one:
//!
//! - hickory reads the next query of a stream when the handler is done with the one before. So a slow answer is left
//!   to a task, and the next query does not wait for it. The price: hickory ends a connection when the client closes
//!   its half, and answers still on their way are lost. Clients that ask several questions at once are many, clients
//!   that half-close and then wait are few.
//! - The timeout of `register_listener` runs while an answer is looked up. Give it more than 4.5 seconds.

use std::{net::IpAddr, slice, sync::Arc};

use async_trait::async_trait;
use hickory_proto::{
    op::{Edns, Header, HeaderCounts, Metadata, ResponseCode},
    rr::{Record, rdata::opt::EdnsOption},
    serialize::binary::{BinDecodable, BinDecoder, BinEncoder},
};
use hickory_server::{
    net::runtime::Time,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::{MessageResponse, MessageResponseBuilder, Queries},
};
use tokio::time::Instant;
use tracing::{debug, error};

use crate::{
    base::message::{
        Cookie, ExtendedError, MAX_STREAM_SIZE, MAX_UDP_SIZE, OPTION_COOKIE, OPTION_EXTENDED_ERROR, Query,
        Reply, read_cookie, read_message,
    },
    edge::transport::udp,
    service::{AtOnce, Client, Respond, Transport},
};

/// Answers the requests of a hickory server: `hickory_server::Server::new(HickoryHandler::new(service))`, without a
/// `Catalog`.
pub struct HickoryHandler<R> {
    responder: Arc<R>,
    /// hickory starts a task for every datagram; this is what bounds them while they wait.
    lookups: Arc<udp::Waiting>,
}

impl<R: Respond> HickoryHandler<R> {
    /// Lookups are bounded as on our own UDP listeners, in all and per client: a datagram beyond gets no answer, a
    /// stream is not read on until its lookup is done.
    pub fn new(responder: Arc<R>) -> Self {
        Self { responder, lookups: udp::Waiting::new(Default::default()) }
    }
}

#[async_trait]
impl<R: Respond> RequestHandler for HickoryHandler<R> {
    /// Returns what was sent. Where nothing was, that is SERVFAIL without records, as hickory has it; where a task
    /// will send it, NOERROR without records.
    async fn handle_request<H: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        response: H,
    ) -> ResponseInfo {
        let address = request.src().ip().to_canonical();
        let is_datagram = request.protocol().is_datagram();
        // hickory does not say how long it keeps a connection, nor whether it is encrypted.
        let (transport, reply) = match is_datagram {
            true => (Transport::Udp, Reply::Datagram),
            false => (Transport::Tcp, Reply::Stream { idle_timeout: None, is_encrypted: false }),
        };
        let client = Client { address, transport, reply, now: Instant::now() };
        let wishes = Wishes::of(request);

        let mut bytes = Vec::new();
        match self.responder.at_once(request.as_slice(), client, &mut bytes) {
            AtOnce::OverQuota if bytes.is_empty() => None,
            AtOnce::Replied | AtOnce::OverQuota => send(&bytes, wishes, address, response).await,
            AtOnce::Silence => None,
            AtOnce::Later(query) => {
                let place = self.lookups.begin(client, &query);
                if is_datagram && place.is_none() {
                    self.responder.turned_away(client);
                    return unsent(request, ResponseCode::ServFail);
                }
                let is_spawned = !is_datagram && place.is_some();
                let lookup = look_up(self.responder.clone(), query, client, wishes, response, place);
                if is_spawned {
                    tokio::spawn(lookup);
                    return unsent(request, ResponseCode::NoError);
                }
                lookup.await
            }
        }
        .unwrap_or_else(|| unsent(request, ResponseCode::ServFail))
    }
}

/// What the client's request asks of the reply's form.
#[derive(Debug, Clone, Copy)]
struct Wishes {
    /// Largest reply in bytes.
    limit: u16,
    dnssec_ok: bool,
}

impl Wishes {
    fn of(request: &Request) -> Self {
        let largest = match request.protocol().is_datagram() {
            // Without EDNS this is 512.
            true => MAX_UDP_SIZE.min(request.max_payload().into()),
            false => MAX_STREAM_SIZE,
        };
        Self {
            limit: u16::try_from(largest).unwrap_or(u16::MAX),
            dnssec_ok: request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
        }
    }
}

async fn look_up<R: Respond, H: ResponseHandler>(
    responder: Arc<R>,
    query: Box<Query>,
    client: Client,
    wishes: Wishes,
    response: H,
    place: Option<udp::WaitingReply>,
) -> Option<ResponseInfo> {
    let mut bytes = Vec::new();
    responder.later(&query, client, &mut bytes).await;
    if place.as_ref().is_some_and(|place| !place.may_be_sent(Instant::now())) {
        responder.too_late(client);
        return None;
    }
    send(&bytes, wishes, client.address, response).await
}

/// `None` where nothing was sent.
async fn send<H: ResponseHandler>(
    reply: &[u8],
    wishes: Wishes,
    client: IpAddr,
    mut response: H,
) -> Option<ResponseInfo> {
    let Some(mut parts) = Parts::read(reply, wishes.dnssec_ok) else {
        error!(%client, "a reply of our own cannot be read");
        return None;
    };
    if !parts.fit(wishes.limit) {
        parts.cut();
    }
    match response.send_response(parts.response()).await {
        Ok(info) => Some(info),
        Err(error) => {
            debug!(%client, %error, "reply lost");
            None
        }
    }
}

fn unsent(request: &Request, code: ResponseCode) -> ResponseInfo {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = code;
    Header { metadata, counts: HeaderCounts::default() }.into()
}

/// A reply of the service, taken apart again: hickory sends records, not bytes.
struct Parts {
    metadata: Metadata,
    queries: Queries,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
    edns: Option<Edns>,
}

impl Parts {
    fn read(reply: &[u8], dnssec_ok: bool) -> Option<Self> {
        let mut decoder = BinDecoder::new(reply);
        let Header { mut metadata, counts } = Header::read(&mut decoder).ok()?;
        // The question as bytes, so that the client's spelling survives.
        let queries = Queries::read(&mut decoder, counts.queries.into()).ok()?;
        let message = read_message(reply).ok()?;
        metadata.response_code = message.code;
        // Counted but not among the records: there was an OPT record. Its keepalive option (RFC 7828) stays behind,
        // because the timeout is hickory's.
        let has_edns = usize::from(counts.additionals) > message.additionals.len();
        Some(Self {
            metadata,
            queries,
            answers: message.answers,
            authorities: message.authorities,
            additionals: message.additionals,
            edns: has_edns.then(|| edns(dnssec_ok, message.extended_error, read_cookie(reply))),
        })
    }

    /// Whether everything fits into `limit` bytes as hickory encodes it: the question is not compressed against, so
    /// that a message grows. hickory would fill up with single records and leave out the OPT record.
    fn fit(&self, limit: u16) -> bool {
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(limit);
        let records = self.answers.len() + self.authorities.len() + self.additionals.len();
        let all = records + usize::from(self.edns.is_some());
        self.response().destructive_emit(&mut encoder).is_ok_and(|info| {
            let counts = info.counts();
            let written = [counts.answers, counts.authorities, counts.additionals];
            written.into_iter().map(usize::from).sum::<usize>() == all
        })
    }

    /// Leaves out all records and sets TC, which sends the client to a stream.
    fn cut(&mut self) {
        self.metadata.truncation = true;
        self.answers.clear();
        self.authorities.clear();
        self.additionals.clear();
    }

    fn response(&self) -> MessageResponse<'_, '_, Section<'_>, Section<'_>, Section<'_>, Section<'_>> {
        MessageResponseBuilder::new(&self.queries, self.edns.as_ref()).build(
            self.metadata,
            &self.answers,
            &self.authorities,
            &[],
            &self.additionals,
        )
    }
}

type Section<'a> = slice::Iter<'a, Record>;

fn edns(dnssec_ok: bool, error: Option<ExtendedError>, cookie: Option<Cookie>) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP_SIZE as u16).set_dnssec_ok(dnssec_ok);
    if let Some(error) = error {
        let data = [&error.code.to_be_bytes(), error.text.as_bytes()].concat();
        edns.options_mut().insert(EdnsOption::Unknown(OPTION_EXTENDED_ERROR, data));
    }
    if let Some(cookie) = cookie {
        let data = [&cookie.client()[..], cookie.server()].concat();
        edns.options_mut().insert(EdnsOption::Unknown(OPTION_COOKIE, data));
    }
    edns
}
