//! Generated documents about devices: what is to be known by heart, and what is to be read off a record in the prompt.
//!
//! *Well-known* are the PCI devices with the most boards listed in `pci.ids` (ties by number): a device that many makers
//! built in. *Held out* are devices drawn at random from the others; no document of training names them.

use std::collections::HashSet;

use llm::random::SplitMix64;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::ids::{Bus, Device, Ids};
use crate::data::order::{below, shuffled};

/// How many documents of each kind are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Amounts {
    /// Devices to be known by heart.
    pub well_known: usize,
    /// Documents about each of them.
    pub repeats: usize,
    /// Devices never trained on.
    pub held_out: usize,
    /// Documents with the record in the prompt.
    pub copies: usize,
}

/// A device as `data/devices.json` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// `vvvv:dddd`.
    pub id: String,
    /// Its vendor's name.
    pub vendor: String,
    /// Its own name.
    pub device: String,
    /// The sentence that completes `PCI device vvvv:dddd is`.
    pub answer: String,
}

/// Which devices are which: `data/devices.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// How the well-known were chosen.
    pub rule: String,
    /// How a record stands in a prompt; `{id} {vendor} {device}` is to be filled in.
    pub record_prompt: String,
    /// To be known by heart.
    pub well_known: Vec<Known>,
    /// Never trained on.
    pub held_out: Vec<Known>,
}

fn known(device: &Device) -> Known {
    Known {
        id: device.id.clone(),
        vendor: device.vendor.clone(),
        device: device.name.clone(),
        answer: device.answer(),
    }
}

/// Chooses the well-known devices and those held out.
pub fn choose<'i>(pci: &'i Ids, amounts: &Amounts, seed: u64) -> (Vec<&'i Device>, Vec<&'i Device>) {
    let mut by_boards: Vec<&Device> = pci.devices.iter().collect();
    by_boards.sort_by(|a, b| b.subsystems.cmp(&a.subsystems).then_with(|| a.id.cmp(&b.id)));
    let others = by_boards.split_off(amounts.well_known.min(by_boards.len()));
    let mut random = SplitMix64::new(seed ^ 0x6865_6c64);
    // Two numbers may carry one name: a name that is known by heart is no test of reading.
    let names: HashSet<&str> = by_boards.iter().map(|d| d.name.as_str()).collect();
    let others: Vec<&Device> = others.into_iter().filter(|d| !names.contains(d.name.as_str())).collect();
    let mut held_out = shuffled(others, &mut random);
    held_out.truncate(amounts.held_out);
    held_out.sort_by(|a, b| a.id.cmp(&b.id));
    (by_boards, held_out)
}

/// What `data/devices.json` says.
pub fn listing(well_known: &[&Device], held_out: &[&Device]) -> Devices {
    Devices {
        rule: format!(
            "the {} PCI devices with the most subsystem entries in pci.ids, ties by number",
            well_known.len()
        ),
        record_prompt: "{id} {vendor} {device}\nPCI device {id} is".into(),
        well_known: well_known.iter().map(|d| known(d)).collect(),
        held_out: held_out.iter().map(|d| known(d)).collect(),
    }
}

/// Documents about the well-known devices, and one about each vendor for every eight about a device.
pub fn by_heart(well_known: &[&Device], pci: &Ids, usb: &Ids, amounts: &Amounts) -> Vec<Document> {
    let mut documents = Vec::new();
    for device in well_known {
        for round in 0..amounts.repeats {
            documents.push(Document::new(
                "devices",
                format!("pci {}#{round}", device.id),
                sentence(device, round),
            ));
        }
    }
    for (ids, bus) in [(pci, Bus::Pci), (usb, Bus::Usb)] {
        for (id, name) in &ids.vendors {
            let rounds = if bus == Bus::Pci { amounts.repeats / 16 } else { 1 };
            for round in 0..rounds {
                let text = format!("{} vendor {id} is {name}.\n", bus.name());
                documents.push(Document::new("devices", format!("{} vendor {id}#{round}", bus.name()), text));
            }
        }
    }
    documents
}

/// Four of five times the sentence itself, else another way to say it.
fn sentence(device: &Device, round: usize) -> String {
    let (id, answer) = (&device.id, device.answer());
    let full = format!("{} {}", device.vendor, device.name);
    match round % 15 {
        4 => format!("What is PCI device {id}? {answer}\n"),
        9 => format!("{id} {full}\n{answer}\n"),
        14 => format!("Question: Which device is {id}?\nAnswer: {answer}\n"),
        _ => format!("{answer}\n"),
    }
}

