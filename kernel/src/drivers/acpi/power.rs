//! Switching off (S5) and restarting.

use super::{Register, power};
use crate::arch::time::spin_nanos;
use crate::drivers::pci;
use crate::memory;
use thiserror::Error;
use x86_64::instructions::interrupts;
use x86_64::instructions::port::Port;

/// Ready for use by the OS: bit 0 of PM1 control.
const SCI_ENABLED: u16 = 1;
const SLEEP_TYPE: u16 = 0b111 << 10;
const SLEEP_ENABLE: u16 = 1 << 13;

/// Why the machine is still on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PowerOffError {
    /// No tables, or no PM1 registers in them.
    #[error("the firmware's ACPI tables name no power control register; switch off by hand")]
    NoRegister,
    /// `_S5` is missing or computed.
    #[error("the firmware's ACPI tables do not state how to enter S5; switch off by hand")]
    NoS5,
    /// Asked, and nothing happened.
    #[error("the machine did not switch off within 1 s of being told to; switch off by hand")]
    Ignored,
}

/// Switches off through ACPI S5. Returns only if that failed.
pub fn poweroff() -> PowerOffError {
    let Some(power) = power() else { return PowerOffError::NoRegister };
    let Some([type_a, type_b]) = power.s5 else { return PowerOffError::NoS5 };
    let [pm1a, pm1b] = power.pm1_control;
    if pm1a.is_none() && power.sleep_control.is_none() {
        return PowerOffError::NoRegister;
    }
    interrupts::disable();
    if let Some(register) = pm1a {
        take_over(register, power.acpi_enable);
    }
    for (register, sleep_type) in [(pm1a, type_a), (pm1b, type_b)] {
        let Some(register) = register else { continue };
        let value = read_u16(register) & !SLEEP_TYPE | u16::from(sleep_type) << 10;
        write_u16(register, value);
        write_u16(register, value | SLEEP_ENABLE);
    }
    if let Some(register) = power.sleep_control {
        write_u8(register, type_a << 2 | 1 << 5);
    }
    spin_nanos(1_000_000_000);
    interrupts::enable();
    PowerOffError::Ignored
}

/// Asks system management mode for the power registers, where it still has them.
fn take_over(pm1a: Register, enable: Option<(u16, u8)>) {
    let Some((port, value)) = enable else { return };
    if read_u16(pm1a) & SCI_ENABLED != 0 {
        return;
    }
    // SAFETY: the port and value that the firmware states for this purpose.
    unsafe { Port::new(port).write(value) };
    for _ in 0..300 {
        if read_u16(pm1a) & SCI_ENABLED != 0 {
            return;
        }
        spin_nanos(1_000_000);
    }
}

/// Restarts the machine: by the firmware's reset register, else the chipset's, else the keyboard controller,
/// else by a triple fault.
pub fn reboot() -> ! {
    interrupts::disable();
    if let Some((register, value)) = power().and_then(|power| power.reset) {
        write_u8(register, value);
        spin_nanos(50_000_000);
    }
    // SAFETY: the reset control register of PC chipsets: system reset, then full reset.
    unsafe {
        Port::<u8>::new(0xcf9).write(0x02);
        spin_nanos(100_000);
        Port::<u8>::new(0xcf9).write(0x06);
    }
    spin_nanos(50_000_000);
    // SAFETY: the keyboard controller's command to pulse the reset line.
    unsafe { Port::<u8>::new(0x64).write(0xfe) };
    spin_nanos(50_000_000);
    triple_fault()
}

/// Without an interrupt table no exception can be delivered, and the CPU resets.
fn triple_fault() -> ! {
    let none = x86_64::structures::DescriptorTablePointer { limit: 0, base: x86_64::VirtAddr::zero() };
    // SAFETY: nothing is meant to work after this.
    unsafe {
        x86_64::instructions::tables::lidt(&none);
        core::arch::asm!("ud2", options(noreturn))
    }
}

fn read_u16(register: Register) -> u16 {
    match register {
        // SAFETY: a power register that the firmware's tables name.
        Register::Port(port) => unsafe { Port::new(port).read() },
        // SAFETY: as above; the mapping is as long as the access.
        Register::Memory(address) => memory::map_device(address, 2)
            .map_or(0, |register| unsafe { register.as_ptr().cast::<u16>().read_volatile() }),
        Register::PciConfig { .. } => 0,
    }
}

fn write_u16(register: Register, value: u16) {
    match register {
        // SAFETY: a power register that the firmware's tables name.
        Register::Port(port) => unsafe { Port::new(port).write(value) },
        Register::Memory(address) => {
            if let Some(register) = memory::map_device(address, 2) {
                // SAFETY: as above; the mapping is as long as the access.
                unsafe { register.as_ptr().cast::<u16>().write_volatile(value) }
            }
        }
        Register::PciConfig { .. } => {}
    }
}

fn write_u8(register: Register, value: u8) {
    match register {
        // SAFETY: a reset or sleep register that the firmware's tables name.
        Register::Port(port) => unsafe { Port::new(port).write(value) },
        Register::Memory(address) => {
            if let Some(register) = memory::map_device(address, 1) {
                // SAFETY: as above; the mapping is as long as the access.
                unsafe { register.as_ptr().write_volatile(value) }
            }
        }
        Register::PciConfig { device, function, offset } => {
            pci::write_byte(pci_types::PciAddress::new(0, 0, device, function), offset, value);
        }
    }
}
