//! Where an export goes that the host can read: the disk, and the memory shared with the host.

use crate::drivers::shared_memory;
use crate::services::disk;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use shell::Exported;

/// The file on the disk; it replaces the one before, whole or not at all.
const FILE: &str = "/audit/audit.json";

/// Writes a text to both places. One line for each: what was written, or why not.
pub fn export(text: &str) -> Vec<Exported> {
    let bytes = text.as_bytes();
    let written = |result: Result<(), String>| result.map(|()| bytes.len() as u64);
    let disk = disk::write_file(FILE, bytes).map_err(|error| error.to_string());
    let region = shared_memory::write(bytes).map_err(|error| error.to_string());
    Vec::from([
        Exported { place: alloc::format!("disk {FILE}"), result: written(disk) },
        Exported { place: String::from("shared memory"), result: written(region) },
    ])
}
