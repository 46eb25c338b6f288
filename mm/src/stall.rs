//! How much time is lost waiting for memory, as Linux's pressure stall information (PSI) defines it.
//!
//! *some* is the share of time in which at least one task waited for memory, *full* that in which at least one waited and none
//! could work. Averages over 10 s and 60 s are exponential, in fixed point as in `kernel/sched/psi.c`, fed every 2 s.

/// Time between two steps of the averages.
const PERIOD_NS: u64 = 2_000_000_000;
/// 1 in fixed point.
const ONE: u64 = 1 << 11;
/// e^(−2 s / 10 s) and e^(−2 s / 60 s).
const DECAY: [u64; 2] = [1677, 1981];

/// The account. The caller guards it with a lock that is taken with interrupts off.
#[derive(Debug, Clone, Default)]
pub struct Stall {
    stalled: u32,
    working: u32,
    /// Time of the last change.
    at_ns: u64,
    period_start_ns: u64,
    some: Share,
    full: Share,
}

/// Time of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    total_ns: u64,
    /// `total_ns` when the running period began.
    before_ns: u64,
    /// Averages: `ONE` is all of the time.
    averages: [u64; 2],
}

/// A share of time: averages in ‰, and the total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StallShare {
    /// Over 10 s, in thousandths.
    pub avg10: u16,
    /// Over 60 s, in thousandths.
    pub avg60: u16,
    /// Since boot, in nanoseconds.
    pub total_ns: u64,
}

/// A snapshot of a [`Stall`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StallStats {
    /// At least one task waited for memory.
    pub some: StallShare,
    /// At least one task waited for memory, and none worked.
    pub full: StallShare,
}

impl Stall {
    /// Nobody waits, nobody works. `now_ns` is the time of any clock that never goes back.
    #[must_use]
    pub const fn new(now_ns: u64) -> Self {
        let share = Share { total_ns: 0, before_ns: 0, averages: [0; 2] };
        Self { stalled: 0, working: 0, at_ns: now_ns, period_start_ns: now_ns, some: share, full: share }
    }

    /// A task begins to wait for memory: it enters reclaim or compaction because its allocation could not be served.
    pub fn begin(&mut self, now_ns: u64) {
        self.advance(now_ns);
        self.stalled = self.stalled.saturating_add(1);
    }

    /// A task that waited goes on. Without a [`begin`](Self::begin) it has no effect.
    pub fn end(&mut self, now_ns: u64) {
        self.advance(now_ns);
        self.stalled = self.stalled.saturating_sub(1);
    }

    /// From now on, `tasks` are runnable without waiting for memory: idle and background tasks not counted.
    pub fn set_working(&mut self, now_ns: u64, tasks: u32) {
        self.advance(now_ns);
        self.working = tasks;
    }

    /// The shares up to `now_ns`.
    pub fn stats(&mut self, now_ns: u64) -> StallStats {
        self.advance(now_ns);
        StallStats { some: self.some.public(), full: self.full.public() }
    }

    /// Accounts for the time since the last change, period by period. A time that went back counts as none.
    fn advance(&mut self, now_ns: u64) {
        let now_ns = now_ns.max(self.at_ns);
        let (some, full) = (self.stalled > 0, self.stalled > 0 && self.working == 0);
        let period_end = self.period_start_ns.saturating_add(PERIOD_NS);
        if now_ns >= period_end {
            // The period that was under way, then whole periods of the same state.
            let (rest, whole) = (period_end - self.at_ns, (now_ns - period_end) / PERIOD_NS);
            for (share, on) in [(&mut self.some, some), (&mut self.full, full)] {
                share.add(on, rest);
                share.close(1, share.total_ns - share.before_ns);
                share.add(on, whole * PERIOD_NS);
                share.close(whole, if on { PERIOD_NS } else { 0 });
            }
            self.period_start_ns = period_end + whole * PERIOD_NS;
            self.at_ns = self.period_start_ns;
        }
        let rest = now_ns - self.at_ns;
        self.some.add(some, rest);
        self.full.add(full, rest);
        self.at_ns = now_ns;
    }
}

