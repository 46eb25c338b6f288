//! I/O APICs: which interrupt line arrives as which vector (Intel 82093AA).

use super::acpi::{Override, Platform};
use crate::memory;
use crate::sync::IrqMutex;
use alloc::vec::Vec;
use thiserror::Error;

const VERSION: u32 = 0x01;
const REDIRECTION: u32 = 0x10;
/// Delivery as an NMI; the vector is not used.
const NMI: u32 = 4 << 8;
const ACTIVE_LOW: u32 = 1 << 13;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

/// Why an interrupt was not routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RouteError {
    /// No I/O APIC serves that line.
    #[error("no I/O APIC serves global interrupt {0}; the device must be polled")]
    NoController(u32),
    /// The 8-bit destination field cannot name that CPU.
    #[error("I/O APICs cannot deliver to APIC id {0}: it is above 254")]
    CpuOutOfReach(u32),
}

/// One controller. Registers are reached through a select and a data window.
struct Controller {
    registers: *mut u32,
    first_gsi: u32,
    lines: u32,
}

// SAFETY: only used behind the lock of `CONTROLLERS`.
unsafe impl Send for Controller {}

static CONTROLLERS: IrqMutex<Vec<Controller>> = IrqMutex::new(Vec::new());

impl Controller {
    fn read(&self, register: u32) -> u32 {
        // SAFETY: the mapped select and data windows; the lock keeps the pair together.
        unsafe {
            self.registers.write_volatile(register);
            self.registers.add(4).read_volatile()
        }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as in `read`.
        unsafe {
            self.registers.write_volatile(register);
            self.registers.add(4).write_volatile(value);
        }
    }

    fn serves(&self, gsi: u32) -> bool {
        gsi.checked_sub(self.first_gsi).is_some_and(|line| line < self.lines)
    }
}

/// Maps every I/O APIC that ACPI lists and masks all their lines.
pub fn init(platform: &Platform) {
    let mut controllers = Vec::with_capacity(platform.ioapics.len());
    for ioapic in &platform.ioapics {
        let Some(registers) = memory::map_device(ioapic.address.into(), 0x20) else { continue };
        let registers = registers.as_ptr().cast();
        let mut controller = Controller { registers, first_gsi: ioapic.first_gsi, lines: 0 };
        controller.lines = (controller.read(VERSION) >> 16 & 0xff) + 1;
        for line in 0..controller.lines {
            controller.write(REDIRECTION + 2 * line, MASKED);
        }
        controllers.push(controller);
    }
    *CONTROLLERS.lock() = controllers;
}

/// Delivers ISA interrupt `irq` as `vector` to the CPU with local APIC id `apic_id`, and unmasks it.
pub fn route_isa(platform: &Platform, irq: u8, vector: u8, apic_id: u32) -> Result<(), RouteError> {
    route(platform, irq, vector.into(), apic_id)
}

/// Delivers ISA interrupt `irq` to that CPU as an NMI, and unmasks it. It must be one that comes in edges.
pub fn route_isa_as_nmi(platform: &Platform, irq: u8, apic_id: u32) -> Result<(), RouteError> {
    route(platform, irq, NMI, apic_id)
}

fn route(platform: &Platform, irq: u8, how: u32, apic_id: u32) -> Result<(), RouteError> {
    let same = Override { irq, gsi: irq.into(), active_low: false, level: false };
    let route = platform.overrides.iter().copied().find(|o| o.irq == irq).unwrap_or(same);
    let target =
        u8::try_from(apic_id).ok().filter(|&id| id < 255).ok_or(RouteError::CpuOutOfReach(apic_id))?;
    let controllers = CONTROLLERS.lock();
    let controller =
        controllers.iter().find(|c| c.serves(route.gsi)).ok_or(RouteError::NoController(route.gsi))?;
    let entry = REDIRECTION + 2 * (route.gsi - controller.first_gsi);
    let polarity = if route.active_low { ACTIVE_LOW } else { 0 };
    let trigger = if route.level { LEVEL } else { 0 };
    // Masked while the halves do not fit each other.
    controller.write(entry, MASKED);
    controller.write(entry + 1, u32::from(target) << 24);
    controller.write(entry, how | polarity | trigger);
    Ok(())
}
