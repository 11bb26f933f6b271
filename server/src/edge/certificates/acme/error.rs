//! Why an authority has given no certificate, and what helps.

use std::time::{Duration, SystemTime};

use instant_acme::{Error, OrderStatus, Problem};
use thiserror::Error;

use super::{CertificateError, Challenge};
use crate::edge::certificates::end::date;

/// Why there is no new certificate.
#[derive(Debug, Error)]
pub enum AcmeError {
    /// The authority cannot be reached, or refuses.
    #[error("{}{}", said(.0), and(kind_of(.0).and_then(advice)))]
    Protocol(#[from] Error),
    /// The authority gives no more for some time.
    #[error("it gives no more certificates for now: {detail}{}", wait(*.until))]
    RateLimited {
        /// What it says of that.
        detail: String,
        /// Until when, if it says so.
        until: Option<SystemTime>,
    },
    /// The authority cannot see names in this way.
    #[error("it does not offer the challenge {0}; choose another")]
    NoChallenge(Challenge),
    /// What it wants to see could not be shown.
    #[error("{0}")]
    NotShown(String),
    /// The authority did not see what was shown.
    #[error("it could not verify that {name} is ours{}", unproven(.problem))]
    Unproven {
        /// Which name, or all of them.
        name: String,
        /// What it says of that.
        problem: Option<Problem>,
    },
    /// The order ended otherwise than orders do.
    #[error("the order has failed, with the status {0:?}")]
    Order(OrderStatus),
    /// The chain and our key do not belong together.
    #[error("its certificate does not belong to our key")]
    NotACertificate,
    /// A certificate or what belongs to it cannot be made or kept.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// It took too long.
    #[error("the order was not complete within {0:?}")]
    Deadline(Duration),
    /// A new certificate is as old as one that is replaced.
    #[error("its certificate is due for renewal already: check the clock of this machine")]
    DueAtOnce,
}

impl AcmeError {
    /// When the authority may be asked again, if it says so.
    pub fn not_before(&self) -> Option<SystemTime> {
        match self {
            Self::RateLimited { until, .. } => *until,
            _ => None,
        }
    }

    /// As [`Self::Protocol`], or what it means.
    pub(super) fn of(error: Error, not_before: Option<SystemTime>) -> Self {
        match error {
            Error::Api(problem) if kind(&problem) == Some("rateLimited") => {
                let detail = problem.detail.unwrap_or_else(|| "too many were asked for".to_owned());
                Self::RateLimited { detail, until: not_before }
            }
            Error::Timeout(_) => Self::Protocol(Error::Str("the authority took too long")),
            error => Self::Protocol(error),
        }
    }

    /// Whether the authority does not know the account.
    pub(super) fn is_unknown_account(error: &Error) -> bool {
        kind_of(error) == Some("accountDoesNotExist")
    }
}

/// In the words of the authority, where it has any.
fn said(error: &Error) -> String {
    match error {
        Error::Api(problem) => detail(problem),
        other => other.to_string(),
    }
}

fn detail(problem: &Problem) -> String {
    match &problem.detail {
        Some(detail) => detail.clone(),
        None => problem.to_string(),
    }
}

fn kind_of(error: &Error) -> Option<&str> {
    match error {
        Error::Api(problem) => kind(problem),
        _ => None,
    }
}

/// What stands behind `urn:ietf:params:acme:error:`.
fn kind(problem: &Problem) -> Option<&str> {
    problem.r#type.as_deref()?.rsplit(':').next()
}

fn and(advice: Option<&str>) -> String {
    advice.map_or_else(String::new, |advice| format!("; {advice}"))
}

fn wait(until: Option<SystemTime>) -> String {
    match until {
        Some(until) => format!("; wait until {}", date(until)),
        None => "; wait, and ask less often".to_owned(),
    }
}

fn unproven(problem: &Option<Problem>) -> String {
    match problem {
        Some(problem) => {
            let advice = kind(problem).and_then(advice).unwrap_or("can it reach this server there?");
            format!(" ({}); {advice}", detail(problem))
        }
        None => "; can it reach this server there?".to_owned(),
    }
}

/// What to do about a problem of RFC 8555 section 6.7.
fn advice(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "caa" => {
            "a CAA record of the name, or of a zone above it, forbids this authority: allow it there, or choose another"
        }
        "connection" => {
            "let the name's addresses lead to this machine, and let port 80 (http-01) or 443 (tls-alpn-01) through its router \
             and firewall"
        }
        "dns" => {
            "the name's servers have to answer for A, AAAA, CAA and TXT from anywhere: see what they say with dig +trace"
        }
        "unauthorized" | "incorrectResponse" => {
            "what it saw is not ours: look for another web server at the name's addresses, an old record, or an address of \
             another machine"
        }
        "tls" => {
            "another program seems to answer on port 443: let it pass acme-tls/1 on, or choose another challenge"
        }
        "rejectedIdentifier" | "unsupportedIdentifier" => {
            "it gives none for such names: choose another authority"
        }
        "externalAccountRequired" => "it wants an account that is made by hand: choose another authority",
        "invalidContact" | "unsupportedContact" => "write another address to contact, or none",
        "userActionRequired" => "a person has to agree to its new terms",
        "serverInternal" => "that is its own fault: try again later",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn problem(kind: &str, detail: Option<&str>) -> Problem {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        let text = serde_json::json!({ "type": kind, "detail": detail, "status": 403 });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn each_problem_says_what_the_authority_said_and_what_to_do_next() {
        for (kind, part) in [
            ("caa", "a CAA record of the name"),
            ("connection", "firewall"),
            ("dns", "dig +trace"),
            ("unauthorized", "is not ours"),
            ("incorrectResponse", "is not ours"),
            ("tls", "acme-tls/1"),
            ("malformed", "can it reach this server"),
        ] {
            let problem = problem(kind, Some("so it says"));
            let error = AcmeError::Unproven { name: "a.example".to_owned(), problem: Some(problem) };
            let text = error.to_string();
            assert!(text.starts_with("it could not verify that a.example is ours (so it says); "), "{text}");
            assert!(text.contains(part), "{text}");
        }
        let text = AcmeError::of(Error::Api(problem("rejectedIdentifier", Some("no"))), None).to_string();
        assert_eq!(text, "no; it gives none for such names: choose another authority");
    }

    #[test]
    fn a_rate_limit_says_until_when() {
        let until = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let limited = |until| AcmeError::of(Error::Api(problem("rateLimited", Some("too many"))), until);
        let text = limited(Some(until)).to_string();
        assert_eq!(
            text,
            "it gives no more certificates for now: too many; wait until Tue, 14 Nov 2023 22:13:20 GMT"
        );
        assert_eq!((limited(Some(until)).not_before(), limited(None).not_before()), (Some(until), None));
        assert!(limited(None).to_string().ends_with("; wait, and ask less often"));
    }
}
