//! A timer that nothing can switch off: channel 0 of the legacy timer (Intel 8254), whose interrupt the I/O APIC delivers to the boot CPU
//! as an NMI. It finds policies that do not return (see [`crate::arch::containment`]).
//!
//! The boot CPU sends NMIs on to those others that are in a contained call just then, which is rare: a call takes microseconds.

use super::acpi::Platform;
use super::ioapic;
use crate::arch::apic;
use core::sync::atomic::{AtomicU64, Ordering};
use x86_64::instructions::port::Port;

/// Input clock in Hz, and how often it ticks: every 20 ms.
const INPUT_HZ: u32 = 1_193_182;
const HZ: u32 = 50;
/// The line of the timer.
const IRQ: u8 = 0;

static TICKS: AtomicU64 = AtomicU64::new(0);

/// Starts it, on the boot CPU, when all CPUs run that are to run.
pub fn start(platform: &Platform) {
    let divisor = (INPUT_HZ / HZ) as u16;
    // SAFETY: the legacy timer's own ports; channel 0, low then high byte, rate generator. Nothing else uses that channel.
    unsafe {
        Port::<u8>::new(0x43).write(0x34);
        Port::<u8>::new(0x40).write(divisor as u8);
        Port::<u8>::new(0x40).write((divisor >> 8) as u8);
    }
    if let Err(error) = ioapic::route_isa_as_nmi(platform, IRQ, apic::id()) {
        log::warn!("watchdog: a policy that does not return cannot be stopped: {error}");
    }
}

/// In its NMI, on the boot CPU.
pub fn tick() {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

/// How often it has ticked.
pub fn ticks() -> u64 {
    TICKS.load(Ordering::Relaxed)
}
