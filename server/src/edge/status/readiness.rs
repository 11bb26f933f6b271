//! Whether a server is ready to be asked. Pure.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::base::metrics::{CertificateReading, UpstreamReading, UpstreamState};

/// Who has answered within this time is there.
pub const FRESH: Duration = Duration::from_secs(60);

/// Whether a server is ready, and if not, why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What is missing, a sentence each. Nothing where it is ready.
    pub missing: Vec<String>,
    /// Whether it stops.
    pub is_stopping: bool,
}

impl Readiness {
    /// Whether it should be asked.
    pub fn is_ready(&self) -> bool {
        self.missing.is_empty() && !self.is_stopping
    }
}

impl Serialize for Readiness {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            ready: bool,
            stopping: bool,
            missing: &'a [String],
        }
        let written = Written { ready: self.is_ready(), stopping: self.is_stopping, missing: &self.missing };
        written.serialize(serializer)
    }
}

/// What there is to know about a server that listens.
#[derive(Debug, Default)]
pub struct Facts {
    /// Whether it stops.
    pub is_stopping: bool,
    /// What each kind of encrypted listener shows, or nothing yet.
    pub certificates: Vec<Option<CertificateReading>>,
    /// Whether the DHT has answered of late, if it is asked.
    pub has_dht_answered: Option<bool>,
    /// The upstreams for all names that have no others.
    pub upstreams: Vec<UpstreamReading>,
}

impl Facts {
    /// Ready is who shows valid certificates and hears the DHT or an upstream. With `all`, the DHT and each upstream, but
    /// for those to which there is no route: a machine without IPv6 asks none that has only that.
    pub fn judge(&self, all: bool, now: SystemTime) -> Readiness {
        let mut missing: Vec<String> =
            self.certificates.iter().filter_map(|shown| fault(shown, now)).collect();
        let mut silent = Vec::new();
        let dht = self.has_dht_answered;
        if dht == Some(false) {
            silent.push("the DHT has not answered in the last minute".to_owned());
        }
        let asked = self.upstreams.iter().filter(|upstream| upstream.state != UpstreamState::NoRoute);
        let (mut is_any_there, mut is_any_asked) = (dht == Some(true), dht.is_some());
        is_any_asked |= !self.upstreams.is_empty();
        for upstream in asked {
            match is_there(upstream) {
                true => is_any_there = true,
                false if upstream.state == UpstreamState::Looping => {
                    silent.push(format!("the upstream {} sends questions back here", upstream.address));
                }
                false => {
                    silent.push(format!(
                        "the upstream {} has not answered in the last minute",
                        upstream.address
                    ));
                }
            }
        }
        if silent.is_empty() && is_any_asked && !is_any_there {
            silent.push("there is no route to any upstream".to_owned());
        }
        if all || (is_any_asked && !is_any_there) {
            missing.extend(silent);
        }
        Readiness { missing, is_stopping: self.is_stopping }
    }
}

fn is_there(upstream: &UpstreamReading) -> bool {
    upstream.state != UpstreamState::Looping && upstream.last_answer.is_some_and(|ago| ago <= FRESH)
}

fn fault(shown: &Option<CertificateReading>, now: SystemTime) -> Option<String> {
    match shown {
        None => Some("there is no certificate yet".to_owned()),
        Some(shown) if shown.is_valid(now) => None,
        Some(shown) if shown.to <= now => Some(format!("the certificate for {} has ended", shown.title())),
        Some(shown) => Some(format!("the certificate for {} is not valid yet", shown.title())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn upstream(address: &str, ago: Option<u64>, state: UpstreamState) -> UpstreamReading {
        UpstreamReading {
            address: address.into(),
            zone: ".".into(),
            state,
            last_answer: ago.map(Duration::from_secs),
            metrics: Default::default(),
        }
    }

    fn missing(facts: &Facts, all: bool) -> Vec<String> {
        facts.judge(all, NOW).missing
    }

    #[test]
    fn the_dht_or_an_upstream_is_enough_and_all_wants_each() {
        use UpstreamState::{InUse, LeftAlone, Looping, NoRoute};
        let dht = "the DHT has not answered in the last minute";
        let b = "the upstream b has not answered in the last minute";
        let loops = "the upstream b sends questions back here";
        let (recent, old) = (Some(60), Some(61));
        for (has_dht_answered, upstreams, one, each) in [
            (Some(true), vec![upstream("a", recent, InUse)], vec![], vec![]),
            (Some(false), vec![upstream("a", recent, InUse)], vec![], vec![dht]),
            (Some(true), vec![upstream("b", old, InUse)], vec![], vec![b]),
            (Some(false), vec![upstream("b", None, InUse)], vec![dht, b], vec![dht, b]),
            (None, vec![upstream("a", recent, InUse)], vec![], vec![]),
            (None, vec![upstream("b", old, LeftAlone(Duration::from_secs(9)))], vec![b], vec![b]),
            (None, vec![upstream("a", recent, InUse), upstream("b", old, NoRoute)], vec![], vec![]),
            (None, vec![upstream("a", recent, InUse), upstream("b", recent, Looping)], vec![], vec![loops]),
            (Some(true), vec![], vec![], vec![]),
            (Some(false), vec![], vec![dht], vec![dht]),
            (None, vec![], vec![], vec![]),
        ] {
            let facts = Facts { has_dht_answered, upstreams, ..Facts::default() };
            assert_eq!(
                (missing(&facts, false), missing(&facts, true)),
                (owned(one), owned(each)),
                "{facts:?}"
            );
        }
        let facts = Facts { upstreams: vec![upstream("b", None, NoRoute)], ..Facts::default() };
        assert_eq!(missing(&facts, false), ["there is no route to any upstream"]);
    }

    fn owned(texts: Vec<&str>) -> Vec<String> {
        texts.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn a_certificate_has_to_be_there_and_valid() {
        let hour = Duration::from_secs(3600);
        let shown = |from, to| Some(CertificateReading { names: vec!["dns.example".into()], from, to });
        let now = NOW + 10 * hour;
        for (certificate, expected) in [
            (shown(NOW, now + hour), vec![]),
            (None, vec!["there is no certificate yet"]),
            (shown(NOW, now), vec!["the certificate for dns.example has ended"]),
            (shown(now + hour, now + 2 * hour), vec!["the certificate for dns.example is not valid yet"]),
        ] {
            let facts = Facts { certificates: vec![certificate], ..Facts::default() };
            assert_eq!(facts.judge(false, now).missing, expected);
        }
    }
}
