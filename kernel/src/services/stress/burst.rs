//! Batch jobs: each takes its memory over some seconds, computes, and ends. Some are too large.

use super::Run;
use super::level::follow;
use super::random::Random;
use crate::arch::time::uptime_nanos;
use crate::memory::OutOfMemory;
use alloc::sync::Arc;

struct Job {
    start: f64,
    size: f64,
    ramp: f64,
    hold: f64,
    idle: f64,
}

impl Job {
    /// The next one, with an input about as large as usual, or now and then much larger, and read at the same pace.
    fn drawn(start: f64, usual: f64, random: &mut Random) -> Self {
        let mut job = Self {
            start,
            size: usual * random.log_between(0.5, 1.5),
            ramp: random.log_between(3.0, 12.0),
            hold: random.between(0.5, 8.0),
            idle: random.between(0.5, 8.0),
        };
        if random.chance(0.25) {
            let times = random.between(2.0, 5.0);
            job.size *= times;
            job.ramp *= times;
        }
        job
    }

    fn holds(&self, now: f64) -> f64 {
        let age = now - self.start;
        if age < self.ramp + self.hold { self.size * (age / self.ramp).min(1.0) } else { 0.0 }
    }

    fn end(&self) -> f64 {
        self.start + self.ramp + self.hold + self.idle
    }
}

pub(super) fn burst(run: &Arc<Run>, seed: Option<Random>) -> Result<(), OutOfMemory> {
    let mut random = seed.unwrap_or_else(|| Random::new(uptime_nanos()));
    let usual = run.room as f64 * random.between(0.2, 0.6);
    let mut job = Job::drawn(0.0, usual, &mut random);
    let churn = random.clone();
    follow(run, 0.0, churn, |tick| {
        if tick.seconds > job.end() {
            job = Job::drawn(tick.seconds, usual, &mut random);
        }
        job.holds(tick.seconds)
    })
}
