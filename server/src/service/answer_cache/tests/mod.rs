mod large;
mod views;

use std::{net::Ipv4Addr, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, rdata::A},
};

use super::*;
use crate::base::message::{Answer, STALE_TTL};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A query for the addresses of a name, with EDNS.
fn query(name: &str) -> Query {
    let mut bytes = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.').chain([""]) {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 1, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    Query::decode(&bytes).unwrap()
}

fn key_name(number: u32) -> String {
    format!("{number:y>52}")
}

fn encoded(query: &Query, code: ResponseCode) -> EncodedAnswer {
    let mut answer = Answer::empty(code);
    if code == ResponseCode::NoError {
        let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
        answer.answers = vec![Record::from_rdata(query.question.name(), 300, data)];
    }
    answer.encode(&query.question)
}

fn cache(entries: usize) -> AnswerCache {
    AnswerCache::new(entries, HOUR, Arc::default(), Instant::now())
}

fn insert(
    cache: &AnswerCache,
    query: &Query,
    authority: Authority,
    code: ResponseCode,
    lifetime: Duration,
    now: Instant,
) {
    let encoded = &encoded(query, code);
    let refresh_in = Some(lifetime * 9 / 10);
    cache.insert(query, &NewAnswer { encoded, authority, lifetime, refresh_in, revisions: &[] }, now);
}

fn get(cache: &AnswerCache, query: &Query, now: Instant) -> Option<Message> {
    let mut out = Vec::new();
    cache.get(query, Reply::Datagram, now, &mut out)?;
    Some(Message::from_vec(&out).unwrap())
}

fn code(cache: &AnswerCache, query: &Query, now: Instant) -> Option<ResponseCode> {
    get(cache, query, now).map(|message| message.metadata.response_code)
}

/// Code, smallest TTL and extended error.
fn last_resort(cache: &AnswerCache, query: &Query, now: Instant) -> Option<(ResponseCode, Option<u32>, u16)> {
    let mut out = Vec::new();
    cache.last_resort(query, Reply::Datagram, now, true, &mut out)?;
    let message = Message::from_vec(&out).unwrap();
    let ttl = message.answers.iter().map(|record| record.ttl).min();
    let opt = out.windows(4).position(|bytes| bytes[..2] == [0, 15] && bytes[2] == 0).unwrap();
    Some((message.metadata.response_code, ttl, u16::from_be_bytes([out[opt + 4], out[opt + 5]])))
}

#[test]
fn a_failure_never_takes_the_place_of_an_answer_that_is_alive() {
    let (cache, start, query) = (cache(100), Instant::now(), query("a"));
    let put = |code, now| insert(&cache, &query, Authority::Upstream, code, MINUTE, now);
    put(ResponseCode::NoError, start);
    put(ResponseCode::ServFail, start + MINUTE / 2);
    assert_eq!(code(&cache, &query, start + MINUTE / 2), Some(ResponseCode::NoError));
    put(ResponseCode::ServFail, start + MINUTE);
    assert_eq!(code(&cache, &query, start + MINUTE), Some(ResponseCode::NoError), "past its time");
    put(ResponseCode::NXDomain, start + MINUTE);
    assert_eq!(code(&cache, &query, start + MINUTE), Some(ResponseCode::NXDomain));
    assert_eq!(code(&cache, &query, start + MINUTE * 2), None);
}

#[test]
fn a_failure_of_whatever_code_and_origin_is_looked_at_last() {
    use Authority::{Key, NameServer, Upstream};
    let failures =
        [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp, ResponseCode::FormErr];
    // The answer of a name server, and the failure that has no authority (RFC 9520).
    for (name, held, failed) in [
        (key_name(1), NameServer, Key),
        (key_name(2), Key, NameServer),
        (key_name(3), NameServer, NameServer),
        ("a".to_owned(), Upstream, Upstream),
    ] {
        for failure in failures {
            let (cache, start, query) = (cache(100), Instant::now(), query(&name));
            let put = |authority, code, now| insert(&cache, &query, authority, code, MINUTE, now);
            let code = |now| code(&cache, &query, now);
            // Whichever comes first.
            put(failed, failure, start);
            assert_eq!(code(start), Some(failure), "{name}");
            put(held, ResponseCode::NoError, start);
            put(failed, failure, start + MINUTE / 2);
            assert_eq!(code(start + MINUTE / 2), Some(ResponseCode::NoError), "{name} {failure}");
            let past = start + MINUTE + MINUTE / 4;
            let expected = if held == Key { failure } else { ResponseCode::NoError };
            assert_eq!(code(past), Some(expected), "{name} {failure}: its packet knows better");
            if held != Key {
                let stale = last_resort(&cache, &query, past).unwrap();
                assert_eq!(stale, (ResponseCode::NoError, Some(STALE_TTL), 3), "{name} {failure}");
            }
        }
    }
}

