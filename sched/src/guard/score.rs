//! Is it better? The outcome of every burst beside that of ideal sharing, window by window.

use crate::Nanos;
use crate::fast::exp;
use crate::fixed::{as_ln, log2};
use crate::fluid::Compared;

/// Bursts in a window.
pub const WINDOW: usize = 64;
/// What is left of an old window's weight when a new one comes.
const FADE: f32 = 0.9;
/// The tail of a window is its second longest response time: about the 98th percentile.
const TAIL: usize = 2;
/// With fewer bursts, nothing is said of how well sizes are foretold.
pub(super) const FEWEST_PAIRS: usize = 8;
const PAIRS_TO_JUDGE: usize = 32;

/// Response times relative to ideal sharing; 1 is as good, 0.5 twice as good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Of the mean.
    pub mean: f32,
    /// Of the windows' long response times.
    pub tail: f32,
}

/// The outcomes of one rule.
#[derive(Debug, Clone)]
pub(super) struct Score {
    /// In microseconds, at least one: ratios must exist.
    real: [u32; WINDOW],
    ideal: [u32; WINDOW],
    len: usize,
    windows: u32,
    /// Sums over windows, fading.
    weight: f32,
    sum_real: f32,
    sum_ideal: f32,
    tail: f32,
}

fn micros(time: Nanos) -> u32 {
    u32::try_from(time / 1000).unwrap_or(u32::MAX).max(1)
}

impl Score {
    pub(super) const fn new() -> Self {
        Self {
            real: [0; WINDOW],
            ideal: [0; WINDOW],
            len: 0,
            windows: 0,
            weight: 0.0,
            sum_real: 0.0,
            sum_ideal: 0.0,
            tail: 0.0,
        }
    }

    /// Notes a burst. What comes while a full window waits to be closed is left out.
    pub(super) fn add(&mut self, Compared { real, ideal, .. }: Compared) {
        if self.len < WINDOW {
            self.real[self.len] = micros(real);
            self.ideal[self.len] = micros(ideal);
            self.len += 1;
        }
    }

    /// Closes the window, if it is full.
    pub(super) fn close(&mut self) -> bool {
        if self.len < WINDOW {
            return false;
        }
        self.len = 0;
        self.windows += 1;
        self.weight = self.weight * FADE + 1.0;
        let sum = |times: &[u32; WINDOW]| times.iter().map(|&time| u64::from(time)).sum::<u64>() as f32;
        self.sum_real = self.sum_real * FADE + sum(&self.real);
        self.sum_ideal = self.sum_ideal * FADE + sum(&self.ideal);
        let long = |times: &mut [u32; WINDOW]| log2(u64::from(*times.select_nth_unstable(WINDOW - TAIL).1));
        self.tail = self.tail * FADE + as_ln(long(&mut self.real) - long(&mut self.ideal));
        true
    }

    pub(super) fn windows(&self) -> u32 {
        self.windows
    }

    /// As it is now; `None` before the first window.
    pub(super) fn ratio(&self) -> Option<Ratio> {
        let known = self.windows > 0;
        known.then(|| Ratio { mean: self.sum_real / self.sum_ideal, tail: exp(self.tail / self.weight) })
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

/// The last bursts: what was expected of them, and what they took.
#[derive(Debug, Clone, Copy)]
pub struct Pairs {
    /// In units of 256 ns.
    pairs: [(u32, u32); WINDOW],
    count: usize,
    /// Running average of the concordance of windows.
    average: f32,
    windows: u32,
}

impl Pairs {
    pub(super) const fn new() -> Self {
        Self { pairs: [(0, 0); WINDOW], count: 0, average: 0.5, windows: 0 }
    }

    pub(super) fn add(&mut self, expected: Nanos, seen: Nanos) {
        let units = |time: Nanos| u32::try_from(time >> 8).unwrap_or(u32::MAX);
        self.pairs[self.count % WINDOW] = (units(expected), units(seen));
        self.count = self.count.wrapping_add(1);
    }

    /// Bursts so far.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// After every full window: takes it into the average.
    pub(super) fn close(&mut self, foresight: Foresight) {
        self.windows += 1;
        let step = (1.0 / self.windows as f32).max(0.25);
        self.average += step * (foresight.concordance - self.average);
    }

    /// How well these were foretold; `None` of fewer than 8. Compares each with each: not under a lock.
    #[must_use]
    pub fn foresight(&self) -> Option<Foresight> {
        let pairs = &self.pairs[..self.count.min(WINDOW)];
        // `right` counts twice, for expecting the same of both is a guess.
        let (mut different, mut right) = (0_u32, 0_u32);
        for (i, a) in pairs.iter().enumerate() {
            for b in &pairs[..i] {
                let (short, long) = if a.1 < b.1 { (a, b) } else { (b, a) };
                let clearly = 4 * u64::from(long.1) > 5 * u64::from(short.1);
                let foretold = u32::from(short.0 < long.0) + u32::from(short.0 <= long.0);
                different += u32::from(clearly);
                right += if clearly { foretold } else { 0 };
            }
        }
        let all = pairs.len() * pairs.len().saturating_sub(1) / 2;
        (pairs.len() >= FEWEST_PAIRS).then(|| Foresight {
            concordance: if different > 0 { right as f32 / (2 * different) as f32 } else { 0.5 },
            different: different as f32 / all as f32,
        })
    }

    /// What speaks for trying an order by expected sizes, if anything does: the order is foretold clearly better than by guessing, or
    /// all sizes are so much the same that one after the other beats all at once in any order.
    pub(super) fn promising(&self, now: Foresight) -> Option<Foresight> {
        let clearly = self.count >= PAIRS_TO_JUDGE && now.concordance >= 0.7;
        let steadily = self.windows >= 3 && self.average >= 0.6 && now.concordance >= 0.6;
        (now.different < 0.1 || clearly || steadily).then_some(now)
    }

    /// What speaks against going on: the order is guessed.
    pub(super) fn hopeless(&self, now: Foresight) -> Option<Foresight> {
        let guessed = self.windows >= 3 && self.average < 0.55 && now.concordance < 0.55;
        (guessed && now.different >= 0.1).then_some(now)
    }
}
