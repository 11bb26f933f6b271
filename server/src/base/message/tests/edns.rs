//! The OPT record of requests and replies, and cookies in it.

use super::*;

pub(super) fn rejection_reply(rejected: Rejected) -> Vec<u8> {
    let mut out = Vec::new();
    rejected.write(crate::base::view::View::Resolver, None, &mut out);
    out
}

#[test]
fn whoever_sends_an_opt_record_gets_one_with_a_refusal_too() {
    // RFC 6891 section 6.1.1.
    let edns = opt(1232, 0, true, &[]);
    let changed = |at: usize, byte: u8| {
        let mut bytes = query_bytes([1, 0], &[&edns]);
        bytes[at] = byte;
        bytes
    };
    let mut two_questions = query_bytes([1, 0], &[]);
    two_questions[5] = 2;
    two_questions[11] = 1;
    two_questions.extend_from_slice(b"\xc0\x0c\0\x01\0\x01");
    two_questions.extend_from_slice(&edns);
    let no_question = [&[0xab, 0xcd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1][..], &edns].concat();
    for (what, bytes, code) in [
        ("STATUS", changed(2, 2 << 3), ResponseCode::NotImp),
        ("NOTIFY", changed(2, 4 << 3), ResponseCode::NotImp),
        ("no question", no_question, ResponseCode::FormErr),
        ("two questions", two_questions, ResponseCode::FormErr),
        ("two OPT", query_bytes([1, 0], &[&edns, &edns]), ResponseCode::FormErr),
        ("record behind it missing", changed(11, 2), ResponseCode::FormErr),
        (
            "option longer than OPT",
            query_bytes([1, 0], &[&opt(1232, 0, true, &[0, 9, 0, 9, 1])]),
            ResponseCode::FormErr,
        ),
    ] {
        let Rejection::Reply(rejected) = Query::decode(&bytes).unwrap_err() else {
            panic!("{what}: silence")
        };
        let reply = rejection_reply(rejected);
        assert_eq!(rejected.code, code, "{what}");
        assert_eq!(reply[4..12], [0, 0, 0, 0, 0, 0, 0, 1], "{what}");
        assert_eq!(reply[12..], [0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0], "{what}");
    }
}

/// The data of a COOKIE option.
fn cookie_option(data: &[u8]) -> Vec<u8> {
    [&[0, 10, 0, data.len() as u8], data].concat()
}

#[test]
fn a_cookie_is_read_and_one_of_another_length_is_formerr() {
    // RFC 7873 sections 4 and 5.2.2.
    for length in 0..=50 {
        let data: Vec<u8> = (0..length).collect();
        let bytes = query_bytes([1, 0], &[&opt(1232, 0, false, &cookie_option(&data))]);
        match Query::decode(&bytes) {
            Ok(query) => {
                let cookie = query.edns.unwrap().cookie.unwrap();
                assert_eq!([&cookie.client()[..], cookie.server()].concat(), data);
                assert!(length == 8 || (16..=40).contains(&length), "{length}");
            }
            Err(rejection) => {
                assert!(length != 8 && !(16..=40).contains(&length), "{length}");
                let Rejection::Reply(rejected) = rejection else { panic!("silence") };
                assert_eq!(rejected.code, ResponseCode::FormErr);
                assert!(parse(&rejection_reply(rejected)).edns.is_some());
            }
        }
    }
    // Of several, the first counts, whatever the others are (RFC 7873 section 5.2).
    let options = [cookie_option(&[1; 8]), cookie_option(&[2; 24]), cookie_option(&[3; 5])].concat();
    let query = Query::decode(&query_bytes([1, 0], &[&opt(1232, 0, false, &options)])).unwrap();
    assert_eq!(
        query.edns.unwrap().cookie.map(|cookie| (cookie.client(), cookie.server().len())),
        Some(([1; 8], 0))
    );
}

