//! Waiting for what must come. Nothing that goes well takes nearly as long as these limits.

use std::{
    fmt::Debug,
    thread,
    time::{Duration, Instant},
};

use tokio::time::timeout;

/// Longest that a test waits.
pub const LIMIT: Duration = Duration::from_secs(120);

/// How often somebody who waits looks: on this thread, where a look may start a program; and in a task.
const PAUSE: Duration = Duration::from_millis(50);
const SHORT_PAUSE: Duration = Duration::from_millis(5);

/// Waits on this thread until `condition` holds. Panics with `what` if it never does.
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_or_show(condition, || what);
}

/// As [`until`], with what there is then.
#[track_caller]
pub fn until_or_show<E: Debug>(mut condition: impl FnMut() -> bool, instead: impl Fn() -> E) {
    found(|| if condition() { Ok(()) } else { Err(instead()) });
}

/// Looks again and again on this thread, until there is something. Panics with what was there instead.
#[track_caller]
pub fn found<T, E: Debug>(mut look: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        match look() {
            Ok(found) => return found,
            Err(instead) => assert!(Instant::now() < end, "waited too long: {instead:#?}"),
        }
        thread::sleep(PAUSE);
    }
}

/// Waits in a task until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !condition().await {
            tokio::time::sleep(SHORT_PAUSE).await;
        }
    };
    timeout(LIMIT, reached).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
