//! Files are read without end, and fill the page cache; beside it a program that works, and sometimes one that wants much at once.

use super::{DT, Pages, Workload};
use crate::crash::host::machine::Machine;

pub struct CacheGrowth {
    pages: Pages,
    reading: f64,
    base: f64,
    swing: f64,
    period_s: f64,
    drift: f64,
    age_s: f64,
}

impl CacheGrowth {
    pub fn new(machine: &mut Machine) -> Self {
        let pages = Pages::new(machine);
        let available = machine.available() as f64;
        CacheGrowth {
            pages,
            reading: available / machine.random.log_between(3.0, 60.0),
            base: available * machine.random.between(0.1, 0.5),
            swing: available * machine.random.between(0.0, 0.25),
            period_s: machine.random.log_between(3.0, 40.0),
            // Some programs also grow.
            drift: if machine.random.chance(0.5) {
                available / machine.random.log_between(30.0, 200.0)
            } else {
                0.0
            },
            age_s: 0.0,
        }
    }
}

impl Workload for CacheGrowth {
    fn tick(&mut self, machine: &mut Machine) {
        self.age_s += DT;
        for _ in 0..machine.random.count(self.reading * DT) {
            machine.read_file_page();
        }
        let wave = 0.5 - 0.5 * (std::f64::consts::TAU * self.age_s / self.period_s).cos();
        let start = (self.age_s / 2.0).min(1.0);
        let size = start * self.base + self.swing * wave + self.drift * self.age_s;
        self.pages.set(machine, size as usize);
    }
}
