//! What device, vendor or class a question is about, in the many ways people write numbers.

use crate::knowledge::{DeviceId, hex_id};
use alloc::string::String;
use alloc::vec::Vec;

/// The bus whose database is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bus {
    Pci,
    Usb,
}

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// A device, and the board that carries it where its numbers are given too.
    Device(DeviceId, Option<DeviceId>),
    Vendor(u16),
    /// A device number whose vendor is not said.
    DeviceWithoutVendor(u16),
    /// Class, subclass, programming interface or protocol.
    Class(u8, Option<u8>, Option<u8>),
}

/// A question about devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeviceQuestion {
    /// `None` where the question does not say.
    pub bus: Option<Bus>,
    pub subject: Subject,
}

/// A word and what stood between it and the one before.
struct Word<'q> {
    text: &'q str,
    gap: &'q str,
}

impl Word<'_> {
    fn is_any(&self, of: &[&str]) -> bool {
        of.contains(&self.text)
    }

    /// A number by its looks: hexadecimal with a digit or `0x`. ("face" and "dead" are words.)
    fn number(&self) -> Option<u16> {
        hex_id(self.text).filter(|_| self.text.bytes().any(|b| b.is_ascii_digit()))
    }

    /// A number because of where it stands: any four hexadecimal digits.
    fn number_here(&self) -> Option<u16> {
        hex_id(self.text)
    }
}

const VENDOR_LABELS: &[&str] =
    &["vendor", "vendors", "ven", "vid", "idvendor", "manufacturer", "vendorid", "maker"];
const DEVICE_LABELS: &[&str] =
    &["device", "dev", "pid", "did", "product", "idproduct", "deviceid", "productid"];
const BOARD_LABELS: &[&str] = &["subsystem", "subsys", "board"];
/// Words that may stand between a label and its number.
const FILLERS: &[&str] =
    &["id", "ids", "is", "number", "no", "code", "of", "the", "with", "called", "named", "x"];
/// Words by which one asks for a maker.
const MAKER_WORDS: &[&str] = &[
    "vendor",
    "manufacturer",
    "manufactures",
    "manufactured",
    "makes",
    "made",
    "make",
    "maker",
    "company",
    "brand",
    "sells",
    "builds",
    "produces",
    "owns",
];
/// Words that make two numbers side by side a device.
const DEVICE_CONTEXT: &[&str] = &[
    "pci",
    "pcie",
    "usb",
    "device",
    "vendor",
    "product",
    "card",
    "adapter",
    "controller",
    "dongle",
    "id",
    "ids",
    "hardware",
    "lspci",
    "lsusb",
    "chip",
];

/// Reads a question; `None` if it is about no device that is given by number.
pub(super) fn read(question: &str) -> Option<DeviceQuestion> {
    let lower = question.to_ascii_lowercase();
    let words = split(&lower);
    let bus = bus(&words);
    let subject = class(&words)
        .or_else(|| joined_pair(&words))
        .or_else(|| labelled(&words))
        .or_else(|| neighbours(&words))
        .or_else(|| lone_vendor(&words, bus))?;
    Some(DeviceQuestion { bus, subject })
}

fn split(text: &str) -> Vec<Word<'_>> {
    let (mut words, mut end) = (Vec::new(), 0);
    let is_word = |c: char| c.is_ascii_alphanumeric();
    while let Some(start) = text.get(end..).and_then(|rest| rest.find(is_word)).map(|at| end + at) {
        let rest = text.get(start..).unwrap_or_default();
        let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        words.push(Word {
            text: rest.get(..len).unwrap_or_default(),
            gap: text.get(end..start).unwrap_or_default(),
        });
        end = start + len;
    }
    words
}

