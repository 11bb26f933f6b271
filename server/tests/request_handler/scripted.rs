//! The handler itself, between a responder that does as told and a connection that keeps what is sent.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use hickory_proto::{
    op::{Edns, Message, MessageType, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::A},
    serialize::binary::BinEncoder,
};
use hickory_server::{
    net::{NetError, runtime::TokioTime, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponse,
};
use pkdns::{
    edge::transport::udp::MAX_WAITING_PER_CLIENT,
    message::{self, Age, Answer, ExtendedError, Reply},
    request_handler::HickoryHandler,
    service::{AtOnce, Client, Respond},
};
use tokio::time::timeout;

use super::{GRACE, PATIENCE, SAMPLE, question};

/// Replies with a given answer at once, or says nothing, or never ends.
enum Scripted {
    Says(Answer),
    IsSilent,
    NeverEnds(AtomicUsize),
}

impl Scripted {
    fn begun(&self) -> usize {
        match self {
            Self::NeverEnds(begun) => begun.load(Ordering::Relaxed),
            Self::Says(_) | Self::IsSilent => 0,
        }
    }
}

impl Respond for Scripted {
    fn at_once(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce {
        let query = match message::Query::decode(request) {
            Ok(query) => query,
            Err(message::Rejection::Reply(rejected)) => {
                rejected.write(pkdns::base::view::View::Resolver, None, out);
                return AtOnce::Replied;
            }
            Err(message::Rejection::Silence) => return AtOnce::Silence,
        };
        match self {
            Self::Says(answer) => {
                answer.encode(&query.question).write(&query, client.reply, Age::Seconds(0), out);
                AtOnce::Replied
            }
            Self::IsSilent => AtOnce::Silence,
            Self::NeverEnds(_) => AtOnce::Later(Box::new(query)),
        }
    }

    async fn later(&self, _: &message::Query, _: Client, _: &mut Vec<u8>) {
        if let Self::NeverEnds(begun) = self {
            begun.fetch_add(1, Ordering::Relaxed);
        }
        std::future::pending().await
    }
}

type Sent = Arc<Mutex<Vec<Vec<u8>>>>;

/// Keeps what a hickory server would have put on the wire.
#[derive(Clone)]
struct Recorder {
    protocol: Protocol,
    sent: Sent,
}

#[async_trait]
impl ResponseHandler for Recorder {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        if self.protocol.is_datagram() {
            encoder.set_max_size(response.edns().map_or(512, Edns::max_payload));
        }
        let info = response.destructive_emit(&mut encoder)?;
        self.sent.lock().unwrap().push(bytes);
        Ok(info)
    }
}

/// What the handler returned and what it sent.
async fn handle(script: Scripted, request: &[u8], protocol: Protocol) -> (ResponseInfo, Vec<Vec<u8>>) {
    let recorder = Recorder { protocol, sent: Arc::default() };
    let request = Request::from_bytes(request.to_vec(), client(), protocol).unwrap();
    let handler = HickoryHandler::new(Arc::new(script));
    let info = handler.handle_request::<_, TokioTime>(&request, recorder.clone()).await;
    let sent = recorder.sent.lock().unwrap().clone();
    (info, sent)
}

fn client() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 5353).into()
}

fn address(name: &str, number: u8) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), 60, RData::A(A::new(192, 0, 2, number)))
}

#[tokio::test]
async fn flags_codes_and_edns_survive_hickory() {
    let mut request = question(8, "a.example.", RecordType::A);
    request[3] |= 0x30; // AD and CD
    let dnssec_ok = request.len() - 4;
    request[dnssec_ok] |= 0x80;
    let answer = Answer {
        answers: vec![address("a.example.", 1)],
        additionals: vec![address("b.example.", 2)],
        authentic: true,
        extended_error: Some(ExtendedError::new(3, "stale")),
        // Its upper bits travel in the OPT record.
        ..Answer::empty(ResponseCode::BADVERS)
    };
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let (info, sent) = handle(Scripted::Says(answer.clone()), &request, protocol).await;
        assert_eq!(u16::from(info.response_code), 16);
        let reply = Message::from_vec(&sent[0]).unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(u16::from(reply.metadata.response_code), 16);
        assert!(reply.metadata.authentic_data && reply.metadata.checking_disabled);
        assert!(reply.metadata.recursion_available && reply.metadata.recursion_desired);
        assert_eq!((reply.answers.len(), reply.additionals.len()), (1, 1));
        assert!(reply.edns.unwrap().flags().dnssec_ok);
        assert_eq!(message::read_message(&sent[0]).unwrap().extended_error, answer.extended_error);
    }
}

#[tokio::test]
async fn a_client_without_edns_gets_none() {
    let mut request = question(9, "a.example.", RecordType::A);
    request.truncate(request.len() - 11);
    request[11] = 0;
    let answer =
        Answer { additionals: vec![address("a.example.", 1)], ..Answer::empty(ResponseCode::NoError) };
    let (_, sent) = handle(Scripted::Says(answer), &request, Protocol::Udp).await;
    let reply = Message::from_vec(&sent[0]).unwrap();
    assert!(reply.edns.is_none());
    assert_eq!(reply.additionals.len(), 1);
}

