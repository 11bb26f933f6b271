//! Why a server gave no usable answer, and whether that says something about the server.

use std::{fmt::Display, io, sync::Arc};

use rustix::io::Errno;
use thiserror::Error;

/// Longest text about a server, in characters.
const LONGEST_TEXT: usize = 120;

/// Why a server gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ExchangeError {
    /// The question left, and nothing valid came before the deadline.
    #[error("no valid answer in time")]
    Silent,
    /// The server says something, but not as one that can be used: what it says, as `ExchangeError::unusable` has it.
    #[error("{0}")]
    Unusable(Arc<str>),
    /// The network or the server said no, or the connection failed.
    #[error("it cannot be reached: {0}")]
    Unreachable(io::ErrorKind),
    /// What came over a connection is not an answer to the question.
    #[error("its answer does not belong to the question or is malformed")]
    Malformed,
    /// As many questions are under way as may be, so that this one did not leave.
    #[error("too many questions are under way")]
    Busy,
    /// This machine could not send: no descriptor, port, memory or permission was to be had.
    #[error("this machine cannot send: {0}")]
    Local(io::ErrorKind),
    /// The system gives no random numbers, and without them answers could be forged.
    #[error("the system gives no random numbers")]
    Predictable,
}

impl ExchangeError {
    /// Whether this is our own trouble, which says nothing about the server: it must not be held against it.
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Busy | Self::Local(_) | Self::Predictable => true,
            Self::Silent | Self::Unusable(_) | Self::Unreachable(_) | Self::Malformed => false,
        }
    }

    /// [`ExchangeError::Unusable`] in words that may be the server's own, of which no more is kept than a client should
    /// see: one line of printable ASCII.
    pub(super) fn unusable(what: impl Display) -> Self {
        let printable = |letter: char| if matches!(letter, ' '..='~') { letter } else { '?' };
        let text: String = what.to_string().chars().take(LONGEST_TEXT).map(printable).collect();
        Self::Unusable(text.into())
    }

    /// Whether to ask the same server again may help: a datagram gets lost, and what is ours may pass.
    pub(super) fn may_pass(&self) -> bool {
        *self == Self::Silent || self.is_ours()
    }
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        Self::from_io(&error)
    }
}

impl ExchangeError {
    /// What a call to the system or a connection failed with, by whose trouble it is.
    pub(super) fn from_io(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) if !tells_of_the_server(Errno::from_raw_os_error(number)) => {
                Self::Local(error.kind())
            }
            // What did not come from the system came from the other end.
            Some(_) | None => Self::Unreachable(error.kind()),
        }
    }
}

/// Whether an error comes from the other end or from the way there. All others are of this machine: the system has a
/// name for each resource that it can run out of.
fn tells_of_the_server(error: Errno) -> bool {
    [
        Errno::CONNREFUSED,
        Errno::CONNRESET,
        Errno::CONNABORTED,
        Errno::PIPE,
        Errno::TIMEDOUT,
        Errno::HOSTUNREACH,
        Errno::HOSTDOWN,
        Errno::NETUNREACH,
        Errno::NETRESET,
        Errno::PROTO,
    ]
    .contains(&error)
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use hickory_proto::rr::RecordType;
    use tokio::time::Instant;

    use super::*;
    use crate::sources::forward::{Exchanger, Flags, testing::question};

    #[test]
    fn what_this_machine_lacks_is_not_held_against_a_server() {
        for ours in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::ADDRNOTAVAIL,
            Errno::ADDRINUSE,
            Errno::ACCESS,
            Errno::PERM,
            Errno::AGAIN,
            Errno::NETDOWN,
        ] {
            let error = ExchangeError::from(io::Error::from_raw_os_error(ours.raw_os_error()));
            assert!(matches!(error, ExchangeError::Local(_)) && error.is_ours(), "{ours}");
        }
        assert!(ExchangeError::Busy.is_ours() && ExchangeError::Predictable.is_ours());
    }

    #[test]
    fn what_the_network_or_the_server_says_is_held_against_it() {
        for theirs in
            [Errno::CONNREFUSED, Errno::CONNRESET, Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::TIMEDOUT]
        {
            let error = ExchangeError::from(io::Error::from_raw_os_error(theirs.raw_os_error()));
            assert!(matches!(error, ExchangeError::Unreachable(_)) && !error.is_ours(), "{theirs}");
        }
        // A connection that ends, and a certificate that does not fit.
        for kind in [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidData, io::ErrorKind::Other] {
            assert_eq!(ExchangeError::from(io::Error::from(kind)), ExchangeError::Unreachable(kind));
        }
        assert!(!ExchangeError::Silent.is_ours() && !ExchangeError::Malformed.is_ours());
    }

    #[test]
    fn what_a_server_says_is_kept_in_a_line_of_printable_letters() {
        let error = ExchangeError::unusable(format!("answers with \u{1b}[31m\n\u{e9}{}", "x".repeat(1000)));
        assert!(!error.is_ours() && !error.may_pass());
        let text = error.to_string();
        assert!(text.starts_with("answers with ?[31m??xxx"), "{text}");
        assert_eq!(text.len(), LONGEST_TEXT);
    }

    #[tokio::test]
    async fn what_the_system_does_not_let_us_send_is_our_own_trouble() {
        // A broadcast address, which a socket may not send to unless it says so.
        let broadcast = SocketAddr::from(([127, 255, 255, 255], 53));
        let asked = question("example.com.", RecordType::A);
        let flags = Flags { recursion_desired: true, dnssec_ok: false, checking_disabled: false };
        let deadline = Instant::now() + Duration::from_secs(10);
        let result = Exchanger::new(1).exchange(broadcast, &asked, flags, deadline).await;
        assert_eq!(result.expect_err("no permission"), ExchangeError::Local(io::ErrorKind::PermissionDenied));
    }
}