#[test]
fn a_failure_is_over_when_there_is_any_answer() {
    let (cache, start, query) = (cache(100), Instant::now(), query("a"));
    let put = |code, lifetime, now| insert(&cache, &query, Authority::Upstream, code, lifetime, now);
    let second = Duration::from_secs(1);
    put(ResponseCode::ServFail, 5 * second, start);
    put(ResponseCode::NoError, second, start + second);
    // Whoever comes then asks, and takes nothing old.
    assert_eq!(code(&cache, &query, start + 3 * second), None);
    put(ResponseCode::ServFail, 5 * second, start + 3 * second);
    put(ResponseCode::NoError, Duration::ZERO, start + 4 * second);
    assert_eq!(code(&cache, &query, start + 4 * second), None);
}

#[test]
fn a_denial_takes_the_place_of_a_positive_answer_when_that_has_had_its_time() {
    let (cache, start, query) = (cache(100), Instant::now(), query("a"));
    let put = |code, now| insert(&cache, &query, Authority::Upstream, code, MINUTE, now);
    put(ResponseCode::NoError, start);
    put(ResponseCode::NXDomain, start + MINUTE / 2);
    assert_eq!(code(&cache, &query, start + MINUTE / 2), Some(ResponseCode::NoError));
    put(ResponseCode::NXDomain, start + MINUTE);
    assert_eq!(code(&cache, &query, start + MINUTE), Some(ResponseCode::NXDomain));
    // And gives it back at once.
    put(ResponseCode::NoError, start + MINUTE);
    assert_eq!(code(&cache, &query, start + MINUTE), Some(ResponseCode::NoError));
}

#[test]
fn what_fails_for_one_client_is_asked_again_by_the_next() {
    let (cache, start, query) = (cache(100), Instant::now(), query("a"));
    insert(&cache, &query, Authority::Upstream, ResponseCode::NoError, MINUTE, start);
    let past = start + MINUTE;
    let give = |is_shared| cache.last_resort(&query, Reply::Datagram, past, is_shared, &mut Vec::new());
    let stale = Hit { code: ResponseCode::NoError, refresh: false, is_stale: true };
    assert_eq!(give(false), Some(stale));
    assert_eq!(code(&cache, &query, past), None);
    assert_eq!(give(true), Some(stale));
    assert_eq!(code(&cache, &query, past), Some(ResponseCode::NoError));
}

#[test]
fn whoever_failed_gets_the_answer_that_another_got_meanwhile() {
    let (cache, start, query) = (cache(100), Instant::now(), query("a"));
    insert(&cache, &query, Authority::Upstream, ResponseCode::NoError, MINUTE, start);
    let mut out = Vec::new();
    cache.last_resort(&query, Reply::Datagram, start + MINUTE * 9 / 10, true, &mut out).unwrap();
    assert_eq!(Message::from_vec(&out).unwrap().answers[0].ttl, 300 - 54, "as if it had been a hit");
    // To ask again is left to the next.
    assert!(cache.get(&query, Reply::Datagram, start + MINUTE * 9 / 10, &mut Vec::new()).unwrap().refresh);
}

#[test]
fn one_client_is_told_to_ask_again_when_it_is_time() {
    let (cache, start, query) = (cache(100), Instant::now(), query("a"));
    insert(&cache, &query, Authority::Upstream, ResponseCode::NoError, MINUTE, start);
    let refresh = |second| {
        let now = start + Duration::from_secs(second);
        cache.get(&query, Reply::Datagram, now, &mut Vec::new()).unwrap().refresh
    };
    assert_eq!([53, 54, 55].map(refresh), [false, true, false]);
}

#[test]
fn ttls_count_down_and_the_spelling_is_that_of_who_asks() {
    let (cache, start) = (cache(100), Instant::now());
    insert(&cache, &query("www.example"), Authority::Upstream, ResponseCode::NoError, HOUR, start);
    let answer = get(&cache, &query("WwW.example"), start + MINUTE).unwrap();
    assert_eq!(answer.answers[0].ttl, 240);
    assert_eq!(answer.queries[0].name().to_string(), "WwW.example.");
    assert_eq!(answer.answers[0].name, Name::from_ascii("www.example.").unwrap());
}

#[test]
fn dnssec_and_checking_have_answers_of_their_own() {
    let (cache, start) = (cache(100), Instant::now());
    let plain = query("a");
    insert(&cache, &plain, Authority::Upstream, ResponseCode::NoError, HOUR, start);
    let mut unchecked = plain.clone();
    unchecked.checking_disabled = true;
    let mut signed = plain.clone();
    if let Some(edns) = &mut signed.edns {
        edns.dnssec_ok = true;
    }
    assert_eq!(
        [&plain, &unchecked, &signed].map(|query| code(&cache, query, start).is_some()),
        [true, false, false]
    );
}

