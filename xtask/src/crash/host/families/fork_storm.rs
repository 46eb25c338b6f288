//! Tasks that are born faster than they die: a kernel stack of four pages each, tables, and a working set. The rate rises until
//! a limit; whether the population settles below what memory holds depends on how long tasks live.

use super::{DT, Workload, demand};
use crate::crash::host::machine::{Machine, Take};
use mm::MigrateType;

pub struct ForkStorm {
    tasks: Vec<(f64, Vec<u64>)>,
    rate: f64,
    peak_rate: f64,
    ramp_s: f64,
    life_s: f64,
    working_set: usize,
    atomic: f64,
    age_s: f64,
}

impl ForkStorm {
    pub fn new(machine: &mut Machine) -> Self {
        let working_set = 8 + machine.random.below(56);
        let life_s = machine.random.log_between(2.0, 30.0);
        // The population at the peak, as a share of what fits.
        let pressure = demand(machine);
        let fits = machine.available() as f64 / (working_set as f64 + 6.0);
        ForkStorm {
            tasks: Vec::new(),
            rate: 0.0,
            peak_rate: pressure * fits / life_s,
            ramp_s: machine.random.log_between(1.0, 40.0),
            life_s,
            working_set,
            atomic: machine.random.between(-0.1, 0.1).max(0.0),
            age_s: 0.0,
        }
    }

    fn fork(&mut self, machine: &mut Machine) -> bool {
        let mut held = Vec::with_capacity(self.working_set + 3);
        let stack = (2, MigrateType::Unmovable);
        let tables = [(0, MigrateType::Unmovable); 2];
        let set = std::iter::repeat_n((0, MigrateType::Movable), self.working_set);
        let mut done = true;
        for (order, kind) in [stack].into_iter().chain(tables).chain(set) {
            let may_wait = !machine.random.chance(self.atomic);
            match machine.take(order, kind, may_wait) {
                Take::Got(id) => held.push(id),
                Take::Later | Take::Refused => {
                    done = false;
                    break;
                }
            }
        }
        let life = -self.life_s * machine.random.between(1e-9, 1.0).ln();
        self.tasks.push((self.age_s + life, held));
        done
    }
}

impl Workload for ForkStorm {
    fn tick(&mut self, machine: &mut Machine) {
        self.age_s += DT;
        self.rate = self.peak_rate * (self.age_s / self.ramp_s).min(1.0);
        let now = self.age_s;
        let (dead, alive) = std::mem::take(&mut self.tasks).into_iter().partition(|(end, _)| *end <= now);
        self.tasks = alive;
        let dead: Vec<(f64, Vec<u64>)> = dead;
        dead.into_iter().flat_map(|(_, held)| held).for_each(|id| machine.give(id));
        for _ in 0..machine.random.count(self.rate * DT) {
            if !self.fork(machine) {
                break;
            }
        }
    }
}
