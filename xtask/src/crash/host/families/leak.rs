//! A task that forgets to free: steady, in gusts, or ever faster. It goes on until memory or the run ends.

use super::{DT, Pages, Workload};
use crate::crash::host::machine::Machine;
use mm::MigrateType;

pub struct Leak {
    pages: Pages,
    rate: f64,
    growth: f64,
    gusts: f64,
}

impl Leak {
    pub fn new(machine: &mut Machine) -> Self {
        let pages = Pages::new(machine);
        let available = machine.available() as f64;
        let fill_s = machine.random.log_between(8.0, 200.0);
        Leak {
            pages,
            rate: available / fill_s,
            growth: if machine.random.chance(0.3) { machine.random.between(0.005, 0.04) } else { 0.0 },
            gusts: machine.random.between(0.0, 0.8),
        }
    }
}

impl Workload for Leak {
    fn tick(&mut self, machine: &mut Machine) {
        let gust = 1.0 + self.gusts * machine.random.between(-1.0, 1.0);
        let n = machine.random.count(self.rate * DT * gust);
        self.pages.grow(machine, n, MigrateType::Unmovable);
        self.rate *= 1.0 + self.growth * DT;
        if machine.is_busy() {
            let churn = machine.random.count(250.0 * DT);
            self.pages.churn(machine, churn);
        }
    }
}
