//! One run of a workload: what the predictor sees, and what happened.

use ai_insights::crash_predictor::Sample;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// A labelled run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The workload family: what train and test are split by.
    pub family: String,
    /// Simulated, or recorded on a real machine.
    pub simulated: bool,
    /// Which run it is.
    pub name: String,
    /// About ten samples a second.
    pub samples: Vec<Sample>,
    /// When the workload began.
    pub start_ns: u64,
    /// When memory ran out, ascending.
    pub ooms: Vec<u64>,
}

impl Run {
    /// Whether memory runs out within `horizon_ns` after `t_ns`.
    pub fn oom_within(&self, t_ns: u64, horizon_ns: u64) -> bool {
        self.next_oom(t_ns).is_some_and(|oom| oom <= t_ns.saturating_add(horizon_ns))
    }

    /// Whether an OOM comes later than 5 s after the workload's start and after the OOM before: what a warning of 5 s
    /// can be asked for.
    pub fn is_late(&self, oom: u64) -> bool {
        let before = self.ooms.iter().copied().rfind(|other| *other < oom).unwrap_or(self.start_ns);
        oom > before + 5 * SECOND
    }

    /// The next OOM after `t_ns`.
    pub fn next_oom(&self, t_ns: u64) -> Option<u64> {
        self.ooms.iter().copied().find(|oom| *oom > t_ns)
    }
}
