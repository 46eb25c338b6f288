//! How a document lies in memory that a machine shares with its host (a region of `ivshmem`).
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `AUTONEXP` |
//! | 8 | 4 | version: 1 |
//! | 12 | 4 | sequence: odd while the rest is being written, then even and two higher |
//! | 16 | 4 | length of the document |
//! | 20 | 4 | CRC-32 of the document (ISO-HDLC) |
//! | 24 | 8 | zero |
//! | 32 | … | the document |
//!
//! Numbers are little-endian. The writer sets the sequence first and last. A reader copies the region and calls [`read`]: what it
//! gets is whole, for a copy made while another document was written has an odd sequence or a wrong checksum.

use crc::{CRC_32_ISO_HDLC, Crc};
use thiserror::Error;

/// Bytes before the document.
pub const HEADER: usize = 32;
/// Where the sequence is: the only word that is written twice.
pub const SEQUENCE: usize = 12;

const MAGIC: [u8; 8] = *b"AUTONEXP";
const VERSION: u32 = 1;
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Why there is no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ExportError {
    /// No magic number.
    #[error("nothing was exported to this region yet; run `llmctl audit --export` in the guest")]
    Empty,
    /// Another layout.
    #[error(
        "the region has layout {0}, and this program reads layout {VERSION}; use the one of the kernel's version"
    )]
    Version(u32),
    /// An odd sequence.
    #[error("a document is being written; read the region again")]
    Unfinished,
    /// The length goes past the region's end.
    #[error("the region names a document of {0} bytes, which it cannot hold; export again")]
    TooLong(u32),
    /// The checksum does not match.
    #[error("the document does not match its checksum; read the region again")]
    Damaged,
}

/// The header of `document`, whose finished sequence is `sequence`.
pub fn header(sequence: u32, document: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    // No region is longer than the length can say; a longer document would be found damaged.
    let words = [VERSION, sequence, document.len() as u32, CRC.checksum(document)];
    let bytes = MAGIC.into_iter().chain(words.into_iter().flat_map(u32::to_le_bytes));
    header.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    header
}

/// The sequence under which the next document is written, and the one that finishes it, after `last`.
pub fn next(last: u32) -> (u32, u32) {
    let writing = last.wrapping_add(1) | 1;
    (writing, writing.wrapping_add(1))
}

/// The document in a copy of a region.
pub fn read(region: &[u8]) -> Result<&[u8], ExportError> {
    let (header, rest) = region.split_first_chunk::<HEADER>().ok_or(ExportError::Empty)?;
    if !header.starts_with(&MAGIC) {
        return Err(ExportError::Empty);
    }
    let mut words = header.as_chunks::<4>().0.iter().skip(2).map(|&word| u32::from_le_bytes(word));
    let mut word = || words.next().unwrap_or_default();
    let (version, sequence, length, checksum) = (word(), word(), word(), word());
    if version != VERSION {
        return Err(ExportError::Version(version));
    }
    if sequence % 2 == 1 {
        return Err(ExportError::Unfinished);
    }
    let document = rest.get(..length as usize).ok_or(ExportError::TooLong(length))?;
    (CRC.checksum(document) == checksum).then_some(document).ok_or(ExportError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn region(sequence: u32, document: &[u8], spare: usize) -> Vec<u8> {
        let mut region = header(sequence, document).to_vec();
        region.extend_from_slice(document);
        region.resize(region.len() + spare, 0xee);
        region
    }

    #[test]
    fn a_half_written_document_is_not_read() {
        let mut region = region(3, b"old", 100);
        assert_eq!(read(&region), Err(ExportError::Unfinished));
        region[SEQUENCE] = 4;
        assert_eq!(read(&region), Ok(&b"old"[..]));
        region[HEADER] = b'n';
        assert_eq!(read(&region), Err(ExportError::Damaged));
        assert_eq!(read(&[0; 4096]), Err(ExportError::Empty));
        assert_eq!(read(b"AUTONEXP"), Err(ExportError::Empty));
    }

    #[test]
    fn sequences_go_on_after_a_writer_that_died() {
        assert_eq!(next(0), (1, 2));
        assert_eq!(next(2), (3, 4));
        assert_eq!(next(3), (5, 6));
        assert_eq!(next(u32::MAX), (1, 2));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(document in prop::collection::vec(any::<u8>(), 0..200), spare in 0usize..50, n: u32) {
            let region = region(n & !1, &document, spare);
            prop_assert_eq!(read(&region), Ok(&document[..]));
        }

        #[test]
        fn any_bytes_are_survived(mut region in prop::collection::vec(any::<u8>(), 0..100), magic: bool) {
            if magic && region.len() >= 12 {
                region[..8].copy_from_slice(&MAGIC);
                region[8..12].copy_from_slice(&VERSION.to_le_bytes());
            }
            if let Ok(document) = read(&region) {
                prop_assert!(document.len() + HEADER <= region.len());
            }
        }
    }
}
