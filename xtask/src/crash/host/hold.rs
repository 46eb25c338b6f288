//! Growth held back: the kernel's rule (`kernel/src/memory/hold_back.rs`) under the simulated clock. In a second 1/60 of
//! what is available may be taken. After its time, or when 1/50 of all memory has come back, a hold lets go: it allows twice
//! as much at once and with every further 3 s, until that would be more than a quarter.

use super::machine::SLICE_NS;
use ai_insights::crash_predictor::HOLD_NS;

/// In a second this part of what is available may be taken.
const PART: u64 = 60;
/// After its time a hold allows twice as much with each of these steps, until it would allow more than `LOOSEST`.
const EASE_NS: u64 = 3_000_000_000;
const LOOSEST: u64 = 4;
/// A hold begins to let go when this part of all memory has come back.
const RECOVERED_PART: u64 = 50;
const SECOND: u64 = 1_000_000_000;

/// A hold in force.
#[derive(Debug)]
pub struct Hold {
    /// When it begins to let go.
    until_ns: u64,
    /// Pages available at which it begins to let go.
    enough: u64,
    /// Millionths of pages that may still be taken; below 0 after a large request.
    allowed: i64,
}

impl Hold {
    /// Begins.
    pub fn begin(now_ns: u64, available: u64, total: u64) -> Self {
        Hold { until_ns: now_ns + HOLD_NS, enough: available + total / RECOVERED_PART, allowed: 0 }
    }

    /// Lasts longer. One that lets go already begins anew.
    pub fn renew(&mut self, now_ns: u64, available: u64, total: u64) {
        if now_ns < self.until_ns {
            self.until_ns = now_ns + HOLD_NS;
        } else {
            *self = Hold::begin(now_ns, available, total);
        }
    }

    /// Whether it is in force, and not letting go.
    pub fn is_tight(&self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }

    /// The hold in the next slice, with what has become due; `None` when it is over.
    pub fn next(mut self, now_ns: u64, available: u64) -> Option<Self> {
        if available >= self.enough {
            self.until_ns = self.until_ns.min(now_ns);
        }
        let steps = now_ns.checked_sub(self.until_ns).map_or(0, |late| late / EASE_NS + 1);
        let part = PART.checked_shr(steps as u32).filter(|&part| part >= LOOSEST)?;
        let a_second = (available / part * 1_000_000) as i64;
        let due = a_second / (SECOND / SLICE_NS) as i64;
        // At most a quarter of a second's worth is saved up.
        self.allowed = (self.allowed + due).min(a_second / 4);
        Some(self)
    }

    /// Whether something may be taken.
    pub fn allows(&self) -> bool {
        self.allowed > 0
    }

    /// So many pages were taken.
    pub fn taken(&mut self, pages: u64) {
        self.allowed -= (pages * 1_000_000) as i64;
    }
}
