//! What has to be said beside the records: why there is no answer, or what an answer lacks. All codes and extended errors
//! that the resolver chooses for that are chosen here. Pure.

use hickory_proto::op::ResponseCode;
use pkdns_dht::NetworkError;
use thiserror::Error;

use crate::{
    base::message::{Answer, ExtendedError, MAX_CHAIN, info_code, stale_info_code},
    resolver::denied::Denial,
    sources::{forward::ForwardError, packets::Staleness},
};

/// Why there is no answer. NXDOMAIN and NODATA are answers, not errors.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The DHT could not be asked, and nothing is held from before.
    #[error("{0}")]
    Network(NetworkError),
    /// The client has started as many network lookups as it may for now.
    #[error("too many new keys were asked for from this address; try again in a minute")]
    LookupQuota,
    /// As many keys were looked up for an origin as may be for now. The client is a resolver that may ask for anybody.
    #[error("too many new keys are asked for here; try again in a minute")]
    OriginBudget,
    /// The client has asked as many questions as it may for now.
    #[error("too many questions from this address; try again in a minute")]
    QueryQuota,
    /// The upstream resolvers did not answer.
    #[error("{0}")]
    Forward(ForwardError),
    /// None of the name servers that a key's packet names gave an answer.
    #[error("no name server of {0} gave an answer")]
    Delegation(String),
    /// They were not asked: too many questions to name servers wait, or this machine cannot send.
    #[error("too many questions to name servers are under way: try again")]
    DelegationBusy,
    /// CNAME records that lead back to where they started, or go on for too long.
    #[error("the chain of CNAME records loops or is longer than {} links", MAX_CHAIN)]
    Chain,
    /// Answering would take more work than one question is worth.
    #[error("the answer needs too many questions to others")]
    WorkBudget,
    /// The deadline of [`super::DEADLINE`] passed.
    #[error("no answer came in time; ask again, the search goes on")]
    Deadline,
    /// RD was clear and the answer is not held (RFC 1035 section 4.1.1).
    #[error("not held here, and the query does not ask for recursion")]
    NotHeld,
    /// A class other than IN.
    #[error("only class IN is served")]
    Class,
    /// AXFR, IXFR and the like.
    #[error("this type of question is not answered")]
    QuestionType,
    /// The client is not on the access list.
    #[error("this server does not serve this address")]
    Access,
    /// An EDNS version from the future (RFC 6891 section 6.1.3).
    #[error("only EDNS version 0 exists")]
    EdnsVersion,
}

/// Why there is no answer, as far as that matters to whoever holds an older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Everyone who asks would hear the same.
    Shared,
    /// It is about this client or this moment: others may well get an answer.
    Passing,
}

impl ResolveError {
    /// The RCODE and the INFO-CODE to answer with.
    fn codes(&self) -> (ResponseCode, u16) {
        match self {
            // REFUSED would say that this server is the wrong one to ask.
            Self::Network(_)
            | Self::Delegation(_)
            | Self::Deadline
            | Self::Forward(ForwardError::NoAnswer | ForwardError::Unusable(_)) => {
                (ResponseCode::ServFail, info_code::NO_REACHABLE_AUTHORITY)
            }
            Self::Forward(ForwardError::Loop | ForwardError::Busy | ForwardError::Local)
            | Self::OriginBudget
            | Self::DelegationBusy
            | Self::Chain
            | Self::WorkBudget => (ResponseCode::ServFail, info_code::OTHER),
            Self::LookupQuota | Self::QueryQuota | Self::Access => {
                (ResponseCode::Refused, info_code::PROHIBITED)
            }
            Self::NotHeld => (ResponseCode::Refused, info_code::NOT_AUTHORITATIVE),
            Self::Class | Self::QuestionType => (ResponseCode::Refused, info_code::NOT_SUPPORTED),
            Self::EdnsVersion => (ResponseCode::BADVERS, info_code::OTHER),
        }
    }

    /// Whether everyone who asks the same would hear the same, so that it may be remembered for a while (RFC 9520).
    pub fn is_shared(&self) -> bool {
        self.failure() == Some(Failure::Shared) && *self != Self::Deadline
    }

