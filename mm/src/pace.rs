//! How fast memory may be taken while growth is held back, as by Linux's `memory.high`: 1/60 of what is available *now* in a
//! second, so that the less there is, the slower it goes.
//!
//! After its time, or when 1/50 of all memory has come back, a pace lets go: it allows twice as much at once and with every
//! further 3 s, until that would be more than a quarter. Programs that come and go give memory back all the time, and would be
//! at full speed again after a moment; so a program that grows on does so faster and faster, but slowly enough to be
//! foreseen again, and one that had nearly all it wanted is no longer kept from it.
//!
//! Only the arithmetic is here. Who has to wait, and how, is the caller's: `kernel/src/memory/hold_back.rs`, and the
//! simulated machines of `cargo xtask eval crash`.

/// In a second this part of what is available may be taken.
const PART: u64 = 60;
/// After its time a pace allows twice as much with each of these steps, until it would allow more than `LOOSEST`.
const EASE_NS: u64 = 3_000_000_000;
const LOOSEST: u64 = 4;
/// A pace begins to let go when this part of all memory has come back.
const RECOVERED_PART: u64 = 50;
const SECOND_NS: u64 = 1_000_000_000;
/// What may be taken is counted in millionths of a page, so that short times count too.
const MILLIONTHS: u64 = 1_000_000;

/// A pace in force. Times are nanoseconds of any one clock that never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// When it begins to let go.
    until_ns: u64,
    /// Pages available at which it begins to let go.
    enough: u64,
    /// Millionths of pages that may still be taken; below 0 after a large request, which the next ones wait for.
    allowed: i64,
}

impl Pace {
    /// Begins, for this long, on a machine of `total` pages of which `available` are free or can be reclaimed. Nothing may be
    /// taken before the first [`look`](Pace::look).
    #[must_use]
    pub const fn begin(now_ns: u64, duration_ns: u64, available: u64, total: u64) -> Self {
        let enough = available.saturating_add(total / RECOVERED_PART);
        Self { until_ns: now_ns.saturating_add(duration_ns), enough, allowed: 0 }
    }

    /// Lasts until this long from now. For one that is tight still; one that lets go is to begin anew.
    pub const fn renew(&mut self, now_ns: u64, duration_ns: u64) {
        self.until_ns = now_ns.saturating_add(duration_ns);
    }

    /// Whether it does not let go yet.
    #[must_use]
    pub const fn is_tight(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }

    /// Whether it has let go entirely: whatever is asked for may be taken.
    #[must_use]
    pub fn is_over(&self, now_ns: u64) -> bool {
        self.part(now_ns).is_none()
    }

    /// Allows what has become due in `passed_ns`, with so many pages available now; at most a quarter of a second's worth is
    /// saved up.
    pub fn look(&mut self, now_ns: u64, passed_ns: u64, available: u64) {
        if available >= self.enough {
            self.until_ns = self.until_ns.min(now_ns);
        }
        let Some(part) = self.part(now_ns) else { return };
        let a_second = (available / part).saturating_mul(MILLIONTHS);
        let passed = passed_ns.min(SECOND_NS / 4);
        let due = u128::from(a_second) * u128::from(passed) / u128::from(SECOND_NS);
        let most = i64::try_from(a_second / 4).unwrap_or(i64::MAX);
        self.allowed = self.allowed.saturating_add(i64::try_from(due).unwrap_or(i64::MAX)).min(most);
    }

    /// Whether something may be taken now, however large.
    #[must_use]
    pub const fn allows(&self) -> bool {
        self.allowed > 0
    }

    /// So many pages are taken.
    pub const fn take(&mut self, pages: u64) {
        self.allowed = self.allowed.saturating_sub_unsigned(pages.saturating_mul(MILLIONTHS));
    }

