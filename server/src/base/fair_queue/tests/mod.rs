mod property;

use std::{task::Poll, time::Duration};

use futures_util::{future::join_all, poll};
use tokio::time::timeout;

use super::{turns::Shares, *};

const LIMITS: Limits = Limits { in_flight: 2, queued: 6, queued_per_client: 3 };

/// Small enough for tests to reach them.
const SHARES: Shares = Shares { times_free: 4, least: 2 };

#[test]
fn lines_take_turns_and_each_is_first_in_first_out() {
    let mut turns = Turns::new(Limits { in_flight: 1, queued: 100, queued_per_client: 100 });
    let mut at_work = turns.start('z').map(|number| ('z', number));
    for name in ["a1", "a2", "a3", "a4", "b1", "b2", "c1"] {
        let client = name.chars().next().unwrap();
        assert_eq!(turns.start(client), None);
        turns.wait(client, name).unwrap();
    }
    let mut called = Vec::new();
    while let Some(next) = at_work.and_then(|(client, number)| turns.end(client, number)) {
        called.push(next.waiting);
        at_work = Some((next.client, next.number));
        if next.waiting == "b1" {
            // Whoever is new comes after those who have been waiting, whether they had a turn or not.
            turns.wait('d', "d1").unwrap();
        }
    }
    assert_eq!(called, ["a1", "b1", "c1", "a2", "b2", "d1", "a3", "a4"]);
    assert_eq!((turns.in_flight(), turns.queued(), turns.lines()), (0, 0, (0, 0)));
    assert_eq!(turns.clients(), 0);
}

#[test]
fn lines_are_bounded_per_client_and_together() {
    let mut turns = Turns::new(LIMITS);
    let first = turns.start(0).expect("a place");
    assert!(turns.start(0).is_some());
    for number in 0..3 {
        turns.wait(1, number).unwrap();
    }
    assert_eq!(turns.wait(1, 3), Err(Full), "per client");
    for client in 2..5 {
        turns.wait(client, 0).unwrap();
    }
    let gives_way = |waits: Result<Waits<i32>, Full>| waits.unwrap().gives_way;
    assert_eq!(gives_way(turns.wait(9, 0)), Some(2), "the last in the longest line gives way");
    assert_eq!(turns.wait(1, 9), Err(Full), "which does not gain by it");
    assert_eq!(gives_way(turns.wait(10, 0)), Some(1), "until it is as long as the others");
    assert_eq!(turns.wait(11, 0), Err(Full), "no line is longer than this one would be");
    assert_eq!((turns.queued(), turns.lines()), (6, (6, 6)), "who was turned away leaves nothing behind");
    turns.end(0, first);
    assert!(turns.wait(11, 0).is_ok(), "there is room again");
}

/// Starts as many as `client` may have at work. Returns their numbers.
fn take_all(turns: &mut Turns<u32, ()>, client: u32) -> Vec<u64> {
    std::iter::from_fn(|| turns.start(client)).collect()
}

#[test]
fn a_lone_client_has_four_fifths_and_those_who_come_later_still_find_some() {
    let mut turns = Turns::new(Limits { in_flight: 1000, queued: 0, queued_per_client: 0 });
    let mut greedy: Vec<_> = (0..5).map(|client| take_all(&mut turns, client)).collect();
    assert_eq!(greedy[0].len(), 800);
    // In the long run greedy clients have the same, and a modest one has what it wants.
    for _ in 0..1000 {
        for client in 0..5u32 {
            let mine = &mut greedy[client as usize];
            if !mine.is_empty() {
                turns.end(client, mine.remove(0));
            }
            mine.extend(take_all(&mut turns, client));
        }
    }
    let left = 1000 - turns.in_flight();
    assert!(left >= 40, "{left}");
    assert!((0..30).all(|_| turns.start(9).is_some()), "a page full of names is started at once");
}

#[test]
fn a_place_that_comes_free_goes_to_the_client_that_has_the_fewest() {
    let limits = Limits { in_flight: 10, queued: 100, queued_per_client: 100 };
    let mut turns = Turns::with_shares(limits, SHARES);
    let mut greedy: Vec<_> = std::iter::from_fn(|| turns.start("greedy")).collect();
    let some: Vec<_> = std::iter::from_fn(|| turns.start("some")).collect();
    assert_eq!((greedy.len(), some.len()), (8, 2));
    for client in ["greedy", "some", "none"] {
        turns.wait(client, ()).unwrap();
    }
    let mut end = |client: &'static str, number| turns.end(client, number).map(|called| called.client);
    assert_eq!(end("greedy", greedy.remove(7)), Some("none"));
    assert_eq!(end("greedy", greedy.remove(6)), Some("some"));
    assert_eq!(end("greedy", greedy.remove(5)), None, "five are more than four times the one that is left");
    assert_eq!(end("some", some[0]), Some("greedy"));
}

