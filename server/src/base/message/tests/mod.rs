use std::time::Duration;

use hickory_proto::{
    op::{Message as Parsed, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, NS, NULL, TXT},
    },
};
use proptest::prelude::*;

use super::*;
use edns::rejection_reply;

mod edns;

const STREAM: Reply = Reply::Stream { idle_timeout: Some(Duration::from_secs(10)), is_encrypted: false };
const ENCRYPTED: Reply = Reply::Stream { idle_timeout: None, is_encrypted: true };

/// A query for `wWw.Example.com A` with the given header bytes 2 and 3 and extra records.
fn query_bytes(flags: [u8; 2], additionals: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0xab, 0xcd, flags[0], flags[1], 0, 1, 0, 0, 0, 0, 0, additionals.len() as u8];
    bytes.extend_from_slice(b"\x03wWw\x07Example\x03com\x00\x00\x01\x00\x01");
    additionals.iter().for_each(|record| bytes.extend_from_slice(record));
    bytes
}

fn opt(size: u16, version: u8, dnssec_ok: bool, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 41];
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes.extend_from_slice(&[0, version, if dnssec_ok { 0x80 } else { 0 }, 0]);
    bytes.extend_from_slice(&(options.len() as u16).to_be_bytes());
    bytes.extend_from_slice(options);
    bytes
}

fn plain() -> Query {
    Query::decode(&query_bytes([1, 0], &[])).unwrap()
}

fn with_edns(size: u16) -> Query {
    Query::decode(&query_bytes([1, 0], &[&opt(size, 0, false, &[])])).unwrap()
}

fn code(rejection: Rejection) -> Option<ResponseCode> {
    match rejection {
        Rejection::Silence => None,
        Rejection::Reply(Rejected { code, .. }) => Some(code),
    }
}

fn owner() -> Name {
    Name::from_ascii("www.example.com.").unwrap()
}

fn record(data: RData) -> Record {
    Record::from_rdata(owner(), 300, data)
}

fn addresses(count: u8) -> Vec<Record> {
    (0..count).map(|last| record(RData::A(A::new(192, 0, 2, last)))).collect()
}

fn texts(count: usize, size: usize) -> Vec<Record> {
    let text = |index: usize| format!("{index:0>size$}");
    (0..count).map(|index| record(RData::TXT(TXT::new(vec![text(index)])))).collect()
}

fn answer(answers: Vec<Record>) -> Answer {
    Answer { answers, ..Answer::empty(ResponseCode::NoError) }
}

fn write(answer: &Answer, query: &Query, reply: Reply, age: u32) -> Vec<u8> {
    let mut out = Vec::new();
    answer.encode(&query.question).write(query, reply, Age::Seconds(age), &mut out);
    out
}

