//! A working set that grows to its size and stays: in a straight line or slower and slower. Never more than what is there.
//! Ramps last 0.15 s to 3 s, as falls that end by themselves on the recorded machines (`mem_oom`: 154 of them, 0.7 s in the
//! middle, 2.2 s at the 95th percentile). A straight ramp of half a minute could not be told from a leak by anyone, until it ends.

use super::{DT, Pages, Workload};
use crate::crash::host::machine::Machine;

pub struct Plateau {
    pages: Pages,
    size: f64,
    ramp_s: f64,
    saturating: bool,
    age_s: f64,
    /// Pages given back and taken again in a second.
    churn: f64,
}

impl Plateau {
    pub fn new(machine: &mut Machine) -> Self {
        let pages = Pages::new(machine);
        // What cannot be taken: the marks, and a margin.
        let usable = machine.available() as f64 - 2.0 * (machine.total() as f64 * 4.0).sqrt();
        Plateau {
            pages: Pages { atomic: 0.0, ..pages },
            size: usable * machine.random.between(0.3, 0.85),
            ramp_s: machine.random.log_between(0.15, 3.0),
            saturating: machine.random.chance(0.5),
            age_s: 0.0,
            churn: machine.random.between(0.0, 3000.0),
        }
    }
}

impl Workload for Plateau {
    fn tick(&mut self, machine: &mut Machine) {
        self.age_s += DT;
        let x = self.age_s / self.ramp_s;
        let share = if self.saturating { 1.0 - (-3.0 * x).exp() } else { x.min(1.0) };
        self.pages.set(machine, (self.size * share) as usize);
        let churn = machine.random.count(self.churn * DT);
        self.pages.churn(machine, churn);
    }
}
