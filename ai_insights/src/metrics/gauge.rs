//! Gauges: values that go up and down.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{Description, Label, Unit};

/// The present value of something, in base units: free bytes, a share from 0 to 1, seconds to exhaustion.
///
/// The value is an `f64` kept as its bits in one atomic word: a reader never sees half of an update.
/// Whole numbers up to 2^53 are exact. A value that does not exist (no prediction now) is NaN.
#[derive(Debug)]
pub struct Gauge {
    description: Description,
    bits: AtomicU64,
}

impl Gauge {
    /// A gauge at zero; `name` ends in the unit's name.
    pub const fn new(name: &'static str, unit: Unit, help: &'static str) -> Self {
        Gauge { description: Description::new(name, unit, help), bits: AtomicU64::new(0f64.to_bits()) }
    }

    /// The same gauge with fixed labels, one static for each combination.
    pub const fn labels(mut self, labels: &'static [Label]) -> Self {
        self.description.labels = labels;
        self
    }

    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds to the value (negative to take away). Lock-free, but it retries under contention.
    pub fn add(&self, by: f64) {
        let mut seen = self.bits.load(Ordering::Relaxed);
        loop {
            let next = (f64::from_bits(seen) + by).to_bits();
            match self.bits.compare_exchange_weak(seen, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// The present value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.bits.load(Ordering::Relaxed))
    }

    /// Name, unit, help and labels.
    pub const fn description(&self) -> &Description {
        &self.description
    }
}
