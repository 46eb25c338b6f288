//! Memory shared with the host: QEMU's `ivshmem-plain`, whose BAR 2 is a file there (docs/specs/ivshmem-spec.txt of QEMU).
//!
//! One document at a time lies in it, in the layout of [`control::export`], for a program on the host to read while the machine runs.

use super::pci;
use super::registers::Registers;
use control::export;
use core::sync::atomic::{Ordering, fence};
use spin::{Mutex, Once};

const VENDOR: u16 = 0x1af4;
const DEVICE: u16 = 0x1110;
const MEMORY_BAR: u8 = 2;
/// More of a region is not used.
const MOST: u64 = 16 << 20;

static REGION: Once<Mutex<Registers>> = Once::new();

/// Why nothing was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SharedMemoryError {
    /// The machine has no such memory.
    #[error(
        "this machine shares no memory with its host; start it with `cargo xtask run --export-region PATH`"
    )]
    Absent,
    /// Another thread is at it.
    #[error("another export is being written; try again")]
    Busy,
    /// The document does not fit.
    #[error("{len} bytes do not fit the shared memory, which has room for {room}")]
    TooLong {
        /// Of the document.
        len: usize,
        /// Most.
        room: usize,
    },
}

/// Finds the first such region, if there is one.
pub fn init() {
    let ours = |function: &&pci::Function| (function.vendor, function.device) == (VENDOR, DEVICE);
    let Some(function) = pci::functions().iter().find(ours) else { return };
    let size = function.bars.iter().find(|bar| bar.index == MEMORY_BAR).map_or(0, |bar| bar.size);
    function.start("shared-memory");
    match function.map(MEMORY_BAR, 0, size.min(MOST)) {
        Some(region) if region.len() > export::HEADER => {
            log::info!("ivshmem: {} KiB shared with the host", region.len() >> 10);
            REGION.call_once(|| Mutex::new(region));
        }
        _ => log::error!("ivshmem: the device at {} stays unused: it has no memory", function.address),
    }
}

/// Exports `document` in place of the last one. A reader on the host finds the old one, the new one, or that it is being written.
/// In a thread.
pub fn write(document: &[u8]) -> Result<(), SharedMemoryError> {
    let region = REGION.get().ok_or(SharedMemoryError::Absent)?;
    let region = region.try_lock().ok_or(SharedMemoryError::Busy)?;
    let room = region.len() - export::HEADER;
    if document.len() > room {
        return Err(SharedMemoryError::TooLong { len: document.len(), room });
    }
    let (writing, written) = export::next(region.read(export::SEQUENCE));
    region.write(export::SEQUENCE, writing);
    fence(Ordering::SeqCst);
    copy(&region, 0, &export::header(writing, document));
    copy(&region, export::HEADER, document);
    fence(Ordering::SeqCst);
    region.write(export::SEQUENCE, written);
    Ok(())
}

fn copy(region: &Registers, at: usize, bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<4>();
    for (offset, word) in (at..).step_by(4).zip(words) {
        region.write(offset, u32::from_le_bytes(*word));
    }
    for (offset, byte) in (at + words.len() * 4..).zip(rest) {
        region.write(offset, *byte);
    }
}
