//! PCI functions as `lspci` lists them.

use alloc::vec::Vec;

/// One PCI function. Names are not in here: they come from `llm::knowledge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciDevice {
    /// Segment group, 0 on most machines.
    pub segment: u16,
    /// Bus.
    pub bus: u8,
    /// Device on the bus, 0..32.
    pub device: u8,
    /// Function of the device, 0..8.
    pub function: u8,
    /// Vendor id.
    pub vendor_id: u16,
    /// Device id.
    pub device_id: u16,
    /// Base class.
    pub class: u8,
    /// Sub-class.
    pub subclass: u8,
    /// Programming interface.
    pub interface: u8,
    /// Revision.
    pub revision: u8,
    /// Subsystem vendor and id, where the header has them and they are not zero.
    pub subsystem: Option<(u16, u16)>,
    /// Base address registers that are in use.
    pub bars: Vec<PciBar>,
    /// Interrupt pin (1 = INTA) and line, where the function has a pin.
    pub interrupt: Option<PciInterrupt>,
    /// Driver of this kernel that uses it.
    pub driver: Option<&'static str>,
}

/// One base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciBar {
    /// Number of the register, 0..6 (a 64-bit one also takes the next).
    pub index: u8,
    /// What it decodes.
    pub kind: PciBarKind,
    /// First address or port.
    pub address: u64,
    /// Bytes or ports.
    pub size: u64,
}

/// Address space of a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciBarKind {
    /// I/O ports.
    Io,
    /// 32-bit memory.
    Memory32 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
    /// 64-bit memory.
    Memory64 {
        /// Reads have no side effects.
        prefetchable: bool,
    },
}

/// Legacy interrupt of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciInterrupt {
    /// 1 = INTA … 4 = INTD.
    pub pin: u8,
    /// Line as the firmware programmed it; 255 = none.
    pub line: u8,
}
