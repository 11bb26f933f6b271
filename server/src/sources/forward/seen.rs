//! How the upstreams do, for those who watch the server; and that there is something to see while nobody asks.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use hickory_proto::rr::Name;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Forwarder, Upstreams};
use crate::base::metrics::UpstreamReading;

/// An upstream that has answered nothing for so long is asked something: with [`LOOK_EVERY`] and the time of an answer,
/// one that works has answered within any minute.
const ASK_AFTER: Duration = Duration::from_secs(40);

const LOOK_EVERY: Duration = Duration::from_secs(10);

impl Forwarder {
    /// All upstreams at this moment, those of zones of their own last.
    pub fn snapshot(&self, now: Instant) -> Vec<UpstreamReading> {
        let asked = self.asked.load();
        let mut all: Vec<_> = readings(&asked.upstreams, ".", now).collect();
        let mut zones: Vec<(&Arc<Upstreams>, String)> = Vec::new();
        for (name, upstreams) in &asked.zones {
            let name = written(name);
            match zones.iter_mut().find(|(other, _)| Arc::ptr_eq(other, upstreams)) {
                Some((_, names)) => {
                    names.push(',');
                    names.push_str(&name);
                }
                None => zones.push((upstreams, name)),
            }
        }
        all.extend(zones.iter().flat_map(|(upstreams, zone)| readings(upstreams, zone, now)));
        all
    }

    /// Asks those that have answered nothing for a while what every resolver knows, until `shutdown`, so that it is known
    /// whether they are there: one that answers twice a minute at most, one that is silent every ten seconds. The resolvers of
    /// zones are left alone: some know nothing but their zone.
    pub async fn keep_in_touch(&self, shutdown: CancellationToken) {
        let watch = async {
            loop {
                sleep(LOOK_EVERY).await;
                let now = Instant::now();
                let is_due = |silent: Option<Duration>| silent.is_none_or(|silent| silent >= ASK_AFTER);
                let upstreams = self.asked.load().upstreams.clone();
                let due = upstreams.list.iter().filter(|upstream| is_due(upstream.silent_for(now)));
                join_all(due.map(|upstream| upstreams.check(upstream))).await;
            }
        };
        shutdown.run_until_cancelled(watch).await;
    }
}

fn readings(upstreams: &Upstreams, zone: &str, now: Instant) -> impl Iterator<Item = UpstreamReading> {
    upstreams.list.iter().map(move |upstream| UpstreamReading {
        address: upstream.address.to_string(),
        zone: zone.to_owned(),
        state: upstream.state(now),
        last_answer: upstream.silent_for(now),
        metrics: upstream.metrics.clone(),
    })
}

fn written(zone: &Name) -> String {
    let name = zone.to_string();
    name.strip_suffix('.').map(str::to_owned).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use hickory_proto::op::ResponseCode;

    use super::*;
    use crate::{
        base::{
            config::{ForwardZone, UpstreamAddress},
            message::Message,
            metrics::UpstreamState,
        },
        sources::forward::{ExchangeError, TlsClient, testing::Script},
    };

    fn address(text: &str) -> UpstreamAddress {
        text.parse().expect("an address")
    }

    fn message(code: ResponseCode) -> Message {
        Message {
            id: 0,
            truncated: false,
            authentic_data: false,
            code,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            extended_error: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_nobody_asks_is_known_to_be_there_within_any_minute_and_costs_few_questions() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let script = Script::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(message(ResponseCode::NoError)) })
        });
        let forwarder = Arc::new(Forwarder::scripted(vec![address("192.0.2.1")], script));
        let stop = CancellationToken::new();
        let watching = tokio::spawn({
            let (forwarder, stop) = (forwarder.clone(), stop.clone());
            async move { forwarder.keep_in_touch(stop).await }
        });
        sleep(Duration::from_secs(15)).await;
        for _ in 0..100 {
            sleep(Duration::from_secs(7)).await;
            let [upstream] = &forwarder.snapshot(Instant::now())[..] else { panic!("one upstream") };
            let silent = upstream.last_answer.expect("it has answered");
            assert!(silent < Duration::from_secs(60), "{silent:?}");
        }
        // In twelve minutes.
        assert!(asked.load(Ordering::Relaxed) <= 24, "{asked:?}");
        stop.cancel();
        watching.await.expect("an end");
    }

    #[tokio::test(start_paused = true)]
    async fn what_becomes_of_an_upstream_is_seen() {
        let (is_silent, codes) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (silent, scripted) = (is_silent.clone(), codes.clone());
        let script = Script::new(move |_| {
            let code = scripted.lock().expect("no panic").pop().unwrap_or(ResponseCode::NoError);
            let is_silent = silent.load(Ordering::Relaxed);
            Box::pin(async move {
                sleep(Duration::from_millis(80)).await;
                if is_silent { Err(ExchangeError::Silent) } else { Ok(message(code)) }
            })
        });
        let forwarder = Forwarder::scripted(vec![address("192.0.2.1:5353")], script);
        let seen = || forwarder.snapshot(Instant::now()).remove(0);
        assert_eq!((seen().address.as_str(), seen().zone.as_str()), ("192.0.2.1:5353", "."));
        assert_eq!((seen().state, seen().last_answer), (UpstreamState::InUse, None));
        let ask = async |name: &str| {
            let question = crate::sources::forward::testing::question(name, hickory_proto::rr::RecordType::A);
            forwarder.ask(crate::sources::forward::Asker::Own, &question, false, false).await
        };
        ask("one.example.").await.expect("an answer");
        assert_eq!(seen().metrics.smoothed_latency(), Some(Duration::from_millis(80)));
        assert_eq!((seen().metrics.answered.get(), seen().last_answer), (1, Some(Duration::ZERO)));
        codes.lock().expect("no panic").push(ResponseCode::ServFail);
        ask("two.example.").await.expect("a refusal");
        assert_eq!((seen().metrics.answered.get(), seen().metrics.refused.get()), (1, 1));
        is_silent.store(true, Ordering::Relaxed);
        sleep(Duration::from_secs(1)).await;
        for number in 0..4 {
            ask(&format!("silent{number}.example.")).await.expect_err("silence");
        }
        assert!(matches!(seen().state, UpstreamState::LeftAlone(_)), "{:?}", seen().state);
        assert!(seen().metrics.unanswered.get() >= 4);
    }

    #[test]
    fn each_set_of_resolvers_is_there_once_with_all_its_zones() {
        let tls = TlsClient::new(None).expect("nothing to read");
        let zones = [
            ForwardZone { zone: vec!["lan".into(), "home.arpa".into()], to: vec![address("192.0.2.2")] },
            ForwardZone { zone: vec!["corp.example".into()], to: vec![address("192.0.2.3")] },
        ];
        let forwarder = Forwarder::new(vec![address("192.0.2.1")], &tls).with_zones(&zones, &tls);
        let mut seen: Vec<_> =
            forwarder.snapshot(Instant::now()).into_iter().map(|seen| (seen.address, seen.zone)).collect();
        seen.sort();
        let expected =
            [("192.0.2.1:53", "."), ("192.0.2.2:53", "home.arpa,lan"), ("192.0.2.3:53", "corp.example")];
        assert_eq!(seen, expected.map(|(address, zone)| (address.to_owned(), zone.to_owned())));
    }
}