    /// In a second this part of what is available may be taken; `None` when it is over.
    fn part(&self, now_ns: u64) -> Option<u64> {
        let steps = now_ns.checked_sub(self.until_ns).map_or(0, |late| late / EASE_NS + 1);
        PART.checked_shr(u32::try_from(steps).unwrap_or(u32::MAX)).filter(|&part| part >= LOOSEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const SIX_SECONDS: u64 = 6 * SECOND_NS;

    /// Pages taken one at a time in these milliseconds, by somebody who looks every 10 ms; `available` stays as it is.
    fn taken(pace: &mut Pace, ms: core::ops::Range<u64>, available: u64) -> u64 {
        let mut pages = 0;
        for now in ms.step_by(10) {
            pace.look(now * MS, 10 * MS, available);
            while pace.allows() && !pace.is_over(now * MS) {
                pace.take(1);
                pages += 1;
            }
        }
        pages
    }

    #[test]
    fn a_sixtieth_a_second_of_what_is_available() {
        let mut pace = Pace::begin(0, SIX_SECONDS, 60_000, 100_000);
        assert!(!pace.allows(), "nothing is due yet");
        assert_eq!(taken(&mut pace, 0..1000, 60_000), 1000);
        assert_eq!(taken(&mut pace, 1000..2000, 6_000), 100);
        assert_eq!(taken(&mut pace, 2000..3000, 59), 0, "less than a page a second");
    }

    #[test]
    fn a_quarter_of_a_second_is_saved_up() {
        let mut pace = Pace::begin(0, SIX_SECONDS, 60_000, 100_000);
        pace.look(5 * SECOND_NS, 5 * SECOND_NS, 60_000);
        let mut bit_by_bit = Pace::begin(0, SIX_SECONDS, 60_000, 100_000);
        (0..500).for_each(|i| bit_by_bit.look(i * 10 * MS, 10 * MS, 60_000));
        assert_eq!(pace.allowed, 250 * MILLIONTHS as i64);
        assert_eq!(bit_by_bit.allowed, pace.allowed);
    }

    #[test]
    fn after_a_large_request_the_next_one_waits() {
        let mut pace = Pace::begin(0, SIX_SECONDS, 60_000, 100_000);
        pace.look(0, 10 * MS, 60_000);
        assert!(pace.allows());
        pace.take(510);
        // 10 pages were due, 1000 come a second: the debt is 500 pages, half a second.
        assert_eq!(taken(&mut pace, 10..500, 60_000), 0);
        assert!(taken(&mut pace, 500..530, 60_000) > 0);
    }

    #[test]
    fn it_lets_go_step_by_step() {
        let mut pace = Pace::begin(0, SIX_SECONDS, 60_000, 100_000);
        let steps = [6, 9, 12].map(|s| taken(&mut pace, s * 1000..(s + 1) * 1000, 60_000));
        assert_eq!(steps, [60_000 / 30, 60_000 / 15, 60_000 / 7]);
        assert!(!pace.is_tight(6 * SECOND_NS));
        assert!(!pace.is_over(15 * SECOND_NS - 1));
        assert!(pace.is_over(15 * SECOND_NS));
        assert!(pace.is_over(u64::MAX));
    }

    #[test]
    fn it_lets_go_when_memory_is_back() {
        let mut pace = Pace::begin(0, SIX_SECONDS, 60_000, 100_000);
        pace.look(SECOND_NS, 10 * MS, 61_999);
        assert!(pace.is_tight(SECOND_NS));
        pace.look(SECOND_NS, 10 * MS, 62_000);
        assert!(!pace.is_tight(SECOND_NS));
        assert!(pace.is_over(10 * SECOND_NS));
    }

    #[test]
    fn renewed_it_lasts_longer_and_remembers_what_was_taken() {
        let mut pace = Pace::begin(0, SIX_SECONDS, 60_000, 100_000);
        pace.take(7);
        pace.renew(SECOND_NS, SIX_SECONDS);
        assert!(pace.is_tight(7 * SECOND_NS - 1));
        assert!(!pace.is_tight(7 * SECOND_NS));
        assert_eq!(pace.allowed, -7 * MILLIONTHS as i64);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let mut pace = Pace::begin(u64::MAX, u64::MAX, u64::MAX, u64::MAX);
        pace.look(u64::MAX, u64::MAX, u64::MAX - 1);
        assert!(pace.allows());
        pace.take(u64::MAX);
        pace.take(u64::MAX);
        assert!(!pace.allows());
        pace.renew(u64::MAX, u64::MAX);
        pace.look(0, 0, 0);
        assert!(!pace.is_over(0));
    }
}
