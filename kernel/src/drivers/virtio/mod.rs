//! Virtio devices on PCI (virtio 1.2): the consoles that the control plane is served on, a disk, and random numbers.
//!
//! The rings are the crate `virtio-drivers`'. Its PCI transport knows no MSI-X, trusts what the device says of itself and waits
//! in loops, so [`transport`] is ours. Its drivers are not used: its console has one port, and its disk waits in a loop.

pub mod block;
pub mod console;
pub mod entropy;
mod memory;
mod queue;
mod transport;

use super::pci;

/// Red Hat's vendor id, which virtio devices carry.
const VENDOR: u16 = 0x1af4;
/// Consoles: the modern device, and the one that old drivers know too.
const CONSOLES: [u16; 2] = [0x1043, 0x1003];
/// Disks, likewise.
const DISKS: [u16; 2] = [0x1042, 0x1001];

/// Sources of random numbers, likewise.
const ENTROPY_SOURCES: [u16; 2] = [0x1044, 0x1005];

/// Starts the devices there are. One that cannot be used costs a line in the log.
pub fn init() {
    for function in pci::functions().iter().filter(|function| function.vendor == VENDOR) {
        let started = match function.device {
            id if CONSOLES.contains(&id) => console::start(function),
            id if DISKS.contains(&id) => block::start(function),
            id if ENTROPY_SOURCES.contains(&id) => entropy::start(function),
            _ => continue,
        };
        if let Err(error) = started {
            log::error!("virtio: the device at {} stays unused: {error}", function.address);
        }
    }
}
