mod crowds;

use std::collections::HashSet;

use super::*;
use crate::krpc::{MAX_TOKEN, Nodes};

const TARGET: [u8; 20] = [0; 20];

/// A network of nodes that all have the same round trip, a search in it, and a clock that stands still.
struct Fixture {
    lookup: Lookup,
    typical: Rtt,
    start: Instant,
}

/// The node whose distance to the target begins with these bytes.
fn node(first: u8, second: u8) -> (Id, SocketAddr) {
    let mut id = TARGET;
    (id[0], id[1]) = (first, second);
    (Id::from(id), SocketAddr::from(([127, 0, first, second], 6881)))
}

fn contact(first: u8, milliseconds: Option<u64>) -> Contact {
    let (id, address) = node(first, 0);
    Contact { id, address, rtt: milliseconds.map(|rtt| Rtt::first(Duration::from_millis(rtt))), stores: true }
}

fn stranger(id: Id, address: SocketAddr) -> Contact {
    Contact { id, address, rtt: None, stores: true }
}

fn compact(nodes: impl IntoIterator<Item = (Id, SocketAddr)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, address) in nodes {
        Nodes::push(&mut bytes, id, address);
    }
    bytes
}

impl Fixture {
    fn new(width: usize, spacing: Option<f64>, seeds: Vec<Contact>) -> Self {
        let start = Instant::now();
        let mut lookup = Lookup::new(Id::from(TARGET), width, spacing, seeds, start);
        lookup.sees_crowds = true;
        // Strangers are late after 135 ms and given up after 500 ms.
        Self { lookup, typical: Rtt::first(Duration::from_millis(100)), start }
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.start + Duration::from_millis(milliseconds)
    }

    /// Asks until nobody else is to be asked; the first bytes of their distances.
    fn ask(&mut self, parallel: usize, milliseconds: u64) -> Vec<u8> {
        let now = self.at(milliseconds);
        let mut asked = Vec::new();
        while let Poll::Ask(turn) = self.lookup.poll_next(parallel, &self.typical, now) {
            let (request, _) = turn.take();
            asked.push(request.id.as_bytes()[0]);
        }
        asked
    }

    fn answer(&mut self, first: u8, named: &[(u8, u8)], milliseconds: u64) {
        let (id, address) = node(first, 0);
        let bytes = compact(named.iter().map(|(first, second)| node(*first, *second)));
        let nodes = Nodes::new(&bytes, &[]);
        let response = Response { nodes, token: Some(b"token"), ..Response::of(id) };
        let now = self.at(milliseconds);
        self.lookup.answered(address, &response, |_, _| Standing::Unknown, now);
    }

    fn is_over(&mut self, milliseconds: u64) -> bool {
        let now = self.at(milliseconds);
        matches!(self.lookup.poll_next(0, &self.typical, now), Poll::Over)
    }
}

#[test]
fn the_nearest_are_asked_first_and_a_few_at_once() {
    let mut fixture = Fixture::new(8, None, [9, 1, 5, 3].map(|first| contact(first, None)).into());
    assert_eq!(fixture.ask(2, 0), [1, 3]);
    assert!(fixture.ask(2, 10).is_empty());
    fixture.answer(3, &[(2, 0), (7, 0)], 100);
    assert_eq!(fixture.ask(2, 100), [2]);
    fixture.answer(1, &[], 110);
    fixture.answer(2, &[], 120);
    assert_eq!(fixture.ask(2, 120), [5, 7]);
    fixture.answer(5, &[], 200);
    fixture.answer(7, &[], 200);
    assert_eq!(fixture.ask(2, 200), [9]);
    assert!(!fixture.is_over(200));
    fixture.answer(9, &[], 300);
    assert!(fixture.is_over(300));
    assert_eq!((fixture.lookup.requests(), fixture.lookup.answers()), (6, 6));
}

#[test]
fn where_the_value_probably_is_the_quickest_is_asked_first_and_farther_ones_cost_more() {
    // A node in 128: those up to 40 are within 20 spacings.
    let near = [contact(1, Some(200)), contact(9, Some(30)), contact(20, None)];
    let far = [contact(60, Some(1)), contact(250, Some(10))];
    let mut fixture = Fixture::new(8, Some(1.0 / 128.0), [&near[..], &far].concat());
    assert_eq!(fixture.ask(5, 0), [60, 9, 250, 20, 1]);
}

