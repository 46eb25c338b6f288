//! What the MADT, the MCFG and the FADT say about the machine, as plain data.

use super::tables::{HEADER, Tables, u16_at, u32_at, u64_at};
use alloc::vec::Vec;

/// Processors and interrupt controllers (MADT).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// Processors that can be started, in the firmware's order (the boot processor comes first).
    pub cpus: Vec<Processor>,
    /// I/O APICs.
    pub ioapics: Vec<IoApic>,
    /// ISA interrupts that arrive elsewhere than at the global interrupt of the same number.
    pub overrides: Vec<Override>,
    /// Physical address of the local APICs.
    pub local_apic: u64,
    /// Whether two 8259 interrupt controllers must be masked.
    pub has_8259: bool,
}

/// One logical processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Local APIC id; above 254 only in x2APIC mode.
    pub apic_id: u32,
    /// Enabled by the firmware. Otherwise it is only capable of being added later, and must not be started.
    pub enabled: bool,
}

/// One I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Its APIC id.
    pub id: u8,
    /// Physical address of its registers.
    pub address: u32,
    /// Number of its first global interrupt.
    pub first_gsi: u32,
}

/// Where an ISA interrupt really arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// ISA interrupt number.
    pub irq: u8,
    /// Global system interrupt.
    pub gsi: u32,
    /// Asserted low.
    pub active_low: bool,
    /// Level-triggered.
    pub level: bool,
}

impl Platform {
    /// Reads the MADT (ACPI 6.5, 5.2.12). Entries that are cut short are left out.
    pub fn from_madt(madt: &[u8]) -> Self {
        let mut platform = Self {
            local_apic: u32_at(madt, HEADER).unwrap_or(0).into(),
            has_8259: u32_at(madt, HEADER + 4).is_some_and(|flags| flags & 1 != 0),
            ..Self::default()
        };
        let mut rest = madt.get(HEADER + 8..).unwrap_or(&[]);
        while let [kind, len, ..] = *rest {
            // A length under 2 would never end; one past the end has nothing behind it.
            let Some(entry) = rest.get(..usize::from(len)).filter(|entry| entry.len() >= 2) else { break };
            platform.add(kind, entry);
            rest = rest.get(entry.len()..).unwrap_or(&[]);
        }
        platform
    }

    fn add(&mut self, kind: u8, entry: &[u8]) -> Option<()> {
        match kind {
            0 => self.add_cpu(u32::from(*entry.get(3)?), u32_at(entry, 4)?),
            9 => self.add_cpu(u32_at(entry, 4)?, u32_at(entry, 8)?),
            1 => self.ioapics.push(IoApic {
                id: *entry.get(2)?,
                address: u32_at(entry, 4)?,
                first_gsi: u32_at(entry, 8)?,
            }),
            2 => {
                let flags = u16_at(entry, 8)?;
                self.overrides.push(Override {
                    irq: *entry.get(3)?,
                    gsi: u32_at(entry, 4)?,
                    active_low: flags & 0b11 == 0b11,
                    level: flags >> 2 & 0b11 == 0b11,
                });
            }
            5 => self.local_apic = u64_at(entry, 4)?,
            _ => {}
        }
        Some(())
    }

    /// `flags`: bit 0 enabled, bit 1 online capable. A processor with neither does not exist.
    fn add_cpu(&mut self, apic_id: u32, flags: u32) {
        let known = self.cpus.iter().any(|cpu| cpu.apic_id == apic_id);
        if flags & 0b11 != 0 && !known {
            self.cpus.push(Processor { apic_id, enabled: flags & 1 != 0 });
        }
    }
}

/// A range of buses whose configuration space is memory-mapped (MCFG).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ecam {
    /// Physical address of bus 0 of the segment, even if `first_bus` is higher.
    pub base: u64,
    /// Segment group.
    pub segment: u16,
    /// First bus.
    pub first_bus: u8,
    /// Last bus.
    pub last_bus: u8,
}

