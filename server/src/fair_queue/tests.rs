use std::{collections::HashMap, task::Poll, time::Duration};

use futures_util::{future::join_all, poll};
use proptest::prelude::*;
use tokio::time::timeout;

use super::*;

const LIMITS: Limits = Limits { in_flight: 2, queued: 6, queued_per_client: 3 };

#[test]
fn lines_take_turns_and_each_is_first_in_first_out() {
    let mut turns = Turns::new(Limits { in_flight: 1, queued: 100, queued_per_client: 100 });
    assert!(turns.start());
    for name in ["a1", "a2", "a3", "a4", "b1", "b2", "c1"] {
        assert!(!turns.start());
        turns.wait(name.chars().next(), name).unwrap();
    }
    let mut called = vec![turns.end(), turns.end()];
    // Whoever is new comes after those who have been waiting, whether they had a turn or not.
    turns.wait(Some('d'), "d1").unwrap();
    called.extend((0..6).map(|_| turns.end()));
    assert_eq!(called, ["a1", "b1", "c1", "a2", "b2", "d1", "a3", "a4"].map(Some));
    assert_eq!(turns.end(), None);
    assert_eq!((turns.in_flight(), turns.queued(), turns.lines()), (0, 0, (0, 0)));
}

#[test]
fn lines_are_bounded_per_client_and_together() {
    let mut turns = Turns::new(LIMITS);
    assert!(turns.start() && turns.start());
    for _ in 0..3 {
        turns.wait(1, ()).unwrap();
    }
    assert_eq!(turns.wait(1, ()), Err(Full), "per client");
    for client in 2..5 {
        turns.wait(client, ()).unwrap();
    }
    assert_eq!(turns.wait(9, ()), Err(Full), "together");
    assert_eq!((turns.queued(), turns.lines()), (6, (4, 4)), "who was turned away leaves nothing behind");
    turns.end();
    assert!(turns.wait(9, ()).is_ok(), "there is room again");
}

#[tokio::test]
async fn one_client_with_thousands_delays_another_by_one_turn() {
    let queue = FairQueue::new(Limits { in_flight: 1, queued: 20_000, queued_per_client: 10_000 });
    let held = queue.acquire("greedy").await.unwrap();
    let mut flood: Vec<_> = (0..10_000).map(|_| Box::pin(queue.acquire("greedy"))).collect();
    for waiting in &mut flood {
        assert!(poll!(waiting).is_pending());
    }
    let mut modest = Box::pin(queue.acquire("modest"));
    assert!(poll!(&mut modest).is_pending());
    drop(held);
    let Poll::Ready(Ok(one_turn)) = poll!(&mut flood[0]) else { panic!("its turn came first") };
    assert!(poll!(&mut modest).is_pending(), "only one at once");
    drop(one_turn);
    assert!(matches!(poll!(&mut modest), Poll::Ready(Ok(_))));
}

