//! What is counted of requests, and of the searches that they belong to.

use prometheus_client::metrics::counter::Counter;

use super::*;
use crate::metrics::RequestOutcomes;

/// Answered, unsupported, refused, unanswered.
fn counts(outcomes: &RequestOutcomes) -> [u64; 4] {
    [&outcomes.answered, &outcomes.unsupported, &outcomes.refused, &outcomes.unanswered].map(Counter::get)
}

#[test]
fn each_request_is_counted_once_by_what_it_asked_for_and_what_came_of_it() {
    let mut world = World::joined(40, 0);
    let metrics = world.engine.metrics.0.clone();
    let nearest = world.nearest(&key(), true);
    for (place, code) in [(0, 204), (1, 203)] {
        world.nodes[nearest[place]].refusal = Some(code);
    }
    let mut stored = world.put(&packet(9));
    assert_eq!(world.wait(&mut stored).0, Ok(18));
    assert_eq!(counts(&metrics.requests.put), [18, 1, 1, 0]);
    let gets = counts(&metrics.requests.get);
    assert!(gets[0] >= 20 && gets[1..] == [0; 3], "{gets:?}");

    world.silence(|_| true);
    let mut finding = world.find(&key(), false);
    world.wait(&mut finding.done).0.unwrap_err();
    world.pass(Duration::from_secs(10));
    let silent = counts(&metrics.requests.get);
    assert!(silent[0] == gets[0] && silent[3] > 0, "{silent:?}");
    let sum: u64 = [&metrics.requests.find_node, &metrics.requests.get, &metrics.requests.put]
        .into_iter()
        .flat_map(counts)
        .sum();
    assert_eq!(sum + world.transactions() as u64, world.sent as u64);
}