impl Share {
    fn add(&mut self, on: bool, ns: u64) {
        if on {
            self.total_ns = self.total_ns.saturating_add(ns);
        }
    }

    /// Takes `periods` periods, in each of which `ns` were lost, into the averages.
    fn close(&mut self, periods: u64, ns: u64) {
        let sample = ns.min(PERIOD_NS) * ONE / PERIOD_NS;
        for (average, decay) in self.averages.iter_mut().zip(DECAY) {
            let left = power(decay, periods);
            // Rounded towards the sample, so that a lasting state is reached.
            let up = if sample >= *average { ONE - 1 } else { 0 };
            *average = (*average * left + sample * (ONE - left) + up) / ONE;
        }
        self.before_ns = self.total_ns;
    }

    fn public(&self) -> StallShare {
        let [avg10, avg60] = self.averages.map(|average| (average * 1000 / ONE) as u16);
        StallShare { avg10, avg60, total_ns: self.total_ns }
    }
}

/// `base^exponent` in fixed point, in O(log exponent).
fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = ONE;
    while exponent > 0 && result > 0 {
        if exponent & 1 == 1 {
            result = result * base / ONE;
        }
        base = base * base / ONE;
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn totals_are_exact() {
        let mut stall = Stall::new(100);
        stall.set_working(100, 1);
        stall.begin(200);
        stall.begin(300);
        stall.end(400);
        stall.set_working(450, 0);
        stall.end(700);
        let stats = stall.stats(10_000);
        assert_eq!((stats.some.total_ns, stats.full.total_ns), (500, 250));
        // One end too many, and a clock that goes back, change nothing.
        stall.end(11_000);
        stall.begin(5_000);
        stall.end(11_000);
        assert_eq!(stall.stats(5).some.total_ns, 500);
    }

    #[test]
    fn averages_rise_and_fall_as_exponentials() {
        let mut stall = Stall::new(0);
        stall.begin(0);
        let after_10s = stall.stats(10 * SECOND).some;
        // 1 − e^(−1) = 632 ‰ and 1 − e^(−1/6) = 154 ‰.
        assert!(after_10s.avg10.abs_diff(632) <= 5, "{after_10s:?}");
        assert!(after_10s.avg60.abs_diff(154) <= 5, "{after_10s:?}");
        let lasting = stall.stats(600 * SECOND).some;
        assert_eq!((lasting.avg10, lasting.avg60), (1000, 1000));
        stall.end(600 * SECOND);
        let later = stall.stats(610 * SECOND).some;
        assert!(later.avg10.abs_diff(368) <= 5, "{later:?}");
        assert_eq!(stall.stats(5000 * SECOND).some.avg60, 0);
    }

    #[test]
    fn one_long_look_is_as_many_short_ones() {
        let (mut often, mut once) = (Stall::new(7), Stall::new(7));
        for stall in [&mut often, &mut once] {
            stall.begin(SECOND / 2);
        }
        for tenth in 6..400 {
            often.stats(tenth * SECOND / 10);
        }
        let (often, once) = (often.stats(40 * SECOND), once.stats(40 * SECOND));
        assert_eq!(often.some.total_ns, once.some.total_ns);
        assert!(often.some.avg10.abs_diff(once.some.avg10) <= 5, "{often:?} {once:?}");
        assert!(often.some.avg60.abs_diff(once.some.avg60) <= 5, "{often:?} {once:?}");
    }

    #[test]
    fn half_of_the_time_is_half() {
        let mut stall = Stall::new(0);
        for tenth in 0..3000 {
            let at = tenth * SECOND / 10;
            if tenth % 2 == 0 { stall.begin(at) } else { stall.end(at) }
        }
        let some = stall.stats(300 * SECOND).some;
        assert_eq!(some.total_ns, 150 * SECOND);
        assert!(some.avg10.abs_diff(500) <= 3 && some.avg60.abs_diff(500) <= 8, "{some:?}");
    }

    #[test]
    fn extreme_times() {
        let mut stall = Stall::new(0);
        stall.begin(1);
        assert_eq!(stall.stats(u64::MAX).some.avg60, 1000);
        stall.end(u64::MAX);
        stall.begin(u64::MAX);
        stall.stats(u64::MAX);
    }
}
