//! When a certificate is renewed, and how long to wait after a failure. Pure.

use std::time::{Duration, SystemTime};

use crate::base::{backoff::Backoff, metrics::CertificateReading};

/// Authorities count failures by the hour.
const WAITS: Backoff = Backoff { first: Duration::from_secs(60), longest: Duration::from_secs(6 * 3600) };

/// An authority is believed that it wants to be left alone for so long. One that says more is asked again all the same.
const LONGEST_ABSTENTION: Duration = Duration::from_secs(86_400);

/// The clock is looked at this often at least: it may be set, and machines sleep.
pub const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Whether a certificate is for all of these.
fn covers(held: &CertificateReading, names: &[String]) -> bool {
    names.iter().all(|name| held.names.contains(name))
}

/// After two thirds of its life, as authorities advise.
fn renew_at(held: &CertificateReading) -> SystemTime {
    let life = held.to.duration_since(held.from).unwrap_or_default();
    held.from + life / 3 * 2
}

/// How long until a certificate for `names` is due: no time where none is held, or one for other names.
pub fn time_left(held: Option<&CertificateReading>, names: &[String], now: SystemTime) -> Duration {
    let due = held.filter(|held| covers(held, names)).map(renew_at);
    due.and_then(|due| due.duration_since(now).ok()).unwrap_or_default()
}

/// How long to wait after the failure that comes after `failures` others, and not before the authority may be asked
/// again, if it has said when.
pub fn wait_after(failures: u32, not_before: Option<SystemTime>, now: SystemTime) -> Duration {
    let asked = not_before.and_then(|time| time.duration_since(now).ok()).unwrap_or_default();
    WAITS.after(failures.saturating_add(1)).max(asked.min(LONGEST_ABSTENTION))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn it_is_renewed_after_two_thirds_of_its_life() {
        let from = UNIX_EPOCH + Duration::from_secs(1000);
        let held = CertificateReading { from, to: from + Duration::from_secs(90), names: Vec::new() };
        assert_eq!(renew_at(&held), from + Duration::from_secs(60));
        let backwards = CertificateReading { to: UNIX_EPOCH, ..held };
        assert_eq!(renew_at(&backwards), from, "what has no life is due");
    }

    #[test]
    fn a_certificate_is_due_with_age_and_for_other_names_and_when_there_is_none() {
        let from = UNIX_EPOCH + Duration::from_secs(1000);
        let names = vec!["dns.example".to_owned()];
        let held = CertificateReading { from, to: from + Duration::from_secs(90), names };
        let left = |held, names: &[&str], age| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            time_left(held, &names, from + Duration::from_secs(age)).as_secs()
        };
        for (age, seconds) in [(0, 60), (59, 1), (60, 0), (10_000, 0)] {
            assert_eq!(left(Some(&held), &["dns.example"], age), seconds, "{age}");
        }
        assert_eq!(left(Some(&held), &["dns.example", "other.example"], 0), 0);
        assert_eq!(left(None, &[], 0), 0);
    }

    #[test]
    fn an_authority_that_wants_to_be_left_alone_is_for_a_day_at_most() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        for (asked, seconds) in [(0, 60), (61, 61), (7200, 7200), (86_400 * 7, 86_400)] {
            let wait = wait_after(0, Some(now + Duration::from_secs(asked)), now);
            assert_eq!(wait.as_secs(), seconds, "{asked}");
        }
        assert_eq!(wait_after(3, Some(UNIX_EPOCH), now), WAITS.after(4));
        assert_eq!(wait_after(0, None, now), WAITS.first);
    }
}
