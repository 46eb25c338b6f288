//! What can go wrong, and with which status the program ends.

use control::{AskError, Reason};
use std::io;
use std::time::Duration;
use thiserror::Error;

/// Why a command did not succeed.
#[derive(Debug, Error)]
pub enum Error {
    /// The kernel refused the request.
    #[error("refused ({}): {text}", reason.name())]
    Refused {
        /// For programs.
        reason: Reason,
        /// When to ask again; 0 where that is not known.
        retry_after_ms: u32,
        /// For people.
        text: String,
    },
    /// The command line does not make sense.
    #[error("{0}")]
    Usage(String),
    /// Nobody takes connections there.
    #[error("{address} takes no connection ({source}); is the kernel running?")]
    NoConnection {
        /// Where.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The kernel said neither yes nor no.
    #[error("the kernel did not acknowledge the request within {0:?}; is another program at this port?")]
    NoAck(Duration),
    /// The connection ended or failed in the middle.
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    /// The kernel began, and did not finish as it was to.
    #[error("{0}")]
    Incomplete(String),
    /// The whole took longer than `--timeout`.
    #[error("it took longer than the {0:?} of --timeout")]
    TimedOut(Duration),
    /// A file or the output of this program fails.
    #[error("{what}: {source}")]
    Local {
        /// Which.
        what: String,
        /// What the system says.
        source: io::Error,
    },
}

/// The statuses that the program ends with, for `--help` and the man page.
pub const EXIT_CODES: &str = "\
Exit status:
  0  done
  1  the kernel refused the request
  2  the command line is wrong, or a token is missing
  3  no connection
  4  not acknowledged in time (2 s unless --ack-timeout says otherwise)
  5  the connection broke
  6  begun, but not completed: cancelled, deadline passed, context full, failed
  7  longer than --timeout
  8  a local file or the output failed";

impl Error {
    /// The status that the program ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Refused { .. } => 1,
            Error::Usage(_) => 2,
            Error::NoConnection { .. } => 3,
            Error::NoAck(_) => 4,
            Error::Broken(_) => 5,
            Error::Incomplete(_) => 6,
            Error::TimedOut(_) => 7,
            Error::Local { .. } => 8,
        }
    }

    /// Its name in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::Refused { .. } => "refused",
            Error::Usage(_) => "usage",
            Error::NoConnection { .. } => "no-connection",
            Error::NoAck(_) => "no-ack",
            Error::Broken(_) => "broken",
            Error::Incomplete(_) => "incomplete",
            Error::TimedOut(_) => "timed-out",
            Error::Local { .. } => "local",
        }
    }

    /// Whether a new connection may help.
    pub fn is_of_the_line(&self) -> bool {
        matches!(self, Error::NoConnection { .. } | Error::NoAck(_) | Error::Broken(_))
    }
}

impl From<AskError> for Error {
    fn from(error: AskError) -> Self {
        let text = match error {
            AskError::NoToken => {
                format!("{error}; pass it with --token, --token-file or AUTON_TOKEN")
            }
            _ => error.to_string(),
        };
        Error::Usage(text)
    }
}
