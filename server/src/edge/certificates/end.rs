//! When a certificate ends, and that somebody hears of it in time.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::sleep;
use tokio_rustls::rustls::{pki_types::CertificateDer, sign::CertifiedKey};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::shown::Shown;
use crate::base::metrics::CertificateReading;

const DAY: Duration = Duration::from_secs(86_400);

/// A certificate is complained of when less than this is left of it: enough for whoever renews by hand.
const WARN_BEFORE: Duration = DAY.saturating_mul(14);

/// Of one that is renewed here, this part of its life is left before the warning: it is renewed at a third.
const LEFT_UNRENEWED: u32 = 4;

/// How often the clock is looked at: it may be set, and machines sleep.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// `None` if it cannot be read.
pub(super) fn read(certificate: &CertifiedKey) -> Option<CertificateReading> {
    read_first(&certificate.cert)
}

/// The same of a chain without its key.
pub(super) fn read_first(chain: &[CertificateDer<'_>]) -> Option<CertificateReading> {
    let (_, leaf) = parse_x509_certificate(chain.first()?).ok()?;
    let time = |seconds: i64| UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?));
    let alternatives = leaf.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|names| &names.value.general_names);
    let names: BTreeSet<String> = names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from);
                let address = v4.or_else(|| <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from))?;
                Some(address.to_string())
            }
            _ => None,
        })
        .collect();
    Some(CertificateReading {
        names: names.into_iter().collect(),
        from: time(leaf.validity().not_before.timestamp())?,
        to: time(leaf.validity().not_after.timestamp())?,
    })
}

/// In words, as HTTP has it.
pub(super) fn date(time: SystemTime) -> String {
    // The library takes years of four digits.
    httpdate::fmt_http_date(time.min(UNIX_EPOCH + Duration::from_secs(253_402_300_799)))
}

/// Complains of a certificate that ends soon, once a day.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    /// When of which end.
    last: Option<(SystemTime, SystemTime)>,
}

impl Reminder {
    /// What to complain of now, if anything. One that is `renewed_here` has more time: it is no matter of people yet.
    pub(super) fn due(
        &mut self,
        shown: &CertificateReading,
        renewed_here: bool,
        now: SystemTime,
    ) -> Option<String> {
        let life = shown.to.duration_since(shown.from).unwrap_or_default();
        let limit = if renewed_here { WARN_BEFORE.min(life / LEFT_UNRENEWED) } else { WARN_BEFORE };
        let left = shown.to.duration_since(now).unwrap_or_default();
        if left >= limit && !left.is_zero() {
            return None;
        }
        let is_said = self.last.is_some_and(|(at, end)| {
            end == shown.to && now.duration_since(at).is_ok_and(|since| since < DAY)
        });
        if is_said {
            return None;
        }
        self.last = Some((now, shown.to));
        let (names, end) = (shown.title(), date(shown.to));
        Some(match left.as_secs() / DAY.as_secs() {
            _ if left.is_zero() => format!("the certificate for {names} ended on {end}: clients refuse it"),
            0 => format!("the certificate for {names} ends within a day, on {end}: renew it"),
            days => format!("the certificate for {names} ends in {days} days, on {end}: renew it"),
        })
    }
}

/// Looks at what is shown now and every hour. Does not end.
pub(super) async fn remind(shown: &Shown, renewed_here: bool, clock: impl Fn() -> SystemTime) {
    let mut reminder = Reminder::default();
    loop {
        let reading = shown.current().and_then(|certificate| read(&certificate));
        if let Some(complaint) = reading.and_then(|reading| reminder.due(&reading, renewed_here, clock())) {
            tracing::warn!("{complaint}");
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::edge::certificates::files::certified_key;

    fn reading(days: u32) -> CertificateReading {
        let from = UNIX_EPOCH + DAY * 20_000;
        CertificateReading { names: vec!["dns.example".into()], from, to: from + DAY * days }
    }

    /// The days before its end on which somebody is told, who looks every hour.
    fn told(shown: &CertificateReading, renewed_here: bool) -> Vec<i64> {
        let mut reminder = Reminder::default();
        let hours = shown.to.duration_since(shown.from).unwrap().as_secs() / 3600 + 48;
        let at = |hour: u64| shown.from + LOOK_EVERY * u32::try_from(hour).unwrap();
        let mut days = Vec::new();
        for hour in 0..hours {
            if reminder.due(shown, renewed_here, at(hour)).is_some() {
                days.push((hours as i64 - 48 - hour as i64).div_euclid(24));
            }
        }
        days
    }

    #[test]
    fn from_fourteen_days_before_its_end_it_is_said_once_a_day_and_after_it_too() {
        let expected: Vec<i64> = (-2..14).rev().collect();
        assert_eq!(told(&reading(90), false), expected);
    }

    #[test]
    fn one_that_is_renewed_here_is_no_matter_of_people_before_it_is_late() {
        assert_eq!(told(&reading(90), true).first(), Some(&13));
        // Those that live for six days are renewed after four.
        assert_eq!(told(&reading(6), true).first(), Some(&1));
        assert_eq!(told(&reading(6), false).first(), Some(&6));
    }

    #[test]
    fn it_is_said_with_names_and_date_and_of_each_certificate_anew() {
        let (old, mut reminder) = (reading(90), Reminder::default());
        let said = |reminder: &mut Reminder, shown: &CertificateReading, left: Duration| {
            reminder.due(shown, false, shown.to - left).unwrap()
        };
        let text = said(&mut reminder, &old, 3 * DAY);
        assert_eq!(
            text,
            "the certificate for dns.example ends in 3 days, on Thu, 02 Jan 2025 00:00:00 GMT: renew it"
        );
        let new = CertificateReading { to: old.to + DAY, ..old.clone() };
        assert!(said(&mut reminder, &new, 4 * DAY).contains("in 4 days"));
        assert!(said(&mut reminder, &old, DAY / 2).contains("within a day"));
        assert!(said(&mut Reminder::default(), &old, Duration::ZERO).contains("clients refuse it"));
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_the_log_hears_of_it_at_the_start_and_each_day() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let made = rcgen::generate_simple_self_signed(vec!["dns.example".to_owned()]).unwrap();
        let pem = made.signing_key.serialize_pem() + &made.cert.pem();
        let certificate = certified_key(pem.as_bytes(), pem.as_bytes()).ok().unwrap();
        let end = read(&certificate).unwrap().to;
        let shown = Shown::default();
        shown.show(certificate);
        let start = Instant::now();
        let clock = move || end - 10 * DAY + start.elapsed();
        let _ = timeout(3 * DAY - LOOK_EVERY / 2, remind(&shown, false, clock)).await;
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let warnings: Vec<_> = text.lines().filter(|line| line.contains("WARN")).collect();
        assert_eq!(warnings.len(), 3, "{text}");
        assert!(warnings[0].contains("for dns.example ends in 10 days"), "{text}");
        assert!(
            text.contains("INFO") && text.contains("certificate for dns.example, valid until "),
            "{text}"
        );
    }
}
