//! What the sizes of comparable bursts say of one that is under way.

use super::Tail;
use crate::Nanos;

/// How many past bursts count.
pub const WINDOW: usize = 20;

/// The sizes of up to [`WINDOW`] comparable bursts, as a distribution of this one's size.
///
/// The order that follows is Gittins's: of all tasks, run the one with the least *effort*, the expected CPU time until a completion if
/// it is run up to the best point to stop at. For sizes that are known it is shortest remaining time first; for any distribution it is
/// the order of least mean response time that does not know the sizes (Gittins 1979; Scully, Harchol-Balter and Scheller-Wolf 2018).
///
/// One burst in `len + 1` is taken to be longer than all that were seen: by three times, or as long again as it has run already.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Ascending, in nanoseconds.
    sizes: [f32; WINDOW],
    len: u8,
}

/// What an [`Outlook`] says at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prospect {
    /// Expected CPU time until a completion, in nanoseconds: the smaller, the sooner it should run.
    pub effort: f32,
    /// How much longer to run before looking again, in nanoseconds.
    pub stretch: f32,
    /// The median of what remains, in nanoseconds.
    pub remaining: f32,
}

/// What is expected of a burst when nothing at all was seen: 0.2 ms. Little, so that it is tried, and its size becomes known.
const UNKNOWN: f32 = 2e5;
/// How much longer than all before the burst is that is longer.
const BEYOND: f32 = 3.0;

impl Default for Outlook {
    /// Nothing known.
    fn default() -> Self {
        Self { sizes: [0.0; WINDOW], len: 0 }
    }
}

impl Outlook {
    /// From sizes in nanoseconds, in any order; those beyond [`WINDOW`] are left out, as are those that are not positive numbers.
    #[must_use]
    pub fn new(sizes: impl IntoIterator<Item = f32>) -> Self {
        // Positive numbers are in the order of their bits, and comparing integers is cheaper: by far where floats are emulated.
        let positive = 1..f32::INFINITY.to_bits();
        let (mut bits, mut len) = ([0; WINDOW], 0);
        for size in sizes.into_iter().map(f32::to_bits).filter(|size| positive.contains(size)).take(WINDOW) {
            // Insertion keeps it sorted: twenty numbers, and most come nearly in order.
            let mut at = len;
            while at > 0 && bits[at - 1] > size {
                bits[at] = bits[at - 1];
                at -= 1;
            }
            bits[at] = size;
            len += 1;
        }
        Self { sizes: bits.map(f32::from_bits), len: len as u8 }
    }

    /// The sizes, ascending.
    #[must_use]
    pub fn sizes(&self) -> &[f32] {
        &self.sizes[..usize::from(self.len)]
    }

    /// The middle size, if there is one.
    #[must_use]
    pub fn median(&self) -> Option<f32> {
        self.sizes().get(self.sizes().len() / 2).copied()
    }

    /// What it says of a burst that has run for `attained`. Of one that has outrun all sizes here, `tail` says it.
    #[must_use]
    pub fn prospect(&self, attained: Nanos, tail: &Tail) -> Prospect {
        let outrun = self.sizes().last().is_none_or(|&longest| longest <= attained as f32);
        if let Some(prospect) = outrun.then(|| tail.prospect(attained)).flatten() {
            return prospect;
        }
        let attained = attained as f32;
        let done = self.sizes().iter().take_while(|&&size| size <= attained).count();
        let left = &self.sizes()[done..];
        let longest = self.sizes().last().copied().unwrap_or(UNKNOWN);
        let beyond = (longest * BEYOND).max(2.0 * attained);
        // Run until the k-th size: k of those left complete, the others have each taken that long.
        let (mut sum, mut count) = (0.0, 0.0);
        let mut best = Prospect { effort: f32::INFINITY, stretch: 0.0, remaining: 0.0 };
        let all = left.len() as f32 + 1.0;
        for size in left.iter().copied().chain([beyond]) {
            let more = size - attained;
            sum += more;
            count += 1.0;
            let effort = (sum + (all - count) * more) / count;
            if effort < best.effort {
                best.effort = effort;
                best.stretch = more;
            }
        }
        best.remaining = left.get(left.len() / 2).copied().unwrap_or(beyond) - attained;
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sizes_are_a_known_size() {
        let outlook = Outlook::new([10e6; WINDOW]);
        assert_eq!(outlook.median(), Some(10e6));
        let at = |attained| outlook.prospect(attained, &Tail::new()).effort;
        // A little above what is left: one in 21 is longer.
        assert!((10e6..10.6e6).contains(&at(0)) && (1e6..1.06e6).contains(&at(9_000_000)));
        assert!(outlook.prospect(11_000_000, &Tail::new()).effort >= 11e6);
    }

    #[test]
    fn mice_among_elephants_are_tried_first() {
        // Half take 1 ms, half 1000 ms: worth trying for 1 ms, and then not before anything shorter.
        let outlook = Outlook::new((0..WINDOW).map(|i| if i % 2 == 0 { 1e6 } else { 1e9 }));
        let (start, later) = (outlook.prospect(0, &Tail::new()), outlook.prospect(1_100_000, &Tail::new()));
        assert!(start.effort < 2.2e6 && start.stretch == 1e6);
        assert!(later.effort > 900e6);
    }

    #[test]
    fn nothing_known_and_nonsense() {
        assert_eq!(Outlook::new([f32::NAN, -1.0, f32::INFINITY]), Outlook::default());
        assert_eq!(Outlook::default().median(), None);
        for attained in [0, 1, u64::MAX / 2, u64::MAX] {
            let prospect = Outlook::default().prospect(attained, &Tail::new());
            assert!(prospect.effort.is_finite() && prospect.stretch > 0.0, "{prospect:?}");
        }
    }
}