fn bus(words: &[Word<'_>]) -> Option<Bus> {
    let pci = words.iter().any(|word| word.is_any(&["pci", "pcie", "lspci"]));
    let usb = words.iter().any(|word| word.is_any(&["usb", "lsusb"]));
    match (pci, usb) {
        (true, false) => Some(Bus::Pci),
        (false, true) => Some(Bus::Usb),
        _ => None,
    }
}

/// `8086:10d3`, and a second such pair as the board.
fn joined_pair(words: &[Word<'_>]) -> Option<Subject> {
    let context = words.iter().any(|word| word.is_any(DEVICE_CONTEXT));
    let mut pairs = words.windows(2).filter_map(|pair| {
        let [first, second] = pair else { return None };
        let joined = second.gap == ":" || (context && matches!(second.gap, "/" | "-" | "."));
        let id = DeviceId { vendor: first.number_here()?, device: second.number_here()? };
        joined.then_some(id)
    });
    let device = pairs.next()?;
    let board = words.iter().any(|word| word.is_any(BOARD_LABELS)).then(|| pairs.next()).flatten();
    Some(Subject::Device(device, board))
}

/// `vendor 8086 device 10d3`, `VID_046D&PID_C52B`, `vendor id = 0x10de`.
fn labelled(words: &[Word<'_>]) -> Option<Subject> {
    match (after_label(words, VENDOR_LABELS), after_label(words, DEVICE_LABELS)) {
        (Some((vendor, _)), Some((device, _))) => Some(Subject::Device(DeviceId { vendor, device }, None)),
        (Some((vendor, at)), None) => {
            Some(with_neighbour(words, vendor, at).unwrap_or(Subject::Vendor(vendor)))
        }
        (None, Some((number, at))) => {
            // "device 10d3 from vendor 8086" was met above; "device 10d3 of 8086" is a pair the other way round.
            let vendor =
                words.iter().enumerate().filter(|&(i, _)| i != at).find_map(|(_, word)| word.number());
            with_neighbour(words, number, at).or(Some(match vendor {
                Some(vendor) => Subject::Device(DeviceId { vendor, device: number }, None),
                None => Subject::DeviceWithoutVendor(number),
            }))
        }
        (None, None) => None,
    }
}

/// The number behind one of `labels`, and where it stands.
fn after_label(words: &[Word<'_>], labels: &[&str]) -> Option<(u16, usize)> {
    words.iter().enumerate().filter(|(_, word)| word.is_any(labels)).find_map(|(label, _)| {
        let mut behind = words.iter().enumerate().skip(label + 1);
        let (at, word) = behind.find(|(_, word)| !word.is_any(FILLERS))?;
        // Right behind the label any four digits are meant; further off they must look like a number.
        let number = if at == label + 1 { word.number_here() } else { word.number() };
        number.map(|number| (number, at))
    })
}

/// A device whose vendor number stands at `at` and whose device number follows at once.
fn with_neighbour(words: &[Word<'_>], vendor: u16, at: usize) -> Option<Subject> {
    let device = words.get(at + 1)?.number()?;
    Some(Subject::Device(DeviceId { vendor, device }, None))
}

/// `0x8086 0x10d3`, `pci 8086 10d3`.
fn neighbours(words: &[Word<'_>]) -> Option<Subject> {
    let bare = words.iter().all(|word| word.number().is_some());
    let context = bare || words.iter().any(|word| word.is_any(DEVICE_CONTEXT));
    words.windows(2).find_map(|pair| {
        let [first, second] = pair else { return None };
        let prefixed = first.text.starts_with("0x") && second.text.starts_with("0x");
        let id = DeviceId { vendor: first.number()?, device: second.number()? };
        (context || prefixed).then_some(Subject::Device(id, None))
    })
}

/// `which vendor is 8086`, `who makes 10de`, `what is pci 8086`.
fn lone_vendor(words: &[Word<'_>], bus: Option<Bus>) -> Option<Subject> {
    let asked = bus.is_some() || words.iter().any(|word| word.is_any(MAKER_WORDS));
    let mut numbers = words.iter().filter_map(Word::number);
    let number = numbers.next().filter(|_| asked)?;
    numbers.next().is_none().then_some(Subject::Vendor(number))
}

/// `class 0200`, `class code 0x010802`, `class 02:00`.
fn class(words: &[Word<'_>]) -> Option<Subject> {
    let label = words.iter().position(|word| word.is_any(&["class", "classcode"]))?;
    let mut digits = String::new();
    for word in words.iter().skip(label + 1).skip_while(|word| word.is_any(FILLERS)).take(3) {
        let hex = word.text.strip_prefix("0x").unwrap_or(word.text);
        let joined = digits.is_empty() || matches!(word.gap, ":" | "." | "/");
        if !joined || !matches!(hex.len(), 2 | 4 | 6) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            break;
        }
        digits.push_str(hex);
    }
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    Some(Subject::Class(byte(0)?, byte(2), byte(4)))
}
