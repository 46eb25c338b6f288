//! ACPI: what the firmware's tables say about the machine, and switching it off.
//!
//! The tables are read by our own bounded reader and not by the `acpi` crate: its 5.x releases trust the lengths
//! that tables and their entries state (an MADT entry of length 0 never ends, a short MCFG underflows), and its
//! mapping callback cannot refuse an address.

mod aml;
mod platform;
mod power;
pub mod tables;

pub use platform::{Ecam, Override, Platform, Power, Register};
pub use power::{poweroff, reboot};

use crate::memory;
use alloc::vec::Vec;
use conquer_once::spin::OnceCell;
use tables::{Physical, Tables};

struct Machine {
    tables: Option<Tables>,
    platform: Platform,
    ecam: Vec<Ecam>,
    power: Power,
}

static MACHINE: OnceCell<Machine> = OnceCell::uninit();

/// Memory that the kernel mapped at boot.
struct DirectMap;

impl Physical for DirectMap {
    fn bytes(&self, address: u64, len: usize) -> Option<&'static [u8]> {
        // An address that the CPU cannot form would fault; a table may state any.
        let end = address.checked_add(len as u64)?;
        if end > 1 << physical_address_bits() {
            return None;
        }
        let at = memory::map_firmware(address, len as u64)?;
        // SAFETY: mapped, read-only, for ever; firmware does not change its tables while we run.
        Some(unsafe { core::slice::from_raw_parts(at, len) })
    }
}

/// CPUID leaf 0x8000_0008; 36 is what every 64-bit CPU has.
fn physical_address_bits() -> u32 {
    let capacity = raw_cpuid::CpuId::new().get_processor_capacity_feature_info();
    capacity.map_or(36, |capacity| capacity.physical_address_bits().into()).clamp(32, 52)
}

/// Reads the tables; `rsdp` is the root pointer's physical address if the boot loader told it. Needs the heap.
/// Without tables the machine has one CPU and cannot be switched off, which is logged.
pub fn init(rsdp: Option<u64>) {
    let machine = MACHINE.get_or_init(|| read(rsdp));
    if let Some([a, b]) = machine.power.s5 {
        log::debug!("ACPI: S5 is sleep type {a}/{b}");
    }
}

fn read(rsdp: Option<u64>) -> Machine {
    let tables = match Tables::find(&DirectMap, rsdp) {
        Ok(tables) => tables,
        Err(error) => {
            log::warn!("ACPI: {error}");
            return Machine {
                tables: None,
                platform: Platform::default(),
                ecam: Vec::new(),
                power: Power::default(),
            };
        }
    };
    for table in tables.iter() {
        log::debug!("ACPI: {} {} bytes", table.get(..4).unwrap_or(&[]).escape_ascii(), table.len());
    }
    let machine = machine(tables);
    log::info!(
        "ACPI: {} tables, {} CPUs, {} I/O APICs",
        machine.tables.iter().flat_map(Tables::iter).count(),
        machine.platform.cpus.iter().filter(|cpu| cpu.enabled).count(),
        machine.platform.ioapics.len()
    );
    machine
}

fn machine(tables: Tables) -> Machine {
    Machine {
        platform: tables.get(b"APIC").map(Platform::from_madt).unwrap_or_default(),
        ecam: tables.get(b"MCFG").map(Ecam::from_mcfg).unwrap_or_default(),
        power: Power::from_tables(&tables),
        tables: Some(tables),
    }
}

/// Processors and interrupt controllers; empty before [`init`] and without tables.
pub fn platform() -> &'static Platform {
    static NONE: Platform = Platform {
        cpus: Vec::new(),
        ioapics: Vec::new(),
        overrides: Vec::new(),
        local_apic: 0,
        has_8259: true,
    };
    MACHINE.get().map_or(&NONE, |machine| &machine.platform)
}

/// Memory-mapped PCI configuration spaces.
pub fn ecam() -> &'static [Ecam] {
    MACHINE.get().map_or(&[], |machine| &machine.ecam)
}

/// All tables, if there are any.
pub fn tables() -> Option<&'static Tables> {
    MACHINE.get().and_then(|machine| machine.tables.as_ref())
}

/// How to switch off and restart.
pub fn power() -> Option<&'static Power> {
    MACHINE.get().map(|machine| &machine.power)
}
