//! Real work: a loop that only computes, and how fast it is.

use crate::arch::time::uptime_nanos;
use crate::tasks;
use core::hint::black_box;

/// CPU time between two looks at the clock: what a burst may be too long by.
const LOOK_NANOS: u64 = 50_000;
/// Iterations of a trial, before it is known how long they take.
const TRIAL: u64 = 20_000;
const TRIALS: u32 = 40;

/// The calibrated loop.
#[derive(Clone, Copy)]
pub struct Spin {
    /// Iterations in [`LOOK_NANOS`] on a CPU that nothing else wanted.
    per_look: u64,
}

/// So many steps of a linear congruential generator, each of which needs the one before.
fn steps(count: u64) {
    let mut x = 1u64;
    for step in 0..count {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step));
    }
    black_box(x);
}

impl Spin {
    /// Times the loop: the fastest of many short trials, for a host that takes the emulated CPU away can only make one slower.
    pub fn calibrate() -> Self {
        let trial = |_| {
            let (start, before) = (uptime_nanos(), tasks::run_nanos());
            steps(TRIAL);
            // CPU time leaves out what other threads ran meanwhile.
            let ran = tasks::run_nanos().saturating_sub(before);
            ran.min(uptime_nanos() - start).max(1)
        };
        let fastest = (0..TRIALS).map(trial).min().unwrap_or(1);
        Self { per_look: (TRIAL * LOOK_NANOS / fastest).max(1) }
    }

    /// Computes for about `left` nanoseconds, but not for longer than until it is time to look at the clock. How many iterations.
    pub fn compute(self, left: u64) -> u64 {
        let count = (self.per_look * left.min(LOOK_NANOS) / LOOK_NANOS).max(1);
        steps(count);
        count
    }

    /// What share of its calibrated speed the loop had, when so many iterations took so long.
    pub fn speed(self, iterations: u64, nanos: u64) -> f64 {
        let expected = iterations as f64 / self.per_look as f64 * LOOK_NANOS as f64;
        if nanos == 0 { 0.0 } else { expected / nanos as f64 }
    }
}
