//! Batch jobs that arrive in bursts: each takes its memory over a moment, computes, and ends. Nobody counts how many fit.
//! Drawn as the host's `burst`: jobs of 1 % to 5 %, a few between bursts; in a burst what fits, or more.

use super::level::follow;
use super::random::Random;
use super::{Run, demand};
use crate::arch::time::uptime_nanos;
use crate::memory::OutOfMemory;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A job that runs.
struct Job {
    start: f64,
    size: f64,
    ramp: f64,
    life: f64,
}

impl Job {
    fn holds(&self, now: f64) -> f64 {
        self.size * ((now - self.start) / self.ramp).min(1.0)
    }
}

struct Jobs {
    /// Bytes of a usual job, and the mean seconds for which it computes.
    usual: f64,
    hold: f64,
    /// Jobs a second between bursts and in a burst.
    rates: [f64; 2],
    /// Mean seconds of both.
    phases: [f64; 2],
}

impl Jobs {
    fn drawn(room: f64, random: &mut Random) -> Self {
        let usual = random.log_between(0.01, 0.05);
        let hold = random.log_between(2.0, 20.0);
        // Jobs at once, times their size: as a share of what fits.
        let rate = |pressure: f64| pressure / usual / hold;
        let rates = [rate(random.between(0.1, 0.3)), rate(demand(random))];
        let phases = [random.log_between(5.0, 30.0), random.log_between(3.0, 30.0)];
        Self { usual: room * usual, hold, rates, phases }
    }

    fn job(&self, start: f64, random: &mut Random) -> Job {
        let size = self.usual * random.log_between(0.5, 2.0);
        let ramp = random.log_between(0.15, 3.0);
        Job { start, size, ramp, life: ramp + self.hold * random.between(0.5, 1.5) }
    }
}

/// Without a seed other jobs come each time.
pub(super) fn burst(run: &Arc<Run>, seed: Option<Random>) -> Result<(), OutOfMemory> {
    let mut random = seed.unwrap_or_else(|| Random::new(uptime_nanos()));
    let jobs = Jobs::drawn(run.room as f64, &mut random);
    let (mut running, mut phase) = (Vec::<Job>::new(), 0);
    let mut phase_end = jobs.phases[0] * random.between(0.0, 2.0);
    follow(run, 0.0, Random::new(0), |tick| {
        let now = tick.seconds;
        if now >= phase_end {
            phase = 1 - phase;
            phase_end = now + jobs.phases[phase] * random.between(0.5, 1.5);
        }
        running.retain(|job| now - job.start < job.life);
        for _ in 0..random.count(jobs.rates[phase] * tick.step) {
            running.push(jobs.job(now, &mut random));
        }
        running.iter().map(|job| job.holds(now)).sum()
    })
}
