//! When a virtual CPU stood still because its host had taken it away: what no scheduler inside can help.

use crate::arch::percpu::{MAX_CPUS, this_cpu};
use crate::arch::time;
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::instructions::interrupts::without_interrupts;

/// When whoever runs on a CPU looks at the clock and finds that so much has passed since anybody there did, it stood still, in nanoseconds.
/// Nothing that the kernel does takes so long.
const STILL: u64 = 2_000_000;

static LAST: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
static TIME: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// Looks at the clock; the time now. While a CPU is watched, all its threads must do so all the time.
pub fn look() -> u64 {
    // Interrupts off: nobody else of this CPU looks in between.
    without_interrupts(|| {
        let (cpu, now) = (this_cpu().index, time::uptime_nanos());
        let gap = now.saturating_sub(LAST[cpu].swap(now, Ordering::Relaxed));
        if gap > STILL {
            TIME[cpu].fetch_add(gap, Ordering::Relaxed);
        }
        now
    })
}

/// For how long a CPU stood still since boot, in nanoseconds; the time counts too in which nobody looked. Differences are what matters.
pub fn time(cpu: usize) -> u64 {
    TIME[cpu].load(Ordering::Relaxed)
}

/// Looks at the clock for so many nanoseconds.
pub fn spin(nanos: u64) {
    let end = look() + nanos;
    while look() < end {}
}
