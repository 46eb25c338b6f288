//! Devices: serial ports, ACPI tables and power, I/O APICs, PCI, the timer that finds loops.

pub mod acpi;
pub mod ioapic;
pub mod pci;
pub mod serial;
pub mod watchdog;
