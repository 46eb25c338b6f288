//! The PCI ID database (pci-ids.ucw.cz): vendors, devices, subsystems, and device classes.

use super::tree::{Tree, tree};

static DEVICES: Tree = tree!("pci_devices");
static CLASSES: Tree = tree!("pci_classes");

/// Name of a vendor.
pub fn vendor(vendor: u16) -> Option<&'static str> {
    DEVICES.root(vendor.into()).map(|entry| entry.name)
}

/// Name of a device, without its vendor's.
pub fn device(vendor: u16, device: u16) -> Option<&'static str> {
    DEVICES.child(DEVICES.root(vendor.into())?, device.into()).map(|entry| entry.name)
}

/// Name of a board (the subsystem IDs) that carries a device.
pub fn subsystem(vendor: u16, device: u16, subvendor: u16, subdevice: u16) -> Option<&'static str> {
    let device = DEVICES.child(DEVICES.root(vendor.into())?, device.into())?;
    DEVICES.child(device, u32::from(subvendor) << 16 | u32::from(subdevice)).map(|entry| entry.name)
}

/// Name of a base class, such as "Network controller" for 2.
pub fn class(class: u8) -> Option<&'static str> {
    CLASSES.root(class.into()).map(|entry| entry.name)
}

/// Name of a subclass, such as "Ethernet controller" for 2, 0.
pub fn subclass(class: u8, subclass: u8) -> Option<&'static str> {
    CLASSES.child(CLASSES.root(class.into())?, subclass.into()).map(|entry| entry.name)
}

/// Name of a programming interface, such as "NVM Express" for 1, 8, 2.
pub fn prog_if(class: u8, subclass: u8, prog_if: u8) -> Option<&'static str> {
    let subclass = CLASSES.child(CLASSES.root(class.into())?, subclass.into())?;
    CLASSES.child(subclass, prog_if.into()).map(|entry| entry.name)
}

/// The most exact name there is for a class code: of the subclass, else of the class.
pub fn class_name(class_id: u8, subclass_id: u8) -> Option<&'static str> {
    subclass(class_id, subclass_id).or_else(|| class(class_id))
}

/// All vendors, by ID.
pub fn vendors() -> impl Iterator<Item = (u16, &'static str)> {
    DEVICES.roots().map(|entry| (entry.key as u16, entry.name))
}

/// All devices of a vendor, by ID; none for an unknown vendor.
pub fn devices(vendor: u16) -> impl Iterator<Item = (u16, &'static str)> {
    let devices = DEVICES.root(vendor.into()).into_iter().flat_map(|vendor| DEVICES.children(vendor));
    devices.map(|entry| (entry.key as u16, entry.name))
}
