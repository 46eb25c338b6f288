//! Devices: serial ports, ACPI tables and power, I/O APICs, PCI with MSI-X, virtio, memory shared
//! with the host, the timer that finds loops.

pub mod acpi;
pub mod ioapic;
pub mod msix;
pub mod pci;
pub mod registers;
pub mod rtc;
pub mod serial;
pub mod shared_memory;
pub mod virtio;
pub mod watchdog;
