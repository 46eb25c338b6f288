//! Exact quantiles of the last measurements.

/// How many are kept.
const KEPT: usize = 256;

/// The last [`KEPT`] values of something, 2 KiB.
#[derive(Clone)]
pub struct Recent {
    values: [u64; KEPT],
    added: u64,
}

impl Recent {
    /// None yet.
    pub const fn new() -> Self {
        Self { values: [0; KEPT], added: 0 }
    }

    /// Adds one.
    pub fn add(&mut self, value: u64) {
        if let Some(place) = self.values.get_mut((self.added % KEPT as u64) as usize) {
            *place = value;
        }
        self.added += 1;
    }

    /// How many were added ever.
    pub fn count(&self) -> u64 {
        self.added
    }

    /// The value that `percent` of a hundred of those kept do not exceed; `None` where there are none.
    pub fn quantile(&self, percent: usize) -> Option<u64> {
        let mut sorted = self.values;
        let kept = sorted.get_mut(..self.added.min(KEPT as u64) as usize)?;
        kept.sort_unstable();
        let rank = (kept.len() * percent.min(100)).div_ceil(100).max(1);
        kept.get(rank - 1).copied()
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_last_values() {
        let mut recent = Recent::new();
        assert_eq!(recent.quantile(50), None);
        (1..=100).for_each(|value| recent.add(value));
        assert_eq!(
            [0, 50, 99, 100].map(|percent| recent.quantile(percent)),
            [Some(1), Some(50), Some(99), Some(100)]
        );
        (0..KEPT as u64).for_each(|_| recent.add(7));
        assert_eq!(
            (recent.quantile(0), recent.quantile(100), recent.count()),
            (Some(7), Some(7), 100 + KEPT as u64)
        );
    }
}