fn parse(bytes: &[u8]) -> Parsed {
    Parsed::from_vec(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

#[test]
fn a_query_is_read() {
    let query = Query::decode(&query_bytes([0x01, 0x30], &[&opt(4096, 0, true, &[0, 11, 0, 0])])).unwrap();
    assert_eq!(query.id, 0xabcd);
    assert!(query.recursion_desired && query.authentic_data && query.checking_disabled);
    assert!(query.dnssec_ok() && query.edns.unwrap().tcp_keepalive);
    assert_eq!(query.question.name(), owner());
    assert_eq!(query.question.wire_name(), b"\x03wWw\x07Example\x03com\x00");
    assert_eq!(query.question.record_type(), RecordType::A);
    assert_eq!(query.udp_limit(), MAX_UDP_SIZE);
    assert_eq!(with_edns(100).udp_limit(), MIN_UDP_SIZE);
    assert_eq!(plain().udp_limit(), MIN_UDP_SIZE);
}

#[test]
fn short_messages_and_responses_get_silence() {
    for length in 0..HEADER_SIZE {
        assert_eq!(Query::decode(&vec![0; length]).unwrap_err(), Rejection::Silence);
    }
    let malformed_response = [0xff; HEADER_SIZE + 3];
    for response in [&query_bytes([0x81, 0x80], &[])[..], &malformed_response] {
        assert_eq!(Query::decode(response).unwrap_err(), Rejection::Silence);
    }
}

#[test]
fn malformed_requests_get_formerr() {
    let good = query_bytes([1, 0], &[]);
    let edns = opt(1232, 0, false, &[]);
    let mut no_question = good.clone();
    no_question[5] = 0;
    let mut two_questions = good.clone();
    two_questions[5] = 2;
    let mut pointer_in_question = good.clone();
    pointer_in_question[12] = 0xc0;
    let mut long_label = good.clone();
    long_label[12] = 64;
    let mut opt_in_answer = query_bytes([1, 0], &[&edns]);
    opt_in_answer[7] = 1;
    opt_in_answer[11] = 0;
    let mut record_missing = good.clone();
    record_missing[11] = 1;
    let mut owned_opt = vec![1, b'a'];
    owned_opt.extend_from_slice(&edns);
    let mut long_name = good[..12].to_vec();
    (0..64).for_each(|_| long_name.extend_from_slice(b"\x03abc"));
    long_name.extend_from_slice(&[0, 0, 1, 0, 1]);
    for (what, bytes) in [
        ("no question", no_question),
        ("two questions", two_questions),
        ("pointer in the question", pointer_in_question),
        ("label of 64", long_label),
        ("name over 255", long_name),
        ("cut in the name", good[..16].to_vec()),
        ("cut in the class", good[..good.len() - 1].to_vec()),
        ("record missing", record_missing),
        ("OPT in the answer section", opt_in_answer),
        ("two OPT", query_bytes([1, 0], &[&edns, &edns])),
        ("OPT with a name", query_bytes([1, 0], &[&owned_opt])),
        ("option longer than OPT", query_bytes([1, 0], &[&opt(1232, 0, false, &[0, 9, 0, 9, 1])])),
        ("too many options", query_bytes([1, 0], &[&opt(1232, 0, false, &[0; 4 * 40])])),
    ] {
        let rejection = Query::decode(&bytes).unwrap_err();
        assert_eq!(code(rejection), Some(ResponseCode::FormErr), "{what}");
    }
}

#[test]
fn other_opcodes_get_notimp_and_a_clean_header() {
    for opcode in 1..16u8 {
        // TC, AA, RD, Z, AD and CD set: only RD comes back (RFC 8906 section 3).
        let rejection = Query::decode(&query_bytes([opcode << 3 | 0x07, 0x7f], &[])).unwrap_err();
        let Rejection::Reply(rejected) = rejection else { panic!("silence") };
        assert_eq!(rejected.code, ResponseCode::NotImp);
        assert_eq!(
            rejection_reply(rejected),
            [0xab, 0xcd, 0x80 | opcode << 3 | 1, 0x84, 0, 0, 0, 0, 0, 0, 0, 0]
        );
    }
}

#[test]
fn bytes_behind_the_message_are_ignored() {
    let mut bytes = query_bytes([1, 0], &[]);
    bytes.extend_from_slice(b"garbage");
    assert!(Query::decode(&bytes).is_ok());
}

#[test]
fn the_reply_carries_the_clients_id_flags_and_spelling() {
    // RD and CD set, TC and Z too: those are never echoed.
    let query = Query::decode(&query_bytes([0x03, 0x50], &[])).unwrap();
    let bytes = write(&answer(addresses(1)), &query, Reply::Datagram, 0);
    assert_eq!(bytes[..4], [0xab, 0xcd, 0x81, 0x90]);
    assert_eq!(bytes[12..29], *b"\x03wWw\x07Example\x03com\x00");
    let parsed = parse(&bytes);
    assert_eq!(
        parsed.answers[0].name.to_ascii(),
        "wWw.Example.com.",
        "owners follow the question's spelling"
    );
    assert!(parsed.edns.is_none(), "no OPT unless the client sent one");
}

#[test]
fn edns_is_answered_and_options_are_not_echoed() {
    let asked = opt(4096, 0, true, &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0xff, 0xde, 0, 1, 7]);
    let query = Query::decode(&query_bytes([1, 0], &[&asked])).unwrap();
    let bytes = write(&answer(addresses(1)), &query, Reply::Datagram, 0);
    assert_eq!(bytes[bytes.len() - 11..], [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]);
    let edns = parse(&bytes).edns.unwrap();
    assert!(edns.flags().dnssec_ok && edns.version() == 0);
}

#[test]
fn authentic_data_is_only_for_those_who_ask() {
    let vouched = Answer { authentic: true, ..answer(addresses(1)) };
    for (flags, dnssec_ok, authentic) in [(0x00, false, false), (0x20, false, true), (0x00, true, true)] {
        let query = Query::decode(&query_bytes([1, flags], &[&opt(1232, 0, dnssec_ok, &[])])).unwrap();
        let bytes = write(&vouched, &query, Reply::Datagram, 0);
        assert_eq!(bytes[3] & 0x20 != 0, authentic, "AD {flags:#x}, DO {dnssec_ok}");
        let bytes = write(&answer(addresses(1)), &query, Reply::Datagram, 0);
        assert_eq!(bytes[3] & 0x20, 0);
    }
}

#[test]
fn ttls_count_down() {
    // Cached answers kept their first TTL.
    for (age, left) in [(0, 300), (120, 180), (1000, 0)] {
        let parsed = parse(&write(&answer(addresses(2)), &plain(), Reply::Datagram, age));
        assert!(parsed.answers.iter().all(|record| record.ttl == left));
    }
}

#[test]
fn a_datagram_holds_whole_sets_or_says_that_it_is_cut() {
    // No limit and no TC; hickory drops the OPT and cuts sets in two.
    let big = answer(texts(20, 100));
    for (query, limit) in [(plain(), 512), (with_edns(700), 700), (with_edns(4096), 1232)] {
        let bytes = write(&big, &query, Reply::Datagram, 0);
        let parsed = parse(&bytes);
        assert!(bytes.len() <= limit);
        assert!(parsed.metadata.truncation);
        assert!(parsed.answers.is_empty(), "a part of a set is worse than none");
        assert_eq!(parsed.edns.is_some(), query.edns.is_some());
        let parsed = parse(&write(&big, &query, STREAM, 0));
        assert_eq!(parsed.answers.len(), 20);
        assert!(!parsed.metadata.truncation);
    }
}

#[test]
fn what_fits_exactly_is_not_cut() {
    let size = write(&answer(texts(6, 100)), &plain(), STREAM, 0).len();
    assert!((MIN_UDP_SIZE..MAX_UDP_SIZE - 11).contains(&size));
    for (room, truncated) in [(size, false), (size - 1, true)] {
        let query = with_edns((room + 11) as u16);
        let bytes = write(&answer(texts(6, 100)), &query, Reply::Datagram, 0);
        assert_eq!(parse(&bytes).metadata.truncation, truncated);
    }
}

#[test]
fn additional_records_are_left_out_without_saying_so() {
    let mut full = answer(addresses(2));
    full.additionals = texts(20, 100);
    let parsed = parse(&write(&full, &plain(), Reply::Datagram, 0));
    assert!(!parsed.metadata.truncation);
    assert_eq!((parsed.answers.len(), parsed.additionals.len()), (2, 0));
}

#[test]
fn a_proof_that_came_behind_the_name_servers_goes_before_them() {
    let raw = |code, text: &[u8]| record(RData::Unknown { code, rdata: NULL::with(text.to_vec()) });
    let mut full = answer(addresses(1));
    let signature = [0, 2, 13, 1].iter().chain(&[7; 250]).copied().collect::<Vec<u8>>();
    full.authorities = vec![
        record(RData::NS(NS(owner()))),
        raw(RecordType::RRSIG, &signature),
        raw(RecordType::NSEC, &[9; 200]),
    ];
    let proof = full.authorities[2].clone();
    let message = read_message(&write(&full, &plain(), Reply::Datagram, 0)).unwrap();
    assert!(!message.truncated);
    assert_eq!(message.authorities[0], proof);
    assert_eq!(read_message(&write(&full, &plain(), STREAM, 0)).unwrap().authorities.len(), 3);
    // Without room for it, nobody is told that this is all.
    full.authorities[2] = raw(RecordType::NSEC, &[9; 480]);
    assert!(read_message(&write(&full, &plain(), Reply::Datagram, 0)).unwrap().truncated);
}

#[test]
fn reasons_go_to_those_who_speak_edns() {
    let mut failed = Answer::empty(ResponseCode::ServFail);
    failed.extended_error = Some(ExtendedError::new(22, "ü".repeat(200)));
    let bytes = write(&failed, &with_edns(1232), Reply::Datagram, 0);
    let message = read_message(&bytes).unwrap();
    let error = message.extended_error.unwrap();
    assert_eq!((error.code, error.text.as_str()), (22, "ü".repeat(60).as_str()));
    assert!(parse(&write(&failed, &plain(), Reply::Datagram, 0)).edns.is_none());
}

#[test]
fn bad_versions_use_the_extended_code() {
    let bytes = write(&Answer::empty(ResponseCode::BADVERS), &with_edns(1232), Reply::Datagram, 0);
    assert_eq!(bytes[3] & 0x0f, 0);
    assert_eq!(u16::from(read_message(&bytes).unwrap().code), 16);
}

#[test]
fn keepalive_is_told_on_streams_to_those_who_ask() {
    let asks = Query::decode(&query_bytes([1, 0], &[&opt(1232, 0, false, &[0, 11, 0, 0])])).unwrap();
    let option = [0, 11, 0, 2, 0, 100];
    assert!(write(&answer(addresses(1)), &asks, STREAM, 0).ends_with(&option));
    assert!(!write(&answer(addresses(1)), &asks, Reply::Datagram, 0).ends_with(&option));
    assert!(!write(&answer(addresses(1)), &with_edns(1232), STREAM, 0).ends_with(&option));
}

#[test]
fn an_answer_over_65535_bytes_is_a_failure_that_says_so() {
    let query = with_edns(1232);
    let message = read_message(&write(&answer(texts(400, 200)), &query, STREAM, 0)).unwrap();
    assert_eq!(message.code, ResponseCode::ServFail);
    assert!(message.extended_error.is_some());
}

#[test]
fn unknown_types_and_classes_pass_byte_for_byte() {
    // Unknown types got silence.
    let data = RData::Unknown { code: RecordType::from(65280), rdata: NULL::with(vec![1, 2, 0xff]) };
    let mut chaos = record(data);
    chaos.dns_class = DNSClass::CH;
    let bytes = write(&answer(vec![chaos.clone()]), &plain(), Reply::Datagram, 0);
    assert_eq!(read_message(&bytes).unwrap().answers, vec![chaos]);
}

#[test]
fn a_ttl_with_the_top_bit_set_is_zero() {
    // RFC 2181 section 8.
    let mut bytes = write(&answer(addresses(1)), &plain(), Reply::Datagram, 0);
    let at = bytes.len() - 4 - 2 - 4;
    bytes[at] = 0x80;
    assert_eq!(read_message(&bytes).unwrap().answers[0].ttl, 0);
}

#[test]
fn a_compression_loop_is_malformed() {
    let mut bytes = write(&answer(addresses(1)), &plain(), Reply::Datagram, 0);
    let at = bytes.len() - 16;
    assert_eq!(bytes[at], 0xc0);
    bytes[at + 1] = at as u8;
    assert!(read_message(&bytes).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn any_bytes_are_a_query_or_a_rejection(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        real in any::<bool>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = bytes;
        if real {
            bytes = query_bytes([1, 0x20], &[&opt(1232, 0, true, &[0, 10, 0, 2, 1, 2])]);
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        match Query::decode(&bytes) {
            Ok(query) => {
                // What was read can be answered, within the limit, and the reply repeats the question.
                let reply = write(&answer(addresses(40)), &query, Reply::Datagram, 7);
                prop_assert!(reply.len() <= query.udp_limit());
                prop_assert_eq!(&reply[..2], &bytes[..2]);
                prop_assert!(reply[12..].starts_with(query.question.wire_name()));
                prop_assert!(Query::decode(&reply).is_err(), "a reply is never answered");
            }
            Err(Rejection::Reply(rejected)) => {
                let reply = rejection_reply(rejected);
                prop_assert_eq!(Query::decode(&reply).unwrap_err(), Rejection::Silence);
                prop_assert_eq!(&reply[..2], &bytes[..2]);
                prop_assert!(reply.len() <= bytes.len(), "more than was sent");
                prop_assert_eq!(parse(&reply).edns.is_some(), rejected.edns.is_some());
            }
            Err(Rejection::Silence) => prop_assert!(bytes.len() < HEADER_SIZE || bytes[2] & 0x80 != 0),
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_malformed(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        real in any::<bool>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = bytes;
        if real {
            bytes = write(&answer(texts(2, 20)), &with_edns(1232), Reply::Datagram, 0);
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(message) = read_message(&bytes) {
            // Whatever an upstream sent can be sent on.
            let reply = write(&answer(message.answers), &plain(), STREAM, 0);
            prop_assert!(reply.len() <= MAX_STREAM_SIZE);
        }
        read_records(&bytes);
        read_question(&bytes);
    }
}
