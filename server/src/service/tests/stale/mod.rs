//! What an upstream says wrongly or does not say, in paused time: never an answer that is worse than the best that is
//! held (RFC 8767, RFC 9520).

mod chaos;

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt;
use hickory_proto::{
    op,
    rr::{Name, rdata::SOA},
};
use tokio::time::sleep;

use super::*;
use crate::{
    base::message::{Message, Question, STALE_TTL},
    sources::forward::{ExchangeError, testing::Script},
};

const SECOND: Duration = Duration::from_secs(1);
const ROUND_TRIP: Duration = Duration::from_millis(20);

/// For the answers of this file: two hours.
const MAX_STALE: Duration = Duration::from_secs(7200);

/// How long a mistaken denial may be believed.
const MISTAKE: u32 = 20;

/// What is the matter with the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Says(ResponseCode),
    /// NXDOMAIN of everything.
    Mistaken,
    Silent,
    Unreachable,
    Garbled,
}

const BAD: [Mood; 8] = [
    Mood::Says(ResponseCode::ServFail),
    Mood::Says(ResponseCode::Refused),
    Mood::Says(ResponseCode::NotImp),
    Mood::Says(ResponseCode::FormErr),
    Mood::Says(ResponseCode::NotAuth),
    Mood::Silent,
    Mood::Unreachable,
    Mood::Garbled,
];

/// An answer that the upstream gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    at: Instant,
    said: Said,
    lifetime: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Address(u32),
    NoName,
    NoData,
}

#[derive(Debug)]
struct Upstream {
    mood: Mutex<Mood>,
    /// By name, in their order.
    words: Mutex<HashMap<String, Vec<Word>>>,
    version: AtomicU32,
    asked: AtomicUsize,
}

impl Upstream {
    /// Names are `www-TTL`, `no-TTL`, `nodata-TTL` and whatever comes behind.
    fn answer(&self, question: &Question) -> Result<Message, ExchangeError> {
        let mood = *self.mood.lock().unwrap();
        let name = question.name();
        let asked = name.to_ascii();
        let Some((kind, rest)) = asked.split_once('-') else {
            // Whether it is there at all.
            return Ok(message(ResponseCode::NoError, Vec::new(), Vec::new()));
        };
        let ttl: u32 = rest.split('.').next().unwrap().parse().unwrap();
        let (said, seconds) = match (mood, kind) {
            (Mood::Well, "www") => (Said::Address(self.version.fetch_add(1, Ordering::Relaxed)), ttl),
            (Mood::Well, "no") => (Said::NoName, ttl),
            (Mood::Well, _) => (Said::NoData, ttl),
            (Mood::Mistaken, _) => (Said::NoName, MISTAKE),
            (Mood::Says(code), _) => return Ok(message(code, Vec::new(), Vec::new())),
            (Mood::Unreachable, _) => {
                return Err(ExchangeError::Unreachable(std::io::ErrorKind::ConnectionRefused));
            }
            (Mood::Silent | Mood::Garbled, _) => return Err(ExchangeError::Malformed),
        };
        // An answer is kept for a day at most, an absence for an hour.
        let most = if matches!(said, Said::Address(_)) { 86_400 } else { 3600 };
        let lifetime = Duration::from_secs(seconds.min(most).into());
        let word = Word { at: Instant::now(), said, lifetime };
        self.words.lock().unwrap().entry(asked).or_default().push(word);
        let apex = Name::from_ascii("example.").unwrap();
        let soa = SOA::new(apex.clone(), apex.clone(), 1, 1, 1, 1, seconds);
        let soa = Record::from_rdata(apex, seconds, RData::SOA(soa));
        Ok(match said {
            Said::Address(version) => {
                let data = RData::A(A(Ipv4Addr::from_bits(0x5d00_0000 | version)));
                message(ResponseCode::NoError, vec![Record::from_rdata(name, seconds, data)], Vec::new())
            }
            Said::NoName => message(ResponseCode::NXDomain, Vec::new(), vec![soa]),
            Said::NoData => message(ResponseCode::NoError, Vec::new(), vec![soa]),
        })
    }
}

