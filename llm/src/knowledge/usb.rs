//! The USB ID database (linux-usb.org): vendors, products, and device classes.

use super::tree::{Tree, tree};

static DEVICES: Tree = tree!("usb_devices");
static CLASSES: Tree = tree!("usb_classes");

/// Name of a vendor.
pub fn vendor(vendor: u16) -> Option<&'static str> {
    DEVICES.root(vendor.into()).map(|entry| entry.name)
}

/// Name of a product, without its vendor's.
pub fn product(vendor: u16, product: u16) -> Option<&'static str> {
    DEVICES.child(DEVICES.root(vendor.into())?, product.into()).map(|entry| entry.name)
}

/// Name of a class, such as "Human Interface Device" for 3.
pub fn class(class: u8) -> Option<&'static str> {
    CLASSES.root(class.into()).map(|entry| entry.name)
}

/// Name of a subclass.
pub fn subclass(class: u8, subclass: u8) -> Option<&'static str> {
    CLASSES.child(CLASSES.root(class.into())?, subclass.into()).map(|entry| entry.name)
}

/// Name of a protocol, such as "Keyboard" for 3, 1, 1.
pub fn protocol(class: u8, subclass: u8, protocol: u8) -> Option<&'static str> {
    let subclass = CLASSES.child(CLASSES.root(class.into())?, subclass.into())?;
    CLASSES.child(subclass, protocol.into()).map(|entry| entry.name)
}

/// All vendors, by ID.
pub fn vendors() -> impl Iterator<Item = (u16, &'static str)> {
    DEVICES.roots().map(|entry| (entry.key as u16, entry.name))
}

/// All products of a vendor, by ID; none for an unknown vendor.
pub fn products(vendor: u16) -> impl Iterator<Item = (u16, &'static str)> {
    let products = DEVICES.root(vendor.into()).into_iter().flat_map(|vendor| DEVICES.children(vendor));
    products.map(|entry| (entry.key as u16, entry.name))
}
