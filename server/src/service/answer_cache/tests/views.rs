//! What is answered in one view is nothing to the other.

use super::*;
use crate::base::view::View;

fn query_in(view: View, name: &str) -> Query {
    Query { view, ..query(name) }
}

#[test]
fn an_answer_of_one_view_is_not_given_in_the_other() {
    let now = Instant::now();
    for (kept, other) in [(View::Resolver, View::Origin), (View::Origin, View::Resolver)] {
        for (name, authority) in [
            (key_name(1), Authority::Key),
            (key_name(2), Authority::NameServer),
            ("www.example".into(), Authority::Upstream),
        ] {
            for kind in [ResponseCode::NoError, ResponseCode::ServFail] {
                let cache = cache(1000).with_strangers(1000);
                insert(&cache, &query_in(kept, &name), authority, kind, MINUTE, now);
                assert_eq!(code(&cache, &query_in(kept, &name), now), Some(kind), "{name} {kept:?}");
                assert_eq!(code(&cache, &query_in(other, &name), now), None, "{name} {kept:?}");
                assert_eq!(last_resort(&cache, &query_in(other, &name), now + HOUR / 2), None);
            }
        }
    }
}

#[test]
fn whatever_strangers_ask_pushes_out_nothing_of_those_who_are_served() {
    let (cache, now) = (cache(1000).with_strangers(1000), Instant::now());
    let of_others = |number: u32| query(&key_name(number));
    (0..500).for_each(|number| {
        insert(&cache, &of_others(number), Authority::Key, ResponseCode::NoError, MINUTE, now)
    });
    let held = || (0..500).filter(|number| code(&cache, &of_others(*number), now).is_some()).count();
    let before = held();
    let size = cache.size();
    for number in 0..100_000 {
        let query = query_in(View::Origin, &key_name(number));
        insert(&cache, &query, Authority::Key, ResponseCode::NXDomain, MINUTE, now);
    }
    assert!(before > 400 && held() == before, "{before} before, {} after", held());
    let most = size + 1000 * STRANGERS_BYTES_PER_ENTRY;
    assert!(cache.size() <= most, "{} bytes", cache.size());
}

#[test]
fn flags_say_in_which_view_an_answer_was_given_and_on_whose_authority() {
    for (view, authoritative) in
        [(View::Resolver, false), (View::Resolver, true), (View::Origin, true), (View::Origin, false)]
    {
        for code in [ResponseCode::NoError, ResponseCode::NXDomain, ResponseCode::BADCOOKIE] {
            let query = query_in(view, "www.example");
            let answer = Answer { authoritative, ..Answer::empty(code) };
            let mut out = Vec::new();
            answer.encode(&query.question).write(&query, Reply::Datagram, Age::Seconds(0), &mut out);
            let metadata = Message::from_vec(&out).unwrap().metadata;
            assert_eq!(metadata.recursion_available, view == View::Resolver);
            assert_eq!((metadata.authoritative, metadata.response_code), (authoritative, code));
        }
    }
}
