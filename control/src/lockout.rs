//! Back-off after failures: whoever guesses tokens soon waits longer than it guesses.

const SECOND: u64 = 1_000_000_000;
/// The longest lock-out, in nanoseconds.
pub const LONGEST: u64 = 60 * SECOND;

/// Failures in a row, and until when they lock out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lockout {
    failures: u32,
    until_ns: u64,
    last_ns: u64,
}

impl Lockout {
    pub const fn new() -> Self {
        Lockout { failures: 0, until_ns: 0, last_ns: 0 }
    }

    /// Nanoseconds until the next try is looked at; 0 where it is now.
    pub const fn left(&self, now_ns: u64) -> u64 {
        self.until_ns.saturating_sub(now_ns)
    }

    /// Whether there is a failure that is not forgotten.
    pub const fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// A failure. From the `allowed`th on each locks out, for 1 s, 2 s, 4 s and so on up to [`LONGEST`].
    pub fn failed(&mut self, now_ns: u64, allowed: u32) {
        self.failures = self.failures.saturating_add(1);
        self.last_ns = now_ns;
        if let Some(beyond) = self.failures.checked_sub(allowed) {
            let wait = SECOND.checked_shl(beyond.min(16)).unwrap_or(LONGEST).min(LONGEST);
            self.until_ns = now_ns.saturating_add(wait);
        }
    }

    /// Forgets one failure for each `every_ns` that passed without another.
    pub fn forget(&mut self, now_ns: u64, every_ns: u64) {
        let forgotten = now_ns.saturating_sub(self.last_ns) / every_ns.max(1);
        self.failures = self.failures.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        self.last_ns = self.last_ns.saturating_add(forgotten.saturating_mul(every_ns)).min(now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_beyond_the_allowed_ones_doubles_the_wait_up_to_a_minute() {
        let mut lockout = Lockout::new();
        let mut waits = alloc::vec::Vec::new();
        for _ in 0..12 {
            lockout.failed(100, 3);
            waits.push(lockout.left(100) / SECOND);
        }
        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(lockout.left(100 + LONGEST), 0);
        lockout.failures = u32::MAX;
        lockout.failed(u64::MAX - 1, 3);
        assert_eq!(lockout.left(u64::MAX), 0);
    }

    #[test]
    fn failures_are_forgotten_with_time() {
        let mut lockout = Lockout::new();
        (0..10).for_each(|_| lockout.failed(0, 100));
        lockout.forget(25, 10);
        assert_eq!(lockout.failures, 8);
        lockout.forget(29, 10);
        assert_eq!(lockout.failures, 8);
        lockout.forget(30, 10);
        assert_eq!(lockout.failures, 7);
        lockout.forget(u64::MAX, 10);
        assert_eq!(lockout.failures, 0);
    }
}
