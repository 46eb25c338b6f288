//! The memory shared with the host takes documents of every size that fits, and no other.

use super::Outcome;
use crate::drivers::shared_memory::{self, SharedMemoryError};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

/// The document that stays there, for whoever looks from the host.
const LAST: &[u8] = b"selftest export\n";

/// Writes documents of growing sizes, one too many bytes, and a last one.
pub fn export() -> Outcome {
    match shared_memory::write(&[]) {
        Err(error @ SharedMemoryError::Absent) => return Ok(error.to_string()),
        result => result.map_err(|error| error.to_string())?,
    }
    let mut document = Vec::new();
    let room = loop {
        match shared_memory::write(&document) {
            Ok(()) => document.resize(document.len() * 2 + 1, b'x'),
            Err(SharedMemoryError::TooLong { room, .. }) => break room,
            Err(error) => return Err(error.to_string()),
        }
    };
    document.resize(room, b'y');
    shared_memory::write(&document).map_err(|error| error.to_string())?;
    document.push(b'z');
    let refused = shared_memory::write(&document);
    if refused != Err(SharedMemoryError::TooLong { len: room + 1, room }) {
        return Err(format!("a document of one byte too many gave {refused:?}"));
    }
    shared_memory::write(LAST).map_err(|error| error.to_string())?;
    Ok(format!("documents of up to {room} bytes"))
}
