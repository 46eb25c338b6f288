//! The longest that a token has taken the CPU, and what was given in its place.

use crate::arch::time;
use core::sync::atomic::{AtomicU64, Ordering};
use llm::service::Budget;

/// In nanoseconds of CPU time of the model's thread, without its waiting for workers, which take about as long; 0 before the first token.
static WORST_NANOS: AtomicU64 = AtomicU64::new(0);
/// In cycles; 0 where none was given.
static GIVEN_CYCLES: AtomicU64 = AtomicU64::new(0);

/// A token took so much CPU time.
pub fn saw(nanos: u64) {
    WORST_NANOS.fetch_max(nanos, Ordering::Relaxed);
}

/// The worst case that was seen, in cycles of the time-stamp counter; `None` before the first token.
pub fn measured() -> Option<u64> {
    let nanos = Some(WORST_NANOS.load(Ordering::Relaxed)).filter(|nanos| *nanos > 0)?;
    let cycles = u128::from(nanos) * u128::from(time::tsc_frequency()) / 1_000_000_000;
    Some(u64::try_from(cycles).unwrap_or(u64::MAX))
}

/// From now on this is the worst case, whatever is measured; 0: what is measured.
pub fn give(cycles: u64) {
    GIVEN_CYCLES.store(cycles, Ordering::Relaxed);
}

/// Forgets what was seen and what was given: another model takes another time.
pub fn forget() {
    give(0);
    WORST_NANOS.store(0, Ordering::Relaxed);
}

/// What a budget is to reckon with, and whether it was measured: the given one, or the measured one with its margin.
pub fn for_budget() -> Option<(u64, bool)> {
    match GIVEN_CYCLES.load(Ordering::Relaxed) {
        0 => measured().map(|cycles| (Budget::with_margin(cycles), true)),
        given => Some((given, false)),
    }
}
