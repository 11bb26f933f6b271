//! What a service manager is told, and tells. Without one, all of it does nothing but to end at a signal.

use std::{future::pending, time::Duration};

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use crate::failure::Failure;

/// The signals that ask for an end.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Returns at the first of them.
    pub(crate) async fn requested(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A signal that asks to read the configuration again.
pub(crate) fn reload() -> Result<Signal, Failure> {
    listen(SignalKind::hangup())
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::Failed(format!("cannot wait for signals: {error}")))
}

/// The service does what it is there for.
pub(crate) fn ready(text: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(text)]);
}

/// The configuration is being read again. [`ready`] ends that.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// The service is about to end.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// What the service is doing.
pub(crate) fn status(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// Says that we are alive, as often as the manager wants to hear it.
pub(crate) async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return pending().await;
    };
    let pause = (limit / 2).max(Duration::from_millis(100));
    loop {
        notify(&[NotifyState::Watchdog]);
        sleep(pause).await;
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // Nobody may be listening, and nothing depends on it.
    let _ = sd_notify::notify(states);
}