#[tokio::test]
async fn a_reply_that_grows_over_the_limit_is_cut_whole_and_keeps_its_opt_record() {
    let name = format!("{SAMPLE}.{SAMPLE}.");
    let answer = Answer {
        answers: (0..67).map(|number| address(&name, number)).collect(),
        extended_error: Some(ExtendedError::new(3, "stale")),
        ..Answer::empty(ResponseCode::NoError)
    };
    let request = question(10, &name, RecordType::A);
    // As we encode it, with every owner a pointer to the question, it fits.
    let (query, mut own) = (message::Query::decode(&request).unwrap(), Vec::new());
    answer.encode(&query.question).write(&query, Reply::Datagram, Age::Seconds(0), &mut own);
    assert!(!message::read_message(&own).unwrap().truncated);

    let (info, sent) = handle(Scripted::Says(answer.clone()), &request, Protocol::Udp).await;
    let reply = Message::from_vec(&sent[0]).unwrap();
    assert!(info.truncation && reply.metadata.truncation);
    assert!(reply.answers.is_empty(), "{} of an RRset", reply.answers.len());
    assert_eq!(message::read_message(&sent[0]).unwrap().extended_error, answer.extended_error);

    let (_, sent) = handle(Scripted::Says(answer), &request, Protocol::Tcp).await;
    let reply = Message::from_vec(&sent[0]).unwrap();
    assert!(!reply.metadata.truncation);
    assert_eq!(reply.answers.len(), 67);
}

#[tokio::test]
async fn a_client_of_small_datagrams_gets_no_larger_one() {
    let mut request = question(11, &format!("{SAMPLE}."), RecordType::A);
    let size_at = request.len() - 8;
    request[size_at..size_at + 2].copy_from_slice(&512_u16.to_be_bytes());
    let answers = (0..25).map(|number| address(&format!("{SAMPLE}."), number)).collect();
    let answer = Answer { answers, ..Answer::empty(ResponseCode::NoError) };
    let (_, sent) = handle(Scripted::Says(answer), &request, Protocol::Udp).await;
    assert!(sent[0].len() <= 512, "{} bytes", sent[0].len());
    assert!(Message::from_vec(&sent[0]).unwrap().edns.is_some());
}

#[tokio::test]
async fn a_rejection_is_a_bare_header_with_an_opt_record_for_who_sent_one() {
    let mut request = question(12, "a.example.", RecordType::A);
    request[2] = 0x10; // STATUS
    let (info, sent) = handle(Scripted::IsSilent, &request, Protocol::Udp).await;
    assert_eq!(info.response_code, ResponseCode::NotImp);
    assert_eq!(sent[0][..12], [0, 12, 0x90, 0x84, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(sent[0][12..], [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn silence_sends_nothing() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let request = question(13, "a.example.", RecordType::A);
        let (info, sent) = handle(Scripted::IsSilent, &request, protocol).await;
        assert_eq!((info.id, info.message_type), (13, MessageType::Response));
        assert_eq!(info.counts().queries, 0);
        assert!(sent.is_empty());
    }
}

#[tokio::test]
async fn one_client_cannot_hold_lookups_without_end() {
    let responder = Arc::new(Scripted::NeverEnds(AtomicUsize::new(0)));
    let handler = Arc::new(HickoryHandler::new(responder.clone()));
    let sent = Sent::default();
    let request = question(14, "a.example.", RecordType::A);
    let ask = |protocol| {
        let handler = handler.clone();
        let recorder = Recorder { protocol, sent: sent.clone() };
        let request = Request::from_bytes(request.clone(), client(), protocol).unwrap();
        async move { handler.handle_request::<_, TokioTime>(&request, recorder).await }
    };
    let held: Vec<_> = (0..MAX_WAITING_PER_CLIENT).map(|_| tokio::spawn(ask(Protocol::Udp))).collect();
    let all_have_begun = async {
        while responder.begun() < MAX_WAITING_PER_CLIENT {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all_have_begun).await.expect("as many as may be begin");
    let info = timeout(PATIENCE, ask(Protocol::Udp)).await.expect("the one too many ends at once");
    assert_eq!(info.response_code, ResponseCode::ServFail);
    assert!(sent.lock().unwrap().is_empty());
    let read_on = timeout(GRACE, ask(Protocol::Tcp)).await;
    assert!(read_on.is_err(), "a stream is read on although its lookup has no place");
    held.iter().for_each(|task| assert!(!task.is_finished()));

    // Their places come back.
    held.iter().for_each(|task| task.abort());
    for task in held {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    assert!(timeout(GRACE, ask(Protocol::Udp)).await.is_err(), "turned away");
    assert!(timeout(PATIENCE, ask(Protocol::Tcp)).await.is_ok(), "the stream is not read on");
}
