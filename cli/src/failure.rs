//! Why a command did not do what it was asked to, and the exit code that says so to a script.

use std::{fmt, io};

/// Explains the exit codes at the end of `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: the message on standard error says why and what to do
  2  the command line was not understood
  3  not published: there is a newer packet of this key
  4  the DHT could not be reached, nor a relay that says more";

/// A command that failed. The text is for people; it never holds any part of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Exit code 1.
    Failed(String),
    /// Exit code 3.
    NewerPacket(String),
    /// Exit code 4.
    Unreachable(String),
    /// Exit code 0: whoever read our output has seen enough (`| head`).
    OutputClosed,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed(_) => 1,
            Self::NewerPacket(_) => 3,
            Self::Unreachable(_) => 4,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) | Self::NewerPacket(message) | Self::Unreachable(message) => {
                f.write_str(message)
            }
            Self::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

impl std::error::Error for Failure {}

/// A write to standard output that failed.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(format!(
                "cannot write to standard output: {error}; make room there, or write elsewhere"
            )),
        }
    }
}
