//! Counters: totals that only grow.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Description, Label, Unit};

/// A total since boot: questions asked, bytes allocated, nanoseconds spent.
///
/// One relaxed atomic addition an update, so it may be used from any context, interrupts included.
#[derive(Debug)]
pub struct Counter {
    description: Description,
    value: AtomicU64,
}

impl Counter {
    /// A counter at zero. `name` is without `_total` (the encoders add it) and ends in the unit's name.
    pub const fn new(name: &'static str, unit: Unit, help: &'static str) -> Self {
        Counter { description: Description::new(name, unit, help), value: AtomicU64::new(0) }
    }

    /// The same counter with fixed labels, one static for each combination.
    pub const fn labels(mut self, labels: &'static [Label]) -> Self {
        self.description.labels = labels;
        self
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n` steps (nanoseconds where the unit is seconds, see [`Unit`]).
    pub fn add(&self, n: u64) {
        self.value.fetch_add(n, Ordering::Relaxed);
    }

    /// The total so far, in steps.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// Name, unit, help and labels.
    pub const fn description(&self) -> &Description {
        &self.description
    }
}
