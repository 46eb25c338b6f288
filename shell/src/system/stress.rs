//! Workloads that may exhaust memory: how one is to run, how it goes, and what it came to.

use alloc::string::String;
use core::time::Duration;
use thiserror::Error;

/// How a stress workload is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StressRequest {
    /// How long at most.
    pub duration: Duration,
    /// What all its parameters are drawn from; typical ones without it.
    pub seed: Option<u64>,
}

/// A stress workload under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StressState {
    /// Time since it began.
    pub elapsed: Duration,
    /// Bytes that it holds.
    pub held: u64,
    /// Free memory.
    pub free: u64,
}

/// What a stress workload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StressOutcome {
    /// Why it ended.
    pub end: StressEnd,
    /// When it began, after boot.
    pub start: Duration,
    /// How long it ran.
    pub duration: Duration,
    /// The most that it held.
    pub peak: u64,
    /// Its allocations that were refused.
    pub failures: u64,
    /// Times that memory ran out meanwhile.
    pub ooms: u64,
}

/// Why a stress workload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StressEnd {
    /// Its time was over.
    Time,
    /// Memory ran out, and it was ended for it.
    Killed,
    /// Memory ran out, and its allocation was refused.
    Refused,
    /// Ctrl-C.
    Interrupted,
}

impl StressEnd {
    /// As `memctl stress` prints it.
    pub fn name(self) -> &'static str {
        match self {
            StressEnd::Time => "time",
            StressEnd::Killed => "killed",
            StressEnd::Refused => "refused",
            StressEnd::Interrupted => "interrupted",
        }
    }
}

/// Why a stress workload did not run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StressError {
    /// There is no such family.
    #[error("there is no stress family `{0}`; `memctl stress` lists them")]
    Unknown(String),
    /// It could not be started.
    #[error("the workload could not be started: {0}")]
    NotStarted(String),
}
