use std::net::SocketAddr;

use super::*;

fn upstreams(count: u16) -> Vec<Arc<Upstream>> {
    let tls = TlsClient::new(None).expect("nothing to read");
    (0..count)
        .map(|index| SocketAddr::from(([127, 0, 0, 1], 5300 + index)))
        .map(|address| Arc::new(Upstream::new(address.into(), &tls)))
        .collect()
}

fn order(upstreams: &[Arc<Upstream>], now: Instant) -> Vec<(usize, Standing)> {
    in_order(upstreams, now).into_iter().map(|turn| (turn.index, turn.standing)).collect()
}

fn fail(upstream: &Upstream, times: u32, now: Instant) {
    (0..times).for_each(|_| upstream.failed(Standing::Usual, now, now));
}

use Standing::{Held, Probe, Usual};

#[test]
fn three_failures_in_a_row_put_an_upstream_behind_the_others() {
    let (upstreams, now) = (upstreams(3), Instant::now());
    fail(&upstreams[0], 2, now);
    assert_eq!(order(&upstreams, now), [(0, Usual), (1, Usual), (2, Usual)]);
    fail(&upstreams[0], 1, now);
    assert_eq!(order(&upstreams, now), [(1, Usual), (2, Usual), (0, Held)]);
}

#[test]
fn an_answer_between_failures_starts_the_count_again() {
    let (upstreams, now) = (upstreams(2), Instant::now());
    fail(&upstreams[0], 2, now);
    upstreams[0].answered(now);
    let later = now + Duration::from_millis(1);
    fail(&upstreams[0], 2, later);
    assert_eq!(order(&upstreams, now), [(0, Usual), (1, Usual)]);
}

#[test]
fn silence_about_one_name_is_no_failure_while_other_names_are_answered() {
    let (upstreams, sent) = (upstreams(2), Instant::now());
    let later = sent + Duration::from_secs(1);
    upstreams[0].answered(sent + Duration::from_millis(500));
    (0..100).for_each(|_| upstreams[0].failed(Standing::Usual, sent, later));
    assert_eq!(order(&upstreams, later), [(0, Usual), (1, Usual)]);
    (0..3).for_each(|_| upstreams[0].failed(Standing::Usual, later, later));
    assert_eq!(order(&upstreams, later), [(1, Usual), (0, Held)], "silent about everything");
}

#[test]
fn an_upstream_that_answers_again_returns_to_its_place_at_once() {
    let (upstreams, now) = (upstreams(2), Instant::now());
    fail(&upstreams[0], 3, now);
    upstreams[0].answered(now);
    assert_eq!(order(&upstreams, now), [(0, Usual), (1, Usual)]);
}

#[test]
fn one_question_alone_probes_an_upstream_whose_hold_is_over() {
    let (upstreams, now) = (upstreams(2), Instant::now());
    fail(&upstreams[0], 3, now);
    let later = now + HOLDS.first;
    assert_eq!(order(&upstreams, later), [(0, Probe), (1, Usual)]);
    assert_eq!(order(&upstreams, later), [(1, Usual), (0, Held)]);
    assert_eq!(
        order(&upstreams, later + PROBE_TIME),
        [(0, Probe), (1, Usual)],
        "a lost probe is not the last"
    );
}

#[test]
fn holds_double_up_to_a_minute() {
    let (upstreams, mut now) = (upstreams(1), Instant::now());
    fail(&upstreams[0], 3, now);
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(order(&upstreams, now), [(0, Held)]);
        now += Duration::from_secs(seconds) - Duration::from_millis(1);
        assert_eq!(order(&upstreams, now), [(0, Held)], "before {seconds} s");
        now += Duration::from_millis(1);
        assert_eq!(order(&upstreams, now), [(0, Probe)], "after {seconds} s");
        upstreams[0].failed(Probe, now, now);
    }
}

#[test]
fn a_hundred_questions_that_fail_together_do_not_make_a_hold_longer() {
    let (upstreams, now) = (upstreams(1), Instant::now());
    fail(&upstreams[0], 100, now);
    (0..100).for_each(|_| upstreams[0].failed(Held, now, now));
    assert_eq!(order(&upstreams, now + HOLDS.first), [(0, Probe)]);
}

#[test]
fn a_reason_is_logged_once_an_hour_and_another_one_after_a_minute() {
    let (mut logged, now) = (Logged { complaint: None, capabilities: Capabilities::ALL }, Instant::now());
    let minute = COMPLAINT_EVERY;
    assert!(logged.is_news("answers with text/html", now));
    assert!(!logged.is_news("answers with text/html", now + minute));
    assert!(!logged.is_news("is malformed", now + minute / 2));
    assert!(logged.is_news("is malformed", now + minute));
    assert!(!logged.is_news("answers with text/html", now + minute + minute / 2));
    assert!(!logged.is_news("is malformed", now + 60 * minute));
    assert!(logged.is_news("is malformed", now + 61 * minute));
}

#[test]
fn an_upstream_that_loops_is_not_asked() {
    let upstreams = upstreams(2);
    upstreams[0].is_looping.store(true, Ordering::Relaxed);
    assert_eq!(order(&upstreams, Instant::now()), [(1, Usual)]);
}

#[test]
fn an_upstream_without_a_route_is_left_out_where_another_has_one() {
    let (upstreams, now) = (upstreams(3), Instant::now());
    for (without, expected) in [(1, vec![0, 2]), (0, vec![2]), (2, vec![0, 1, 2])] {
        upstreams[without].route.pretend_to_have_none(now);
        let indices: Vec<_> = order(&upstreams, now).into_iter().map(|(index, _)| index).collect();
        assert_eq!(indices, expected, "without a route to {without}");
    }
    fail(&upstreams[0], 100, now);
    assert_eq!(order(&upstreams, now)[0], (0, Usual), "no fault of its own");
}

#[test]
fn only_an_upstream_on_this_machine_or_with_a_certificate_is_trusted() {
    let tls = TlsClient::new(None).expect("nothing to read");
    for (address, trusted) in [
        ("127.0.0.53:53", true),
        ("[::1]:53", true),
        ("[::ffff:127.0.0.1]:53", true),
        ("tls://8.8.8.8", true),
        ("https://8.8.8.8", true),
        ("192.168.1.1:53", false),
        ("8.8.8.8:53", false),
        ("[2001:4860:4860::8888]:53", false),
    ] {
        let upstream = Upstream::new(address.parse().expect("an address"), &tls);
        assert_eq!(upstream.is_trusted(), trusted, "{address}");
    }
}
