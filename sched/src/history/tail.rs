//! The sizes of all bursts together, for those that nothing comparable says anything of.

use super::Prospect;
use crate::Nanos;
use crate::fast::ln;

/// Classes of sizes, four to an octave, from 1 µs to 73 minutes.
const CLASSES: usize = 128;
const SMALLEST: f32 = 1024.0;
const PER_OCTAVE: f32 = 4.0;
/// When so many were counted, all counts are halved: what is long past counts less.
const FULL: f32 = 4096.0;
/// With fewer bursts than this beyond a size, nothing is said of it.
const FEWEST: f32 = 2.0;

/// A histogram of sizes.
#[derive(Debug, Clone)]
pub struct Tail {
    counts: [f32; CLASSES],
    total: f32,
}

impl Default for Tail {
    fn default() -> Self {
        Self::new()
    }
}

fn class(size: f32) -> usize {
    // Saturates at 0 for what is below the smallest.
    (((ln(size.max(SMALLEST) / SMALLEST)) * core::f32::consts::LOG2_E * PER_OCTAVE) as usize).min(CLASSES - 1)
}

impl Tail {
    /// Nothing counted.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: [0.0; CLASSES], total: 0.0 }
    }

    /// Counts a burst.
    pub fn push(&mut self, size: Nanos) {
        self.counts[class(size as f32)] += 1.0;
        self.total += 1.0;
        if self.total >= FULL {
            self.counts.iter_mut().for_each(|count| *count /= 2.0);
            self.total /= 2.0;
        }
    }

    /// What to expect of a burst of which only is known that it has run for `attained`; `None` when hardly any were that long.
    #[must_use]
    pub fn prospect(&self, attained: Nanos) -> Option<Prospect> {
        let attained = attained as f32;
        let first = class(attained) + 1;
        let counts = self.counts.get(first..)?;
        let all: f32 = counts.iter().sum();
        if all < FEWEST {
            return None;
        }
        // The upper end of a class is 2^(1/4) times its lower one.
        let ratio = libm::exp2f(1.0 / PER_OCTAVE);
        let mut size = SMALLEST * libm::exp2f(first as f32 / PER_OCTAVE) * libm::sqrtf(ratio);
        let (mut sum, mut ended) = (0.0, 0.0);
        let mut best = Prospect { effort: f32::INFINITY, stretch: 0.0, remaining: 0.0 };
        for &count in counts {
            let more = size - attained;
            size *= ratio;
            if count <= 0.0 {
                continue;
            }
            if ended < all / 2.0 && ended + count >= all / 2.0 {
                best.remaining = more;
            }
            sum += count * more;
            ended += count;
            // One more that is longer than all.
            let effort = (sum + (all + 1.0 - ended) * more) / ended;
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
        let effort = |attained| tail.prospect(attained).map_or(0.0, |p| p.effort);
        assert!((1.5e6..2.5e6).contains(&effort(0)), "{}", effort(0));
        assert!((0.8e9..1.2e9).contains(&effort(2_000_000)));
        assert!((0.3e9..0.6e9).contains(&effort(600_000_000)));
        assert_eq!(tail.prospect(Nanos::MAX), None);
    }
}
