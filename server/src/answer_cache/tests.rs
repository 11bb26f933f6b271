use std::{net::Ipv4Addr, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, rdata::A},
};

use super::*;
use crate::message::{Answer, STALE_TTL};

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
    AnswerCache::new(entries, HOUR, Arc::default())
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
    cache.last_resort(query, Reply::Datagram, now, &mut out)?;
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
    assert_eq!(code(&cache, &query, start + MINUTE), Some(ResponseCode::ServFail));
    put(ResponseCode::NXDomain, start + MINUTE);
    assert_eq!(code(&cache, &query, start + MINUTE), Some(ResponseCode::NXDomain));
    assert_eq!(code(&cache, &query, start + MINUTE * 2), None);
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
    let cache = AnswerCache::new(100, HOUR, revisions.clone());
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

#[test]
fn what_is_too_large_is_not_kept() {
    let stream = Reply::Stream { idle_timeout: None, is_encrypted: false };
    let (cache, start, query) = (cache(100_000), Instant::now(), query("a"));
    for (count, is_kept) in [(150, true), (250, false)] {
        insert_large(&cache, &query, &large(&query, count, 0, 300), HOUR, start);
        assert_eq!(cache.get(&query, stream, start, &mut Vec::new()).is_some(), is_kept, "{count}");
        assert!(get(&cache, &query, start).unwrap().metadata.truncation, "{count}");
    }
}

/// An answer of so many addresses at the name, and one more in the additional section.
fn large(query: &Query, answers: u32, additionals: u32, ttl: u32) -> EncodedAnswer {
    let addresses = |count: u32| -> Vec<Record> {
        let record =
            |number| Record::from_rdata(query.question.name(), ttl, RData::A(A(Ipv4Addr::from_bits(number))));
        (0..count).map(record).collect()
    };
    let answer = Answer {
        answers: addresses(answers),
        additionals: addresses(additionals),
        ..Answer::empty(ResponseCode::NoError)
    };
    answer.encode(&query.question)
}

fn insert_large(
    cache: &AnswerCache,
    query: &Query,
    encoded: &EncodedAnswer,
    lifetime: Duration,
    now: Instant,
) {
    let authority = Authority::Upstream;
    let refresh_in = Some(lifetime * 9 / 10);
    cache.insert(query, &NewAnswer { encoded, authority, lifetime, refresh_in, revisions: &[] }, now);
}

#[test]
fn of_what_fits_no_datagram_the_cache_gives_that_it_is_cut_and_streams_ask_again() {
    let stream = Reply::Stream { idle_timeout: None, is_encrypted: false };
    let (cache, start, query) = (cache(100), Instant::now(), query("big"));
    let encoded = large(&query, 3500, 0, 300);
    insert_large(&cache, &query, &encoded, HOUR, start);
    assert!(cache.size() < 1000, "{} bytes are kept", cache.size());
    let mut first = Vec::new();
    encoded.write(&query, Reply::Datagram, Age::Seconds(0), &mut first);
    for now in [start, start + HOUR - MINUTE] {
        let mut again = Vec::new();
        let hit = cache.get(&query, Reply::Datagram, now, &mut again).unwrap();
        assert_eq!(again, first, "as without the cache");
        assert!(!hit.refresh, "nobody fetches it ahead of time");
        assert!(Message::from_vec(&again).unwrap().metadata.truncation);
        assert!(cache.get(&query, stream, now, &mut Vec::new()).is_none());
    }
    assert!(cache.get(&query, Reply::Datagram, start + HOUR, &mut Vec::new()).is_none());
    assert!(!cache.has_last_resort(&query, start + HOUR), "it helps nobody then");
}

#[test]
fn a_large_answer_that_nobody_may_keep_is_not_fetched_for_each_datagram() {
    let (cache, start, query) = (cache(100), Instant::now(), query("big"));
    for (count, is_kept) in [(3500, true), (200, true), (3, false)] {
        insert_large(&cache, &query, &large(&query, count, 0, 0), Duration::ZERO, start);
        let mut out = Vec::new();
        let hit = cache.get(&query, Reply::Datagram, start + LEAST_CUT_TIME / 2, &mut out);
        assert_eq!(hit.is_some(), is_kept, "{count}");
        if is_kept {
            let message = Message::from_vec(&out).unwrap();
            assert!(message.metadata.truncation && message.answers.is_empty(), "{count}");
        }
        assert!(cache.get(&query, Reply::Datagram, start + LEAST_CUT_TIME, &mut Vec::new()).is_none());
        // The next one finds nothing.
        insert(&cache, &query, Authority::Upstream, ResponseCode::NoError, Duration::from_millis(1), start);
    }
}

#[test]
fn a_large_answer_that_can_do_without_what_is_large_is_kept_as_datagrams_have_it() {
    let (cache, start, query) = (cache(100), Instant::now(), query("big"));
    insert_large(&cache, &query, &large(&query, 3, 3000, 300), HOUR, start);
    let answer = get(&cache, &query, start + MINUTE).unwrap();
    assert!(!answer.metadata.truncation);
    assert_eq!((answer.answers.len(), answer.answers[0].ttl), (3, 240));
    insert_large(&cache, &query, &large(&query, 3, 3000, 0), Duration::ZERO, start);
    assert!(get(&cache, &query, start + HOUR).is_none());
}
