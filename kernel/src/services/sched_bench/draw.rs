//! Sizes and times drawn from a seed.

use crate::services::selftests::random::Random;

/// Numbers from the distributions that the workloads need; the same seed gives the same numbers.
pub struct Draw(Random);

impl Draw {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        // Seeds that are near each other begin near each other.
        (0..8).for_each(|_| {
            random.next();
        });
        Self(random)
    }

    /// In 0..1, never 0.
    pub fn unit(&mut self) -> f64 {
        ((self.0.next() >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    }

    /// Exponential: the gap between events that come at random.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * libm::log(self.unit())
    }

    /// Log-normal around a median; `spread` is the standard deviation of the logarithm.
    pub fn around(&mut self, median: f64, spread: f64) -> f64 {
        let normal =
            libm::sqrt(-2.0 * libm::log(self.unit())) * libm::cos(core::f64::consts::TAU * self.unit());
        median * libm::exp(spread * normal)
    }
}

/// Whole nanoseconds, at least one.
pub fn nanos(time: f64) -> u64 {
    // A float that is too large becomes the largest number.
    time.max(1.0) as u64
}