#[test]
fn a_newer_packet_drops_the_answers_of_its_key_at_once() {
    let revisions = Arc::new(Revisions::default());
    let cache = AnswerCache::new(100, HOUR, revisions.clone(), Instant::now());
    let (start, query) = (Instant::now(), query(&key_name(1)));
    let put = |revision| {
        let encoded = &encoded(&query, ResponseCode::NoError);
        let (authority, revisions) = (Authority::Key, &[revisions.current(&[9; 32]), revision][..]);
        cache.insert(
            &query,
            &NewAnswer { encoded, authority, lifetime: HOUR, refresh_in: None, revisions },
            start,
        );
    };
    let before = revisions.current(&[7; 32]);
    put(before);
    assert!(code(&cache, &query, start).is_some());
    revisions.advance(&[8; 32]);
    assert!(code(&cache, &query, start).is_some());
    revisions.advance(&[7; 32]);
    assert_eq!(code(&cache, &query, start), None);
    // An answer that was under way when the packet came is as old.
    put(before);
    assert_eq!(code(&cache, &query, start), None);
    put(revisions.current(&[7; 32]));
    assert!(code(&cache, &query, start).is_some());
}

#[test]
fn an_answer_past_its_time_is_a_last_resort_and_then_served_without_waiting_for_half_a_minute() {
    let (cache, start, query) = (cache(100), Instant::now(), query("a"));
    let second = Duration::from_secs(1);
    insert(&cache, &query, Authority::Upstream, ResponseCode::NoError, MINUTE, start);
    assert!(!cache.has_last_resort(&query, start + MINUTE - second));
    assert!(cache.has_last_resort(&query, start + MINUTE));
    assert_eq!(code(&cache, &query, start + MINUTE), None);
    let stale = Some((ResponseCode::NoError, Some(STALE_TTL), 3));
    assert_eq!(last_resort(&cache, &query, start + MINUTE), stale);
    let served = get(&cache, &query, start + MINUTE + second * 29).unwrap();
    assert_eq!(served.answers[0].ttl, STALE_TTL);
    assert_eq!(code(&cache, &query, start + MINUTE + second * 30), None);
    assert_eq!(last_resort(&cache, &query, start + MINUTE + HOUR - second), stale);
    assert_eq!(last_resort(&cache, &query, start + MINUTE + HOUR), None);
}

#[test]
fn a_denial_is_a_last_resort_and_neither_a_failure_nor_what_a_key_said() {
    let (cache, start) = (cache(100), Instant::now());
    let later = start + MINUTE;
    let put = |name: &str, authority, code| insert(&cache, &query(name), authority, code, MINUTE, start);
    put("denied", Authority::Upstream, ResponseCode::NXDomain);
    put("failed", Authority::Upstream, ResponseCode::ServFail);
    put(&key_name(1), Authority::Key, ResponseCode::NoError);
    put(&key_name(2), Authority::NameServer, ResponseCode::NoError);
    assert_eq!(last_resort(&cache, &query("denied"), later), Some((ResponseCode::NXDomain, None, 19)));
    assert_eq!(last_resort(&cache, &query("failed"), later), None);
    assert_eq!(last_resort(&cache, &query(&key_name(1)), later), None);
    assert!(last_resort(&cache, &query(&key_name(2)), later).is_some());
}

#[test]
fn no_authority_pushes_out_the_answers_of_another() {
    let (cache, start) = (cache(64), Instant::now());
    let kept = [
        (query("one.example"), Authority::Upstream),
        (query(&key_name(1)), Authority::Key),
        (query(&format!("a.{}", key_name(1))), Authority::NameServer),
    ];
    for flood in [Authority::Upstream, Authority::Key, Authority::NameServer] {
        for (query, authority) in &kept {
            insert(&cache, query, *authority, ResponseCode::NoError, HOUR, start);
        }
        for number in 10..5000 {
            insert(&cache, &query(&key_name(number)), flood, ResponseCode::NoError, HOUR, start);
        }
        for (query, _) in kept.iter().filter(|(_, authority)| *authority != flood) {
            assert!(code(&cache, query, start).is_some(), "{query:?} after {flood:?}");
        }
    }
}

#[test]
fn names_that_are_asked_for_again_stay_while_a_million_one_off_names_pass() {
    let (cache, start) = (cache(256), Instant::now());
    let popular: Vec<Query> = (0..200).map(|number| query(&format!("popular-{number}.example"))).collect();
    for query in &popular {
        insert(&cache, query, Authority::Upstream, ResponseCode::NoError, HOUR, start);
    }
    for round in 0..100 {
        assert!(popular.iter().all(|query| code(&cache, query, start).is_some()), "{round}");
        for number in 0..1000 {
            let one_off = query(&format!("{round}-{number}.example"));
            insert(&cache, &one_off, Authority::Upstream, ResponseCode::NoError, HOUR, start);
        }
    }
    assert!(cache.size() <= 256 * 1024, "{}", cache.size());
}
