//! What the sizes of comparable bursts say of one that is under way.

use super::Tail;
use crate::Nanos;

/// How many past bursts count.
pub const WINDOW: usize = 20;

/// A size that is remembered counts these, 256 ns; so four bytes hold up to 18 minutes.
pub(super) const GRAIN: Nanos = 256;

/// A size as it is remembered.
pub(super) fn grains(size: Nanos) -> u32 {
    u32::try_from(size / GRAIN).unwrap_or(u32::MAX).max(1)
}

/// The sizes of up to [`WINDOW`] comparable bursts, as a distribution of this one's size.
///
/// The order that follows is Gittins's: of all tasks, run the one with the least *effort*, the expected CPU time until a completion if
/// it is run up to the best point to stop at. For sizes that are known it is shortest remaining time first; for any distribution it is
/// the order of least mean response time that does not know the sizes (Gittins 1979; Scully, Harchol-Balter and Scheller-Wolf 2018).
///
/// One burst in `len + 1` is taken to be longer than all that were seen: by three times, or as long again as it has run already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// Ascending, in grains.
    sizes: [u32; WINDOW],
    len: u8,
}

/// What an [`Outlook`] says at a moment. All of it is in nanoseconds of CPU time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prospect {
    /// Expected until a completion: the smaller, the sooner it should run.
    pub effort: Nanos,
    /// How much longer to run before looking again.
    pub stretch: Nanos,
    /// The median of what remains.
    pub remaining: Nanos,
}

/// What is expected of a burst when nothing at all was seen: 0.2 ms. Little, so that it is tried, and its size becomes known.
const UNKNOWN: Nanos = 200_000;
/// How much longer than all before the burst is that is longer.
const BEYOND: Nanos = 3;
/// Bursts that have run for longer, 13 days, count as having run for this; so no product here is too large.
const LONGEST: Nanos = 1 << 50;

impl Prospect {
    /// Of a burst that has not begun.
    pub const UNKNOWN: Self = Self { effort: UNKNOWN, stretch: UNKNOWN, remaining: UNKNOWN };
}

impl Default for Outlook {
    /// Nothing known.
    fn default() -> Self {
        Self { sizes: [0; WINDOW], len: 0 }
    }
}

impl Outlook {
    /// From sizes in any order; those beyond [`WINDOW`] are left out.
    #[must_use]
    pub fn new(sizes: impl IntoIterator<Item = Nanos>) -> Self {
        let mut outlook = Self::default();
        for size in sizes.into_iter().take(WINDOW) {
            outlook.sizes[usize::from(outlook.len)] = grains(size);
            outlook.len += 1;
        }
        outlook.sizes[..usize::from(outlook.len)].sort_unstable();
        outlook
    }

    /// From `len` sizes in grains, which ascend.
    pub(super) fn of_sorted(sizes: [u32; WINDOW], len: u8) -> Self {
        Self { sizes, len: len.min(WINDOW as u8) }
    }

    fn sizes(&self) -> &[u32] {
        &self.sizes[..usize::from(self.len).min(WINDOW)]
    }

    /// The middle size, if there is one.
    #[must_use]
    pub fn median(&self) -> Option<Nanos> {
        self.sizes().get(self.sizes().len() / 2).map(|&size| Nanos::from(size) * GRAIN)
    }

    /// What it says of a burst that has run for `attained`. Of one that has outrun all sizes here, `tail` says it.
    #[must_use]
    pub fn prospect(&self, attained: Nanos, tail: &Tail) -> Prospect {
        let attained = attained.min(LONGEST);
        let longest = self.sizes().last().map(|&size| Nanos::from(size) * GRAIN);
        let outrun = longest.is_none_or(|longest| longest <= attained);
        if let Some(prospect) = outrun.then(|| tail.prospect(attained)).flatten() {
            return prospect;
        }
        let passed = u32::try_from(attained / GRAIN).unwrap_or(u32::MAX);
        let done = self.sizes().iter().take_while(|&&size| size <= passed).count();
        let left = &self.sizes()[done..];
        let beyond = (longest.unwrap_or(UNKNOWN) * BEYOND).max(2 * attained + 1);
        // Run until the k-th size: k of those left complete, the others have each taken that long.
        let mut others = left.len() as u64 + 1;
        let (mut sum, mut count) = (0, 0);
        // The least effort so far, as a fraction.
        let (mut least, mut of, mut stretch) = (u64::MAX >> 8, 1, 1);
        let mut until = |more: Nanos| {
            (sum, count, others) = (sum + more, count + 1, others - 1);
            let effort = sum + others * more;
            if effort * of < least * count {
                (least, of, stretch) = (effort, count, more);
            }
        };
        // All of them are longer than what has passed.
        left.iter().for_each(|&size| until(Nanos::from(size) * GRAIN - attained));
        until(beyond - attained);
        let middle = left.get(left.len() / 2).map_or(beyond, |&size| Nanos::from(size) * GRAIN);
        Prospect { effort: least / of, stretch, remaining: middle - attained }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sizes_are_a_known_size() {
        let outlook = Outlook::new([10_000_128; WINDOW]);
        assert_eq!(outlook.median(), Some(10_000_128));
        let at = |attained| outlook.prospect(attained, &Tail::new()).effort;
        // A little above what is left: one in 21 is longer.
        assert!((10_000_000..10_600_000).contains(&at(0)) && (1_000_000..1_060_000).contains(&at(9_000_000)));
        assert!(outlook.prospect(11_000_000, &Tail::new()).effort >= 11_000_000);
    }

    #[test]
    fn mice_among_elephants_are_tried_first() {
        // Half take 1 ms, half 1000 ms: worth trying for 1 ms, and then not before anything shorter.
        let outlook = Outlook::new((0..WINDOW).map(|i| if i % 2 == 0 { 1_024_000 } else { 1_000_000_000 }));
        let (start, later) = (outlook.prospect(0, &Tail::new()), outlook.prospect(1_100_000, &Tail::new()));
        assert!(start.effort < 2_200_000 && start.stretch == 1_024_000);
        assert!(later.effort > 900_000_000);
    }

    #[test]
    fn nothing_known_and_the_ends_of_the_scale() {
        assert_eq!(Outlook::new([]), Outlook::default());
        assert_eq!(Outlook::default().median(), None);
        for outlook in [Outlook::default(), Outlook::new([0, u64::MAX]), Outlook::new([u64::MAX; WINDOW])] {
            for attained in [0, 1, LONGEST - 1, u64::MAX / 2, u64::MAX] {
                let prospect = outlook.prospect(attained, &Tail::new());
                assert!(prospect.effort > 0 && prospect.stretch > 0, "{prospect:?}");
            }
        }
    }
}
