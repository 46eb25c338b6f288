//! The engine's clock: the calibrated time-stamp counter.

use llm::clock::Clock;

/// Time since reset.
pub struct KernelClock;

impl Clock for KernelClock {
    fn now_ns(&self) -> u64 {
        crate::arch::time::uptime_nanos()
    }
}
