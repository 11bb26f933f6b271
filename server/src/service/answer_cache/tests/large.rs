//! Answers that are larger than those that are kept among the others.

use super::*;

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

#[test]
fn a_large_answer_that_is_wanted_again_is_kept_as_a_whole_and_past_its_time() {
    let stream = Reply::Stream { idle_timeout: None, is_encrypted: false };
    let (cache, start, query) = (cache(10_000), Instant::now(), query("big"));
    let encoded = large(&query, 3500, 0, 300);
    (0..2).for_each(|_| insert_large(&cache, &query, &encoded, MINUTE, start));
    let mut whole = Vec::new();
    cache.get(&query, stream, start, &mut whole).unwrap();
    assert_eq!(Message::from_vec(&whole).unwrap().answers.len(), 3500);
    assert!(get(&cache, &query, start).unwrap().metadata.truncation);
    // A stream that comes late has it fetched ahead of time, a datagram does not.
    let late = start + MINUTE * 9 / 10;
    let refresh = |reply| cache.get(&query, reply, late, &mut Vec::new()).unwrap().refresh;
    assert_eq!([refresh(Reply::Datagram), refresh(stream)], [false, true]);
    insert(&cache, &query, Authority::Upstream, ResponseCode::ServFail, MINUTE, late);
    let mut stale = Vec::new();
    cache.get(&query, stream, start + MINUTE, &mut stale).unwrap();
    let stale = Message::from_vec(&stale).unwrap();
    assert_eq!((stale.answers.len(), stale.answers[0].ttl), (3500, STALE_TTL));
    // A smaller one takes its place.
    insert(&cache, &query, Authority::Upstream, ResponseCode::NoError, MINUTE, start + MINUTE);
    let mut small = Vec::new();
    cache.get(&query, stream, start + MINUTE, &mut small).unwrap();
    assert_eq!(Message::from_vec(&small).unwrap().answers.len(), 1);
    assert!(cache.get(&query, stream, start + MINUTE * 2, &mut Vec::new()).is_none());
}

#[test]
fn large_answers_push_out_no_small_ones_and_take_so_many_bytes() {
    let stream = Reply::Stream { idle_timeout: None, is_encrypted: false };
    let (cache, start) = (cache(10_000), Instant::now());
    let small: Vec<Query> = (0..1000).map(|number| query(&format!("small-{number}.example"))).collect();
    for query in &small {
        insert(&cache, query, Authority::Upstream, ResponseCode::NoError, HOUR, start);
    }
    let before = cache.size();
    let mut last = false;
    for number in 0..500 {
        let query = query(&format!("large-{number}.example"));
        let encoded = large(&query, 3000, 0, 300);
        (0..2).for_each(|_| insert_large(&cache, &query, &encoded, HOUR, start));
        last = cache.get(&query, stream, start, &mut Vec::new()).is_some();
    }
    assert!(last, "the newest is kept");
    assert!(small.iter().all(|query| code(&cache, query, start).is_some()));
    // What is left of each for datagrams is small.
    let most = LARGE_BYTES_PER_ENTRY * 10_000 + 500 * 400;
    assert!(cache.size() - before <= most, "{} bytes", cache.size() - before);
}