impl Ecam {
    /// Reads the MCFG (PCI firmware specification 3.2, 4.1.2).
    pub fn from_mcfg(mcfg: &[u8]) -> Vec<Self> {
        let entries = mcfg.get(HEADER + 8..).unwrap_or(&[]);
        entries.chunks_exact(16).filter_map(Self::read).collect()
    }

    fn read(entry: &[u8]) -> Option<Self> {
        let ecam = Self {
            base: u64_at(entry, 0)?,
            segment: u16_at(entry, 8)?,
            first_bus: *entry.get(10)?,
            last_bus: *entry.get(11)?,
        };
        (ecam.base != 0 && ecam.base.is_multiple_of(1 << 20) && ecam.first_bus <= ecam.last_bus)
            .then_some(ecam)
    }
}

/// A register somewhere: ACPI's generic address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// An I/O port.
    Port(u16),
    /// Physical memory.
    Memory(u64),
    /// PCI configuration space of bus 0, segment 0.
    PciConfig {
        /// Device.
        device: u8,
        /// Function.
        function: u8,
        /// Offset in its configuration space.
        offset: u16,
    },
}

impl Register {
    /// Reads a generic address structure of 12 bytes. `None` if it is empty or of another kind.
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let structure = bytes.get(at..at.checked_add(12)?)?;
        let address = u64_at(structure, 4).filter(|&address| address != 0)?;
        match *structure.first()? {
            0 => Some(Register::Memory(address)),
            1 => u16::try_from(address).ok().map(Register::Port),
            2 => Some(Register::PciConfig {
                device: (address >> 32) as u8 & 31,
                function: (address >> 16) as u8 & 7,
                offset: address as u16 & 0xffc,
            }),
            _ => None,
        }
    }
}

/// What the FADT says about switching off and restarting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Power {
    /// PM1a and PM1b control registers.
    pub pm1_control: [Option<Register>; 2],
    /// Sleep control register of machines without PM1 (hardware-reduced ACPI).
    pub sleep_control: Option<Register>,
    /// Values for the two sleep types of S5, from `\_S5` in the DSDT or an SSDT.
    pub s5: Option<[u8; 2]>,
    /// Reset register and the value that resets.
    pub reset: Option<(Register, u8)>,
    /// SMI command port and the value that hands the power registers to us.
    pub acpi_enable: Option<(u16, u8)>,
}

impl Power {
    /// Reads the FADT, and the S5 sleep types from the DSDT and the SSDTs.
    pub fn from_tables(tables: &Tables) -> Self {
        let definition_blocks = tables.all(b"DSDT").chain(tables.all(b"SSDT"));
        tables.get(b"FACP").map(|fadt| Self::from_fadt(fadt, definition_blocks)).unwrap_or_default()
    }

    /// Reads the FADT (5.2.9) and looks for `\_S5` in the definition blocks.
    pub fn from_fadt<'a>(fadt: &[u8], mut definition_blocks: impl Iterator<Item = &'a [u8]>) -> Self {
        let revision = fadt.get(8).copied().unwrap_or(0);
        let flags = u32_at(fadt, 112).unwrap_or(0);
        let hardware_reduced = flags & 1 << 20 != 0;
        let port = |at| u32_at(fadt, at).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0);
        let pm1 = |wide, narrow| Register::read(fadt, wide).or_else(|| port(narrow).map(Register::Port));
        let enable = || Some((port(48)?, fadt.get(52).copied().filter(|&value| value != 0)?));
        let reset = || Some((Register::read(fadt, 116)?, *fadt.get(128)?));
        Self {
            pm1_control: if hardware_reduced { [None; 2] } else { [pm1(172, 64), pm1(184, 68)] },
            sleep_control: if hardware_reduced { Register::read(fadt, 244) } else { None },
            s5: definition_blocks.find_map(|table| super::aml::sleep_types(table.get(HEADER..)?)),
            reset: if revision >= 2 && flags & 1 << 10 != 0 { reset() } else { None },
            acpi_enable: if hardware_reduced { None } else { enable() },
        }
    }
}