#[tokio::test]
async fn those_beyond_are_turned_away_at_once() {
    let queue = FairQueue::new(Limits { in_flight: 1, queued: 1, queued_per_client: 1 });
    let held = queue.acquire(1).await.unwrap();
    let mut waiting = Box::pin(queue.acquire(2));
    assert!(poll!(&mut waiting).is_pending());
    assert!(matches!(poll!(Box::pin(queue.acquire(3))), Poll::Ready(Err(Full))));
    drop(held);
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn who_leaves_the_line_leaves_no_trace() {
    let queue = FairQueue::new(LIMITS);
    let held = [queue.acquire(0).await, queue.acquire(0).await];
    for client in 0..100 {
        let mut waiting = [Box::pin(queue.acquire(client)), Box::pin(queue.acquire(client))];
        for waiting in &mut waiting {
            assert!(poll!(waiting).is_pending());
        }
        assert_eq!((queue.queued(), queue.0.lock().lines()), (2, (1, 1)));
    }
    assert_eq!((queue.queued(), queue.0.lock().lines()), (0, (0, 0)));
    drop(held);
    assert_eq!(queue.in_flight(), 0);
}

#[tokio::test]
async fn a_permit_given_to_one_who_leaves_goes_to_the_next() {
    let queue = FairQueue::new(Limits { in_flight: 1, ..LIMITS });
    let held = queue.acquire(1).await.unwrap();
    let mut leaves = Box::pin(queue.acquire(1));
    let mut stays = Box::pin(queue.acquire(2));
    assert!(poll!(&mut leaves).is_pending() && poll!(&mut stays).is_pending());
    // Called, and gone before it has looked.
    drop(held);
    drop(leaves);
    let Poll::Ready(Ok(permit)) = poll!(&mut stays) else { panic!("the permit was lost") };
    assert_eq!((queue.in_flight(), queue.queued()), (1, 0));
    drop(permit);
    assert_eq!(queue.in_flight(), 0);
}

#[tokio::test]
async fn a_permit_comes_back_from_work_that_panics() {
    let queue = FairQueue::new(Limits { in_flight: 1, ..LIMITS });
    let permit = queue.acquire(1).await.unwrap();
    let work = tokio::spawn(async move {
        let _permit = permit;
        panic!("a mistake in the work, made on purpose by this test");
    });
    let next = timeout(Duration::from_secs(5), queue.acquire(2)).await.expect("the permit came back");
    assert!(next.is_ok() && work.await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_come_work_and_give_up_at_once_leave_all_permits_behind() {
    let queue = FairQueue::new(Limits { in_flight: 3, queued: 1000, queued_per_client: 1000 });
    let tasks = (0..200u64).map(|number| {
        let queue = queue.clone();
        tokio::spawn(async move {
            for round in 0..20 {
                let patience = Duration::from_micros((number * 7 + round * 13) % 300);
                if let Ok(permit) = timeout(patience, queue.acquire(number % 5)).await {
                    assert!(queue.in_flight() <= 3);
                    tokio::task::yield_now().await;
                    drop(permit);
                }
            }
        })
    });
    assert!(join_all(tasks).await.into_iter().all(|task| task.is_ok()));
    assert_eq!((queue.in_flight(), queue.queued(), queue.0.lock().lines()), (0, 0, (0, 0)));
}

/// What may happen to the turns.
#[derive(Debug, Clone)]
enum Event {
    Comes(u8),
    /// One of those who wait, by a number that is taken modulo their count.
    Leaves(usize),
    Ends,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0u8..5).prop_map(Event::Comes),
        1 => any::<usize>().prop_map(Event::Leaves),
        3 => Just(Event::Ends),
    ]
}

/// What an observer sees: who waits, in order of arrival, and when each line had its last turn or began.
#[derive(Default)]
struct Observer {
    at_work: usize,
    waiting: Vec<(u8, u64)>,
    tickets: HashMap<u64, u64>,
    since: HashMap<u8, usize>,
}

impl Observer {
    /// Checks that nobody else should have been called, `now` being a count of events.
    fn called(&mut self, (client, ticket): (u8, u64), now: usize) {
        let first = self.waiting.iter().position(|(other, _)| *other == client).expect("it waits");
        assert_eq!(self.waiting.remove(first), (client, ticket), "first in, first out");
        let longest = self.since.iter().min_by_key(|(_, since)| **since).map(|(client, _)| *client);
        assert_eq!(longest, Some(client), "its turn has not come");
        self.since.insert(client, now);
        self.forget_empty_lines();
    }

    fn forget_empty_lines(&mut self) {
        let waiting = &self.waiting;
        self.since.retain(|client, _| waiting.iter().any(|(other, _)| other == client));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_happens_the_bounds_hold_and_all_who_stay_get_their_turn(
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let (mut turns, mut seen) = (Turns::new(LIMITS), Observer::default());
        // In the end all who work end, and so do those who take their places.
        let drain = vec![Event::Ends; LIMITS.in_flight + LIMITS.queued];
        for (now, event) in events.into_iter().chain(drain).enumerate() {
            match event {
                Event::Comes(client) if turns.start() => {
                    seen.at_work += 1;
                    prop_assert!(seen.waiting.is_empty(), "client {client} overtook one who waits");
                }
                Event::Comes(client) => {
                    let length = seen.waiting.iter().filter(|(other, _)| *other == client).count();
                    let is_full = seen.waiting.len() == LIMITS.queued || length == LIMITS.queued_per_client;
                    // Called by its own number, to see which one comes out.
                    let number = now as u64;
                    let joined = turns.wait(client, (client, number));
                    prop_assert_eq!(joined.is_err(), is_full);
                    if let Ok(ticket) = joined {
                        seen.waiting.push((client, number));
                        seen.tickets.insert(number, ticket);
                        seen.since.entry(client).or_insert(now);
                    }
                }
                Event::Leaves(which) if !seen.waiting.is_empty() => {
                    let (client, number) = seen.waiting.remove(which % seen.waiting.len());
                    turns.leave(&client, seen.tickets[&number]);
                    turns.leave(&client, seen.tickets[&number]);
                    seen.forget_empty_lines();
                }
                Event::Leaves(_) => {}
                Event::Ends if seen.at_work > 0 => match turns.end() {
                    Some(called) => seen.called(called, now),
                    None => {
                        prop_assert!(seen.waiting.is_empty(), "a place was left empty");
                        seen.at_work -= 1;
                    }
                },
                Event::Ends => {}
            }
            prop_assert!(seen.at_work <= LIMITS.in_flight);
            prop_assert_eq!((turns.in_flight(), turns.queued()), (seen.at_work, seen.waiting.len()));
            prop_assert_eq!(turns.lines(), (seen.since.len(), seen.since.len()));
        }
        prop_assert_eq!((turns.in_flight(), turns.queued()), (0, 0));
    }
}
