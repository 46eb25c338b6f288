//! Is it better? The outcome of every burst beside that of ideal sharing, window by window.

use crate::fast::ln;
use crate::fluid::Compared;

/// Bursts in a window.
pub const WINDOW: u32 = 32;
/// Pairs of an expected and a real size that are remembered.
const PAIRS: usize = 64;
/// Share of a new window in the running averages.
const STEP: f32 = 0.25;

/// Response times relative to ideal sharing; 1 is as good, 0.5 twice as good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Of the mean.
    pub mean: f32,
    /// Of the root of the mean square: the long ones weigh most.
    pub tail: f32,
}

/// Sums over a window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    pub bursts: u32,
    real: f32,
    ideal: f32,
    real_squares: f32,
    ideal_squares: f32,
}

impl Window {
    pub(super) fn add(&mut self, Compared { real, ideal }: Compared) {
        // In milliseconds: squares of nanoseconds would leave the range of f32.
        let (real, ideal) = (real as f32 / 1e6, ideal as f32 / 1e6);
        self.bursts += 1;
        self.real += real;
        self.ideal += ideal;
        self.real_squares += real * real;
        self.ideal_squares += ideal * ideal;
    }

    pub(super) fn ratio(&self) -> Option<Ratio> {
        let mean = self.real / self.ideal;
        let tail = libm::sqrtf(self.real_squares / self.ideal_squares);
        (mean.is_finite() && tail.is_finite() && mean > 0.0).then_some(Ratio { mean, tail })
    }
}

/// Running averages over windows, of the logarithms: one bad window weighs as much as one good.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Average {
    windows: u32,
    mean: f32,
    tail: f32,
}

impl Average {
    pub(super) fn add(&mut self, ratio: Ratio) {
        self.windows += 1;
        let step = STEP.max(1.0 / self.windows as f32);
        self.mean += step * (ln(ratio.mean) - self.mean);
        self.tail += step * (ln(ratio.tail) - self.tail);
    }

    pub(super) fn windows(&self) -> u32 {
        self.windows
    }

    /// As ratios; `None` before the first window.
    pub(super) fn ratio(&self) -> Option<Ratio> {
        let exp = crate::fast::exp;
        (self.windows > 0).then(|| Ratio { mean: exp(self.mean), tail: exp(self.tail) })
    }
}

/// How well sizes are foretold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Foresight {
    /// Of the pairs of bursts of clearly different sizes, the share whose order was foretold: 0.5 is guessing.
    pub concordance: f32,
    /// Share of all pairs that are of clearly different sizes.
    pub different: f32,
}

impl Foresight {
    /// Whether an order by expected sizes has something to go by: the order is foretold better than by guessing, or all sizes are so
    /// much the same that one after the other beats all at once in any order.
    #[must_use]
    pub fn promising(&self) -> bool {
        self.different < 0.1 || self.concordance >= 0.6
    }
}

/// The last bursts: what was expected of them, and what they took.
#[derive(Debug, Clone)]
pub(super) struct Pairs {
    pairs: [(f32, f32); PAIRS],
    count: usize,
}

impl Pairs {
    pub(super) const fn new() -> Self {
        Self { pairs: [(0.0, 0.0); PAIRS], count: 0 }
    }

    pub(super) fn add(&mut self, expected: f32, seen: f32) {
        self.pairs[self.count % PAIRS] = (expected, seen);
        self.count = self.count.wrapping_add(1);
    }

    pub(super) fn foresight(&self) -> Option<Foresight> {
        let pairs = &self.pairs[..self.count.min(PAIRS)];
        let (mut all, mut different, mut right) = (0.0, 0.0, 0.0);
        for (i, a) in pairs.iter().enumerate() {
            for b in &pairs[..i] {
                all += 1.0;
                let (short, long) = if a.1 < b.1 { (a, b) } else { (b, a) };
                if long.1 > 1.25 * short.1 {
                    different += 1.0;
                    // Expecting the same of both is a guess.
                    right += if short.0 < long.0 {
                        1.0
                    } else if short.0 > long.0 {
                        0.0
                    } else {
                        0.5
                    };
                }
            }
        }
        (pairs.len() >= 8).then(|| Foresight {
            concordance: if different > 0.0 { right / different } else { 0.5 },
            different: different / all,
        })
    }
}
