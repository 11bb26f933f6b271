//! Finds upstreams that send our questions back to us, such as a Pi-hole whose upstream we are. Without this, one
//! question would go round for ever.
//!
//! Each upstream is asked for a name that nobody else knows. When that name is asked of us, its upstream loops.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use hickory_proto::rr::{DNSClass, Name, RecordType};

use crate::base::message::Question;

/// Bytes of randomness in a name: too many to guess for someone who wants us to give up on an upstream.
const TOKEN_SIZE: usize = 16;

/// The labels behind the token in wire form, in lower case.
const SUFFIX: &[u8] = b"\x0apkdns-loop\x00";

/// The names of one round of probes, and which of them came back.
#[derive(Debug)]
pub(super) struct LoopProbes {
    /// Hexadecimal. None before the first round.
    token: Mutex<Option<String>>,
    came_back: Box<[AtomicBool]>,
}

impl LoopProbes {
    pub(super) fn new(upstreams: usize) -> Self {
        Self { token: Mutex::new(None), came_back: (0..upstreams).map(|_| AtomicBool::new(false)).collect() }
    }

    /// Forgets the round before. `None` where the system gives no random numbers; then nothing is a probe.
    pub(super) fn begin_round(&self) -> Option<String> {
        let mut random = [0; TOKEN_SIZE];
        let token = getrandom::fill(&mut random)
            .ok()
            .map(|()| random.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&token);
        self.came_back.iter().for_each(|came_back| came_back.store(false, Ordering::Relaxed));
        token
    }

    /// Whether `question` is one of ours; if so, notes which upstream sent it. Cheap for all other names.
    pub(super) fn recognise(&self, question: &Question) -> bool {
        let Some((index, token)) = split(question.wire_name()) else {
            return false;
        };
        let is_ours = {
            let ours = self.token.lock().unwrap_or_else(PoisonError::into_inner);
            ours.as_ref().is_some_and(|ours| token.eq_ignore_ascii_case(ours.as_bytes()))
        };
        if is_ours && let Some(came_back) = self.came_back.get(index) {
            came_back.store(true, Ordering::Relaxed);
        }
        is_ours
    }

    pub(super) fn came_back(&self, index: usize) -> bool {
        self.came_back.get(index).is_some_and(|came_back| came_back.load(Ordering::Relaxed))
    }
}

/// The question that tells the upstream at `index` from the others.
pub(super) fn probe(index: usize, token: &str) -> Option<Question> {
    let name = Name::from_ascii(format!("{index}.{token}.pkdns-loop.")).ok()?;
    Question::new(&name, RecordType::TXT, DNSClass::IN)
}

/// Takes a name of the form `<index>.<token>.pkdns-loop.` apart.
fn split(name: &[u8]) -> Option<(usize, &[u8])> {
    let (labels, suffix) = name.split_at_checked(name.len().checked_sub(SUFFIX.len())?)?;
    if !suffix.eq_ignore_ascii_case(SUFFIX) {
        return None;
    }
    let (&index_size, rest) = labels.split_first()?;
    let (index, rest) = rest.split_at_checked(usize::from(index_size))?;
    let (&token_size, token) = rest.split_first()?;
    if usize::from(token_size) != token.len() {
        return None;
    }
    Some((std::str::from_utf8(index).ok()?.parse().ok()?, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(name: &str) -> Question {
        let name = Name::from_ascii(name).expect("a name");
        Question::new(&name, RecordType::TXT, DNSClass::IN).expect("a question")
    }

    #[test]
    fn a_probe_is_recognised_in_any_spelling_and_tells_its_upstream() {
        let probes = LoopProbes::new(12);
        let token = probes.begin_round().expect("random numbers");
        let name = format!("11.{}.PkDNS-loOP.", token.to_uppercase());
        assert!(probes.recognise(&question(&name)));
        let back: Vec<_> = (0..12).filter(|index| probes.came_back(*index)).collect();
        assert_eq!(back, [11]);
    }

    #[test]
    fn the_probe_of_a_round_before_is_forgotten() {
        let probes = LoopProbes::new(1);
        let before = probes.begin_round().expect("random numbers");
        assert!(probes.recognise(&probe(0, &before).expect("a question")));
        let token = probes.begin_round().expect("random numbers");
        assert_ne!(before, token);
        assert!(!probes.came_back(0));
        assert!(!probes.recognise(&probe(0, &before).expect("a question")));
    }

    #[test]
    fn names_that_only_look_like_a_probe_are_not_one() {
        let probes = LoopProbes::new(1);
        assert!(
            !probes.recognise(&question("0.0123456789abcdef0123456789abcdef.pkdns-loop.")),
            "no round yet"
        );
        let token = probes.begin_round().expect("random numbers");
        for name in [
            ".".to_owned(),
            "pkdns-loop.".to_owned(),
            "0.pkdns-loop.".to_owned(),
            format!("{token}.pkdns-loop."),
            format!("x.{token}.pkdns-loop."),
            format!("0.0.{token}.pkdns-loop."),
            format!("0.{token}.pkdns-loop.com."),
            format!("0.{token}0.pkdns-loop."),
            "0.0123456789abcdef0123456789abcdef.pkdns-loop.".to_owned(),
        ] {
            assert!(!probes.recognise(&question(&name)), "{name}");
        }
        assert!(!probes.came_back(0));
    }

    #[test]
    fn a_probe_for_an_upstream_that_does_not_exist_does_no_harm() {
        let probes = LoopProbes::new(1);
        let token = probes.begin_round().expect("random numbers");
        assert!(probes.recognise(&probe(7, &token).expect("a question")));
        assert!(!probes.came_back(0));
    }
}
