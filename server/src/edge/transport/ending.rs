//! The two ways in which listeners and their connections end.

use tokio_util::sync::CancellationToken;

/// A stop, which ends connections once what they have taken is answered; and before it, where another process goes on in our
/// place, leaving: nothing new is taken, and connections end when they have nothing more to say.
#[derive(Debug, Clone)]
pub struct Ending {
    leaving: CancellationToken,
    stop: CancellationToken,
}

impl Ending {
    /// Ends with `stop`, and may leave before.
    pub fn new(stop: CancellationToken) -> Self {
        Self { leaving: stop.child_token(), stop }
    }

    /// For a connection that may have to stop before the others.
    pub fn of_one(&self, stop: CancellationToken) -> Self {
        Self { leaving: self.leaving.clone(), stop }
    }

    /// For a listener that may have to stop before the others: it leaves and stops with them, or by [`Ending::end`].
    pub fn of_listener(&self) -> Self {
        Self { leaving: self.leaving.child_token(), stop: self.stop.child_token() }
    }

    /// Stops.
    pub fn end(&self) {
        self.leaving.cancel();
        self.stop.cancel();
    }

    /// Leaves.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Cancelled when nothing new is to be taken, for a stop as well.
    pub fn leaving(&self) -> &CancellationToken {
        &self.leaving
    }

    /// Cancelled when all has to end.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }
}

impl From<CancellationToken> for Ending {
    fn from(stop: CancellationToken) -> Self {
        Self::new(stop)
    }
}
