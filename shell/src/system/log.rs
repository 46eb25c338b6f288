//! Lines of the kernel log, and how grave they are.

use alloc::string::String;
use core::time::Duration;

/// One line of the kernel log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Time since reset.
    pub time: Duration,
    /// Severity.
    pub level: LogLevel,
    /// The message, without a line end.
    pub text: String,
}

/// Severity of a log line, gravest first (so `a <= b` means "at least as grave as b").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something is odd.
    Warn,
    /// Progress.
    Info,
    /// Detail.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// All levels, gravest first.
    pub const ALL: [LogLevel; 5] =
        [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];

    /// As `dmesg --level` takes it.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}
