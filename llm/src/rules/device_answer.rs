//! Sentences about devices, each from the record it names.

use super::device_question::{Bus, DeviceQuestion, Subject, read};
use super::{Answer, Confidence, Source};
use crate::knowledge::{DeviceId, pci, usb};
use alloc::format;
use alloc::string::String;

/// Answers a question about a device, vendor or class that it gives by number.
pub(super) fn answer(question: &str) -> Option<Answer> {
    let DeviceQuestion { bus, subject } = read(question)?;
    let (record, source, confidence) = match (bus, subject) {
        (Some(bus), subject) => {
            let (sentence, found) = about(bus, subject);
            (sentence, source_of(bus), confidence(found))
        }
        // USB classes are hardly ever asked for by number, PCI's are in every log.
        (None, subject @ Subject::Class(..)) => {
            let (sentence, found) = about(Bus::Pci, subject);
            (sentence, Source::PciIds, confidence(found))
        }
        (None, subject) => both(subject),
    };
    Some(Answer { text: format!("{record}."), record, source, confidence })
}

fn source_of(bus: Bus) -> Source {
    match bus {
        Bus::Pci => Source::PciIds,
        Bus::Usb => Source::UsbIds,
    }
}

fn confidence(found: bool) -> Confidence {
    if found { Confidence::Record } else { Confidence::NotFound }
}

/// The same numbers on both buses: whoever asked did not say which is meant.
fn both(subject: Subject) -> (String, Source, Confidence) {
    let [(pci, in_pci), (usb, in_usb)] = [about(Bus::Pci, subject), about(Bus::Usb, subject)];
    let what = match subject {
        Subject::Vendor(_) => "vendor",
        _ => "device",
    };
    let sentence = match (in_pci, in_usb) {
        (true, true) => format!("{pci}; {usb}"),
        (true, false) => format!("{pci}; no USB {what} of this number is known"),
        (false, true) => format!("{usb}; no PCI {what} of this number is known"),
        (false, false) if matches!(subject, Subject::DeviceWithoutVendor(_)) => pci,
        (false, false) => format!("{pci}; {usb}"),
    };
    (sentence, Source::DeviceIds, confidence(in_pci || in_usb))
}

/// What one bus's database says, and whether it has the record.
fn about(bus: Bus, subject: Subject) -> (String, bool) {
    let name = match bus {
        Bus::Pci => "PCI",
        Bus::Usb => "USB",
    };
    match subject {
        Subject::Device(id, board) => device(bus, name, id, board),
        Subject::Vendor(id) => match vendor_name(bus, id) {
            Some(vendor) => (format!("{name} vendor {id:04x} is {vendor}"), true),
            None => (format!("{name} vendor {id:04x} is not in the {name} ID database"), false),
        },
        Subject::DeviceWithoutVendor(id) => {
            let example = if bus == Bus::Usb { "046d:c52b" } else { "8086:10d3" };
            let text = format!(
                "Device number {id:04x} alone names no device: every vendor has its own; give both, like {example}"
            );
            (text, false)
        }
        Subject::Class(class, subclass, interface) => class_sentence(bus, name, class, subclass, interface),
    }
}

fn vendor_name(bus: Bus, id: u16) -> Option<&'static str> {
    match bus {
        Bus::Pci => pci::vendor(id),
        Bus::Usb => usb::vendor(id),
    }
}

fn device(bus: Bus, name: &str, id: DeviceId, board: Option<DeviceId>) -> (String, bool) {
    let device = match bus {
        Bus::Pci => pci::device(id.vendor, id.device),
        Bus::Usb => usb::product(id.vendor, id.device),
    };
    match (vendor_name(bus, id.vendor), device) {
        (Some(vendor), Some(device)) => {
            let mut sentence = format!("{name} device {id} is the {vendor} {device}");
            let board = board.filter(|_| bus == Bus::Pci);
            if let Some(board) = board {
                match pci::subsystem(id.vendor, id.device, board.vendor, board.device) {
                    Some(on) => sentence.push_str(&format!(", on the board {on} ({board})")),
                    None => sentence.push_str(&format!(", on a board ({board}) that is not in the database")),
                }
            }
            (sentence, true)
        }
        (Some(vendor), None) => (
            format!(
                "{name} device {id} is not in the {name} ID database; its vendor, {:04x}, is {vendor}",
                id.vendor
            ),
            false,
        ),
        (None, _) => {
            (format!("{name} device {id} is not in the {name} ID database, and neither is its vendor"), false)
        }
    }
}

fn class_sentence(
    bus: Bus,
    name: &str,
    class: u8,
    subclass: Option<u8>,
    interface: Option<u8>,
) -> (String, bool) {
    let (in_class, in_subclass, in_interface) = match bus {
        Bus::Pci => (
            pci::class(class),
            subclass.and_then(|s| pci::subclass(class, s)),
            subclass.zip(interface).and_then(|(s, i)| pci::prog_if(class, s, i)),
        ),
        Bus::Usb => (
            usb::class(class),
            subclass.and_then(|s| usb::subclass(class, s)),
            subclass.zip(interface).and_then(|(s, i)| usb::protocol(class, s, i)),
        ),
    };
    let mut code = format!("{class:02x}");
    [subclass, interface].into_iter().flatten().for_each(|byte| code.push_str(&format!("{byte:02x}")));
    let Some(in_class) = in_class else {
        return (format!("{name} class {code} is not in the {name} ID database"), false);
    };
    let mut sentence = format!("{name} class {code} is \"{in_class}\"");
    for (part, found) in [(subclass, in_subclass), (interface, in_interface)] {
        match (part, found) {
            (None, _) => {}
            (Some(_), Some(found)) => sentence.push_str(&format!(", \"{found}\"")),
            (Some(part), None) => {
                sentence.push_str(&format!(", with a part {part:02x} that is not in the database"))
            }
        }
    }
    (sentence, true)
}