fn message(code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> Message {
    Message {
        id: 0,
        truncated: false,
        authentic_data: false,
        code,
        answers,
        authorities,
        additionals: Vec::new(),
        extended_error: None,
    }
}

struct World {
    service: Service,
    upstream: Arc<Upstream>,
}

/// A reply, in short.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    code: ResponseCode,
    said: Option<Said>,
    ttl: Option<u32>,
    extended_error: Option<u16>,
}

impl World {
    fn new() -> Self {
        let upstream = Arc::new(Upstream {
            mood: Mutex::new(Mood::Well),
            words: Mutex::default(),
            version: AtomicU32::new(1),
            asked: AtomicUsize::new(0),
        });
        let played = upstream.clone();
        let script = Script::new(move |question| {
            let (played, question) = (played.clone(), question.clone());
            async move {
                played.asked.fetch_add(1, Ordering::Relaxed);
                if *played.mood.lock().unwrap() == Mood::Silent {
                    std::future::pending::<()>().await;
                }
                sleep(ROUND_TRIP).await;
                played.answer(&question)
            }
            .boxed()
        });
        let mut config = Config { fallback_dns: vec!["192.0.2.53:53".parse().unwrap()], ..Config::default() };
        config.rate_limit.requests_per_minute = 0;
        config.cache.max_stale_seconds = MAX_STALE.as_secs();
        let forwarder = Arc::new(Forwarder::scripted(config.fallback_dns.clone(), script));
        let packets = Packets::new(&config.cache, Arc::new(FakeNetwork::failing(NetworkError::Unreachable)));
        let resolver = Resolver::new(&config, packets, forwarder.clone());
        let service = Service::new(&config, resolver, forwarder, &Metrics::default());
        Self { service, upstream }
    }

