//! The workload families. Each draws its parameters from the run's own random sequence; whether memory runs out is
//! what the machine makes of it, never decided here.

mod backlog;
mod burst;
mod cache_growth;
mod fork_storm;
mod fragmentation;
mod leak;
mod plateau;
mod replay;
mod sawtooth;
mod sessions;

use super::machine::{Machine, Take};
use mm::MigrateType;

/// Their names: the issue's, and two that are there to learn from alone. Train and test are split by these.
pub const FAMILIES: [&str; 10] = [
    "leak",
    "fork-storm",
    "cache-growth",
    "fragmentation",
    "burst",
    "sawtooth",
    "plateau",
    "replay",
    "sessions",
    "backlog",
];

/// Seconds in a slice.
pub const DT: f64 = 0.01;

/// What runs on the machine.
pub trait Workload {
    /// 10 ms of work.
    fn tick(&mut self, machine: &mut Machine);
}

/// Starts a workload. A name that is none of [`FAMILIES`] is a plateau.
pub fn start(family: &str, index: u64, machine: &mut Machine) -> Box<dyn Workload> {
    match family {
        "leak" => Box::new(leak::Leak::new(machine)),
        "fork-storm" => Box::new(fork_storm::ForkStorm::new(machine)),
        "cache-growth" => Box::new(cache_growth::CacheGrowth::new(machine)),
        "fragmentation" => Box::new(fragmentation::Fragmentation::new(machine)),
        "burst" => Box::new(burst::Burst::new(machine)),
        "sessions" => Box::new(sessions::Sessions::new(machine)),
        "backlog" => Box::new(backlog::Backlog::new(machine)),
        "sawtooth" => Box::new(sawtooth::Sawtooth::new(machine)),
        "replay" => Box::new(replay::Replay::new(machine, index)),
        _ => Box::new(plateau::Plateau::new(machine)),
    }
}

/// What a workload wants at its peak, as a share of what is there: what was meant to fit leaves room, as on machines that
/// somebody sized; what was not does not.
fn demand(machine: &mut Machine) -> f64 {
    if machine.random.chance(0.5) {
        machine.random.between(0.3, 0.85)
    } else {
        machine.random.between(1.05, 2.0)
    }
}

/// Single pages held by a workload: grows, shrinks, churns.
#[derive(Default)]
pub struct Pages {
    held: Vec<u64>,
    /// Share of requests that may not wait.
    pub atomic: f64,
}

impl Pages {
    /// Nothing held; each run has its own share of requests that may not wait.
    pub fn new(machine: &mut Machine) -> Self {
        let share = machine.random.between(-0.3, 0.3);
        Pages { held: Vec::new(), atomic: share.max(0.0) }
    }

    /// Pages held.
    pub fn count(&self) -> usize {
        self.held.len()
    }

    /// Takes up to `n` pages; stops when it is held up.
    pub fn grow(&mut self, machine: &mut Machine, n: usize, kind: MigrateType) {
        for _ in 0..n {
            let may_wait = !machine.random.chance(self.atomic);
            match machine.take(0, kind, may_wait) {
                Take::Got(id) => self.held.push(id),
                Take::Later | Take::Refused => break,
            }
        }
    }

    /// Gives `n` pages back, taken at random.
    pub fn shrink(&mut self, machine: &mut Machine, n: usize) {
        for _ in 0..n.min(self.held.len()) {
            let at = machine.random.below(self.held.len());
            machine.give(self.held.swap_remove(at));
        }
    }

    /// Grows or shrinks to `n`.
    pub fn set(&mut self, machine: &mut Machine, n: usize) {
        if n > self.count() {
            self.grow(machine, n - self.count(), MigrateType::Movable);
        } else {
            self.shrink(machine, self.count() - n);
        }
    }

    /// Gives back and takes again about `n` pages.
    pub fn churn(&mut self, machine: &mut Machine, n: usize) {
        let n = n.min(self.count());
        self.shrink(machine, n);
        self.grow(machine, n, MigrateType::Movable);
    }
}
