//! Packs the PCI and USB ID databases into tables for `src/knowledge`.
//!
//! The data come from two crates, which are used here and not in the library: `usb-ids` needs std, and both keep
//! every name and list as a pointer, twice the size of what is written here. `ids_rs` is taken for PCI because
//! the build of `pci-ids` 0.2.6 downloads whatever the database is that day (its `build.rs` runs curl), so that
//! two builds of one commit could differ. Neither build here touches the network.
//!
//! Every database is a tree of three levels (vendor, device, subsystem; class, subclass, interface; …):
//! see `src/knowledge/tree.rs` for the layout.

use std::env;
use std::fs;
use std::path::Path;

/// A named number with those below it.
struct Node {
    key: u32,
    name: String,
    children: Vec<Node>,
}

fn node(key: impl Into<u32>, name: &str, children: Vec<Node>) -> Node {
    Node { key: key.into(), name: name.trim().into(), children }
}

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    for (name, tree) in [
        ("pci_devices", pci_devices()),
        ("pci_classes", pci_classes()),
        ("usb_devices", usb_devices()),
        ("usb_classes", usb_classes()),
    ] {
        assert!(tree.len() > 10, "{name} is all but empty: its crate has changed");
        write(Path::new(&out), name, tree);
    }
}

fn pci_devices() -> Vec<Node> {
    let vendors = ids_rs::PciDatabase::get().vendors().iter();
    vendors
        .map(|vendor| {
            let devices = vendor.devices().iter().map(|device| {
                let subsystems = device.subsystems().iter().map(|subsystem| {
                    let (vendor, id) = (subsystem.subvendor_id().value(), subsystem.subdevice_id().value());
                    node(u32::from(vendor) << 16 | u32::from(id), subsystem.name(), vec![])
                });
                node(device.id().value(), device.name(), subsystems.collect())
            });
            node(vendor.id().value(), vendor.name(), devices.collect())
        })
        .collect()
}

fn pci_classes() -> Vec<Node> {
    let classes = ids_rs::PciDatabase::get().classes().iter();
    classes
        .map(|class| {
            let subclasses = class.subclasses().iter().map(|subclass| {
                let interfaces = subclass.prog_interfaces().iter();
                let interfaces =
                    interfaces.map(|interface| node(interface.id().value(), interface.name(), vec![]));
                node(subclass.id().value(), subclass.name(), interfaces.collect())
            });
            node(class.id().value(), class.name(), subclasses.collect())
        })
        .collect()
}

fn usb_devices() -> Vec<Node> {
    usb_ids::Vendors::iter()
        .map(|vendor| {
            let devices = vendor.devices().map(|device| {
                let interfaces =
                    device.interfaces().map(|interface| node(interface.id(), interface.name(), vec![]));
                node(device.id(), device.name(), interfaces.collect())
            });
            node(vendor.id(), vendor.name(), devices.collect())
        })
        .collect()
}

fn usb_classes() -> Vec<Node> {
    usb_ids::Classes::iter()
        .map(|class| {
            let subclasses = class.sub_classes().map(|subclass| {
                let protocols =
                    subclass.protocols().map(|protocol| node(protocol.id(), protocol.name(), vec![]));
                node(subclass.id(), subclass.name(), protocols.collect())
            });
            node(class.id(), class.name(), subclasses.collect())
        })
        .collect()
}

/// Sorts every level, drops repeated keys (the first stays) and writes `NAME.{0,1,2}` (records) and `NAME.txt`.
fn write(out: &Path, name: &str, mut level: Vec<Node>) {
    let mut text = String::new();
    for depth in 0..3 {
        let (mut records, mut below) = (Vec::new(), Vec::new());
        let mut parents =
            if depth == 0 { vec![level] } else { level.into_iter().map(|n| n.children).collect() };
        level = Vec::new();
        for siblings in &mut parents {
            siblings.sort_by_key(|node| node.key);
            siblings.dedup_by_key(|node| node.key);
            level.append(siblings);
        }
        let mut child = 0u32;
        for node in &mut level {
            record(&mut records, node.key, text.len(), child);
            text.push_str(&node.name);
            node.children.sort_by_key(|node| node.key);
            node.children.dedup_by_key(|node| node.key);
            child += node.children.len() as u32;
        }
        // Ends the last name and the last list of children.
        record(&mut records, u32::MAX, text.len(), child);
        below.append(&mut records);
        fs::write(out.join(format!("{name}.{depth}")), below).expect("OUT_DIR is writable");
    }
    fs::write(out.join(format!("{name}.txt")), text).expect("OUT_DIR is writable");
}

fn record(to: &mut Vec<u8>, key: u32, name: usize, child: u32) {
    to.extend(key.to_le_bytes());
    to.extend((name as u32).to_le_bytes());
    to.extend(child.to_le_bytes());
}
