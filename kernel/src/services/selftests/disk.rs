//! Files of many sizes are written to the disk, replaced, and read back.

use super::Outcome;
use super::random::Random;
use crate::services::disk::{self, DiskError};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

/// The file that stays there, for whoever looks from the host.
const LAST: (&str, &[u8]) = ("/selftest/last.txt", b"selftest disk\n");
const SIZES: [usize; 7] = [0, 1, 4095, 4096, 4097, 100_000, 1_000_000];

/// Writes each size twice over the last one, reads it back, and sees what is refused.
pub fn disk() -> Outcome {
    let mut random = Random::new(1);
    for size in SIZES.into_iter().chain(SIZES.into_iter().rev()) {
        let bytes: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
        match disk::write_file("/selftest/sizes/file", &bytes) {
            Err(error @ DiskError::NoDisk) => return Ok(error.to_string()),
            result => result.map_err(|error| format!("writing {size} bytes: {error}"))?,
        }
        let read = disk::read_file("/selftest/sizes/file")
            .map_err(|error| format!("reading {size} bytes: {error}"))?;
        if read != bytes {
            return Err(format!("a file of {size} bytes came back as another one of {}", read.len()));
        }
    }
    for path in ["", "selftest", "/", "/selftest/", "/selftest/../x"] {
        if disk::write_file(path, b"") != Err(DiskError::Path) {
            return Err(format!("{path:?} was taken for a path"));
        }
    }
    for path in ["/selftest/nothing", "/nothing/file", "/selftest", "/selftest/last.txt/file"] {
        if let Ok(bytes) = disk::read_file(path) {
            return Err(format!("{path} is no file, and {} bytes were read", bytes.len()));
        }
    }
    let (path, bytes) = LAST;
    disk::write_file(path, bytes).map_err(|error| error.to_string())?;
    Ok(format!("files of up to {} bytes", SIZES[SIZES.len() - 1]))
}
