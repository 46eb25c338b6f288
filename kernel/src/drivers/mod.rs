//! Devices: serial ports, ACPI tables and power, I/O APICs, PCI.

pub mod acpi;
pub mod ioapic;
pub mod pci;
pub mod serial;