    fn is(&self, mood: Mood) {
        *self.upstream.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> usize {
        self.upstream.asked.load(Ordering::Relaxed)
    }

    fn words(&self, name: &str) -> Vec<Word> {
        self.upstream.words.lock().unwrap().get(name).cloned().unwrap_or_default()
    }

    async fn ask(&self, name: &str) -> Heard {
        let mut request = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        for label in name.split('.') {
            request.push(label.len() as u8);
            request.extend_from_slice(label.as_bytes());
        }
        request.extend_from_slice(&[0, 0, 1, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        let (client, mut out) = (client(GREEDY), Vec::new());
        match self.service.at_once(&request, client, &mut out) {
            AtOnce::Replied => {}
            AtOnce::Later(query) => self.service.later(&query, client, &mut out).await,
            other => panic!("{other:?}"),
        }
        heard(&op::Message::from_vec(&out).unwrap())
    }
}

fn heard(message: &op::Message) -> Heard {
    let code = message.metadata.response_code;
    let said = match (code, &message.answers[..]) {
        (ResponseCode::NoError, [Record { data: RData::A(address), .. }]) => {
            Some(Said::Address(address.0.to_bits() & 0x00ff_ffff))
        }
        (ResponseCode::NoError, []) => Some(Said::NoData),
        (ResponseCode::NXDomain, []) => Some(Said::NoName),
        _ => None,
    };
    let ttl = message.answers.iter().chain(&message.authorities).map(|record| record.ttl).min();
    let edns = message.edns.as_ref().unwrap();
    let extended_error = edns.options().as_ref().iter().find_map(|(code, option)| {
        let data = (u16::from(*code) == 15).then(|| Vec::<u8>::try_from(option).unwrap())?;
        Some(u16::from_be_bytes([data[0], data[1]]))
    });
    Heard { code, said, ttl, extended_error }
}

impl Heard {
    fn is_stale(&self) -> bool {
        matches!(self.extended_error, Some(3 | 19))
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_past_its_time_outlives_every_kind_of_failure_and_the_next_one_too() {
    // coredns#7956: one SERVFAIL destroyed what a later silence could have used.
    for first in BAD {
        for then in BAD {
            let world = World::new();
            let good = world.ask("www-5.example").await;
            assert_eq!(good.ttl, Some(5));
            world.is(first);
            sleep(6 * SECOND).await;
            for mood in [first, then] {
                world.is(mood);
                let stale = world.ask("www-5.example").await;
                let expected = Heard { ttl: Some(5), extended_error: Some(3), ..good };
                assert_eq!(stale, expected, "{first:?}, then {then:?}");
                // RFC 8767 section 5: nobody is asked for half a minute.
                let asked = world.asked();
                assert!(world.ask("www-5.example").await.is_stale());
                assert_eq!(world.asked(), asked);
                sleep(31 * SECOND).await;
            }
            world.is(Mood::Well);
            assert_eq!(world.ask("www-5.example").await.said, Some(Said::Address(2)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_refreshed_is_served_to_its_end_and_then_past_it_at_once() {
    for mood in BAD {
        let world = World::new();
        let good = world.ask("www-100.example").await.said;
        world.is(mood);
        sleep(95 * SECOND).await;
        // This one begins the refresh, which fails.
        assert_eq!(world.ask("www-100.example").await.said, good);
        sleep(4 * SECOND + SECOND / 2).await;
        let alive = world.ask("www-100.example").await;
        assert_eq!((alive.said, alive.extended_error), (good, None), "{mood:?}");
        sleep(SECOND).await;
        let started = Instant::now();
        let stale = world.ask("www-100.example").await;
        assert_eq!(started.elapsed(), Duration::ZERO, "{mood:?}");
        assert_eq!(
            (stale.said, stale.extended_error, stale.ttl),
            (good, Some(3), Some(STALE_TTL)),
            "{mood:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_past_its_time_is_better_than_a_failure() {
    for mood in BAD {
        for (name, code, extended_error) in
            [("no-5.example", ResponseCode::NXDomain, 19), ("nodata-5.example", ResponseCode::NoError, 3)]
        {
            let world = World::new();
            let good = world.ask(name).await.said;
            world.is(mood);
            sleep(6 * SECOND).await;
            let stale = world.ask(name).await;
            assert_eq!((stale.code, stale.said), (code, good), "{name}, {mood:?}");
            assert_eq!(stale.extended_error, Some(extended_error), "{name}, {mood:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_without_anything_that_is_held_is_told_and_remembered_for_five_seconds() {
    for mood in BAD {
        let world = World::new();
        world.is(mood);
        assert_eq!(world.ask("www-5.example").await.said, None, "{mood:?}");
        let asked = world.asked();
        assert_eq!(world.ask("www-5.example").await.said, None, "{mood:?}");
        assert_eq!(world.asked(), asked, "RFC 9520");
        world.is(Mood::Well);
        sleep(5 * SECOND).await;
        assert_eq!(world.ask("www-5.example").await.said, Some(Said::Address(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_mistaken_denial_hides_no_answer_that_is_alive_and_goes_with_its_own_time() {
    let world = World::new();
    let good = world.ask("www-100.example").await.said;
    world.is(Mood::Mistaken);
    sleep(95 * SECOND).await;
    for _ in 0..4 {
        assert_eq!(world.ask("www-100.example").await.said, good);
        sleep(SECOND).await;
    }
    sleep(SECOND).await;
    assert_eq!(world.ask("www-100.example").await.code, ResponseCode::NXDomain, "it says so again");
    world.is(Mood::Well);
    sleep(Duration::from_secs(MISTAKE.into())).await;
    assert_eq!(world.ask("www-100.example").await.said, Some(Said::Address(2)));
    // Nothing below the name and no other name was touched by that.
    assert_eq!(world.ask("www-9.www-100.example").await.said, Some(Said::Address(3)));
}
