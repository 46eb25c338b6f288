//! A garbage-collected heap: grows to its limit, is collected, grows again. Never more than what is there.
//! From nothing to the limit it takes 0.15 s to 3 s, as falls that end by themselves on the recorded machines (`mem_oom`: 154 of them,
//! 0.7 s in the middle, 2.2 s at the 95th percentile).

use super::{DT, Pages, Workload};
use crate::crash::host::machine::Machine;

pub struct Sawtooth {
    pages: Pages,
    low: f64,
    high: f64,
    rate: f64,
    size: f64,
    jitter: f64,
    limit: f64,
}

impl Sawtooth {
    pub fn new(machine: &mut Machine) -> Self {
        let pages = Pages::new(machine);
        let usable = machine.available() as f64 - 2.0 * (machine.total() as f64 * 4.0).sqrt();
        // A heap's limit is set well below the memory.
        let high = usable * machine.random.between(0.25, 0.8);
        let low = high * machine.random.between(0.1, 0.8);
        let fill_s = machine.random.log_between(0.15, 3.0);
        Sawtooth {
            pages: Pages { atomic: 0.0, ..pages },
            low,
            high,
            rate: high / fill_s,
            size: 0.0,
            jitter: machine.random.between(0.0, 0.3),
            limit: high,
        }
    }
}

impl Workload for Sawtooth {
    fn tick(&mut self, machine: &mut Machine) {
        self.size += self.rate * DT * machine.random.between(0.5, 1.5);
        if self.size >= self.limit {
            self.size = self.low;
            self.limit = self.high * (1.0 - self.jitter * machine.random.between(0.0, 1.0));
        }
        self.pages.set(machine, self.size as usize);
    }
}
