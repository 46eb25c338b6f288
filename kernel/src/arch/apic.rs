//! The local APIC: its timer, interrupts between CPUs, end of interrupt. x2APIC where CPUID has it, else xAPIC.
//!
//! Intel SDM volume 3, chapter 11.

use super::time;
use super::traps::{SPURIOUS, TIMER};
use crate::memory;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use x86_64::registers::model_specific::Msr;

const ID: u32 = 0x20;
const TASK_PRIORITY: u32 = 0x80;
const END_OF_INTERRUPT: u32 = 0xb0;
const SPURIOUS_VECTOR: u32 = 0xf0;
const COMMAND_LOW: u32 = 0x300;
const COMMAND_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_CURRENT: u32 = 0x390;
const TIMER_DIVIDE: u32 = 0x3e0;

const MASKED: u32 = 1 << 16;
/// Divide the timer's clock by 16.
const DIVIDE_16: u32 = 0b0011;

const APIC_BASE_MSR: u32 = 0x1b;
const X2APIC_FIRST_MSR: u32 = 0x800;

/// The xAPIC's registers; null in x2APIC mode.
static REGISTERS: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// Timer ticks per second after division.
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);

fn x2apic() -> bool {
    super::cpu::features().x2apic
}

fn read(register: u32) -> u32 {
    if x2apic() {
        // SAFETY: an x2APIC register's MSR; reading them has no side effects on memory.
        (unsafe { Msr::new(X2APIC_FIRST_MSR + (register >> 4)).read() }) as u32
    } else {
        // SAFETY: `init` mapped the register page before anything is read.
        unsafe { REGISTERS.load(Ordering::Relaxed).add(register as usize).cast::<u32>().read_volatile() }
    }
}

fn write(register: u32, value: u32) {
    if x2apic() {
        // SAFETY: an x2APIC register's MSR.
        unsafe { Msr::new(X2APIC_FIRST_MSR + (register >> 4)).write(value.into()) }
    } else {
        // SAFETY: `init` mapped the register page before anything is written.
        unsafe {
            REGISTERS.load(Ordering::Relaxed).add(register as usize).cast::<u32>().write_volatile(value)
        }
    }
}

/// Maps the registers and masks the old interrupt controllers; once, on the boot CPU.
pub fn init() {
    use x86_64::instructions::port::Port;
    // SAFETY: the two 8259 controllers: moved out of the exceptions' way, then fully masked.
    unsafe {
        for (command, base) in [(0x20u16, 0x20u8), (0xa0, 0x28)] {
            let mut data = Port::<u8>::new(command + 1);
            Port::<u8>::new(command).write(0x11);
            data.write(base);
            data.write(if command == 0x20 { 4 } else { 2 });
            data.write(1);
            data.write(0xff);
        }
    }
    // SAFETY: every CPU with a local APIC has this MSR.
    let base = unsafe { Msr::new(APIC_BASE_MSR).read() } & 0x000f_ffff_ffff_f000;
    if !x2apic() {
        let registers = memory::map_device(base, 4096).expect("the local APIC must be mapped");
        REGISTERS.store(registers.as_ptr(), Ordering::Relaxed);
    }
    init_cpu();
    calibrate_timer();
}

/// Turns on the local APIC of this CPU.
pub fn init_cpu() {
    let mut base = Msr::new(APIC_BASE_MSR);
    // SAFETY: bit 11 enables the APIC, bit 10 its x2APIC interface, which CPUID lists.
    unsafe { base.write(base.read() | 1 << 11 | if x2apic() { 1 << 10 } else { 0 }) };
    write(SPURIOUS_VECTOR, 1 << 8 | u32::from(SPURIOUS));
    write(TASK_PRIORITY, 0);
    write(LVT_LINT0, MASKED);
    write(LVT_LINT1, MASKED);
    write(TIMER_DIVIDE, DIVIDE_16);
    write(LVT_TIMER, u32::from(TIMER)); // one-shot
}

/// This CPU's APIC id.
pub fn id() -> u32 {
    if x2apic() { read(ID) } else { read(ID) >> 24 }
}

/// Tells the APIC that the handler is done.
pub fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// Measures the timer's rate. The highest of three runs counts: being held up can only make a run seem slower.
fn calibrate_timer() {
    write(LVT_TIMER, MASKED | u32::from(TIMER));
    let rate = (0..3).map(|_| calibration_run()).max().unwrap_or(0);
    write(TIMER_INITIAL, 0);
    write(LVT_TIMER, u32::from(TIMER));
    TIMER_HZ.store(rate.max(1), Ordering::Relaxed);
}

/// Ticks per second, measured over a millisecond.
fn calibration_run() -> u64 {
    let start = time::uptime_nanos();
    write(TIMER_INITIAL, u32::MAX);
    while time::uptime_nanos() - start < 1_000_000 {}
    let ticks = u64::from(u32::MAX - read(TIMER_CURRENT));
    let nanos = (time::uptime_nanos() - start).max(1);
    ticks * 1_000_000_000 / nanos
}

/// Asks for one timer interrupt on this CPU after `nanos`.
pub fn arm_timer(nanos: u64) {
    let ticks = u128::from(nanos) * u128::from(TIMER_HZ.load(Ordering::Relaxed)) / 1_000_000_000;
    write(TIMER_INITIAL, ticks.clamp(1, u128::from(u32::MAX)) as u32);
}

/// How an interrupt is delivered to another CPU.
#[derive(Clone, Copy, Debug)]
enum Delivery {
    Fixed = 0,
    Nmi = 4,
    Init = 5,
    Startup = 6,
}

fn send(target: u32, delivery: Delivery, vector: u8) {
    const ASSERT: u32 = 1 << 14;
    let low = u32::from(vector) | (delivery as u32) << 8 | ASSERT;
    if x2apic() {
        // Writing an x2APIC register does not wait for earlier stores, and the receiver must see them (SDM 11.12.3).
        // SAFETY: fences are in every 64-bit CPU.
        unsafe { core::arch::asm!("mfence", "lfence", options(nostack, preserves_flags)) };
        // SAFETY: the interrupt command register of the x2APIC is one 64-bit MSR.
        unsafe { Msr::new(0x830).write(u64::from(target) << 32 | u64::from(low)) };
        return;
    }
    // The two halves belong together: no interrupt handler may send in between.
    x86_64::instructions::interrupts::without_interrupts(|| {
        while read(COMMAND_LOW) & 1 << 12 != 0 {
            core::hint::spin_loop();
        }
        write(COMMAND_HIGH, target << 24);
        write(COMMAND_LOW, low);
    });
}

/// Interrupts the CPU with APIC id `target`.
pub fn send_interrupt(target: u32, vector: u8) {
    send(target, Delivery::Fixed, vector);
}

/// As [`send_nmi`], in an NMI handler, which may have come between the two halves of another message: the first one is put back.
pub fn send_nmi_from_nmi(target: u32) {
    if x2apic() {
        return send(target, Delivery::Nmi, 0);
    }
    let first_half = read(COMMAND_HIGH);
    send(target, Delivery::Nmi, 0);
    write(COMMAND_HIGH, first_half);
}

/// Interrupts it even where its interrupts are off.
pub fn send_nmi(target: u32) {
    send(target, Delivery::Nmi, 0);
}

/// Resets it into waiting for a start-up message.
pub fn send_init(target: u32) {
    send(target, Delivery::Init, 0);
}

/// Starts it in real mode at page number `page`.
pub fn send_startup(target: u32, page: u8) {
    send(target, Delivery::Startup, page);
}
