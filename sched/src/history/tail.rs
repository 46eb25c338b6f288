//! The sizes of all bursts together, for those that nothing comparable says anything of.

use super::Prospect;
use crate::Nanos;
use crate::fixed::{ONE, exp2, log2};

/// Classes of sizes, four to an octave, from 1 µs to 73 minutes.
const CLASSES: usize = 128;
/// log₂ of the smallest size, 1024 ns.
const SMALLEST: i32 = 10 * ONE;
const PER_OCTAVE: i32 = 4;
/// What a burst counts, so that counts can be halved a few times.
const BURST: u32 = 16;
/// When so many were counted, all counts are halved: what is long past counts less.
const FULL: u32 = 4096 * BURST;
/// With fewer bursts than this beyond a size, nothing is said of it.
const FEWEST: u32 = 2 * BURST;

/// A histogram of sizes.
#[derive(Debug, Clone)]
pub struct Tail {
    counts: [u32; CLASSES],
    total: u32,
}

impl Default for Tail {
    fn default() -> Self {
        Self::new()
    }
}

fn class(size: Nanos) -> usize {
    let above = (log2(size) - SMALLEST).max(0);
    ((above / (ONE / PER_OCTAVE)) as usize).min(CLASSES - 1)
}

/// The middle of a class, on a logarithmic scale.
fn middle(class: usize) -> Nanos {
    exp2(SMALLEST + class as i32 * (ONE / PER_OCTAVE) + ONE / PER_OCTAVE / 2)
}

impl Tail {
    /// Nothing counted.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: [0; CLASSES], total: 0 }
    }

    /// Counts a burst.
    pub fn push(&mut self, size: Nanos) {
        self.counts[class(size)] += BURST;
        self.total += BURST;
        if self.total >= FULL {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// What to expect of a burst of which only is known that it has run for `attained`; `None` when hardly any were that long.
    #[must_use]
    pub fn prospect(&self, attained: Nanos) -> Option<Prospect> {
        let first = class(attained) + 1;
        let counts = self.counts.get(first..)?;
        let all: u32 = counts.iter().sum();
        if all < FEWEST {
            return None;
        }
        let all = u64::from(all);
        let (mut sum, mut ended) = (0, 0);
        let mut best = Prospect { effort: Nanos::MAX, stretch: 1, remaining: 1 };
        for (class, &count) in (first..).zip(counts).filter(|(_, count)| **count > 0) {
            let (count, more) = (u64::from(count), middle(class).saturating_sub(attained).max(1));
            if 2 * ended < all && 2 * (ended + count) >= all {
                best.remaining = more;
            }
            sum += count * more;
            ended += count;
            // One more that is longer than all.
            let effort = (sum + (all + u64::from(BURST) - ended) * more) / ended;
            if effort < best.effort {
                best.effort = effort;
                best.stretch = more;
            }
        }
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_conditional() {
        let mut tail = Tail::new();
        assert_eq!(tail.prospect(0), None);
        for i in 0..100 {
            tail.push(if i % 2 == 0 { 1_000_000 } else { 1_000_000_000 });
        }
        let effort = |attained| tail.prospect(attained).map_or(0, |p| p.effort);
        assert!((1_500_000..2_500_000).contains(&effort(0)), "{}", effort(0));
        assert!((800_000_000..1_200_000_000).contains(&effort(2_000_000)));
        assert!((300_000_000..600_000_000).contains(&effort(600_000_000)));
        assert_eq!(tail.prospect(Nanos::MAX), None);
    }
}
