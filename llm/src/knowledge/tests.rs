//! The packed tables hold what the databases say, entry by entry where the recorded copies are at hand.

use super::{DeviceId, IdError, pci, usb};

#[test]
fn well_known_entries() {
    assert_eq!(pci::vendor(0x10de), Some("NVIDIA Corporation"));
    assert_eq!(pci::device(0x8086, 0x10d3), Some("82574L Gigabit Network Connection"));
    assert_eq!(pci::device(0x1af4, 0x1000), Some("Virtio network device"));
    assert_eq!(pci::device(0x8086, 0xfffe), None);
    assert_eq!(pci::vendor(0x0006), None);
    assert_eq!(pci::class(0x02), Some("Network controller"));
    assert_eq!(pci::subclass(0x02, 0x00), Some("Ethernet controller"));
    assert_eq!(pci::prog_if(0x01, 0x08, 0x02), Some("NVM Express"));
    assert_eq!(pci::class_name(0x06, 0xee), Some("Bridge"));
    assert_eq!(pci::subsystem(0x8086, 0x10d3, 0x1093, 0x76e9), Some("PCIe-8233 Ethernet Adapter"));
    assert_eq!(usb::vendor(0x046d), Some("Logitech, Inc."));
    assert!(usb::product(0x046d, 0xc52b).is_some_and(|name| name.contains("Unifying")));
    assert_eq!(usb::class(0x03), Some("Human Interface Device"));
    assert_eq!(usb::protocol(0x03, 0x01, 0x01), Some("Keyboard"));
}

#[test]
fn every_entry_is_found_by_its_number() {
    let (mut vendors, mut devices) = (0, 0);
    for (vendor, name) in pci::vendors() {
        vendors += 1;
        assert_eq!(pci::vendor(vendor), Some(name));
        for (device, name) in pci::devices(vendor) {
            devices += 1;
            assert_eq!(pci::device(vendor, device), Some(name));
        }
    }
    // As counted in the file of 2025-07-11, which the crate of `build.rs` carries.
    assert_eq!((vendors, devices), (2445, 19836));
    let (mut vendors, mut products) = (0, 0);
    for (vendor, name) in usb::vendors() {
        vendors += 1;
        assert_eq!(usb::vendor(vendor), Some(name));
        for (product, name) in usb::products(vendor) {
            products += 1;
            assert_eq!(usb::product(vendor, product), Some(name));
        }
    }
    assert!(vendors > 3000 && products > 15_000, "{vendors} USB vendors, {products} products");
}

#[test]
fn ids_in_the_forms_that_people_write() {
    let expected = DeviceId { vendor: 0x8086, device: 0x10d3 };
    for text in [
        "8086:10d3",
        "8086:10D3",
        "0x8086 0x10d3",
        "0x8086, 0X10D3",
        "vendor 8086 device 10d3",
        "Vendor=8086 Device=10D3",
        "VID_8086&PID_10D3",
        "[8086:10d3]",
        "pci id 8086/10d3",
    ] {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
    for text in ["", "8086", "8086:10d", "8086:10d3:1", "hello world", "80861:10d3", "8086:+0d3", "0x:0x"] {
        assert_eq!(text.parse::<DeviceId>(), Err(IdError), "{text}");
    }
    assert_eq!(alloc::format!("{expected}"), "8086:10d3");
}
