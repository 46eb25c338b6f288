//! When a virtual CPU stood still because its host had taken it away: what no scheduler inside can help.

use crate::arch::time;
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::instructions::interrupts::without_interrupts;

/// When whoever runs on the CPU looks at the clock and finds that so much has passed since anybody did, the CPU stood still, in nanoseconds.
/// Nothing that the kernel does takes so long.
const STILL: u64 = 1_000_000;

/// A look-out for that. All threads of the CPU must look all the time, so that somebody always does.
#[derive(Default)]
pub struct Standstill {
    last: AtomicU64,
    time: AtomicU64,
}

impl Standstill {
    /// Looks at the clock; the time now.
    pub fn look(&self) -> u64 {
        // Interrupts off: nobody else of this CPU looks in between.
        let (now, before) = without_interrupts(|| {
            let now = time::uptime_nanos();
            (now, self.last.swap(now, Ordering::Relaxed))
        });
        let gap = now.saturating_sub(before);
        if before != 0 && gap > STILL {
            self.time.fetch_add(gap, Ordering::Relaxed);
        }
        now
    }

    /// For how long the CPU stood still in all, in nanoseconds.
    pub fn time(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }

    /// Looks at the clock for so many nanoseconds.
    pub fn spin(&self, nanos: u64) {
        let end = time::uptime_nanos() + nanos;
        while self.look() < end {}
    }
}
