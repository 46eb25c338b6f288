//! The clock: the TSC, calibrated against the PIT.

use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::instructions::port::Port;

/// PIT input clock in Hz.
const PIT_HZ: u64 = 1_193_182;
/// PIT ticks that one calibration run lasts: 10 ms.
const CALIBRATION_TICKS: u64 = PIT_HZ / 100;

/// TSC ticks per second; 0 before `init`.
static FREQUENCY: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds per TSC tick, as a 32.32 fixed-point number.
static NANOS_PER_TICK: AtomicU64 = AtomicU64::new(0);

/// Measures the TSC's rate. The shortest of three runs counts: an emulator or hypervisor that was held up in
/// between can only make a run longer.
pub fn init() {
    let ticks = (0..3).map(|_| calibration_run()).min().unwrap_or(1).max(1);
    let frequency = (u128::from(ticks) * u128::from(PIT_HZ) / u128::from(CALIBRATION_TICKS)) as u64;
    FREQUENCY.store(frequency.max(1), Ordering::Relaxed);
    NANOS_PER_TICK
        .store(((1_000_000_000u128 << 32) / u128::from(frequency.max(1))) as u64, Ordering::Relaxed);
}

/// TSC ticks while PIT channel 2 counts down once.
fn calibration_run() -> u64 {
    let mut gate = Port::<u8>::new(0x61);
    let mut command = Port::<u8>::new(0x43);
    let mut channel_2 = Port::<u8>::new(0x42);
    // SAFETY: the PIT's and the speaker gate's own ports; channel 2 drives nothing but the speaker.
    unsafe {
        let before = gate.read();
        gate.write(before & 0xfc); // gate low, speaker off
        command.write(0xb0); // channel 2, low then high byte, mode 0
        channel_2.write(CALIBRATION_TICKS as u8);
        channel_2.write((CALIBRATION_TICKS >> 8) as u8);
        // Before the gate opens: whatever holds this up then makes the run longer, never shorter.
        let start = tsc();
        gate.write(before & 0xfc | 1); // go
        // A PIT that never fires must not hang the boot: 2^33 ticks is over a second on any CPU.
        while gate.read() & 0x20 == 0 && tsc() - start < 1 << 33 {}
        let end = tsc();
        gate.write(before & 0xfc);
        end - start
    }
}

/// The time-stamp counter, which starts at reset.
pub fn tsc() -> u64 {
    // SAFETY: RDTSC is in every 64-bit CPU.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// TSC ticks per second.
pub fn tsc_frequency() -> u64 {
    FREQUENCY.load(Ordering::Relaxed)
}

/// TSC ticks as nanoseconds.
pub fn ticks_to_nanos(ticks: u64) -> u64 {
    ((u128::from(ticks) * u128::from(NANOS_PER_TICK.load(Ordering::Relaxed))) >> 32) as u64
}

/// Nanoseconds since reset (0 before `init`).
pub fn uptime_nanos() -> u64 {
    ticks_to_nanos(tsc())
}

/// Waits by looking at the clock; for hardware that wants microseconds of peace.
pub fn spin_nanos(nanos: u64) {
    let end = uptime_nanos() + nanos;
    while uptime_nanos() < end {
        core::hint::spin_loop();
    }
}
