//! What a service manager such as systemd is told. Without one, all of it does nothing.

use std::{env, future::pending, time::Duration};

use sd_notify::NotifyState;
use tokio::time::sleep;

/// Variables by which a manager speaks to the one process that it has started, and which a successor of that process
/// must not take for its own.
pub const OF_ONE_PROCESS: [&str; 4] = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", "WATCHDOG_PID"];

/// Looked at least this often, so that no manager waits in vain for a sign that was put off.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

/// The service does what it is there for; `text` says in a line what that is. Ends [`reloading`] as well.
pub fn ready(text: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(text)]);
}

/// The configuration is being read again. [`ready`] ends that.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// The service is about to end.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// What the service is doing, in a line.
pub fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// Another process is the service from now on: only what that one says counts.
pub fn succeeded_by(process: u32) {
    notify(&[NotifyState::MainPid(process)]);
}

/// Whether a manager wants to be told.
pub fn is_there() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

/// Says that the service is alive whenever half of the time is over that the manager gives it, unless `is_alive` denies
/// that. Never returns.
pub async fn watchdog(mut is_alive: impl FnMut() -> bool) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return pending().await;
    };
    let pause = (limit / 2).max(LEAST_PAUSE);
    loop {
        if is_alive() {
            notify(&[NotifyState::Watchdog]);
        }
        sleep(pause).await;
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Nobody may be listening, and nothing depends on it.
    let _ = sd_notify::notify(states);
}
