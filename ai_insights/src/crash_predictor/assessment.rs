//! What the predictor says after a sample.

use super::features::{FEATURES, NAMES};
use thiserror::Error;

/// How many factors an assessment names.
pub const FACTORS: usize = 4;

/// Risk levels. WARNING begins exactly at the threshold, the one that everything obeys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Below half the threshold.
    Normal,
    /// From half the threshold on.
    Elevated,
    /// From the threshold on: alarms are raised, the guard may act.
    Warning,
    /// Over half way from the threshold to certainty.
    Critical,
}

impl Risk {
    /// The level of a probability under a threshold.
    pub fn of(probability: f32, threshold: f32) -> Self {
        if probability >= (1.0 + threshold) / 2.0 {
            Risk::Critical
        } else if probability >= threshold {
            Risk::Warning
        } else if probability >= threshold / 2.0 {
            Risk::Elevated
        } else {
            Risk::Normal
        }
    }

    /// In capitals, as `crashctl` prints it.
    pub fn name(self) -> &'static str {
        match self {
            Risk::Normal => "NORMAL",
            Risk::Elevated => "ELEVATED",
            Risk::Warning => "WARNING",
            Risk::Critical => "CRITICAL",
        }
    }
}

/// Seconds until memory runs out if the present course goes on: the median and an 80 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// One in ten comes sooner.
    pub low: f32,
    /// The median.
    pub mid: f32,
    /// One in ten comes later.
    pub high: f32,
}

/// A feature and what it adds to the log-odds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor {
    /// Its name.
    pub name: &'static str,
    /// Log-odds that it adds against a quiet machine; positive drives the risk up.
    pub contribution: f32,
}

/// The state of things after one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assessment {
    /// Time of the sample.
    pub t_ns: u64,
    /// Probability that memory runs out within [`HORIZON_NS`](super::HORIZON_NS).
    pub probability: f32,
    /// The same as a level.
    pub risk: Risk,
    /// `None` while nothing falls.
    pub seconds_to_oom: Option<Interval>,
}

/// The [`FACTORS`] largest contributions.
pub(super) fn largest(contributions: &[f32; FEATURES]) -> [Factor; FACTORS] {
    let mut top = [Factor { name: "", contribution: 0.0 }; FACTORS];
    for (name, contribution) in NAMES.iter().zip(contributions) {
        let mut candidate = Factor { name, contribution: *contribution };
        for place in &mut top {
            if place.name.is_empty() || candidate.contribution.abs() > place.contribution.abs() {
                core::mem::swap(place, &mut candidate);
            }
        }
    }
    top
}

/// A threshold that is none.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("the threshold is a probability between 0.01 and 0.99; {0} is not")]
pub struct ThresholdError(pub f32);
