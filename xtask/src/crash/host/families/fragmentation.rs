//! Mixed orders: small blocks of all kinds come and go, some stay for good, and now and then somebody needs a large block
//! in one piece (a ring buffer, a DMA area).

use super::{DT, Workload};
use crate::crash::host::machine::{Machine, Take};
use mm::MigrateType;

pub struct Fragmentation {
    held: Vec<(u64, u64)>,
    frames: u64,
    target: f64,
    fill_s: f64,
    leak_share: f64,
    /// Share of the small blocks that can be moved.
    movable: f64,
    large_order: usize,
    large_every_s: f64,
    large: Vec<u64>,
    keep_large: bool,
    atomic: f64,
    age_s: f64,
    next_large_s: f64,
}

impl Fragmentation {
    pub fn new(machine: &mut Machine) -> Self {
        Fragmentation {
            held: Vec::new(),
            frames: 0,
            target: machine.available() as f64 * machine.random.between(0.3, 0.85),
            fill_s: machine.random.log_between(0.15, 3.0),
            leak_share: machine.random.between(-0.03, 0.03).max(0.0),
            movable: machine.random.between(0.2, 0.8),
            large_order: 4 + machine.random.below(5),
            large_every_s: machine.random.log_between(0.5, 6.0),
            large: Vec::new(),
            keep_large: machine.random.chance(0.4),
            atomic: machine.random.between(-0.5, 0.5).max(0.0),
            age_s: 0.0,
            next_large_s: machine.random.between(0.0, 3.0),
        }
    }

    fn small(&mut self, machine: &mut Machine) -> bool {
        let order = [0, 0, 0, 0, 0, 1, 1, 2, 2, 3][machine.random.below(10)];
        let kind =
            if machine.random.chance(self.movable) { MigrateType::Movable } else { MigrateType::Unmovable };
        match machine.take(order, kind, true) {
            Take::Got(id) => {
                // What leaks is never found again: not to be given back, and not when the program counts what it holds.
                if !machine.random.chance(self.leak_share) {
                    self.frames += 1 << order;
                    self.held.push((id, 1 << order));
                }
                true
            }
            Take::Later | Take::Refused => false,
        }
    }
}

impl Workload for Fragmentation {
    fn tick(&mut self, machine: &mut Machine) {
        self.age_s += DT;
        let target = self.target * (self.age_s / self.fill_s).min(1.0);
        // Churn a half in a second, then fill up.
        for _ in 0..machine.random.count(self.held.len() as f64 * 0.5 * DT) {
            let at = machine.random.below(self.held.len());
            let (id, frames) = self.held.swap_remove(at);
            machine.give(id);
            self.frames -= frames;
        }
        while (self.frames as f64) < target && self.small(machine) {}
        if self.age_s >= self.next_large_s {
            self.next_large_s = self.age_s + self.large_every_s;
            let may_wait = !machine.random.chance(self.atomic);
            let taken = machine.take(self.large_order, MigrateType::Unmovable, may_wait);
            if let Take::Got(id) = taken {
                self.large.push(id);
            }
            let most = if self.keep_large { 8 } else { 0 };
            while self.large.len() > most {
                machine.give(self.large.swap_remove(0));
            }
        }
    }
}
