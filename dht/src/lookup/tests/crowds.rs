//! Nodes without values, and nodes that are too near to be there by chance.

use super::*;

#[test]
fn a_node_without_bep_44_is_asked_for_the_way_and_is_no_witness() {
    let mut fixture = Fixture::new(8, Some(1.0 / 256.0), vec![contact(200, None), contact(1, None)]);
    assert_eq!(fixture.ask(1, 0), [1]);
    assert_eq!(fixture.ask(2, 0), [200]);
    for first in [1, 200] {
        let (id, address) = node(first, 0);
        fixture.lookup.stores_nothing(&id, address, fixture.start);
    }
    // The one near the target is of no use, the one far away leads there.
    let Poll::Ask(turn) = fixture.lookup.poll_next(4, &fixture.typical, fixture.start) else { panic!() };
    let (request, asks) = turn.take();
    assert_eq!((request.id, asks), (node(200, 0).0, Question::Nodes(Id::from(TARGET))));
    fixture.answer(200, &[(2, 0)], 10);
    assert_eq!(fixture.lookup.answers(), 1);
    assert!(!fixture.lookup.is_evidence(1, None), "it has no values to say anything about");
    assert_eq!(fixture.ask(4, 10), [2]);
    fixture.answer(2, &[], 20);
    assert!(fixture.lookup.is_evidence(1, None));
    assert!(fixture.is_over(20));
    assert!(
        fixture
            .lookup
            .responders()
            .iter()
            .all(|responder| responder.token.is_some() == (responder.id == node(2, 0).0))
    );
}

#[test]
fn a_node_that_refuses_to_name_others_as_well_is_not_asked_a_third_time() {
    let mut fixture = Fixture::new(8, None, vec![contact(200, None)]);
    let (id, address) = node(200, 0);
    for _ in 0..2 {
        assert_eq!(fixture.ask(1, 0), [200]);
        fixture.lookup.stores_nothing(&id, address, fixture.start);
    }
    assert!(fixture.ask(1, 0).is_empty());
    assert!(fixture.is_over(0));
}

/// A node right beside the target, farther away the greater `number` is, in a crowd of any size.
fn beside(number: u8) -> (Id, SocketAddr) {
    let mut id = TARGET;
    id[10] = number;
    (Id::from(id), SocketAddr::from(([127, 77, 0, number], 6881)))
}

#[test]
fn a_crowd_beside_the_target_hides_nothing_and_proves_nothing() {
    let seeds = (40..=60).step_by(10).map(|first| contact(first, Some(100))).collect();
    let mut fixture = Fixture::new(14, Some(1.0 / 256.0), seeds);
    assert_eq!(fixture.ask(3, 0), [40, 50, 60]);
    let crowd: Vec<_> = (1..=40).map(beside).collect();
    let bytes = compact(crowd.iter().copied());
    let answer = |fixture: &mut Fixture, (id, address): (Id, SocketAddr), named: &[u8]| {
        let response = Response { nodes: Nodes::new(named, &[]), token: Some(b"token"), ..Response::of(id) };
        fixture.lookup.answered(address, &response, |_, _| Standing::Unknown, fixture.start);
    };
    for first in [40, 50, 60] {
        answer(&mut fixture, node(first, 0), &bytes);
    }
    // The whole crowd answers politely, and names its own.
    let mut displaced = HashSet::new();
    for _ in 0..100 {
        let poll = fixture.lookup.poll_next(16, &fixture.typical, fixture.start);
        let Poll::Ask(turn) = poll else { break };
        let (request, asks) = turn.take();
        match asks {
            Question::Value => answer(&mut fixture, (request.id, request.address), &bytes),
            Question::Nodes(place) => {
                assert_ne!(place, Id::from(TARGET));
                displaced.insert(place);
                // Nodes as far apart as they are everywhere.
                let honest = compact((1..=20).map(|first| node(first, 0)));
                answer(&mut fixture, (request.id, request.address), &honest);
            }
        }
    }
    assert!(fixture.lookup.has_crowd());
    assert!(displaced.len() >= 5, "{displaced:?}");
    // Those behind the crowd have all been asked, and are the ones whose word counts.
    let responders: HashSet<_> = fixture.lookup.responders().iter().map(|responder| responder.id).collect();
    assert!((1..=20).all(|first| responders.contains(&node(first, 0).0)));
    assert!(fixture.is_over(0));
    assert!(fixture.lookup.is_evidence(1000, Some(1.0 / 256.0)));
    // What it teaches about density is what lies behind the crowd.
    assert!((fixture.lookup.spacing().unwrap() - 1.0 / 256.0).abs() < 1e-4);
}

#[test]
fn the_word_of_a_crowd_alone_is_no_evidence() {
    let seeds = (1..=20).map(|number| {
        let (id, address) = beside(number);
        Contact { id, address, rtt: None, stores: true }
    });
    let mut fixture = Fixture::new(14, Some(1.0 / 256.0), seeds.collect());
    fixture.ask(20, 0);
    for number in 1..=20 {
        let (id, address) = beside(number);
        fixture.lookup.answered(address, &Response::of(id), |_, _| Standing::Unknown, fixture.start);
    }
    assert!(!fixture.lookup.is_evidence(1000, Some(1.0 / 256.0)));
    // Without an idea of the density nobody could tell.
    assert!(fixture.lookup.has_crowd());
}