#[test]
fn a_node_that_is_overdue_gives_its_place_to_another_and_is_still_heard() {
    let mut fixture = Fixture::new(3, None, (1..6).map(|first| contact(first, None)).collect());
    assert_eq!(fixture.ask(2, 0), [1, 2]);
    assert_eq!(fixture.lookup.wake_at(fixture.start), fixture.at(135));
    assert!(fixture.ask(2, 134).is_empty());
    assert_eq!(fixture.ask(2, 135), [3, 4]);
    fixture.answer(1, &[], 260);
    assert_eq!(fixture.lookup.take_given_up(), []);
    assert!(!fixture.is_over(265));
    // Node 2 is given up now, and the nearest three are 1, 3 and 4.
    fixture.ask(2, 500);
    assert_eq!(fixture.lookup.take_given_up(), [node(2, 0)]);
    fixture.answer(3, &[], 510);
    fixture.answer(4, &[], 510);
    assert!(fixture.is_over(510));
    assert_eq!(fixture.lookup.answers(), 3);
}

#[test]
fn who_stores_waits_for_strangers_that_are_overdue_and_for_as_many_nodes_as_it_needs() {
    let strangers = (1..40).map(|first| contact(first, None)).collect();
    let mut fixture = Fixture::new(20, None, strangers);
    fixture.lookup.is_for_store = true;
    assert_eq!(fixture.ask(24, 0).len(), 24);
    (5..=24).for_each(|first| fixture.answer(first, &[], 120));
    assert_eq!(fixture.ask(24, 135), [25, 26, 27, 28], "four are overdue");
    // A usual round trip of 100 ms and three deviations of 50.
    assert!(!fixture.is_over(249), "they are nearer than those that have answered");
    assert!(fixture.is_over(250));
    let strangers = (1..40).map(|first| contact(first, None)).collect();
    let mut fixture = Fixture::new(20, None, strangers);
    fixture.lookup.is_for_store = true;
    fixture.ask(24, 0);
    (1..=19).for_each(|first| fixture.answer(first, &[], 120));
    assert_eq!(fixture.ask(24, 260), [25, 26, 27, 28, 29]);
    assert!(!fixture.is_over(260), "nineteen are not enough, whoever is overdue");
    fixture.answer(25, &[], 300);
    assert!(fixture.is_over(300));
}

#[test]
fn a_node_known_to_be_quick_is_overdue_sooner_but_not_before_others_usually_answer() {
    let seeds = vec![contact(1, Some(4)), contact(2, Some(80)), contact(3, Some(2000))];
    let mut fixture = Fixture::new(3, None, seeds);
    fixture.ask(3, 0);
    let mut overdue = HashSet::new();
    for milliseconds in 0..1000 {
        let now = fixture.at(milliseconds);
        if fixture.lookup.wake_at(now) == now {
            overdue.insert(milliseconds);
            fixture.ask(0, milliseconds);
        }
    }
    // Three quarters of a usual round trip, 1.35 of the node's own, at most 800 ms; nobody is given up before 500 ms.
    assert_eq!(overdue, HashSet::from([75, 108, 500, 800]));
}

#[test]
fn the_search_is_over_when_the_nearest_have_spoken_and_not_before() {
    let mut fixture = Fixture::new(2, None, vec![contact(4, None), contact(8, None)]);
    fixture.ask(2, 0);
    fixture.answer(4, &[(1, 0)], 50);
    fixture.answer(8, &[(2, 0)], 50);
    assert!(!fixture.is_over(50));
    assert_eq!(fixture.ask(2, 50), [1, 2]);
    fixture.answer(1, &[], 100);
    assert!(!fixture.is_over(100));
    fixture.answer(2, &[(3, 0)], 100);
    assert!(fixture.is_over(100));
}

#[test]
fn a_network_that_is_silent_ends_the_search() {
    let mut fixture = Fixture::new(20, None, (1..90).map(|first| contact(first, None)).collect());
    let mut asked = 0;
    for milliseconds in (0..1500).step_by(50) {
        assert!(!fixture.is_over(milliseconds), "over after {milliseconds} ms");
        asked += fixture.ask(5, milliseconds).len();
    }
    assert!(fixture.is_over(1500));
    // Each that is overdue gave its place to another.
    assert!((25..=50).contains(&asked), "{asked}");
    assert!(!fixture.lookup.is_evidence(1000, None));
}

