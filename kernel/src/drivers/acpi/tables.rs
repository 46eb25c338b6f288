//! Finding ACPI tables and reading fields out of them (ACPI 6.5, chapter 5).
//!
//! Firmware tables are untrusted bytes: every length is checked before it is used, and a table whose checksum
//! is wrong is left out. Memory is read through [`Physical`], so the same code runs over recorded tables.

use thiserror::Error;

/// No table of any known machine is near this; a longer one is not believed.
const MAX_TABLE: usize = 16 << 20;
/// Length of the header that all tables begin with.
pub const HEADER: usize = 36;
/// Tables that are kept; QEMU has 8, servers about 60.
const MAX_TABLES: usize = 128;

/// Physical memory that can be read.
pub trait Physical {
    /// `len` bytes from `address`, or `None` where there is no memory to read.
    fn bytes(&self, address: u64, len: usize) -> Option<&'static [u8]>;
}

/// Why there are no tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TablesError {
    /// Neither the boot loader nor the BIOS area has a root pointer.
    #[error("no valid ACPI root pointer (RSDP) was found; start with ACPI enabled")]
    NoRootPointer,
    /// The root pointer leads nowhere.
    #[error("the ACPI root table (RSDT/XSDT) is missing, too short or has a wrong checksum")]
    BadRootTable,
}

/// The tables of the machine: whole, with right checksums.
pub struct Tables {
    tables: heapless::Vec<&'static [u8], MAX_TABLES>,
}

impl Tables {
    /// Follows the root pointer at `rsdp`, or searches for one where BIOSes put it.
    pub fn find(memory: &dyn Physical, rsdp: Option<u64>) -> Result<Self, TablesError> {
        let root_pointer = rsdp
            .and_then(|address| root_pointer(memory, address))
            .or_else(|| search_bios_area(memory))
            .ok_or(TablesError::NoRootPointer)?;
        let (root, width) = follow(memory, root_pointer).ok_or(TablesError::BadRootTable)?;
        let mut tables = heapless::Vec::new();
        for pointer in root.get(HEADER..).unwrap_or(&[]).chunks_exact(width) {
            let address = pointer.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
            if let Some(table) = table(memory, address)
                && tables.push(table).is_err()
            {
                break;
            }
        }
        // The DSDT is not listed: the FADT points to it.
        let found = Self { tables };
        let dsdt = found.get(b"FACP").and_then(|fadt| dsdt(memory, fadt));
        let mut tables = found.tables;
        if let Some(dsdt) = dsdt {
            // No room: one cannot power off by S5, and says so then.
            let _ = tables.push(dsdt);
        }
        Ok(Self { tables })
    }

    /// The first table of that signature, header included.
    pub fn get(&self, signature: &[u8; 4]) -> Option<&'static [u8]> {
        self.all(signature).next()
    }

    /// All tables of that signature, header included.
    pub fn all<'t>(&'t self, signature: &'t [u8; 4]) -> impl Iterator<Item = &'static [u8]> + 't {
        self.iter().filter(move |table| table.starts_with(signature))
    }

    /// All tables.
    pub fn iter(&self) -> impl Iterator<Item = &'static [u8]> + '_ {
        self.tables.iter().copied()
    }
}

/// The 20 (ACPI 1) or 36 (ACPI 2) bytes of a valid root pointer.
fn root_pointer(memory: &dyn Physical, address: u64) -> Option<&'static [u8]> {
    let first = memory.bytes(address, 20)?;
    if !first.starts_with(b"RSD PTR ") || !sums_to_zero(first) {
        return None;
    }
    let extended = || memory.bytes(address, 36).filter(|bytes| sums_to_zero(bytes));
    match first.get(15)? {
        0 => Some(first),
        _ => extended().or(Some(first)),
    }
}

/// Searches the first KiB of the extended BIOS data area, then the BIOS area, every 16 bytes (5.2.5.1).
fn search_bios_area(memory: &dyn Physical) -> Option<&'static [u8]> {
    let ebda =
        memory.bytes(0x40e, 2).and_then(|bytes| u16_at(bytes, 0)).map(|segment| u64::from(segment) << 4);
    let ebda = ebda.filter(|start| (0x400..0xa_0000).contains(start)).map(|start| start..start + 1024);
    ebda.into_iter()
        .chain(core::iter::once(0xe_0000..0x10_0000))
        .flat_map(|range| range.step_by(16))
        .find_map(|address| root_pointer(memory, address))
}

/// The root table and the width of its pointers: the XSDT, or the RSDT where there is none.
fn follow(memory: &dyn Physical, root_pointer: &[u8]) -> Option<(&'static [u8], usize)> {
    let xsdt = u64_at(root_pointer, 24).filter(|&address| address != 0);
    let xsdt = xsdt.and_then(|address| table(memory, address)).filter(|table| table.starts_with(b"XSDT"));
    let rsdt = || {
        let address = u32_at(root_pointer, 16)?;
        table(memory, address.into()).filter(|table| table.starts_with(b"RSDT"))
    };
    xsdt.map(|table| (table, 8)).or_else(|| rsdt().map(|table| (table, 4)))
}

fn dsdt(memory: &dyn Physical, fadt: &[u8]) -> Option<&'static [u8]> {
    let wide = u64_at(fadt, 140).filter(|&address| address != 0);
    let narrow = u32_at(fadt, 40).map(u64::from).filter(|&address| address != 0);
    wide.into_iter()
        .chain(narrow)
        .find_map(|address| table(memory, address))
        .filter(|t| t.starts_with(b"DSDT"))
}

/// The table at `address`, if its length is sane and its checksum right.
fn table(memory: &dyn Physical, address: u64) -> Option<&'static [u8]> {
    let len = u32_at(memory.bytes(address, HEADER)?, 4)? as usize;
    if !(HEADER..=MAX_TABLE).contains(&len) {
        return None;
    }
    memory.bytes(address, len).filter(|bytes| sums_to_zero(bytes))
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)) == 0
}

/// Little-endian field, or `None` past the end.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Little-endian field, or `None` past the end.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Little-endian field, or `None` past the end.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
