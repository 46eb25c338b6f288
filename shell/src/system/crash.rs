//! The crash predictor: its state, and what it recorded.

use ai_insights::crash_predictor::{Assessment, FACTORS, Factor, GuardScore, Mode, Record, Sample, Score};
use alloc::vec::Vec;
use core::time::Duration;

/// The crash predictor at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct CrashState {
    /// What it says; `None` before its first sample.
    pub assessment: Option<Assessment>,
    /// What drives it, largest first.
    pub factors: [Factor; FACTORS],
    /// The threshold.
    pub threshold: f32,
    /// Who acts.
    pub mode: Mode,
    /// Pages in all.
    pub total_pages: u64,
    /// Free pages of the last samples, oldest first.
    pub free_pages: Vec<u64>,
    /// How good it has been.
    pub score: Score,
    /// What its guard has done.
    pub guard: GuardScore,
    /// Alarms and misses, newest first.
    pub history: Vec<Record>,
    /// Samples taken.
    pub samples: u64,
    /// Longest time of a sample.
    pub slowest: Duration,
    /// Mean time of a sample.
    pub mean: Duration,
    /// Half of the samples took no longer.
    pub median: Duration,
    /// 99 of 100 samples took no longer.
    pub p99: Duration,
    /// Growth that is held back.
    pub held: HeldBack,
}

/// Holding back the growth of tasks that agreed to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HeldBack {
    /// Whether a hold is in force.
    pub in_force: bool,
    /// Tasks that wait now.
    pub waiting: u32,
    /// Holds so far.
    pub holds: u64,
    /// Time that tasks waited, added up.
    pub time: Duration,
}

/// Samples as the crash predictor saw them.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CrashRecording {
    /// Whether it goes on.
    pub on: bool,
    /// Oldest first.
    pub samples: Vec<Sample>,
    /// When memory ran out, in nanoseconds after boot.
    pub ooms_ns: Vec<u64>,
    /// Samples for which there was no room.
    pub missed: u64,
}
