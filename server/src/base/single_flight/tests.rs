use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};

use super::*;

#[tokio::test]
async fn a_hundred_callers_start_one_piece_of_work() {
    let flights = SingleFlight::new(10);
    let started = AtomicUsize::new(0);
    let go = Arc::new(Notify::new());
    let callers = (0..100).map(|_| {
        flights.run("key", || {
            started.fetch_add(1, Ordering::Relaxed);
            let go = go.clone();
            Some(async move {
                go.notified().await;
                42
            })
        })
    });
    let (results, ()) = tokio::join!(join_all(callers), async { go.notify_one() });
    assert!(results.into_iter().all(|result| result == Ok(42)));
    assert_eq!(started.into_inner(), 1);
}

#[tokio::test]
async fn different_keys_do_not_wait_for_each_other() {
    let flights = SingleFlight::new(10);
    let slow = flights.run("slow", || Some(std::future::pending::<u8>()));
    tokio::select! {
        biased;
        _ = slow => panic!("this work never ends"),
        result = flights.run("fast", || Some(async { 1 })) => assert_eq!(result, Ok(1)),
    }
}

#[tokio::test]
async fn work_goes_on_when_its_starter_leaves() {
    let flights = SingleFlight::new(10);
    let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (may_go, is_done) = (go.clone(), done.clone());
    let starter = flights.run("key", || {
        Some(async move {
            may_go.notified().await;
            is_done.notify_one();
        })
    });
    assert!(timeout(Duration::from_millis(10), starter).await.is_err());
    go.notify_one();
    timeout(Duration::from_secs(5), done.notified()).await.expect("the work went on alone");
}

#[tokio::test]
async fn a_panic_in_the_work_leaves_nobody_waiting_and_frees_the_key() {
    let flights = SingleFlight::new(10);
    let callers = (0..10).map(|_| {
        flights.run("key", || {
            Some(async {
                tokio::task::yield_now().await;
                if true {
                    panic!("a mistake in the work, made on purpose by this test");
                }
                0
            })
        })
    });
    let results = timeout(Duration::from_secs(5), join_all(callers)).await.expect("nobody hangs");
    assert!(results.into_iter().all(|result| result == Err(FlightError::Lost)));
    assert_eq!(flights.run("key", || Some(async { 7 })).await, Ok(7));
    assert_eq!(flights.under_way(), 0);
}

#[tokio::test]
async fn a_panic_in_the_start_leaves_the_rest_usable() {
    let flights = Arc::new(SingleFlight::new(10));
    let broken = flights.clone();
    let caller = tokio::spawn(async move {
        broken.run("key", || -> Option<std::future::Ready<u8>> { panic!("on purpose") }).await
    });
    assert!(caller.await.is_err());
    assert_eq!(flights.run("key", || Some(async { 7 })).await, Ok(7));
}

#[tokio::test]
async fn more_work_than_the_capacity_is_refused_and_joining_is_not() {
    let flights = SingleFlight::new(1);
    let go = Arc::new(Notify::new());
    let wait = go.clone();
    let first = flights.run(1, || {
        Some(async move {
            wait.notified().await;
            1
        })
    });
    let others = async {
        assert_eq!(flights.run(2, || Some(async { 2 })).await, Err(FlightError::Busy));
        go.notify_one();
        flights.run(1, || Some(async { 3 })).await
    };
    let (first, joined) = tokio::join!(first, others);
    assert_eq!((first, joined), (Ok(1), Ok(1)));
    assert_eq!(flights.run(2, || Some(async { 2 })).await, Ok(2), "there is room again");
}

#[tokio::test]
async fn only_the_starter_pays_and_who_may_not_start_may_still_join() {
    let flights = SingleFlight::new(10);
    let refuse = || None::<std::future::Ready<u8>>;
    assert_eq!(flights.run("key", refuse).await, Err(FlightError::Refused));
    assert_eq!(flights.under_way(), 0);
    let starter = flights.run("key", || {
        Some(async {
            tokio::task::yield_now().await;
            5
        })
    });
    let (started, joined) = tokio::join!(starter, flights.run("key", refuse));
    assert_eq!((started, joined), (Ok(5), Ok(5)));
}

#[tokio::test]
async fn a_result_is_not_kept_after_it_was_handed_out() {
    let flights = SingleFlight::new(10);
    assert_eq!(flights.run("key", || Some(async { 1 })).await, Ok(1));
    assert_eq!(flights.under_way(), 0);
    assert_eq!(flights.run("key", || Some(async { 2 })).await, Ok(2));
}

/// A turn that comes when the other end sends, or never when it is dropped.
fn turn() -> (oneshot::Sender<&'static str>, impl Future<Output = Option<&'static str>>) {
    let (give, given) = oneshot::channel();
    (give, async { given.await.ok() })
}

#[tokio::test]
async fn who_waits_for_the_same_work_gets_it_with_the_first_turn_and_leaves_its_own_line() {
    let flights = SingleFlight::new(10);
    let (long, late) = turn();
    let (short, soon) = turn();
    let started = AtomicUsize::new(0);
    let start = |_| {
        started.fetch_add(1, Ordering::Relaxed);
        async { 7 }
    };
    // The first to come stands in a line that does not move.
    let first = flights.run_in_turn("key", late, start);
    let second = flights.run_in_turn("key", soon, start);
    let give = async { short.send("a turn") };
    let (first, second, _) = timeout(Duration::from_secs(5), async { tokio::join!(first, second, give) })
        .await
        .expect("nobody waits for the longer line");
    assert_eq!((first, second), (Ok(7), Ok(7)));
    assert_eq!(started.into_inner(), 1);
    assert!(long.is_closed(), "the place in the line is free");
    assert!(flights.flights.lock().awaited.is_empty());
}

#[tokio::test]
async fn work_under_way_is_joined_without_a_turn() {
    let flights = SingleFlight::new(10);
    let go = Arc::new(Notify::new());
    let wait = go.clone();
    let started = flights.run("key", || {
        Some(async move {
            wait.notified().await;
            1
        })
    });
    let joined = async {
        let joined = flights.run_in_turn("key", std::future::pending::<Option<()>>(), |()| async { 2 });
        let (joined, ()) = tokio::join!(joined, async { go.notify_one() });
        joined
    };
    assert_eq!(tokio::join!(started, joined), (Ok(1), Ok(1)));
}

#[tokio::test]
async fn who_gets_no_turn_is_refused_alone_and_leaves_nothing_behind() {
    let flights = SingleFlight::new(10);
    let (gone, never) = turn();
    drop(gone);
    assert_eq!(flights.run_in_turn("key", never, |_| async { 1 }).await, Err(FlightError::Busy));
    let (give, given) = turn();
    let (gone, never) = turn();
    drop(gone);
    let patient = flights.run_in_turn("key", given, |_| async { 2 });
    let refused = async {
        let refused = flights.run_in_turn("key", never, |_| async { 3 }).await;
        let _ = give.send("a turn");
        refused
    };
    assert_eq!(tokio::join!(patient, refused), (Ok(2), Err(FlightError::Busy)));
    let left = flights.run_in_turn("key", std::future::pending::<Option<()>>(), |()| async { 4 });
    assert!(timeout(Duration::from_millis(1), left).await.is_err());
    let table = flights.flights.lock();
    assert_eq!((table.awaited.len(), table.under_way.len()), (0, 0));
}
