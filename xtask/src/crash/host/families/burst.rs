//! Batch jobs that arrive in bursts: each takes its memory over a moment, computes, and ends. Nobody counts how many fit.

use super::{DT, Pages, Workload, demand};
use crate::crash::host::machine::Machine;

/// A job that runs.
struct Job {
    pages: Pages,
    size: f64,
    ramp_s: f64,
    life_s: f64,
    age_s: f64,
}

pub struct Burst {
    jobs: Vec<Job>,
    available: f64,
    /// Size of a usual job, as a share of what was available.
    usual: f64,
    hold_s: f64,
    /// Jobs a second in a burst and between bursts.
    rates: [f64; 2],
    /// Mean length of both.
    phases_s: [f64; 2],
    phase: usize,
    phase_ends_s: f64,
    age_s: f64,
}

impl Burst {
    pub fn new(machine: &mut Machine) -> Self {
        let usual = machine.random.log_between(0.01, 0.05);
        let hold_s = machine.random.log_between(2.0, 20.0);
        // Jobs at once, times their size: as a share of what fits.
        let at_once = |pressure: f64| pressure / usual / hold_s;
        let rates = [at_once(machine.random.between(0.1, 0.3)), at_once(demand(machine))];
        let phases_s = [machine.random.log_between(5.0, 30.0), machine.random.log_between(3.0, 30.0)];
        let available = machine.available() as f64;
        Burst {
            jobs: Vec::new(),
            available,
            usual,
            hold_s,
            rates,
            phases_s,
            phase: 0,
            phase_ends_s: phases_s[0] * machine.random.between(0.0, 2.0),
            age_s: 0.0,
        }
    }

    fn start(&mut self, machine: &mut Machine) {
        let pages = Pages::new(machine);
        let size = self.available * self.usual * machine.random.log_between(0.5, 2.0);
        let ramp_s = machine.random.log_between(0.15, 3.0);
        let life_s = ramp_s + self.hold_s * machine.random.between(0.5, 1.5);
        self.jobs.push(Job { pages, size, ramp_s, life_s, age_s: 0.0 });
    }
}

impl Workload for Burst {
    fn tick(&mut self, machine: &mut Machine) {
        self.age_s += DT;
        if self.age_s >= self.phase_ends_s {
            self.phase = 1 - self.phase;
            self.phase_ends_s = self.age_s + self.phases_s[self.phase] * machine.random.between(0.5, 1.5);
        }
        for _ in 0..machine.random.count(self.rates[self.phase] * DT) {
            self.start(machine);
        }
        for job in &mut self.jobs {
            job.age_s += DT;
            let share = if job.age_s < job.life_s { (job.age_s / job.ramp_s).min(1.0) } else { 0.0 };
            job.pages.set(machine, (job.size * share) as usize);
        }
        self.jobs.retain(|job| job.age_s < job.life_s);
    }
}