#[test]
fn the_requests_of_one_search_are_bounded() {
    let mut fixture = Fixture::new(1000, None, vec![contact(255, None)]);
    let mut next = vec![255];
    // Every node names another that is nearer.
    while let Some(first) = next.pop() {
        assert!(fixture.ask(1, 0).iter().all(|asked| *asked == first));
        fixture.answer(first, &[(first - 1, 0)], 0);
        if !fixture.is_over(0) {
            next.push(first - 1);
        }
    }
    assert_eq!(fixture.lookup.requests(), MAX_REQUESTS);
}

#[test]
fn a_node_that_names_dead_ones_only_is_not_followed_for_long() {
    let mut fixture = Fixture::new(8, None, vec![contact(100, None), contact(101, None)]);
    fixture.ask(2, 0);
    let made_up: Vec<_> = (0..20).map(|second| (1, second)).collect();
    fixture.answer(100, &made_up, 10);
    assert_eq!(fixture.ask(5, 10), [1, 1, 1, 1]);
    fixture.answer(101, &[(50, 0)], 20);
    // All of them are dead; each is given up after 600 ms.
    let asked: usize = (20..1500)
        .step_by(10)
        .map(|time| {
            if time == 700 {
                fixture.answer(50, &[], 700);
            }
            fixture.ask(5, time).iter().filter(|first| **first == 1).count()
        })
        .sum();
    assert!(asked <= 8, "{asked} of the made-up nodes were asked");
}

#[test]
fn what_several_nodes_name_is_believed_as_long_as_one_of_them_is() {
    let mut fixture = Fixture::new(8, None, vec![contact(100, None), contact(101, None)]);
    fixture.ask(2, 0);
    fixture.answer(100, &(1..=6).map(|first| (first, 0)).collect::<Vec<_>>(), 0);
    fixture.answer(101, &[(6, 0)], 0);
    assert_eq!(fixture.ask(8, 0), [1, 2, 3, 4, 6]);
    // The fifth of the first node is not asked any more; that of both would be.
    assert!(fixture.ask(8, 600).is_empty());
}

#[test]
fn one_subnet_of_the_internet_takes_few_places() {
    let seeds = (0..50).map(|last| Contact {
        id: node(last, 0).0,
        address: SocketAddr::from(([203, 0, 113, last], 6881)),
        rtt: None,
        stores: true,
    });
    let mut fixture = Fixture::new(20, None, seeds.collect());
    assert_eq!(fixture.ask(20, 0).len(), 3);
}

#[test]
fn loss_is_not_absence() {
    for (answers, known, evidence) in [
        (0, 0, false),
        (1, 0, true),
        (0, 20, false),
        (3, 10, false),
        (5, 10, true),
        (7, 1000, false),
        (8, 1000, true),
    ] {
        let seeds = if known == 0 { 1 } else { 20.min(known) };
        let mut fixture =
            Fixture::new(20, None, (1..=seeds as u8).map(|first| contact(first, None)).collect());
        fixture.ask(20, 0);
        for first in 1..=answers {
            fixture.answer(first, &[], 10);
        }
        assert_eq!(fixture.lookup.is_evidence(known, None), evidence, "{answers} of {known}");
    }
}

#[test]
fn a_table_that_empties_during_a_search_does_not_make_one_answer_enough() {
    let mut fixture = Fixture::new(20, None, (1..21).map(|first| contact(first, None)).collect());
    fixture.ask(20, 0);
    fixture.answer(1, &[], 10);
    assert!(!fixture.lookup.is_evidence(0, None));
}

#[test]
fn a_node_named_at_a_false_address_is_found_at_its_true_one() {
    for is_asked in [true, false] {
        let mut fixture = Fixture::new(8, None, vec![contact(200, None)]);
        let (id, address) = node(1, 0);
        let false_address = SocketAddr::from(([127, 9, 9, 9], 6881));
        fixture.lookup.candidates.insert(stranger(id, false_address), Some(0));
        fixture.lookup.candidates.add_source();
        fixture.ask(if is_asked { 8 } else { 0 }, 0);
        // While it may still answer, it is believed.
        fixture.lookup.candidates.insert(stranger(id, address), Some(0));
        assert_eq!(fixture.lookup.candidates.position(&id, address), None);
        fixture.ask(0, 600);
        let rtt = Some(Rtt::first(Duration::ZERO)).filter(|_| !is_asked);
        fixture.lookup.candidates.insert(Contact { rtt, ..stranger(id, address) }, None);
        assert!(fixture.lookup.candidates.position(&id, address).is_some(), "asked: {is_asked}");
    }
}

