//! Batch jobs: each takes its memory over some seconds, computes, and ends. Some are too large.

use super::{DT, Pages, Workload};
use crate::crash::host::machine::Machine;

pub struct Burst {
    pages: Pages,
    usual: f64,
    job: f64,
    ramp_s: f64,
    hold_s: f64,
    age_s: f64,
    idle_s: f64,
}

impl Burst {
    pub fn new(machine: &mut Machine) -> Self {
        let pages = Pages::new(machine);
        let usual = machine.available() as f64 * machine.random.between(0.15, 0.5);
        let mut burst = Burst { pages, usual, job: 0.0, ramp_s: 1.0, hold_s: 1.0, age_s: 0.0, idle_s: 0.0 };
        burst.next(machine);
        burst
    }

    fn next(&mut self, machine: &mut Machine) {
        self.job = self.usual * machine.random.log_between(0.5, 1.5);
        self.ramp_s = machine.random.log_between(0.5, 8.0);
        if machine.random.chance(0.1) {
            // A larger input at the same pace.
            let times = machine.random.between(2.0, 5.0);
            self.job *= times;
            self.ramp_s *= times;
        }

        self.hold_s = machine.random.between(0.5, 8.0);
        self.idle_s = machine.random.between(0.5, 8.0);
        self.age_s = 0.0;
    }
}

impl Workload for Burst {
    fn tick(&mut self, machine: &mut Machine) {
        self.age_s += DT;
        let working = self.age_s < self.ramp_s + self.hold_s;
        let size = if working { self.job * (self.age_s / self.ramp_s).min(1.0) } else { 0.0 };
        self.pages.set(machine, size as usize);
        if self.age_s > self.ramp_s + self.hold_s + self.idle_s {
            self.next(machine);
        }
    }
}
