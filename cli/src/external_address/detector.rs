//! Looks for the addresses again and again, and at once when an interface of this machine has other addresses.

use std::{net::IpAddr, time::Duration};

use pkdns::base::backoff::Backoff;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Finder, interface};
use crate::{
    terminal,
    zone_file::{ExternalAddresses, Macros},
};

/// How often services are asked, and how soon again after failures.
const EVERY: Duration = Duration::from_secs(300);
const RETRY: Backoff = Backoff { first: Duration::from_secs(10), longest: EVERY };

/// How often the machine's own interfaces are looked at. That asks nobody.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where zones say which addresses they need. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Want(watch::Sender<Macros>);

impl Want {
    pub(crate) fn add(&self, macros: Macros) {
        self.0.send_if_modified(|wanted| {
            let all = Macros { ipv4: wanted.ipv4 || macros.ipv4, ipv6: wanted.ipv6 || macros.ipv6 };
            std::mem::replace(wanted, all) != all
        });
    }
}

/// Keeps the addresses up to date that zones want.
pub(crate) struct Detector {
    finder: Finder,
    wanted: watch::Receiver<Macros>,
    found: watch::Sender<ExternalAddresses>,
}

impl Detector {
    pub(crate) fn new(finder: Finder, want: &Want) -> (Self, watch::Receiver<ExternalAddresses>) {
        let (found, addresses) = watch::channel(ExternalAddresses::default());
        (Self { finder, wanted: want.0.subscribe(), found }, addresses)
    }

    /// Goes on until it is dropped, or nobody is left who wants an address.
    pub(crate) async fn run(mut self) {
        let mut failures = 0;
        let mut told = String::new();
        while !self.found.is_closed() {
            let seen = interface::addresses();
            let wanted = *self.wanted.borrow_and_update();
            let (ipv4, ipv6) = self.finder.find(wanted).await;
            let mut failed = Vec::new();
            let ipv4 = ipv4.and_then(|found| found.map_err(|failure| failed.push(failure.to_string())).ok());
            let ipv6 = ipv6.and_then(|found| found.map_err(|failure| failed.push(failure.to_string())).ok());
            self.found.send_if_modified(|addresses| {
                // An address that could not be found this time is most likely what it was.
                let now = ExternalAddresses { ipv4: ipv4.or(addresses.ipv4), ipv6: ipv6.or(addresses.ipv6) };
                std::mem::replace(addresses, now) != now
            });
            let failed = failed.join("; ");
            if !failed.is_empty() && failed != told {
                terminal::note(&format!("warning: {failed}"));
            }
            failures = if failed.is_empty() { 0 } else { failures + 1 };
            told = failed;
            self.wait(pause(failures), &seen).await;
        }
    }

    async fn wait(&mut self, pause: Duration, seen: &[IpAddr]) {
        let end = Instant::now() + pause;
        while Instant::now() < end {
            tokio::select! {
                Ok(()) = self.wanted.changed() => return,
                () = sleep(LOOK_EVERY.min(pause)) => {}
            }
            if interface::addresses() != seen {
                return;
            }
        }
    }
}

fn pause(failures: u32) -> Duration {
    match failures {
        0 => EVERY,
        failures => RETRY.after(failures),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_only_grows() {
        let want = Want::default();
        let mut wanted = want.0.subscribe();
        want.add(Macros { ipv4: true, ipv6: false });
        assert!(wanted.has_changed().unwrap());
        wanted.mark_unchanged();
        want.add(Macros { ipv4: true, ipv6: false });
        want.add(Macros::default());
        assert!(!wanted.has_changed().unwrap());
        want.add(Macros { ipv4: false, ipv6: true });
        assert_eq!(*wanted.borrow(), Macros { ipv4: true, ipv6: true });
    }

    #[test]
    fn services_are_spared_after_failures() {
        let pauses: Vec<u64> = (0..8).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(pauses, [300, 10, 20, 40, 80, 160, 300, 300]);
    }
}