    /// Whether an older answer is better, and for whom; `None` where it is the question or the client that is refused.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            // One client's turn did not come, or this moment is a bad one for all.
            Self::Network(NetworkError::Busy)
            | Self::Forward(ForwardError::Busy | ForwardError::Local)
            | Self::DelegationBusy
            | Self::LookupQuota
            | Self::OriginBudget => Some(Failure::Passing),
            // What is under way is not slower for others.
            Self::Deadline
            | Self::Network(_)
            | Self::Forward(_)
            | Self::Delegation(_)
            | Self::Chain
            | Self::WorkBudget => Some(Failure::Shared),
            Self::NotHeld
            | Self::Class
            | Self::QuestionType
            | Self::QueryQuota
            | Self::Access
            | Self::EdnsVersion => None,
        }
    }

    /// Whether it concerns this client at this moment: as much was under way as may be.
    pub fn is_busy(&self) -> bool {
        matches!(
            self,
            Self::Network(NetworkError::Busy) | Self::Forward(ForwardError::Busy) | Self::DelegationBusy
        )
    }

    /// What it says to people.
    pub fn extended_error(&self) -> ExtendedError {
        ExtendedError::new(self.codes().1, self.to_string())
    }

    /// The answer that says so.
    pub fn answer(&self) -> Answer {
        Answer {
            extended_error: Some(self.extended_error()),
            lifetime: if self.is_shared() { super::FAILURE_LIFETIME } else { std::time::Duration::ZERO },
            ..Answer::empty(self.codes().0)
        }
    }
}

/// What an answer lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caveat {
    /// A packet that it was made from has had its time.
    Stale(Staleness),
    /// It ends at a key that is not answered for.
    Denied(Denial),
    /// Private addresses were taken out of it.
    Filtered,
    /// Nobody was asked for the name.
    KeptBack,
    /// An upstream says this of it.
    OfUpstream(ExtendedError),
}

impl Caveat {
    /// That an upstream resolver failed or refused without a reason: a client would else take it for us.
    pub(super) fn of_failed_upstream(code: ResponseCode) -> Option<Self> {
        let code = match code {
            ResponseCode::FormErr => "FORMERR",
            ResponseCode::ServFail => "SERVFAIL",
            ResponseCode::NotImp => "NOTIMP",
            ResponseCode::Refused => "REFUSED",
            ResponseCode::NotAuth => "NOTAUTH",
            ResponseCode::NoError | ResponseCode::NXDomain | ResponseCode::YXDomain => return None,
            other => &format!("code {}", u16::from(other)),
        };
        let text = format!("the upstream resolver answered {code}");
        Some(Self::OfUpstream(ExtendedError::new(info_code::OTHER, text)))
    }

    /// The extended error of an answer that ends with `code`.
    pub(super) fn extended_error(self, code: ResponseCode) -> ExtendedError {
        match self {
            Self::Stale(why) => {
                ExtendedError::new(stale_info_code(code), format!("this is the last known answer: {why}"))
            }
            Self::Denied(denial) => {
                let info_code = match denial {
                    Denial::Blocked => info_code::BLOCKED,
                    Denial::Censored => info_code::CENSORED,
                    Denial::Filtered => info_code::FILTERED,
                };
                ExtendedError::new(info_code, denial.text())
            }
            Self::Filtered => {
                let text = "private addresses are filtered from these names here";
                ExtendedError::new(info_code::BLOCKED, text)
            }
            Self::KeptBack => {
                let text = "a name of one label is not sent to public resolvers: see [[forward]]";
                ExtendedError::new(info_code::OTHER, text)
            }
            Self::OfUpstream(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_answer_is_better_than_any_failure_and_for_all_where_all_would_fail() {
        for shared in [
            ResolveError::Network(NetworkError::Unreachable),
            ResolveError::Forward(ForwardError::NoAnswer),
            ResolveError::Forward(ForwardError::Loop),
            ResolveError::Delegation(String::new()),
            ResolveError::Chain,
            ResolveError::WorkBudget,
            ResolveError::Deadline,
        ] {
            assert_eq!(shared.failure(), Some(Failure::Shared), "{shared}");
        }
        for passing in [
            ResolveError::Network(NetworkError::Busy),
            ResolveError::Forward(ForwardError::Busy),
            ResolveError::Forward(ForwardError::Local),
            ResolveError::DelegationBusy,
            ResolveError::LookupQuota,
            ResolveError::OriginBudget,
        ] {
            assert_eq!(passing.failure(), Some(Failure::Passing), "{passing}");
        }
        for refusal in [ResolveError::NotHeld, ResolveError::QueryQuota, ResolveError::Access] {
            assert_eq!(refusal.failure(), None, "{refusal}");
        }
    }

    #[test]
    fn what_one_client_or_one_moment_lacks_is_not_remembered_for_others() {
        for error in [ForwardError::Busy, ForwardError::Local] {
            assert!(!ResolveError::Forward(error.clone()).is_shared(), "{error}");
        }
        assert!(!ResolveError::Network(NetworkError::Busy).is_shared());
        assert!(!ResolveError::DelegationBusy.is_shared());
        assert!(ResolveError::Forward(ForwardError::NoAnswer).is_shared());
        assert!(ResolveError::Forward(ForwardError::Unusable("why".into())).is_shared());
    }
}
