//! A queue: what comes in waits in memory until it is worked off, at a steady pace. Overload that lasts as long as falls that
//! end by themselves do (see `plateau`) is worked off again; a consumer that is too slow for good fills memory, though much is given back all the while.

use super::{DT, Pages, Workload};
use crate::crash::host::machine::Machine;

pub struct Backlog {
    pages: Pages,
    waiting: f64,
    /// Pages a second: what comes in on average, and what can be worked off.
    arriving: f64,
    working: f64,
    /// What comes in more while it is overloaded, and how long that lasts and pauses.
    surge: f64,
    surge_s: f64,
    pause_s: f64,
    surging: bool,
    until_s: f64,
    age_s: f64,
}

impl Backlog {
    pub fn new(machine: &mut Machine) -> Self {
        let pages = Pages::new(machine);
        let available = machine.available() as f64;
        let working = available / machine.random.log_between(2.0, 40.0);
        // Half of the consumers keep up, but for surges.
        let keeps_up = machine.random.chance(0.5);
        let slowly = available / machine.random.log_between(8.0, 120.0);
        let arriving = if keeps_up { working * machine.random.between(0.3, 0.9) } else { working + slowly };
        let surge_s = machine.random.log_between(0.15, 3.0);
        let height =
            if keeps_up { machine.random.between(0.1, 0.8) } else { machine.random.between(0.0, 0.3) };
        Backlog {
            pages,
            waiting: 0.0,
            arriving,
            working,
            surge: available * height / surge_s,
            surge_s,
            pause_s: machine.random.log_between(5.0, 40.0),
            surging: false,
            until_s: machine.random.between(1.0, 20.0),
            age_s: 0.0,
        }
    }
}

impl Workload for Backlog {
    fn tick(&mut self, machine: &mut Machine) {
        self.age_s += DT;
        if self.age_s >= self.until_s {
            self.surging = !self.surging;
            let length = if self.surging { self.surge_s } else { self.pause_s };
            self.until_s = self.age_s + length * machine.random.between(0.5, 1.5);
        }
        let coming = self.arriving + if self.surging { self.surge } else { 0.0 };
        let come = machine.random.count(coming * DT) as f64;
        let gone = (machine.random.count(self.working * DT) as f64).min(self.waiting + come);
        self.waiting += come - gone;
        // What goes at once is taken and given back as well.
        let kept = self.pages.count();
        let through = come.min(gone) as usize;
        self.pages.set(machine, kept + through);
        self.pages.set(machine, self.waiting as usize);
    }
}