#[test]
fn only_a_client_that_asks_for_a_cookie_may_leave_out_the_question() {
    // RFC 7873 section 5.4, RFC 9619.
    let ask = |options: &[u8], opcode: u8| {
        let header = [0xab, 0xcd, opcode << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        Query::decode(&[&header[..], &opt(1232, 0, false, options)].concat()).unwrap_err()
    };
    assert_eq!(code(ask(&cookie_option(&[1; 8]), 0)), Some(ResponseCode::NoError));
    assert_eq!(code(ask(&cookie_option(&[1; 24]), 0)), Some(ResponseCode::NoError));
    assert_eq!(code(ask(&cookie_option(&[1; 9]), 0)), Some(ResponseCode::FormErr));
    assert_eq!(code(ask(&[0, 9, 0, 1, 0], 0)), Some(ResponseCode::FormErr));
    assert_eq!(code(ask(&cookie_option(&[1; 8]), 4)), Some(ResponseCode::NotImp));
    let Rejection::Reply(rejected) = ask(&cookie_option(&[1; 8]), 0) else { panic!("silence") };
    let mut reply = Vec::new();
    rejected.write(crate::base::view::View::Resolver, Some(ReplyCookie([5; 24])), &mut reply);
    assert!(reply.ends_with(&cookie_option(&[5; 24])));
    assert_eq!(reply.len(), 51, "one and a half times the shortest request for a cookie");
}

#[test]
fn a_reply_carries_the_cookie_that_it_is_given_and_still_fits() {
    let query = Query { reply_cookie: Some(ReplyCookie([5; 24])), ..with_edns(700) };
    for (answer, reply) in [
        (answer(addresses(1)), Reply::Datagram),
        (answer(texts(20, 100)), Reply::Datagram),
        (answer(texts(20, 100)), STREAM),
    ] {
        let bytes = write(&answer, &query, reply, 0);
        assert!(bytes.ends_with(&cookie_option(&[5; 24])));
        assert!(reply == STREAM || bytes.len() <= 700);
        assert!(parse(&bytes).edns.is_some());
    }
}

#[test]
fn short_replies_to_forged_addresses_are_hardly_larger_than_the_query() {
    let cookie = cookie_option(&[1; 8]);
    for (bytes, has_cookie) in [
        (query_bytes([1, 0x10], &[]), false),
        (query_bytes([1, 0x10], &[&opt(1232, 0, true, &[])]), false),
        (query_bytes([1, 0x10], &[&opt(1232, 0, true, &cookie)]), true),
    ] {
        let query = Query::decode(&bytes).unwrap();
        let mut truncated = Vec::new();
        query.write_truncated(&mut truncated);
        assert!(truncated.len() <= bytes.len());
        let parsed = parse(&truncated);
        assert!(parsed.metadata.truncation && parsed.metadata.response_code == ResponseCode::NoError);
        assert_eq!(truncated[..4], [0xab, 0xcd, 0x83, 0x90]);
        assert!(truncated[12..].starts_with(query.question.wire_name()));
        assert_eq!(parsed.edns.is_some(), query.edns.is_some());
        if has_cookie {
            let mut bad_cookie = Vec::new();
            query.write_bad_cookie(ReplyCookie([5; 24]), &mut bad_cookie);
            assert_eq!(bad_cookie.len(), bytes.len() + 16);
            assert_eq!(u16::from(read_message(&bad_cookie).unwrap().code), 23);
            assert!(bad_cookie.ends_with(&cookie_option(&[5; 24])));
        }
    }
}

#[test]
fn what_travels_encrypted_hides_its_length_from_block_to_block_if_the_query_did() {
    // RFC 8467 section 4.1.
    let padded = Query::decode(&query_bytes([1, 0], &[&opt(1232, 0, false, &[0, 12, 0, 1, 0])])).unwrap();
    for (count, size) in (0..30).flat_map(|count| (1..=16).map(move |size| (count, size))) {
        let answer = answer([addresses(count), texts(1, size)].concat());
        let bare = write(&answer, &with_edns(1232), ENCRYPTED, 0);
        assert_eq!(bare, write(&answer, &padded, STREAM, 0), "in the clear it would help nobody");
        assert_eq!(
            write(&answer, &padded, Reply::Datagram, 0),
            write(&answer, &with_edns(1232), Reply::Datagram, 0)
        );
        let bytes = write(&answer, &padded, ENCRYPTED, 0);
        assert_eq!(bytes.len(), (bare.len() + 4).next_multiple_of(468));
        assert_eq!(parse(&bytes).answers, parse(&bare).answers);
    }
    // Up to the largest answer that there is, with a reason and a cookie.
    let with_cookie = |query: Query| Query { reply_cookie: Some(ReplyCookie([7; 24])), ..query };
    let mut complete = Vec::new();
    for last in 1..=200 {
        let mut answer = answer([texts(306, 200), texts(1, last)].concat());
        answer.extended_error = Some(ExtendedError::new(0, "y".repeat(120)));
        let size = write(&answer, &with_cookie(with_edns(1232)), ENCRYPTED, 0).len() + 4;
        let bytes = write(&answer, &with_cookie(padded.clone()), ENCRYPTED, 0);
        assert_eq!(bytes.len(), size.next_multiple_of(468).min(MAX_STREAM_SIZE));
        let parsed = parse(&bytes);
        assert!(!parsed.metadata.truncation, "{last} bytes: cut to fit beside the OPT record");
        complete.push(parsed.answers.len() == 307);
    }
    assert!(
        complete.contains(&true)
            && complete.contains(&false)
            && complete.is_sorted_by(|one, next| one >= next)
    );
}
