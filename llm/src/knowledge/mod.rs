//! What is known about devices without a model: the PCI and USB ID databases, all entries of both.
//!
//! The databases are packed at build time (`build.rs`) into about 2.4 MiB of read-only data and searched in
//! place: nothing is set up at boot and no heap is used. A look-up is a binary search per level.
//!
//! ```
//! use llm::knowledge::{pci, usb, DeviceId};
//! let id: DeviceId = "8086:10d3".parse().unwrap();
//! assert_eq!(pci::vendor(id.vendor), Some("Intel Corporation"));
//! assert_eq!(pci::device(id.vendor, id.device), Some("82574L Gigabit Network Connection"));
//! assert_eq!(usb::vendor(0x046d), Some("Logitech, Inc."));
//! ```

mod id;
pub mod pci;
mod tree;
pub mod usb;

pub use id::{DeviceId, IdError, hex_id};

#[cfg(test)]
mod tests;
