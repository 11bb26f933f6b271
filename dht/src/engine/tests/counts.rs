//! What an observer is told of requests, and of the searches that they belong to.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{Asked, Event, Observer, RequestEnd};

/// Answered, unsupported, refused, unanswered: of requests for nodes, for packets, and to store.
#[derive(Debug, Default)]
struct Requests(Mutex<[[u64; 4]; 3]>);

impl Requests {
    fn of(&self, asked: Asked) -> [u64; 4] {
        self.0.lock().unwrap()[place(asked)]
    }
}

impl Observer for Requests {
    fn observe(&self, event: Event<'_>) {
        let Event::Request { asked, end } = event else { return };
        let end = match end {
            RequestEnd::Answered(_) => 0,
            RequestEnd::Unsupported(_) => 1,
            RequestEnd::Refused(_) => 2,
            RequestEnd::Unanswered => 3,
        };
        self.0.lock().unwrap()[place(asked)][end] += 1;
    }
}

fn place(asked: Asked) -> usize {
    match asked {
        Asked::Nodes => 0,
        Asked::Packet => 1,
        Asked::Storage => 2,
    }
}

#[test]
fn each_request_is_told_of_once_by_what_it_asked_for_and_what_came_of_it() {
    let requests = Arc::new(Requests::default());
    let mut settings = DhtSettings::on_loopback(Vec::new());
    settings.observer = requests.clone();
    let mut world = World::joined_as(40, 0, &settings);
    let nearest = world.nearest(&key(), true);
    for (place, code) in [(0, 204), (1, 203)] {
        world.nodes[nearest[place]].refusal = Some(code);
    }
    let mut stored = world.put(&packet(9));
    assert_eq!(world.wait(&mut stored).0, Ok(18));
    assert_eq!(requests.of(Asked::Storage), [18, 1, 1, 0]);
    let gets = requests.of(Asked::Packet);
    assert!(gets[0] >= 20 && gets[1..] == [0; 3], "{gets:?}");

    world.silence(|_| true);
    let mut finding = world.find(&key(), false);
    world.wait(&mut finding.done).0.unwrap_err();
    world.pass(Duration::from_secs(10));
    let silent = requests.of(Asked::Packet);
    assert!(silent[0] == gets[0] && silent[3] > 0, "{silent:?}");
    let sum: u64 = requests.0.lock().unwrap().iter().flatten().sum();
    assert_eq!(sum + world.transactions() as u64, world.sent as u64);
}
