//! Clients of a service: they come at random, hold memory as long as their session lasts, and go. When the rate is steady, as many come
//! as go after a while (Little's law); whether memory holds that many is a matter of the demand.

use super::{DT, Pages, Workload, demand};
use crate::crash::host::machine::Machine;

/// How long sessions last.
#[derive(Clone, Copy)]
enum Lives {
    /// Without memory: most are short, some are long.
    Exponential,
    /// All about alike, by this share.
    Alike(f64),
}

struct Session {
    pages: Pages,
    ends_s: f64,
}

pub struct Sessions {
    sessions: Vec<Session>,
    /// Pages of a usual session.
    usual: f64,
    /// Sizes differ by this factor.
    spread: f64,
    life_s: f64,
    lives: Lives,
    /// Sessions a second, once the service is known.
    rate: f64,
    ramp_s: f64,
    age_s: f64,
}

impl Sessions {
    pub fn new(machine: &mut Machine) -> Self {
        let share = machine.random.log_between(0.001, 0.02);
        let life_s = machine.random.log_between(2.0, 30.0);
        let lives = if machine.random.chance(0.5) {
            Lives::Exponential
        } else {
            Lives::Alike(machine.random.between(0.05, 0.5))
        };
        Sessions {
            sessions: Vec::new(),
            usual: machine.available() as f64 * share,
            spread: machine.random.between(1.0, 3.0),
            life_s,
            lives,
            rate: demand(machine) / share / life_s,
            ramp_s: machine.random.log_between(0.3, 30.0),
            age_s: 0.0,
        }
    }

    fn come(&mut self, machine: &mut Machine) {
        let mut pages = Pages::new(machine);
        let size = self.usual * machine.random.log_between(1.0 / self.spread, self.spread);
        let lasts_s = match self.lives {
            Lives::Exponential => -self.life_s * machine.random.between(1e-9, 1.0).ln(),
            Lives::Alike(by) => self.life_s * machine.random.between(1.0 - by, 1.0 + by),
        };
        pages.set(machine, size as usize);
        self.sessions.push(Session { pages, ends_s: self.age_s + lasts_s });
    }
}

impl Workload for Sessions {
    fn tick(&mut self, machine: &mut Machine) {
        self.age_s += DT;
        let rate = self.rate * (self.age_s / self.ramp_s).min(1.0);
        for _ in 0..machine.random.count(rate * DT) {
            self.come(machine);
        }
        let now = self.age_s;
        for session in self.sessions.iter_mut().filter(|session| session.ends_s <= now) {
            session.pages.set(machine, 0);
        }
        self.sessions.retain(|session| session.ends_s > now);
    }
}
