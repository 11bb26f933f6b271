//! The input is a DNS message: read as a query, as an upstream's response and as a packet's records; what was read is
//! written back, as an answer.

use std::time::Duration;

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
};
use pkdns::message::{
    Age, Answer, Edns, ExtendedError, HEADER_SIZE, LONGEST_TTL, MAX_STREAM_SIZE, Query, Question, Rejection,
    Reply, ReplyCookie, read_message, read_question, read_records,
};

/// How a reply travels, and how many seconds the answer was kept.
const REPLIES: [(Reply, u32); 2] = [
    (Reply::Datagram, 0),
    (Reply::Stream { idle_timeout: Some(Duration::from_secs(10)), is_encrypted: true }, 1),
];

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    let decoded = Query::decode(input);
    if let Err(rejection) = decoded {
        check_rejection(input, rejection);
    }
    // A response has no query of its own: its question asked with each kind of EDNS.
    let queries: Vec<Query> = match (decoded, read_question(input)) {
        (Ok(query), _) => vec![query],
        (Err(_), Some(question)) => {
            [None, Some(512), Some(u16::MAX)].map(|udp_size| query(question.clone(), udp_size)).into()
        }
        (Err(_), None) => Vec::new(),
    };
    let answers = answers(input);
    for query in &queries {
        for answer in &answers {
            check_answer(query, answer);
        }
    }
}

/// Writes `answer` as a datagram and into a stream and checks what a client gets. Returns the code it gets.
pub fn check_answer(query: &Query, answer: &Answer) -> ResponseCode {
    let encoded = answer.encode(&query.question);
    for (reply, age) in REPLIES {
        let mut out = vec![0xff; 2];
        encoded.write(query, reply, Age::Seconds(age), &mut out);
        assert_eq!(out[..2], [0xff; 2], "what was in the buffer has changed");
        let bytes = &out[2..];
        check_reply(query, reply, bytes);
        let truncated = bytes[2] & 0x02 != 0;
        if encoded.code() == answer.code && !truncated {
            check_answers(answer, age, bytes);
        }
    }
    encoded.code()
}

fn check_reply(query: &Query, reply: Reply, bytes: &[u8]) {
    let limit = match reply {
        Reply::Datagram => query.udp_limit(),
        Reply::Stream { .. } => MAX_STREAM_SIZE,
    };
    assert!(bytes.len() <= limit, "{} bytes, over the limit of {limit}", bytes.len());
    assert_eq!(bytes[..2], query.id.to_be_bytes());
    assert!(bytes[2] & 0x80 != 0, "not a response");
    let name = query.question.wire_name();
    assert_eq!(&bytes[HEADER_SIZE..HEADER_SIZE + name.len()], name, "not the client's spelling");
    assert_eq!(Query::decode(bytes).err(), Some(Rejection::Silence), "a reply would be answered");
    let echoed = read_question(bytes).map(|question| (question.record_type(), question.class()));
    assert_eq!(echoed, Some((query.question.record_type(), query.question.class())));
}

/// The answer section of a complete reply is what was to be said.
fn check_answers(answer: &Answer, age: u32, bytes: &[u8]) {
    let said = read_message(bytes);
    assert!(said.is_ok(), "a reply that cannot be read: {bytes:02x?}");
    let said = said.map(|message| message.answers).unwrap_or_default();
    assert_eq!(said.len(), answer.answers.len());
    for (said, meant) in said.iter().zip(&answer.answers) {
        assert_eq!(
            (&said.name, said.record_type(), said.dns_class, said.ttl),
            (
                &meant.name,
                meant.record_type(),
                meant.dns_class,
                meant.ttl.min(LONGEST_TTL).saturating_sub(age)
            ),
        );
    }
}

fn check_rejection(input: &[u8], rejection: Rejection) {
    match rejection {
        Rejection::Silence => assert!(input.len() < HEADER_SIZE || input[2] & 0x80 != 0),
        Rejection::Reply(rejected) => {
            let asks_for_cookie = rejected.edns.is_some_and(|edns| edns.cookie.is_some());
            match rejected.code {
                ResponseCode::FormErr | ResponseCode::NotImp => {}
                code => assert!(code == ResponseCode::NoError && asks_for_cookie),
            }
            let mut reply = Vec::new();
            rejected.write(pkdns::base::view::View::Resolver, None, &mut reply);
            assert_eq!(reply[..2], input[..2]);
            assert_eq!(reply[4..11], [0; 7]);
            assert_eq!(reply.len(), HEADER_SIZE + if rejected.edns.is_some() { 11 } else { 0 });
            assert!(reply.len() <= input.len(), "more than was sent");
            assert!(read_message(&reply).is_ok(), "a reply that cannot be read: {reply:02x?}");
            assert_eq!(Query::decode(&reply).err(), Some(Rejection::Silence));
        }
    }
}

/// What the input holds, as it would be passed on to a client.
fn answers(input: &[u8]) -> Vec<Answer> {
    let mut records = read_records(input);
    // A zone leaves OPT out: it says something about the message it is in.
    records.retain(|record| record.record_type() != RecordType::OPT);
    let mut answers = vec![Answer { answers: records, ..Answer::empty(ResponseCode::NoError) }];
    if let Ok(message) = read_message(input) {
        answers.push(Answer {
            answers: message.answers,
            authorities: message.authorities,
            additionals: message.additionals,
            authentic: message.authentic_data,
            extended_error: message.extended_error,
            ..Answer::empty(message.code)
        });
    }
    for answer in &answers {
        assert!(answer.answers.iter().all(is_lower_case));
    }
    let text = String::from_utf8_lossy(input);
    answers.push(Answer {
        extended_error: Some(ExtendedError::new(22, text)),
        ..Answer::empty(ResponseCode::ServFail)
    });
    answers
}

fn is_lower_case(record: &Record) -> bool {
    record.name.eq_case(&Name::to_lowercase(&record.name))
}

fn query(question: Question, udp_size: Option<u16>) -> Query {
    Query {
        id: 0xabcd,
        recursion_desired: true,
        authentic_data: false,
        checking_disabled: true,
        question,
        edns: udp_size.map(|udp_size| Edns {
            udp_size,
            version: 0,
            dnssec_ok: udp_size > 512,
            tcp_keepalive: true,
            padding: true,
            cookie: None,
        }),
        is_proven: false,
        reply_cookie: (udp_size == Some(512)).then_some(ReplyCookie([7; ReplyCookie::SIZE])),
        view: pkdns::base::view::View::Resolver,
    }
}
