//! The choices of a workload: the same for the same seed.

use llm::random::SplitMix64;

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Random(SplitMix64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// Evenly between `low` and `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.next_f64()
    }

    /// Between `low` and `high`, as many below as above their geometric mean.
    pub fn log_between(&mut self, low: f64, high: f64) -> f64 {
        libm::exp(self.between(libm::log(low), libm::log(high)))
    }

    /// True in this share of calls.
    pub fn chance(&mut self, share: f64) -> bool {
        self.between(0.0, 1.0) < share
    }

    /// One of `0..n`; 0 when there is none.
    pub fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }

    /// How many events of this mean happen (the mean, rounded at random).
    pub fn count(&mut self, mean: f64) -> usize {
        let mean = mean.max(0.0);
        mean as usize + usize::from(self.chance(mean - mean as u64 as f64))
    }
}
