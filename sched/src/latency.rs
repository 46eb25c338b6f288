//! A histogram of times that takes 128 bytes and a shift.

use crate::Nanos;

/// Lengths of time, counted in classes by powers of two nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    counts: [u32; 32],
}

impl Latency {
    /// Counts one.
    pub fn add(&mut self, time: Nanos) {
        let class = (64 - time.leading_zeros() as usize).min(31);
        self.counts[class] = self.counts[class].saturating_add(1);
    }

    /// Counts all that `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count)).sum()
    }

    /// The counts by class: class n holds the times below 2ⁿ ns and from 2ⁿ⁻¹ on, the last one all that are longer.
    #[must_use]
    pub fn classes(&self) -> &[u32; 32] {
        &self.counts
    }

    /// A time that this share of them did not exceed, to the next power of two; 0 when there were none.
    #[must_use]
    pub fn quantile(&self, share: f32) -> Nanos {
        let mut left = libm::ceilf(self.count() as f32 * share) as u64;
        for (class, &count) in self.counts.iter().enumerate() {
            if left <= u64::from(count) && left > 0 {
                return 1 << class;
            }
            left = left.saturating_sub(count.into());
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_to_the_next_power_of_two() {
        let mut latency = Latency::default();
        assert_eq!(latency.quantile(0.5), 0);
        for time in [0, 100, 100, 100, 1000, Nanos::MAX] {
            latency.add(time);
        }
        assert_eq!((latency.count(), latency.classes()[7]), (6, 3));
        assert_eq!(latency.quantile(0.5), 128);
        assert_eq!(latency.quantile(0.8), 1024);
        assert_eq!(latency.quantile(1.0), 1 << 31);
        let mut twice = latency;
        twice.merge(&latency);
        assert_eq!((twice.count(), twice.quantile(0.5)), (12, 128));
    }
}