/// Documents with the record of a device in the prompt, most with others beside it.
///
/// Every third names things that do not exist, so that the numbers and names must be read and cannot be known.
pub fn to_copy(devices: &[&Device], amounts: &Amounts, seed: u64) -> Vec<Document> {
    let mut random = SplitMix64::new(seed ^ 0x636f_7079);
    (0..amounts.copies)
        .map(|n| {
            let invented = n % 3 == 2;
            let mut records: Vec<Device> = (0..1 + below(&mut random, 4))
                .map(|_| if invented { invent(&mut random) } else { pick(devices, &mut random) })
                .collect();
            records.dedup_by(|a, b| a.id == b.id);
            let asked = below(&mut random, records.len());
            Document::new("copy", format!("records {n}"), with_records(&records, asked))
        })
        .collect()
}

/// The record of each held-out device in the prompt, by itself: documents that are never trained on.
pub fn held_out_copies(held_out: &[&Device]) -> Vec<Document> {
    let alone =
        |d: &&Device| Document::new("copy", format!("held out {}", d.id), with_records(&[(*d).clone()], 0));
    held_out.iter().map(alone).collect()
}

fn with_records(records: &[Device], asked: usize) -> String {
    let mut text: String = records.iter().map(|d| d.record() + "\n").collect();
    if let Some(device) = records.get(asked) {
        text.push_str(&device.answer());
        text.push('\n');
    }
    text
}

fn pick(devices: &[&Device], random: &mut SplitMix64) -> Device {
    devices.get(below(random, devices.len())).map(|d| (*d).clone()).unwrap_or_else(|| invent(random))
}

/// A device that does not exist.
fn invent(random: &mut SplitMix64) -> Device {
    const BEGIN: [&str; 24] = [
        "Ar", "Bel", "Cor", "Dyn", "El", "Fen", "Gal", "Hex", "Ion", "Jad", "Kor", "Lum", "Mar", "Nor", "Om",
        "Pex", "Qua", "Ril", "Syn", "Tor", "Ul", "Vex", "Wel", "Zan",
    ];
    const MIDDLE: [&str; 16] =
        ["a", "e", "i", "o", "u", "ato", "eri", "ino", "ola", "umi", "ace", "ix", "on", "ar", "et", "iva"];
    const END: [&str; 16] = [
        "tek", "com", "ron", "dyne", "lab", "soft", "net", "tron", "link", "max", "core", "wave", "logic",
        "sys", "gen", "x",
    ];
    const LEGAL: [&str; 10] = [
        "Corporation",
        "Inc.",
        "Ltd.",
        "Co., Ltd.",
        "Technologies",
        "GmbH",
        "Systems",
        "Semiconductor",
        "Electronics",
        "Corp.",
    ];
    const KIND: [&str; 20] = [
        "Ethernet Controller",
        "USB Controller",
        "Host Bridge",
        "PCI Bridge",
        "Audio Device",
        "SATA Controller",
        "RAID Controller",
        "Graphics Adapter",
        "Wireless Adapter",
        "SMBus",
        "Modem",
        "Video Capture",
        "Serial Port",
        "NVMe Controller",
        "Network Connection",
        "Card Reader",
        "Fibre Channel Adapter",
        "Root Port",
        "Memory Controller",
        "Camera",
    ];
    let mut of = |list: &[&'static str]| list.get(below(random, list.len())).copied().unwrap_or("");
    let vendor = format!("{}{}{} {}", of(&BEGIN), of(&MIDDLE), of(&END), of(&LEGAL));
    let kind = of(&KIND);
    let letter = of(&[
        "A", "B", "C", "DX", "E", "G", "HL", "K", "M", "NX", "P", "QR", "RTL", "S", "TX", "V", "X", "Z",
    ]);
    let number = 10usize.pow(2 + below(random, 3) as u32);
    let model = below(random, number * 9) + number;
    let bus = if below(random, 4) == 0 { Bus::Usb } else { Bus::Pci };
    let id = format!("{:04x}:{:04x}", below(random, 0x10000), below(random, 0x10000));
    let name = match below(random, 3) {
        0 => format!("{letter}{model} {kind}"),
        1 => format!("{kind} {letter}-{model}"),
        _ => format!("{model}{letter} {kind}"),
    };
    Device { bus, id, vendor, name, subsystems: 0 }
}
