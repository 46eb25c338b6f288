//! Devices: serial ports, ACPI tables and power, I/O APICs, PCI with MSI-X, virtio, the timer that finds loops.

pub mod acpi;
pub mod ioapic;
pub mod msix;
pub mod pci;
pub mod registers;
pub mod serial;
pub mod virtio;
pub mod watchdog;