#[test]
fn the_client_that_has_the_most_gives_up_its_oldest_for_one_that_has_few() {
    let limits = Limits { in_flight: 6, queued: 100, queued_per_client: 100 };
    let mut turns = Turns::with_shares(limits, Shares { times_free: 100, least: 2 });
    let greedy = take_all(&mut turns, 1);
    assert_eq!(greedy.len(), 6);
    let mut revoked = |client| turns.wait(client, ()).unwrap().revoked;
    assert_eq!(revoked(1), None, "not for itself");
    assert_eq!([revoked(2), revoked(2), revoked(2)], [Some(greedy[0]), Some(greedy[1]), None]);
    assert_eq!([revoked(3), revoked(3)], [Some(greedy[2]), Some(greedy[3])]);
    assert_eq!([revoked(4), revoked(4)], [Some(greedy[4]), None], "nobody has more than it would have");
    // They end when they end, and those who have few come first: in the end that is the first client too.
    let called: Vec<_> = greedy.iter().filter_map(|number| turns.end(1, *number)).collect();
    let called: Vec<_> = called.into_iter().map(|called| called.client).collect();
    assert_eq!(called, [2, 3, 4, 2, 1, 3]);
    assert_eq!(turns.in_flight(), 6);
}

#[test]
fn more_permits_are_taken_at_once_and_fewer_when_they_come_back() {
    let mut turns = Turns::new(Limits { in_flight: 1, queued: 100, queued_per_client: 100 });
    let first = turns.start(1).expect("a place");
    for client in [1, 1, 2, 3] {
        turns.wait(client, ()).unwrap();
    }
    let called = turns.resize(4);
    assert_eq!(called.iter().map(|called| called.client).collect::<Vec<_>>(), [2, 3, 1]);
    assert!(turns.resize(2).is_empty());
    assert_eq!(turns.end(2, called[0].number), None);
    assert_eq!(turns.end(3, called[1].number), None);
    assert_eq!(turns.end(1, first).map(|called| called.client), Some(1));
    assert_eq!((turns.in_flight(), turns.queued()), (2, 0));
}

#[tokio::test]
async fn the_holder_of_a_permit_hears_that_it_is_wanted() {
    let queue = FairQueue::new(Limits { in_flight: 2, ..LIMITS });
    let (oldest, other) = (queue.acquire(1).await, queue.acquire(1).await);
    let (mut oldest, mut other) = (oldest.unwrap(), other.unwrap());
    assert!(poll!(Box::pin(oldest.revoked())).is_pending());
    let mut modest = Box::pin(queue.acquire(2));
    assert!(poll!(&mut modest).is_pending());
    oldest.revoked().await;
    assert!(poll!(Box::pin(other.revoked())).is_pending());
    drop(oldest);
    assert!(matches!(poll!(&mut modest), Poll::Ready(Ok(_))));
    drop((other, modest));
    assert_eq!((queue.in_flight(), queue.0.lock().permits.len()), (0, 0));
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
async fn whoever_gives_way_to_a_shorter_line_is_told_at_once() {
    let queue = FairQueue::new(Limits { in_flight: 1, queued: 2, queued_per_client: 2 });
    let held = queue.acquire(1).await.unwrap();
    let mut greedy = [Box::pin(queue.acquire(1)), Box::pin(queue.acquire(1))];
    for waiting in &mut greedy {
        assert!(poll!(waiting).is_pending());
    }
    let mut modest = Box::pin(queue.acquire(2));
    assert!(poll!(&mut modest).is_pending());
    assert!(matches!(poll!(&mut greedy[1]), Poll::Ready(Err(Full))));
    assert!(poll!(&mut greedy[0]).is_pending());
    drop((held, greedy));
    assert!(matches!(poll!(&mut modest), Poll::Ready(Ok(_))));
}

#[tokio::test]
async fn permits_that_are_added_go_to_those_who_wait() {
    let queue = FairQueue::new(LIMITS);
    let held = [queue.acquire(1).await, queue.acquire(1).await];
    let mut waiting = Box::pin(queue.acquire(1));
    assert!(poll!(&mut waiting).is_pending());
    queue.resize(3);
    assert!(matches!(poll!(&mut waiting), Poll::Ready(Ok(_))));
    drop((held, waiting));
    assert_eq!(queue.in_flight(), 0);
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
        assert_eq!((queue.queued(), queue.0.lock().turns.lines()), (2, (1, 1)));
    }
    assert_eq!((queue.queued(), queue.0.lock().turns.lines()), (0, (0, 0)));
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
    assert_eq!((queue.in_flight(), queue.queued(), queue.0.lock().turns.lines()), (0, 0, (0, 0)));
}
