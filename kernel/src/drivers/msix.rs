//! MSI-X: a function interrupts a CPU by a write to the local APIC (PCI Express base 5.0, 7.7.2; Intel SDM volume 3, 11.11).
//!
//! The function's table says for each of its sources what it writes where. Interrupts are edges: none is shared, and nothing has to
//! be asked for its cause.

use super::pci::Function;
use super::registers::Registers;

const ID: u8 = 0x11;
const TABLE: u16 = 4;
/// In the upper half of the capability's first register.
const ENABLE: u32 = 1 << 31;
const FUNCTION_MASK: u32 = 1 << 30;
const SIZE_MASK: u32 = 0x7ff;

/// Bytes of an entry: address, upper address, data, control.
const ENTRY: usize = 16;
const DATA: usize = 8;
const CONTROL: usize = 12;
/// Where writes become interrupts.
const LOCAL_APIC: u32 = 0xfee0_0000;

/// Why there are no such interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MsixError {
    /// Not listed.
    #[error("it has no MSI-X; use a modern virtio device of QEMU's")]
    Missing,
    /// The table is not in a memory BAR.
    #[error("its MSI-X table lies outside its memory")]
    BadTable,
    /// An entry behind the table's end was asked for.
    #[error("its MSI-X table has {size} entries, and number {entry} was wanted")]
    NoEntry {
        /// Which.
        entry: u16,
        /// How many there are.
        size: u16,
    },
    /// Such a CPU is reached only by remapping interrupts.
    #[error("the CPU with APIC id {0} is out of reach of MSI-X")]
    FarCpu(u32),
}

/// A function's table.
pub struct MsiX<'a> {
    function: &'a Function,
    capability: u16,
    table: Registers,
    size: u16,
}

impl<'a> MsiX<'a> {
    /// Finds and maps the table, turns MSI-X on and masks all of it.
    pub fn of(function: &'a Function) -> Result<Self, MsixError> {
        let mut capabilities = function.capabilities();
        let (_, at) = capabilities.find(|&(id, _)| id == ID).ok_or(MsixError::Missing)?;
        let control = function.read(at);
        let size = (control >> 16 & SIZE_MASK) as u16 + 1;
        let place = function.read(at + TABLE);
        let (bar, offset) = ((place & 7) as u8, u64::from(place & !7));
        let table = function.map(bar, offset, u64::from(size) * ENTRY as u64).ok_or(MsixError::BadTable)?;
        let all = Self { function, capability: at, table, size };
        // Entries may be changed only while they are masked.
        function.write(at, control | ENABLE | FUNCTION_MASK);
        (0..size).for_each(|entry| all.table.write(usize::from(entry) * ENTRY + CONTROL, 1u32));
        Ok(all)
    }

    /// Has `entry` raise `vector` on the CPU with APIC id `cpu`.
    pub fn route(&self, entry: u16, vector: u8, cpu: u32) -> Result<(), MsixError> {
        let cpu = u8::try_from(cpu).map_err(|_| MsixError::FarCpu(cpu))?;
        if entry >= self.size {
            return Err(MsixError::NoEntry { entry, size: self.size });
        }
        let at = usize::from(entry) * ENTRY;
        self.table.write(at, LOCAL_APIC | u32::from(cpu) << 12);
        self.table.write(at + 4, 0u32);
        // Fixed delivery, an edge.
        self.table.write(at + DATA, u32::from(vector));
        self.table.write(at + CONTROL, 0u32);
        Ok(())
    }

    /// Lets the interrupts through whose entries are routed.
    pub fn unmask(&self) {
        let control = self.function.read(self.capability);
        self.function.write(self.capability, control & !FUNCTION_MASK);
    }
}
