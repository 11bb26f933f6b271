//! When a certificate is renewed, and how long to wait after a failure. Pure.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio_rustls::rustls::sign::CertifiedKey;
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

/// After the first failure; each further one doubles it. Authorities count failures by the hour.
const FIRST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 3600);

/// What there is to know about a certificate that we hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    from: SystemTime,
    to: SystemTime,
    names: BTreeSet<String>,
}

impl Held {
    /// `None` if it cannot be read, which is reason enough to ask for another one.
    pub(super) fn of(certificate: &CertifiedKey) -> Option<Self> {
        let (_, leaf) = parse_x509_certificate(certificate.cert.first()?).ok()?;
        let time = |seconds: i64| UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?));
        let alternatives = leaf.subject_alternative_name().ok()??;
        let names = alternatives.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from);
                let address = v4.or_else(|| <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from))?;
                Some(address.to_string())
            }
            _ => None,
        });
        Some(Self {
            from: time(leaf.validity().not_before.timestamp())?,
            to: time(leaf.validity().not_after.timestamp())?,
            names: names.collect(),
        })
    }

    /// Whether it is for all of these.
    pub(super) fn covers(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.names.contains(name))
    }

    /// After two thirds of its life, as authorities advise.
    pub(super) fn renew_at(&self) -> SystemTime {
        let life = self.to.duration_since(self.from).unwrap_or_default();
        self.from + life / 3 * 2
    }
}

/// How long until a certificate for `names` is due: no time where none is held, or one for other names.
pub(super) fn time_left(held: Option<&Held>, names: &[String], now: SystemTime) -> Duration {
    let due = held.filter(|held| held.covers(names)).map(Held::renew_at);
    due.and_then(|due| due.duration_since(now).ok()).unwrap_or_default()
}

/// How long to wait after the failure that comes after `failures` others.
pub(super) fn back_off(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_renewed_after_two_thirds_of_its_life() {
        let from = UNIX_EPOCH + Duration::from_secs(1000);
        let held = Held { from, to: from + Duration::from_secs(90), names: BTreeSet::new() };
        assert_eq!(held.renew_at(), from + Duration::from_secs(60));
        let backwards = Held { to: UNIX_EPOCH, ..held };
        assert_eq!(backwards.renew_at(), from, "what has no life is due");
    }

    #[test]
    fn a_certificate_is_due_with_age_and_for_other_names_and_when_there_is_none() {
        let from = UNIX_EPOCH + Duration::from_secs(1000);
        let names = BTreeSet::from(["dns.example".to_owned()]);
        let held = Held { from, to: from + Duration::from_secs(90), names };
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
    fn waits_double_from_a_minute_to_six_hours() {
        let minutes: Vec<_> = (0..11).map(|failures| back_off(failures).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360]);
        assert_eq!(back_off(u32::MAX), LONGEST_WAIT);
    }
}
