//! Vendor and device numbers as people write them.

use core::fmt;
use core::str::FromStr;

/// A vendor's number and a device's (for USB: product's) number within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID (PCI) or product ID (USB).
    pub device: u16,
}

/// A text that is no vendor and device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a device ID: write vendor and device as hexadecimal, like 8086:10d3")]
pub struct IdError;

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.device)
    }
}

impl FromStr for DeviceId {
    type Err = IdError;

    /// Reads `8086:10d3`, `0x8086:0x10D3`, `8086 10d3`, `0x8086, 0x10d3`, `vendor 8086 device 10d3`,
    /// `VID_8086&PID_10D3`: exactly two hexadecimal numbers among words that label them.
    fn from_str(text: &str) -> Result<Self, IdError> {
        const LABELS: [&str; 11] =
            ["pci", "usb", "vendor", "device", "product", "id", "vid", "pid", "ven", "dev", "did"];
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let mut numbers = words.filter(|word| !LABELS.iter().any(|label| word.eq_ignore_ascii_case(label)));
        let mut next = || numbers.next().and_then(hex_id).ok_or(IdError);
        let id = Self { vendor: next()?, device: next()? };
        if numbers.next().is_some() { Err(IdError) } else { Ok(id) }
    }
}

/// A 16-bit hexadecimal number: `0x` and one to four digits, or exactly four digits.
pub fn hex_id(word: &str) -> Option<u16> {
    let (digits, prefixed) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => (digits, true),
        None => (word, false),
    };
    let fits = if prefixed { (1..=4).contains(&digits.len()) } else { digits.len() == 4 };
    // `from_str_radix` would take a sign.
    let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    if fits && hex { u16::from_str_radix(digits, 16).ok() } else { None }
}