#[test]
fn a_node_that_is_named_again_while_it_is_asked_leaves_no_request_behind_in_the_books() {
    let mut fixture = Fixture::new(8, None, vec![contact(100, None), contact(101, None)]);
    fixture.ask(2, 0);
    fixture.answer(100, &[(1, 0), (2, 0), (3, 0), (4, 0)], 0);
    assert_eq!(fixture.ask(3, 0), [1, 2]);
    // By another node, which takes no part in the request.
    fixture.answer(101, &[(1, 0), (2, 0)], 10);
    let (id, address) = node(1, 0);
    fixture.lookup.refused(&id, address);
    let (id, address) = node(2, 0);
    fixture.lookup.refused(&id, address);
    assert_eq!(fixture.ask(4, 20), [3, 4]);
}

#[test]
fn an_enormous_token_is_not_kept() {
    for (length, is_kept) in [(0, true), (MAX_TOKEN, true), (MAX_TOKEN + 1, false)] {
        let mut fixture = Fixture::new(8, None, vec![contact(1, None)]);
        fixture.ask(1, 0);
        let (id, address) = node(1, 0);
        let response = Response { token: Some(&[7; MAX_TOKEN + 1][..length]), ..Response::of(id) };
        let now = fixture.at(10);
        fixture.lookup.answered(address, &response, |_, _| Standing::Unknown, now);
        assert_eq!(fixture.lookup.responders()[0].token.is_some(), is_kept, "{length}");
    }
}

#[test]
fn answers_from_far_away_are_not_evidence() {
    let mut fixture = Fixture::new(20, None, (1..21).map(|first| contact(first, None)).collect());
    fixture.ask(20, 0);
    (1..=10).for_each(|first| fixture.answer(first, &[], 10));
    // The eighth is 8/256 of the key space away.
    assert!(fixture.lookup.is_evidence(1000, Some(1.0 / 256.0)));
    assert!(!fixture.lookup.is_evidence(1000, Some(1.0 / 256.0 / 64.0)));
    let spacing = fixture.lookup.spacing().unwrap();
    assert!((spacing - 1.0 / 256.0).abs() < 1e-4, "{spacing}");
}

#[test]
fn a_search_that_says_too_little_goes_on_outwards_once() {
    let mut fixture = Fixture::new(2, None, (1..30).map(|first| contact(first, None)).collect());
    assert_eq!(fixture.ask(2, 0), [1, 2]);
    assert!(!fixture.lookup.widen(Vec::new()), "nobody has answered yet");
    fixture.answer(1, &[], 10);
    fixture.answer(2, &[], 10);
    assert!(fixture.is_over(10));
    assert!(fixture.lookup.widen(vec![contact(200, None)]));
    assert!(!fixture.is_over(10));
    assert_eq!(fixture.ask(20, 10), (3..23).collect::<Vec<_>>());
    assert!(!fixture.lookup.widen(Vec::new()), "once is enough");
}

#[test]
fn those_who_answered_are_handed_over_nearest_first_with_their_tokens() {
    let mut fixture = Fixture::new(20, None, [3, 1, 2].map(|first| contact(first, None)).into());
    fixture.ask(3, 0);
    fixture.answer(3, &[], 10);
    fixture.answer(1, &[], 20);
    // An answer that was not asked for changes nothing.
    fixture.answer(9, &[(0, 1)], 20);
    let responders = fixture.lookup.responders();
    let ids: Vec<_> = responders.iter().map(|responder| responder.id.as_bytes()[0]).collect();
    assert_eq!(ids, [1, 3]);
    assert_eq!(responders[0].token.as_deref(), Some(&b"token"[..]));
}

#[test]
fn inner_addresses_and_ports_of_services_are_not_asked_on_the_word_of_a_node_in_the_world() {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let (from, named) = (address("8.8.8.8:6881"), ["100.64.0.1:6881", "9.9.9.9:53", "9.9.9.9:6881"]);
    let seed = Contact { id: node(9, 0).0, address: from, rtt: None, stores: true };
    let mut fixture = Fixture::new(8, None, vec![seed]);
    assert_eq!(fixture.ask(4, 0), [9]);
    let places = (1..).zip(named).map(|(first, named)| (node(first, 0).0, address(named)));
    let bytes = compact(places);
    let response = Response { nodes: Nodes::new(&bytes, &[]), ..Response::of(node(9, 0).0) };
    fixture.lookup.answered(from, &response, |_, _| Standing::Unknown, fixture.start);
    assert_eq!(fixture.ask(4, 0), [3]);
}
